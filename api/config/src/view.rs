//! What one proxy may see: the question, and the answer that `compile` reads and nothing else.
//!
//! It does not know how a view is collected (world) or what becomes of it (compile).

mod collect;

pub(crate) use collect::{authentication, collect};

use crate::kind::{DestinationRule, Filter, PeerAuthentication, VirtualService, WorkloadEntry};
use crate::names::LabelSet;
use crate::object::{Object, digest};
use crate::world::{Declared, Targeting};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use weft_snapshot::{Digest, FilterKey, Host, OutboundPolicy, Trust, WorkloadName};

/// Whose view it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The sidecar of this WorkloadEntry.
    Workload(WorkloadName),
    /// A proxy without a workload (`weft proxy --listen`): namespace `default`, no inbound side, requests routed by
    /// Host on a port that is no service's.
    Listener,
}

/// The hosts that the proxy wants to know.
#[derive(Clone, Copy, Debug)]
pub enum Hosts<'a> {
    /// Every service that the subject may see: for a proxy without a control plane.
    All,
    /// As apps wrote them; each gets an answer, found or absent.
    Asked(&'a BTreeSet<Host>),
}

/// A sidecar that has joined for a workload. A workload that is listed here is never spoken to in plain text again,
/// so an entry may go only when its WorkloadEntry goes. A pod is listed only while its sidecar drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Where its inbound side listens. `None`: it drains, or it has not said so yet; it gets no request.
    pub inbound: Option<SocketAddr>,
}

pub type Peers = BTreeMap<WorkloadName, Peer>;

/// What is known of one policy: which component its image means now, and what that component declared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FilterFact {
    /// As pushed.
    pub component: Option<Digest>,
    /// Precompiled for the proxy whose view this is.
    pub artifact: Option<Digest>,
    /// The config that was last admitted under this key, which counts in place of a newer one that is not. `None`: as
    /// written.
    pub config: Option<String>,
    /// Answer of `configure`; `None` while the filter has never been admitted.
    pub manifest: Option<ManifestFact>,
}

/// What the checks and the compilation need of a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ManifestFact {
    /// Subsets that it may pick.
    pub upstreams: Vec<String>,
    /// Services that it may call out to.
    pub callouts: Vec<String>,
    pub body_limit: u32,
    pub guard: bool,
}

pub type FilterFacts = BTreeMap<FilterKey, FilterFact>;

/// All that a view is made from, beside the world.
#[derive(Clone, Copy, Debug)]
pub struct Viewpoint<'a> {
    pub subject: &'a Subject,
    pub hosts: Hosts<'a>,
    pub peers: &'a Peers,
    pub filters: &'a FilterFacts,
    pub trust: &'a Trust,
}

/// No WorkloadEntry of this name is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownWorkload(pub WorkloadName);

impl std::fmt::Display for UnknownWorkload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(name) = self;
        write!(
            f,
            "neither a pod nor a WorkloadEntry {name} is known; outside of a cluster add a WorkloadEntry named {} in namespace {}",
            name.name, name.namespace
        )
    }
}

impl std::error::Error for UnknownWorkload {}

/// The slice of a world that one proxy may see. Its hash covers all that [`crate::compile`] reads.
#[derive(Clone, Debug, Hash)]
pub struct View {
    pub(crate) trust: Trust,
    pub(crate) trust_domain: String,
    pub(crate) root_namespace: String,
    pub(crate) outbound: OutboundPolicy,
    pub(crate) caller: Caller,
    /// What each asked host means.
    pub(crate) answers: BTreeMap<Host, Option<Host>>,
    /// The services that those are, by host.
    pub(crate) services: BTreeMap<Host, Seen>,
    /// Everything that their rules send requests to, by host; a host without an entry is unknown here.
    pub(crate) targets: BTreeMap<Host, Target>,
    /// What a filter's name means in a namespace: `(namespace, name)`.
    pub(crate) filters: BTreeMap<(String, String), Option<Arc<Object<Filter>>>>,
    pub(crate) facts: FilterFacts,
    /// Of the workloads behind `targets`.
    pub(crate) peers: Peers,
}

