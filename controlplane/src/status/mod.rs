//! How people see the control plane: `/status`, `/metrics`, `/ready`, and `weft status`.
//!
//! It reads; nothing here changes what proxies are told.

mod client;
mod metrics;
mod report;
mod server;
mod table;

pub use client::{Output, StatusError, StatusOptions, fetch, show};
pub use report::{
    AuthorityLine, Configuration, FilterLine, FilterVersion, ObjectLine, ObjectState, ProblemLine, ProxyLine,
    ProxyState, Refusal, Report,
};
pub use table::render;

pub(crate) use metrics::{Metrics, Trigger};
pub(crate) use server::serve;
