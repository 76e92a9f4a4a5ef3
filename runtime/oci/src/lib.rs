//! weft-oci.
