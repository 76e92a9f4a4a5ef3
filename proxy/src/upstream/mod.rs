//! Where requests go: endpoints, their pooled connections, and when a try is repeated.

pub mod limits;
