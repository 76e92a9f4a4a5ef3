//! Weft's data plane: a sidecar that routes, secures and observes one workload's traffic.
//!
//! Modules are listed in the order in which a request meets them.

pub mod worker;
pub mod listener;
pub mod connection;
pub mod connections;
pub mod origin;
pub mod stream;
pub mod detect;
pub mod tls;
pub mod http;
pub mod exchange;
pub mod locate;
pub mod discovery;
pub mod plan;
pub mod headers;
pub mod filters;
pub mod balance;
pub mod upstream;
pub mod body;
pub mod grpc;
pub mod deadline;
pub mod tcp;
pub mod refusal;
pub mod record;
pub mod telemetry;
pub mod settings;
pub mod control;
pub mod state;
pub mod admin;
