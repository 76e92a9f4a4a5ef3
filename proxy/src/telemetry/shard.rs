//! A worker's own share of the metrics.
//!
//! One writer each; the scrape reads all of them.

use crate::record::Record;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Shared by all threads.
#[derive(Debug)]
pub struct Telemetry {}

/// Belongs to one worker.
pub struct Shard {
    pub gauges: Arc<WorkerGauges>,
}

/// What a worker has right now.
#[derive(Debug, Default)]
pub struct WorkerGauges {
    pub downstream_connections: Gauge,
    pub upstream_connections: Gauge,
    pub upstream_idle: Gauge,
    pub exchanges: Gauge,
}

/// One writer: plain loads and stores, never a locked instruction.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub fn up(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    pub fn down(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
    }
}

/// The series of one TCP connection.
#[derive(Clone, Debug)]
pub struct TcpSeries {}

impl TcpSeries {
    pub fn opened(&self) {}
    pub fn closed(&self) {}
    /// To the client.
    pub fn sent(&self, _bytes: u64) {}
    /// From the client.
    pub fn received(&self, _bytes: u64) {}
}

impl Telemetry {
    pub fn shard(self: &Arc<Self>, _worker: usize) -> Shard {
        Shard { gauges: Arc::default() }
    }
}

impl Shard {
    /// Reads the finished record once: metrics, then the log.
    pub fn close(&self, _record: &Record) {}

    /// For a TCP connection, once its target is known; its bytes are reported while it is open.
    pub fn tcp(&self, _record: &Record) -> TcpSeries {
        TcpSeries {}
    }
}
