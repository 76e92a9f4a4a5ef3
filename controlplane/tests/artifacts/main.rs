//! Filters from a real registry and real folders, compiled in the real subprocess, through every kind of trouble.
#![allow(clippy::unwrap_used)]

mod bench;
mod peers;
mod restarts;
mod swaps;
mod troubles;
