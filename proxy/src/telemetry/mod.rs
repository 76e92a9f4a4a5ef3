//! Metrics and access log: both read a finished record once, neither ever makes a worker wait.
//!
//! It does not decide anything about an exchange.

mod facts;
mod figure;
mod labels;
mod log;
mod scrape;
mod series;
mod shard;

pub use facts::{Party, ServiceFacts};
pub use figure::Gauge;
pub use log::{LogFormat, LogOptions, LogTarget};
pub use scrape::Scraper;
pub use series::TcpSeries;
pub use shard::{SERIES_MAX, Shard};

use crossbeam_queue::SegQueue;
use log::AccessLog;
use series::Registered;
use std::io;
use std::sync::Arc;

/// Shared by all threads.
#[derive(Debug)]
pub struct Telemetry {
    /// Series that workers have begun and the scrape has not met yet.
    registered: SegQueue<Registered>,
    workers: Vec<Arc<WorkerGauges>>,
    log: Option<AccessLog>,
}

/// What a worker has right now; written by that worker alone.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerGauges {
    /// Connections from clients.
    pub downstream_connections: Gauge,
    /// Connections to upstreams, idle ones included.
    pub upstream_connections: Gauge,
    /// Of these, those without a request.
    pub upstream_idle: Gauge,
    /// Exchanges that have begun and not ended.
    pub exchanges: Gauge,
    /// Series that did not fit under [`SERIES_MAX`], counted by exchange.
    pub series_overflow: Gauge,
}

impl Telemetry {
    /// Fails where the access log cannot be opened or its thread not be started.
    pub fn new(workers: usize, log: Option<LogOptions>) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            registered: SegQueue::new(),
            workers: (0..workers).map(|_| Arc::default()).collect(),
            log: log.map(|options| AccessLog::open(options, workers)).transpose()?,
        }))
    }

    /// For the worker of that number (below `workers`), made on its own thread and once only.
    pub fn shard(self: &Arc<Self>, worker: usize) -> Shard {
        Shard::new(self.clone(), worker)
    }

    /// For the one thread that answers scrapes.
    pub fn scraper(self: &Arc<Self>) -> Scraper {
        Scraper::new(self.clone())
    }

    /// Writes out what the log still holds; when the proxy ends.
    pub fn flush(&self) {
        if let Some(log) = &self.log {
            log.flush();
        }
    }
}

#[cfg(test)]
mod tests;
