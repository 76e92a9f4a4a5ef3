//! weft-filter-sdk.
