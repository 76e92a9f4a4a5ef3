//! weft-controlplane.
