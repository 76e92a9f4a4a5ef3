//! The services that a proxy may call: their names, ports and routing rules.

use crate::{BackendName, Host, Rule};

/// One service as one caller sees it. Key: [`crate::Key::Service`] with `name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    /// The fully qualified host, such as `reviews.default.svc.cluster.local`, or a wildcard.
    pub name: Host,
    pub namespace: String,
    /// All hosts that mean this service for this caller, `name` included (short names only in its own namespace).
    pub domains: Vec<Host>,
    /// Ports that the service listens on; empty where only a VirtualService speaks of the host.
    pub ports: Vec<ServicePort>,
    /// First match wins. Never empty for an HTTP service: without a VirtualService there is one rule per port.
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServicePort {
    pub port: u16,
    pub name: String,
    pub protocol: Protocol,
    /// Where opaque TCP to this port goes.
    pub backend: BackendName,
}

/// What a port speaks, from `appProtocol`, then the port name's prefix, then by detection (Istio's order).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    Http,
    /// HTTP/2 without HTTP/1.1, gRPC included.
    Http2,
    /// Opaque bytes; never parsed.
    Tcp,
    /// Decided by the first bytes of each connection.
    Detect,
}

/// What the control plane knows of a host that an app asked for. Key: [`crate::Key::Answer`] with `asked`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Answer {
    /// As the app wrote it, lower-case, without port.
    pub asked: Host,
    /// The service that it means here; `None`: absent from the mesh. Both stay watched.
    pub service: Option<Host>,
}
