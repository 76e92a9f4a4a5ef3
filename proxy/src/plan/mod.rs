//! The plan: all that the request path needs to know, immutable, swapped whole.
//!
//! A plan is built from a snapshot off the workers (`publisher`) and read without waiting (`PlanCell`). It does not know
//! where snapshots come from, and holds nothing that counts or changes except the lists of endpoints.

mod backend;
mod build;
mod cell;
mod hosts;
mod inbound;
mod matching;
pub mod pattern;
mod problem;
mod publisher;
mod route;

pub use backend::{Backend, Endpoint, Endpoints, Slot};
pub use cell::{Pinned, PlanCell, PlanReader};
pub use hosts::{Discovery, Lookup};
pub use inbound::{InboundPort, InboundService};
pub use problem::Problem;
pub use publisher::{Artifacts, Next, Published, Publisher};
pub use route::{Action, Chosen, Destination, Forward, RetryConditions, RetryPolicy, Route};

use crate::filters::Filter;
use crate::headers::Head;
use crate::telemetry::{Party, ServiceFacts};
use arc_swap::ArcSwap;
use matching::Matcher;
use std::collections::BTreeMap;
use std::sync::Arc;
use weft_snapshot::{BackendName, FilterKey, Host, OutboundPolicy, Protocol, Snapshot, SpiffeId, WorkloadName};

/// One version of everything.
#[derive(Debug)]
pub struct Plan {
    /// Opaque. New endpoints come with a new revision and without a new plan.
    revision: ArcSwap<String>,
    /// Counts the plans of this process.
    pub generation: u64,
    /// `None` until a snapshot said who this proxy is.
    pub workload: Option<LocalWorkload>,
    /// For hosts that the mesh does not know.
    pub outbound: OutboundPolicy,
    /// From which it was built; lists of endpoints may have changed since.
    source: Arc<Snapshot>,
    inbound: inbound::Inbound,
    hosts: hosts::Hosts,
    backends: BTreeMap<BackendName, Arc<Backend>>,
    filters: BTreeMap<FilterKey, Arc<Filter>>,
}

/// The proxy's own workload.
#[derive(Debug)]
pub struct LocalWorkload {
    pub name: WorkloadName,
    pub identity: SpiffeId,
    /// For metrics.
    pub party: Arc<Party>,
}

/// A service as this proxy's app sees it.
#[derive(Debug)]
pub struct VirtualHost {
    pub name: Host,
    pub domains: Vec<Host>,
    /// For metrics.
    pub facts: Arc<ServiceFacts>,
    pub ports: Vec<ServicePort>,
    matcher: Matcher,
}

#[derive(Debug)]
pub struct ServicePort {
    pub port: u16,
    pub protocol: Protocol,
    pub name: BackendName,
    /// Where opaque TCP to this port goes.
    pub backend: Option<Arc<Backend>>,
}

impl Plan {
    /// Of the snapshot that is served.
    pub fn revision(&self) -> Arc<String> {
        self.revision.load_full()
    }

    /// `host` lower-case and without port, as [`crate::headers::Authority::host`] gives it.
    pub fn lookup(&self, host: &str) -> Lookup<'_> {
        self.hosts.lookup(host)
    }

    /// By the workload's port.
    pub fn inbound_port(&self, port: u16) -> Option<&Arc<InboundPort>> {
        self.inbound.port(port)
    }

    /// The same where connections are redirected: also of ports that nothing speaks of.
    pub fn captured_port(&self, port: u16) -> Option<&Arc<InboundPort>> {
        self.inbound.port_or_other(port)
    }

    pub fn inbound_ports(&self) -> &[Arc<InboundPort>] {
        self.inbound.ports()
    }

    /// By what the caller wrote: the host, and the service's port where it is known (from the SNI or the authority).
    pub fn inbound_service(&self, host: &str, port: Option<u16>) -> Option<&InboundService> {
        self.inbound.service(host, port)
    }

    /// What it was built from, for dumps; the endpoints of now are the backends' own.
    pub fn source(&self) -> &Arc<Snapshot> {
        &self.source
    }

    pub fn backend(&self, name: &BackendName) -> Option<&Arc<Backend>> {
        self.backends.get(name)
    }

    pub fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.backends.values()
    }

    pub fn filters(&self) -> impl Iterator<Item = &Arc<Filter>> {
        self.filters.values()
    }
}

impl VirtualHost {
    /// The first rule that matches. `port` is the one that the app asked for.
    pub fn route(&self, head: &Head, port: u16) -> Option<Chosen<'_>> {
        self.matcher.choose(head, port)
    }

    /// Whether it answers on this port: one that only routes speak of answers on all.
    pub fn serves(&self, port: u16) -> bool {
        self.ports.is_empty() || self.port(port).is_some()
    }

    pub fn port(&self, port: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|p| p.port == port)
    }
}

#[cfg(test)]
mod tests;
