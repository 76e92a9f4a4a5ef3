//! Backends as the request path uses them: dense slots, and endpoint lists that are swapped without a new plan.
//!
//! It does not balance, connect or count; workers keep such things in arrays of their own, indexed by slot.

use crate::telemetry::Party;
use crate::upstream::limits::Limits;
use arc_swap::{ArcSwap, Guard};
use std::sync::Arc;
use weft_snapshot as snapshot;
use weft_snapshot::BackendName;

/// One port of one subset, shared by all plans that hold it unchanged.
#[derive(Debug)]
pub struct Backend {
    pub name: BackendName,
    pub slot: Slot,
    pub policy: snapshot::Backend,
    /// `outbound|PORT|SUBSET|HOST`.
    pub cluster: Arc<str>,
    /// What all workers together may use of it; `None`: anything. Carried over while the limits stay the same.
    pub limits: Option<Arc<Limits>>,
    /// Shared with the backend's successors for as long as the list stays the same.
    endpoints: Arc<ArcSwap<Endpoints>>,
}

/// A backend's place in the workers' arrays. It stays with the name for as long as a plan holds the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Small and dense.
    pub index: usize,
    /// Differs whenever the index was given to another name: what a worker keeps under another lease is not this one's.
    pub lease: u64,
}

/// The places that answer for a backend at one moment.
#[derive(Debug, Default)]
pub struct Endpoints {
    /// Counts the lists of this process, so that a worker sees by one comparison whether its arrays still fit.
    pub generation: u64,
    pub list: Vec<Arc<Endpoint>>,
}

/// Kept (the same `Arc`) from list to list while nothing about it changes.
#[derive(Debug)]
pub struct Endpoint {
    pub dial: snapshot::Dial,
    pub tls: Option<snapshot::PeerTls>,
    pub weight: u32,
    /// Who answers there, for metrics.
    pub party: Arc<Party>,
    /// `dial` as the log writes it.
    pub address: Arc<str>,
    source: snapshot::Endpoint,
}

impl Backend {
    pub(super) fn new(policy: snapshot::Backend, slot: Slot, endpoints: Arc<ArcSwap<Endpoints>>) -> Self {
        let limits = Limits::new(&policy.limits);
        Self { name: policy.name.clone(), slot, cluster: policy.name.to_string().into(), policy, limits, endpoints }
    }

    /// The same backend in the next plan. A list that changed goes into a cell of its own: the exchanges of the old
    /// plan keep what they began with.
    pub(super) fn successor(
        this: &Arc<Self>,
        policy: &snapshot::Backend,
        list: &[snapshot::Endpoint],
        generation: u64,
    ) -> Arc<Self> {
        let old = this.endpoints.load();
        let same_list = old.same_as(list);
        if same_list && this.policy == *policy {
            return this.clone();
        }
        let endpoints = if same_list {
            this.endpoints.clone()
        } else {
            Arc::new(ArcSwap::from_pointee(Endpoints::next(&old, list, generation)))
        };
        let limits =
            if policy.limits == this.policy.limits { this.limits.clone() } else { Limits::new(&policy.limits) };
        Arc::new(Self { limits, ..Self::new(policy.clone(), this.slot, endpoints) })
    }

    /// Wait-free; hold the guard for a moment only.
    pub fn endpoints(&self) -> Guard<Arc<Endpoints>> {
        self.endpoints.load()
    }

    pub(super) fn endpoint_cell(&self) -> &Arc<ArcSwap<Endpoints>> {
        &self.endpoints
    }
}

impl Endpoints {
    /// The next list; endpoints that did not change are taken over from `previous`.
    pub(super) fn next(previous: &Self, list: &[snapshot::Endpoint], generation: u64) -> Self {
        let kept = |endpoint: &snapshot::Endpoint| previous.list.iter().find(|old| old.source == *endpoint).cloned();
        // Few lists are long and change often; where one is, this is off the workers.
        let list = list.iter().map(|e| kept(e).unwrap_or_else(|| Arc::new(Endpoint::new(e)))).collect();
        Self { generation, list }
    }

    pub(super) fn same_as(&self, list: &[snapshot::Endpoint]) -> bool {
        self.list.len() == list.len() && self.list.iter().zip(list).all(|(old, new)| old.source == *new)
    }
}

impl Endpoint {
    pub fn new(source: &snapshot::Endpoint) -> Self {
        let address = match &source.dial {
            snapshot::Dial::Address(address) => address.to_string(),
            snapshot::Dial::Name { host, port } => format!("{host}:{port}"),
        };
        Self {
            dial: source.dial.clone(),
            tls: source.tls.clone(),
            weight: source.weight.max(1),
            party: Arc::new(Party::new(source.labels.clone(), source.tls.as_ref().map(|tls| tls.identity.clone()))),
            address: address.into(),
            source: source.clone(),
        }
    }
}
