//! weft-filter-build.
