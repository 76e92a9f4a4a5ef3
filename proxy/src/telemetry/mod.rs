//! Metrics and access log: both read a finished record once, neither ever makes a worker wait.
//!
//! It does not decide anything about an exchange.

mod facts;
mod shard;

pub use facts::{Party, ServiceFacts};
pub use shard::{Gauge, Shard, TcpSeries, Telemetry, WorkerGauges};
