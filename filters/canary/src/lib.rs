//! weft-filter-canary.
