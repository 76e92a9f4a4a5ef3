//! The counters behind one set of labels.
//!
//! It does not know how a series is found (`shard`) or shown (`scrape`).

use super::figure::{Counter, Histogram};
use crate::record::{Kind, Record};
use std::sync::Arc;

/// Of HTTP and gRPC exchanges.
#[derive(Debug)]
pub(super) struct HttpSeries {
    pub(super) labels: String,
    pub(super) requests: Counter,
    pub(super) milliseconds: Histogram,
    pub(super) request_bytes: Histogram,
    pub(super) response_bytes: Histogram,
    pub(super) request_messages: Counter,
    pub(super) response_messages: Counter,
}

/// Of TCP connections; a worker adds to it while connections are open.
#[derive(Clone, Debug)]
pub struct TcpSeries(pub(super) Arc<TcpFigures>);

#[derive(Debug)]
pub(super) struct TcpFigures {
    pub(super) labels: String,
    pub(super) opened: Counter,
    pub(super) closed: Counter,
    pub(super) sent: Counter,
    pub(super) received: Counter,
}

#[derive(Clone, Debug)]
pub(super) enum Registered {
    Http(Arc<HttpSeries>),
    Tcp(Arc<TcpFigures>),
}

impl HttpSeries {
    pub(super) fn new(labels: String) -> Self {
        Self {
            labels,
            requests: Counter::default(),
            milliseconds: Histogram::default(),
            request_bytes: Histogram::default(),
            response_bytes: Histogram::default(),
            request_messages: Counter::default(),
            response_messages: Counter::default(),
        }
    }

    pub(super) fn add(&self, record: &Record) {
        self.requests.add(1);
        self.milliseconds.observe(record.duration.as_secs_f64() * 1e3);
        self.request_bytes.observe(record.bytes_received as f64);
        self.response_bytes.observe(record.bytes_sent as f64);
        if record.request.kind == Kind::Grpc {
            self.request_messages.add(record.messages.0);
            self.response_messages.add(record.messages.1);
        }
    }
}

impl TcpSeries {
    pub(super) fn new(labels: String) -> Self {
        let (opened, closed, sent, received) = Default::default();
        Self(Arc::new(TcpFigures { labels, opened, closed, sent, received }))
    }

    pub fn opened(&self) {
        self.0.opened.add(1);
    }

    pub fn closed(&self) {
        self.0.closed.add(1);
    }

    /// To the client.
    pub fn sent(&self, bytes: u64) {
        self.0.sent.add(bytes);
    }

    /// From the client.
    pub fn received(&self, bytes: u64) {
        self.0.received.add(bytes);
    }
}
