//! Who speaks and what is called, in the words of Istio's metrics, with a number that stands for them.
//!
//! Equal facts have equal numbers, so that a worker finds its series by comparing numbers only.

use foldhash::fast::RandomState;
use std::hash::BuildHasher;
use std::sync::LazyLock;
use weft_snapshot::{Labels, SpiffeId};

/// Seeded per process: equal within it, not to be guessed outside.
static NUMBERS: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// A workload, as source or destination.
#[derive(Debug, PartialEq, Eq)]
pub struct Party {
    labels: Labels,
    principal: Option<SpiffeId>,
    number: u64,
}

impl Party {
    pub fn new(labels: Labels, principal: Option<SpiffeId>) -> Self {
        let number = NUMBERS.hash_one((&labels, &principal));
        Self { labels, principal, number }
    }

    /// Nothing is known about it.
    pub fn unknown() -> Self {
        Self::new(Labels::default(), None)
    }

    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    pub fn principal(&self) -> Option<&SpiffeId> {
        self.principal.as_ref()
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

/// The service called.
#[derive(Debug, PartialEq, Eq)]
pub struct ServiceFacts {
    host: String,
    name: String,
    namespace: String,
    number: u64,
}

impl ServiceFacts {
    /// `host` is fully qualified. The name is the first label of a cluster's own service, else the host.
    pub fn new(host: &str, namespace: &str) -> Self {
        let own = host.split_once('.').filter(|(_, rest)| {
            rest.strip_prefix(namespace).is_some_and(|rest| rest.starts_with(".svc.") || rest == ".svc")
        });
        let name = own.map_or(host, |(name, _)| name);
        Self::named(host, name, namespace)
    }

    /// A host that the mesh does not know, under ALLOW_ANY.
    pub fn passthrough(host: &str) -> Self {
        Self::named(host, "PassthroughCluster", "unknown")
    }

    /// The same under REGISTRY_ONLY.
    pub fn black_hole(host: &str) -> Self {
        Self::named(host, "BlackHoleCluster", "unknown")
    }

    /// A caller that names no service of the workload's.
    pub fn inbound_passthrough(host: &str, namespace: &str) -> Self {
        Self::named(host, "InboundPassthroughCluster", namespace)
    }

    fn named(host: &str, name: &str, namespace: &str) -> Self {
        let number = NUMBERS.hash_one((host, name, namespace));
        Self { host: host.to_owned(), name: name.to_owned(), namespace: namespace.to_owned(), number }
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }
}
