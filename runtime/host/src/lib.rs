//! weft-filter-host.
