//! What the proxy accepts for its own workload: ports, and the hosts that mean them.
//!
//! It does not know sockets; the spine binds and detects.

use crate::filters::Filters;
use crate::telemetry::ServiceFacts;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use weft_snapshot::{self as snapshot, MtlsMode, Protocol};

/// One port of the app.
#[derive(Debug)]
pub struct InboundPort {
    pub port: u16,
    /// Where the app listens; with interception, where the client was going counts.
    pub app: SocketAddr,
    pub protocol: Protocol,
    pub mtls: MtlsMode,
    /// The workload's own filters, run before anything else.
    pub filters: Filters,
    /// `inbound|PORT||`.
    pub cluster: Arc<str>,
    /// For a caller that names no service of this port.
    pub service: Arc<ServiceFacts>,
}

/// A host and port of a service, and the workload's port that they mean.
#[derive(Debug)]
pub struct InboundService {
    pub facts: Arc<ServiceFacts>,
    /// The service's port.
    pub port: u16,
    /// The workload's port.
    pub target: u16,
}

#[derive(Debug, Default)]
pub(super) struct Inbound {
    ports: Vec<Arc<InboundPort>>,
    services: Vec<InboundService>,
    /// By every host that a caller may write; few services share one.
    by_host: HashMap<String, Vec<usize>, foldhash::fast::RandomState>,
    /// What counts for a port that is not listed; `None` until it is known who this proxy is.
    others: Option<Arc<InboundPort>>,
}

impl Inbound {
    pub(super) fn new(
        ports: Vec<Arc<InboundPort>>,
        others: Arc<InboundPort>,
        services: &[snapshot::InboundService],
        namespace: &str,
    ) -> Self {
        let mut inbound = Self { ports, others: Some(others), ..Self::default() };
        for (index, service) in services.iter().enumerate() {
            let facts = Arc::new(ServiceFacts::new(service.host.as_str(), namespace));
            inbound.services.push(InboundService { facts, port: service.port, target: service.target });
            let mut names: Vec<&str> = service.domains.iter().map(snapshot::Host::as_str).collect();
            names.push(service.host.as_str());
            names.sort_unstable();
            names.dedup();
            for name in names {
                inbound.by_host.entry(name.to_owned()).or_default().push(index);
            }
        }
        inbound
    }

    pub(super) fn ports(&self) -> &[Arc<InboundPort>] {
        &self.ports
    }

    pub(super) fn port(&self, port: u16) -> Option<&Arc<InboundPort>> {
        self.ports.iter().find(|p| p.port == port)
    }

    /// By where a redirected connection was going: listed or not.
    pub(super) fn port_or_other(&self, port: u16) -> Option<&Arc<InboundPort>> {
        self.port(port).or(self.others.as_ref())
    }

    pub(super) fn service(&self, host: &str, port: Option<u16>) -> Option<&InboundService> {
        let all = self.by_host.get(host)?;
        let mut of_port = all.iter().map(|index| &self.services[*index]);
        match (port, all.as_slice()) {
            (Some(port), _) => of_port.find(|service| service.port == port),
            (None, [only]) => Some(&self.services[*only]),
            (None, _) => of_port.find(|service| service.port == 80),
        }
    }
}
