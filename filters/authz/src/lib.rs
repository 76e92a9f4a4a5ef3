//! weft-filter-authz.
