//! Weft's data plane: a sidecar that routes, secures and observes one workload's traffic.
//!
//! Modules are listed in the order in which a request meets them.

pub mod admin;
pub mod app;
pub mod args;
pub mod balance;
pub mod body;
pub mod child;
pub mod connection;
pub mod connections;
pub mod control;
pub mod cpu;
pub mod deadline;
pub mod detect;
pub mod discovery;
pub mod ending;
pub mod exchange;
pub mod files;
pub mod filters;
pub mod grpc;
pub mod headers;
pub mod http;
pub mod intercept;
pub mod listener;
pub mod locate;
pub mod origin;
pub mod plan;
pub mod record;
pub mod refusal;
pub mod settings;
pub mod state;
pub mod status;
pub mod stream;
pub mod tcp;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod worker;

pub use app::{Options, run};

#[cfg(test)]
mod samples;
