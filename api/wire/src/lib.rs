//! weft-wire.
