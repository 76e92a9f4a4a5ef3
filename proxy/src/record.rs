//! What happened to one exchange: plain facts, written while it runs and read once when it is over.
//!
//! Metrics, access log and trace read a finished record; nothing is observed by dropping a value.

use http::{Method, StatusCode, Version};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};
use weft_snapshot::{BackendName, Digest, FilterKey, SpiffeId};

/// Which side of the proxy the exchange came in on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// From the workload's own app: metrics' reporter is `source`.
    Outbound,
    /// To the workload's own app: reporter `destination`.
    Inbound,
}

/// One exchange, or one TCP connection.
#[derive(Debug)]
pub struct Record {
    pub side: Side,
    pub start: SystemTime,
    pub started: Instant,
    pub request: RequestFacts,
    pub peer: Rc<PeerFacts>,
    /// Fully qualified host of the service called, once it is known.
    pub service: Option<String>,
    pub route: Option<String>,
    pub backend: Option<BackendName>,
    pub upstream: Option<UpstreamFacts>,
    /// Tries in all, the first included.
    pub tries: u32,
    pub status: Option<StatusCode>,
    pub grpc_status: Option<u32>,
    /// Istio's response flags, `-` for none.
    pub flag: &'static str,
    pub details: &'static str,
    /// A sentence for people: the refusal, or a filter's reason.
    pub reason: Option<String>,
    /// Filters that ran, with the digest of the component that did.
    pub filters: Vec<(FilterKey, Digest)>,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    /// From the first byte received to the last byte sent; set when it is closed.
    pub duration: Duration,
}

#[derive(Debug)]
pub struct RequestFacts {
    pub protocol: Version,
    pub kind: Kind,
    pub method: Method,
    /// Path and query as received.
    pub path: String,
    pub authority: String,
    pub request_id: String,
    pub user_agent: Option<String>,
    pub forwarded_for: Option<String>,
}

/// Metrics' `request_protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Http,
    Grpc,
    Tcp,
}

/// The downstream connection; shared by all its exchanges.
#[derive(Debug)]
pub struct PeerFacts {
    pub remote: SocketAddr,
    pub local: SocketAddr,
    /// From a verified client certificate.
    pub identity: Option<SpiffeId>,
    /// From the certificate's Weft extension; `unknown` otherwise.
    pub labels: weft_snapshot::Labels,
    pub sni: Option<String>,
}

#[derive(Clone, Debug)]
pub struct UpstreamFacts {
    pub address: SocketAddr,
    pub local: Option<SocketAddr>,
    pub identity: Option<SpiffeId>,
    pub labels: weft_snapshot::Labels,
    /// Until the response's head arrived.
    pub service_time: Option<Duration>,
}