/// Who asks.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Caller {
    pub(crate) namespace: String,
    pub(crate) labels: LabelSet,
    /// `None`: a listener, without inbound side.
    pub(crate) workload: Option<OwnWorkload>,
}

#[derive(Clone, Debug, Hash)]
pub(crate) struct OwnWorkload {
    pub(crate) entry: Arc<Object<WorkloadEntry>>,
    pub(crate) services: Vec<Guarded>,
    pub(crate) authentication: Authentication,
    /// Filters whose selector selects this workload, in the order in which they run.
    pub(crate) selecting: Vec<Arc<Object<Filter>>>,
}

/// A service that the workload answers for, and what is attached `at: Destination`.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Guarded {
    pub(crate) declared: Arc<Declared>,
    /// Those of the service's namespace and of the root namespace, by age.
    pub(crate) virtual_services: Vec<(Arc<Object<VirtualService>>, Vec<Targeting>)>,
    pub(crate) targeting: Vec<Targeting>,
}

/// The PeerAuthentications that count, by level; the oldest of each.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Authentication {
    pub(crate) mesh: Option<Arc<Object<PeerAuthentication>>>,
    pub(crate) namespace: Option<Arc<Object<PeerAuthentication>>>,
    pub(crate) workload: Option<Arc<Object<PeerAuthentication>>>,
}

/// A service as its callers route to it.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Seen {
    /// `None` where only a VirtualService speaks of the host.
    pub(crate) declared: Option<Arc<Declared>>,
    pub(crate) virtual_service: Option<(Arc<Object<VirtualService>>, Vec<Targeting>)>,
    /// Other names for it.
    pub(crate) aliases: Vec<Host>,
}

/// A service as requests are sent to it.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Target {
    pub(crate) declared: Arc<Declared>,
    /// Those that count for this caller, by age.
    pub(crate) rules: Vec<Arc<Object<DestinationRule>>>,
    /// How the workloads behind it take requests, by name: for endpoints that want plain text.
    pub(crate) authentication: BTreeMap<WorkloadName, Authentication>,
}

impl View {
    /// A complete cache key for the snapshot: equal hashes, equal snapshots. Not stable across versions of Weft.
    pub fn hash(&self) -> Digest {
        digest(self)
    }

    /// All hosts of which this view says something: it stays as it is while [`crate::Touched`] names none of them.
    pub fn hosts(&self) -> BTreeSet<Host> {
        self.services.keys().chain(self.targets.keys()).cloned().collect()
    }

    /// The rules of a cluster from which this view is made: the path of each, and a digest of what it says.
    pub fn objects(&self) -> Vec<(Arc<str>, Digest)> {
        let mut found = Found::default();
        if let Some(own) = &self.caller.workload {
            found.authentication(&own.authentication);
            own.selecting.iter().for_each(|filter| found.add(filter));
            for guarded in &own.services {
                guarded.virtual_services.iter().for_each(|(object, targeting)| found.routed(object, targeting));
                guarded.targeting.iter().for_each(|one| found.add(&one.filter));
            }
        }
        for seen in self.services.values() {
            seen.virtual_service.iter().for_each(|(object, targeting)| found.routed(object, targeting));
        }
        for target in self.targets.values() {
            target.rules.iter().for_each(|rule| found.add(rule));
            target.authentication.values().for_each(|authentication| found.authentication(authentication));
        }
        self.filters.values().flatten().for_each(|filter| found.add(filter));
        found.0.sort_unstable();
        found.0.dedup();
        found.0
    }
}

/// Objects as they are met.
#[derive(Default)]
struct Found(Vec<(Arc<str>, Digest)>);

impl Found {
    fn add<T>(&mut self, object: &Object<T>) {
        if object.meta.age.created.is_some() {
            self.0.push((object.meta.age.file.clone(), object.hash()));
        }
    }

    fn routed(&mut self, object: &Object<VirtualService>, targeting: &[Targeting]) {
        self.add(object);
        targeting.iter().for_each(|one| self.add(&one.filter));
    }

    fn authentication(&mut self, authentication: &Authentication) {
        let Authentication { mesh, namespace, workload } = authentication;
        [mesh, namespace, workload].into_iter().flatten().for_each(|policy| self.add(policy));
    }
}
