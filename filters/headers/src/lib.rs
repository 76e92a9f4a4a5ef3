//! weft-filter-headers.
