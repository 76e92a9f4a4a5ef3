//! What happened to one exchange: plain facts, written while it runs and read once when it is over.
//!
//! Metrics, access log and trace read a finished record; nothing is observed by dropping a value.

use crate::filters::FilterRun;
use crate::plan::{Backend, InboundPort, Pinned, Route};
use crate::telemetry::{Party, ServiceFacts};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, StatusCode, Version};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

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
    /// The plan on which the exchange runs from begin to end.
    pub plan: Pinned,
    pub request: RequestFacts,
    pub peer: Rc<PeerFacts>,
    /// The service called, once it is known.
    pub service: Option<Arc<ServiceFacts>>,
    pub route: Option<Arc<Route>>,
    pub target: Target,
    pub upstream: Option<Rc<UpstreamFacts>>,
    /// Until the head of the response arrived, from the last try on.
    pub service_time: Option<Duration>,
    /// Tries in all, the first included.
    pub tries: u32,
    pub status: Option<StatusCode>,
    pub grpc_status: Option<u32>,
    /// Istio's response flags, `-` for none.
    pub flag: &'static str,
    /// Istio's `response_code_details`: `via_upstream`, or the refusal's.
    pub details: &'static str,
    /// Why the connection of the client was ended, where the proxy did it.
    pub termination: Option<&'static str>,
    /// Why the last connection to an upstream failed.
    pub upstream_failure: Option<String>,
    /// A sentence for people: the refusal, or a filter's reason.
    pub reason: Option<String>,
    /// Filters that the exchange met; the chains write it.
    pub filters: Vec<FilterRun>,
    /// Bytes of the request's body, or of the connection, from the client.
    pub bytes_received: u64,
    /// Bytes of the response's body, or of the connection, to the client.
    pub bytes_sent: u64,
    /// Messages of a gRPC request and response.
    pub messages: (u64, u64),
    /// From the first byte received to the last byte sent; set when it is closed.
    pub duration: Duration,
}

#[derive(Debug)]
pub struct RequestFacts {
    pub protocol: Version,
    pub kind: Kind,
    pub method: Method,
    /// As received; a clone shares the bytes.
    pub path: PathAndQuery,
    pub authority: HeaderValue,
    pub request_id: Option<HeaderValue>,
    pub user_agent: Option<HeaderValue>,
    pub forwarded_for: Option<HeaderValue>,
}

/// Metrics' `request_protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Http,
    Grpc,
    Tcp,
}

/// Where the exchange went, or was to go.
#[derive(Clone, Debug)]
pub enum Target {
    /// Not decided: it ended before.
    None,
    Backend(Arc<Backend>),
    /// The workload's own app.
    Inbound(Arc<InboundPort>),
    /// A host that the mesh does not know, under ALLOW_ANY.
    Passthrough,
    /// The same under REGISTRY_ONLY.
    BlackHole,
}

impl Target {
    /// Istio's cluster name.
    pub fn cluster(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Backend(backend) => Some(&backend.cluster),
            Self::Inbound(port) => Some(&port.cluster),
            Self::Passthrough => Some("PassthroughCluster"),
            Self::BlackHole => Some("BlackHoleCluster"),
        }
    }

    pub fn subset(&self) -> Option<&str> {
        match self {
            Self::Backend(backend) => Some(&backend.name.subset),
            _ => None,
        }
    }
}

/// The downstream connection; shared by all its exchanges.
#[derive(Debug)]
pub struct PeerFacts {
    pub remote: Address,
    pub local: Address,
    /// Who called: labels from the certificate's Weft extension, the id only from a verified certificate.
    /// For the workload's own app: the workload.
    pub party: Arc<Party>,
    pub security: Security,
    pub sni: Option<String>,
}

/// How the downstream connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Security {
    /// Metrics' `connection_security_policy` is `none`.
    None,
    /// `mutual_tls`.
    MutualTls,
}

/// The connection to an upstream; shared by all exchanges that it carries.
#[derive(Debug)]
pub struct UpstreamFacts {
    /// The address connected to.
    pub address: Address,
    /// The endpoint as the plan writes it.
    pub endpoint_address: Arc<str>,
    pub local: Option<Address>,
    /// Who answers.
    pub party: Arc<Party>,
}

/// An address of a connection, with its text: written once, and logged with each exchange.
#[derive(Clone, Debug)]
pub struct Address {
    socket: SocketAddr,
    text: Box<str>,
}

impl Address {
    pub fn ip(&self) -> IpAddr {
        self.socket.ip()
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl From<SocketAddr> for Address {
    fn from(socket: SocketAddr) -> Self {
        Self { socket, text: socket.to_string().into() }
    }
}

impl<I: Into<IpAddr>> From<(I, u16)> for Address {
    fn from(parts: (I, u16)) -> Self {
        SocketAddr::from(parts).into()
    }
}

impl Record {
    /// A record of an exchange that begins now, about which nothing else is known yet.
    pub fn new(
        side: Side,
        start: SystemTime,
        started: Instant,
        plan: Pinned,
        seen: (Rc<PeerFacts>, RequestFacts),
    ) -> Self {
        let (peer, request) = seen;
        Self {
            side,
            start,
            started,
            plan,
            request,
            peer,
            service: None,
            route: None,
            target: Target::None,
            upstream: None,
            service_time: None,
            tries: 0,
            status: None,
            grpc_status: None,
            flag: "-",
            details: "-",
            termination: None,
            upstream_failure: None,
            reason: None,
            filters: Vec::new(),
            bytes_received: 0,
            bytes_sent: 0,
            messages: (0, 0),
            duration: Duration::ZERO,
        }
    }
}
