//! Weft's data plane: a sidecar that routes, secures and observes one workload's traffic.
//!
//! Modules are listed in the order in which a request meets them.

pub mod admin;
pub mod balance;
pub mod connections;
pub mod control;
pub mod detect;
pub mod discovery;
pub mod filters;
pub mod headers;
pub mod plan;
pub mod record;
pub mod refusal;
pub mod state;
pub mod stream;
pub mod telemetry;
pub mod tls;
pub mod upstream;
