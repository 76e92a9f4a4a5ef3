//! Where requests can be sent, and how: a backend with its policy, and its endpoints.
//!
//! Endpoints are a resource of their own, so that a pod that comes or goes never rebuilds a route.

use crate::{BackendName, Labels, SpiffeId};
use std::net::SocketAddr;
use std::time::Duration;

/// What a DestinationRule says of one port of one subset. Key: [`crate::Key::Backend`] with `name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Backend {
    pub name: BackendName,
    /// Namespace of the service, for metrics.
    pub namespace: String,
    pub load_balancer: LoadBalancer,
    /// Includes the TLS handshake. Istio's default: 10 s.
    pub connect_timeout: Duration,
    /// Of a pooled connection without a request. Istio's default: 1 h. `None`: never closed for idleness.
    pub idle_timeout: Option<Duration>,
    pub limits: PoolLimits,
    pub upgrade: Upgrade,
}

/// Limits of `connectionPool`; `None` is Istio's default, practically unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PoolLimits {
    pub connections_max: Option<u32>,
    pub pending_requests_max: Option<u32>,
    pub requests_max: Option<u32>,
    pub retries_max: Option<u32>,
    pub requests_per_connection_max: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoadBalancer {
    LeastRequest,
    RoundRobin,
    Random,
    /// The endpoint for which the app's connection was meant, where that is known and one of them (a headless service:
    /// the app chose by DNS); else as `LeastRequest`.
    Original,
}

/// `h2UpgradePolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Upgrade {
    /// The HTTP version that the app spoke.
    Keep,
    /// HTTP/2 whatever the app spoke.
    Http2,
}

/// One place that answers for a backend. Key of the list: [`crate::Key::Endpoints`] with the backend's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub dial: Dial,
    /// `None`: no sidecar there, plain text.
    pub tls: Option<PeerTls>,
    /// At least 1.
    pub weight: u32,
    /// For metrics: who answers.
    pub labels: Labels,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dial {
    Address(SocketAddr),
    /// Resolved by the proxy (ServiceEntry with resolution DNS).
    Name {
        host: String,
        port: u16,
    },
}

/// How the caller speaks TLS to the endpoint's sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerTls {
    /// The id that the certificate must carry, and no other.
    pub identity: SpiffeId,
    /// `outbound_.PORT_.SUBSET_.HOST`.
    pub sni: String,
}
