//! The proxy's own workload: who it is, what it accepts, what it lets out.

use crate::{FilterKey, Host, Protocol, SpiffeId, WorkloadName};
use std::net::SocketAddr;

/// Key: [`crate::Key::Workload`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Workload {
    pub name: WorkloadName,
    pub identity: SpiffeId,
    pub labels: Labels,
    pub inbound: Inbound,
    pub outbound: OutboundPolicy,
}

/// What metrics say of a workload; a label that is not known is the word `unknown`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Labels {
    pub workload: String,
    pub namespace: String,
    pub canonical_service: String,
    pub canonical_revision: String,
    pub app: String,
    pub version: String,
    pub cluster: String,
}

impl Default for Labels {
    fn default() -> Self {
        let unknown = || "unknown".to_owned();
        Self {
            workload: unknown(),
            namespace: unknown(),
            canonical_service: unknown(),
            canonical_revision: unknown(),
            app: unknown(),
            version: unknown(),
            cluster: unknown(),
        }
    }
}

/// The service's own side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Inbound {
    /// One per port of the app. A port that is not listed is not reachable through the sidecar without interception.
    pub ports: Vec<InboundPort>,
    /// Which host and service port mean which port of the app.
    pub services: Vec<InboundService>,
    /// What counts for the app's other ports, where interception brings connections to them.
    pub others: OtherPorts,
}

/// Ports of the app of which nothing speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OtherPorts {
    pub mtls: MtlsMode,
    /// Selector filters by priority.
    pub filters: Vec<FilterKey>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InboundPort {
    /// The workload's port.
    pub port: u16,
    /// Where the app listens (WorkloadEntry's `address` with `port`).
    pub app: SocketAddr,
    pub protocol: Protocol,
    pub mtls: MtlsMode,
    /// Selector filters by priority, then those of the service's VirtualServices with `at: Destination`.
    pub filters: Vec<FilterKey>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InboundService {
    pub host: Host,
    /// The service's port.
    pub port: u16,
    /// The workload's port.
    pub target: u16,
    /// All hosts that a caller may write in plain text for this service.
    pub domains: Vec<Host>,
}

/// PeerAuthentication's `mtls.mode`, resolved for one port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MtlsMode {
    Disable,
    #[default]
    Permissive,
    Strict,
}

/// `outboundTrafficPolicy`: what happens to a host that the mesh does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OutboundPolicy {
    #[default]
    AllowAny,
    RegistryOnly,
}

/// Whom the proxy believes. Key: [`crate::Key::Trust`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Trust {
    pub trust_domain: String,
    /// DER certificates that may sign SVIDs; several while they rotate.
    pub roots: Vec<Vec<u8>>,
    /// Ed25519 public keys that may sign snapshots and artifacts; several while they rotate.
    pub signers: Vec<[u8; 32]>,
}
