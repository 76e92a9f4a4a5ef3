//! The limits of the request path that a person may set, each with its unit and its default.
//!
//! What nobody needs to set is a constant beside the code that uses it.

use crate::connections::SilenceLimits;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Downstream connections of one worker, each side.
    pub connections_max: usize,
    /// A request's head, its first line included.
    pub head_bytes_max: usize,
    /// Headers of one request.
    pub headers_max: usize,
    /// Concurrent streams of one downstream HTTP/2 connection.
    pub streams_max: u32,
    pub silence: SilenceLimits,
    /// How long a client may take to show what it speaks, on a port of which nobody said it.
    pub detect_timeout: Duration,
    /// Of a TCP connection, both directions silent.
    pub tcp_idle_timeout: Duration,
    /// How long a request may wait for an answer about a host.
    pub discovery_timeout: Duration,
    /// From the signal until connections are cut.
    pub drain: Duration,
    /// Whether responses name the filters that they met (`x-weft-filters`).
    pub filter_trace: FilterTrace,
    /// Called by each worker, on its own thread, before all else.
    pub worker_begins: fn(),
    /// Gives memory that is free back to the system, on the thread that calls: a worker, when most of its connections
    /// have gone. The binary that chooses the allocator sets both.
    pub relief: fn(),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterTrace {
    Send,
    Omit,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            head_bytes_max: 60 * 1024,
            headers_max: 100,
            streams_max: 250,
            silence: SilenceLimits { idle: Duration::from_secs(3600), head: Duration::from_secs(10) },
            detect_timeout: Duration::from_secs(1),
            tcp_idle_timeout: Duration::from_secs(3600),
            discovery_timeout: Duration::from_secs(1),
            drain: Duration::from_secs(45),
            filter_trace: FilterTrace::Omit,
            worker_begins: || {},
            relief: || {},
        }
    }
}
