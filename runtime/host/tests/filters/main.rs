//! The filter host with real guests, compiled by the real compiler: what it promises about verdicts, failures,
//! deadlines and isolation.
//!
//! Run with `cargo test -p weft-filter-host --features compiler`. Counters are asserted, not times.
#![allow(clippy::unwrap_used)]

mod admission;
mod contract;
mod deadlines;
mod guest;
mod isolation;
mod rehearsal;
mod two_builds;
