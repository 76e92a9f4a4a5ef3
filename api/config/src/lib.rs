//! weft-config.
