//! Turns a snapshot into the current plan, or says why it cannot; the control thread's side of the plan.
//!
//! It blocks (filters are prepared here) and so never runs on a worker. It does not fetch artifacts or talk to anyone.

use super::backend::{Backend, Endpoints, Slot};
use super::build::Parts;
use super::{Discovery, Plan, PlanCell, Problem};
use crate::filters::{Filter, Ready, State};
use arc_swap::ArcSwap;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use weft_filter_host as host;
use weft_snapshot::{self as snapshot, BackendName, Digest, FilterKey, Key, Snapshot, Update};

/// One per process, owned by the control thread.
pub struct Publisher {
    engine: host::Engine,
    workers: usize,
    discovery: Discovery,
    cell: Arc<PlanCell>,
    current: Arc<Plan>,
    filters: HashMap<FilterKey, Prepared>,
    slots: Slots,
    generations: u64,
}

/// Where verified artifacts lie. The publisher asks for those that the snapshot names.
pub trait Artifacts {
    fn path(&self, artifact: &Digest) -> Option<PathBuf>;
}

/// What is to be published.
pub struct Next<'a> {
    /// The whole, after the update.
    pub snapshot: &'a Snapshot,
    /// What changed since the last published snapshot; `None`: anything may have.
    pub update: Option<&'a Update>,
    pub revision: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// A new plan stands in the cell.
    Plan { generation: u64 },
    /// Only lists of endpoints were swapped.
    Endpoints,
}

struct Prepared {
    source: snapshot::Filter,
    filter: Arc<Filter>,
}

#[derive(Default)]
struct Slots {
    free: Vec<usize>,
    next: usize,
    /// Of leases and of lists of endpoints: never given twice.
    numbers: u64,
}

impl Publisher {
    pub fn new(engine: host::Engine, workers: usize, discovery: Discovery, cell: Arc<PlanCell>) -> Self {
        let current = cell.load();
        let filters = HashMap::new();
        Self { engine, workers, discovery, cell, current, filters, slots: Slots::default(), generations: 0 }
    }

    /// On `Err` the plan that stood still stands.
    pub fn publish(&mut self, next: &Next<'_>, artifacts: &dyn Artifacts) -> Result<Published, Vec<Problem>> {
        let only_endpoints = self.current.generation > 0 && next.update.is_some_and(Update::only_endpoints);
        if only_endpoints && let Some(published) = self.endpoints_only(next) {
            return Ok(published);
        }
        let filters = self.prepare_filters(next.snapshot, artifacts)?;
        self.generations += 1;
        let slots_before = (self.slots.free.clone(), self.slots.next);
        let backends = self.backends(next.snapshot);
        let plan = Plan::build(
            next.snapshot,
            Parts {
                revision: next.revision.to_owned(),
                generation: self.generations,
                discovery: self.discovery,
                backends: backends.clone(),
                filters: filters.iter().map(|(key, prepared)| (key.clone(), prepared.filter.clone())).collect(),
            },
        );
        let plan = plan.inspect_err(|_| (self.slots.free, self.slots.next) = slots_before)?;
        self.release_slots(&backends);
        self.filters = filters;
        self.cell.replace(plan);
        self.current = self.cell.load();
        Ok(Published::Plan { generation: self.generations })
    }

    /// `None` where a list belongs to no backend of the plan.
    fn endpoints_only(&mut self, next: &Next<'_>) -> Option<Published> {
        let update = next.update?;
        let mut lists = Vec::new();
        for (key, resource) in &update.set {
            let (Key::Endpoints(name), snapshot::Resource::Endpoints(list)) = (key, resource) else { return None };
            lists.push((self.current.backend(name)?.clone(), list));
        }
        for (backend, list) in lists {
            self.swap_list(&backend, list);
        }
        self.current.revision.store(Arc::new(next.revision.to_owned()));
        self.cell.endpoints_changed();
        Some(Published::Endpoints)
    }

    fn swap_list(&mut self, backend: &Backend, list: &[snapshot::Endpoint]) {
        let previous = backend.endpoint_cell().load_full();
        if !previous.same_as(list) {
            let generation = self.slots.number();
            backend.endpoint_cell().store(Arc::new(Endpoints::next(&previous, list, generation)));
        }
    }

    fn backends(&mut self, snapshot: &Snapshot) -> BTreeMap<BackendName, Arc<Backend>> {
        let mut backends = BTreeMap::new();
        for policy in snapshot.backends() {
            let (list, generation) = (snapshot.endpoints(&policy.name), self.slots.number());
            let backend = match self.current.backend(&policy.name) {
                Some(old) => Backend::successor(old, policy, list, generation),
                None => {
                    let endpoints = Endpoints::next(&Endpoints::default(), list, generation);
                    let cell = Arc::new(ArcSwap::from_pointee(endpoints));
                    Arc::new(Backend::new(policy.clone(), self.slots.take(), cell))
                }
            };
            backends.insert(policy.name.clone(), backend);
        }
        backends
    }

    fn release_slots(&mut self, next: &BTreeMap<BackendName, Arc<Backend>>) {
        let gone = self.current.backends().filter(|old| !next.contains_key(&old.name));
        self.slots.free.extend(gone.map(|backend| backend.slot.index));
    }

    fn prepare_filters(
        &self,
        snapshot: &Snapshot,
        artifacts: &dyn Artifacts,
    ) -> Result<HashMap<FilterKey, Prepared>, Vec<Problem>> {
        let (mut ready, mut problems) = (HashMap::new(), Vec::new());
        for source in snapshot.filters() {
            let filter = match self.filters.get(&source.key) {
                Some(old) if old.source == *source => Ok(old.filter.clone()),
                _ => self.prepare(source, artifacts).map(Arc::new),
            };
            match filter {
                Ok(filter) => {
                    ready.insert(source.key.clone(), Prepared { source: source.clone(), filter });
                }
                Err(reason) => {
                    let resource = Some(Key::Filter(source.key.clone()));
                    problems.push(Problem { resource, part: String::new(), reason });
                }
            }
        }
        if problems.is_empty() { Ok(ready) } else { Err(problems) }
    }

    fn prepare(&self, source: &snapshot::Filter, artifacts: &dyn Artifacts) -> Result<Filter, String> {
        let on_failure = match source.failure_policy {
            snapshot::FailurePolicy::Closed => host::OnFailure::Refuse,
            snapshot::FailurePolicy::Open => host::OnFailure::Skip,
        };
        let state = match &source.artifact {
            None => State::Unready { reason: "it has never been ready".to_owned() },
            Some(artifact) => State::Ready(self.load(source, on_failure, artifact, artifacts)?),
        };
        Ok(Filter::new(source.key.clone(), source.component, on_failure, state))
    }

    fn load(
        &self,
        source: &snapshot::Filter,
        on_failure: host::OnFailure,
        artifact: &Digest,
        artifacts: &dyn Artifacts,
    ) -> Result<Ready, String> {
        let path = artifacts.path(artifact).ok_or_else(|| format!("its artifact {artifact} is not here"))?;
        let component = host::Component::load(&self.engine, &path).map_err(|error| error.to_string())?;
        let settings = host::PolicySettings {
            key: source.key.to_string(),
            component: source.component.map_or_else(|| "unknown".to_owned(), |digest| digest.to_string()),
            config: source.config.clone(),
            deadline: source.deadline,
            memory_max: source.memory_max,
            on_failure,
            non_utf8: match source.non_utf8 {
                snapshot::NonUtf8::Refuse => host::NonUtf8::Refuse,
                snapshot::NonUtf8::Absent => host::NonUtf8::Absent,
            },
            isolation: match source.isolation {
                snapshot::Isolation::Reuse => host::Isolation::Reuse,
                snapshot::Isolation::Request => host::Isolation::Request,
            },
        };
        let policy = host::Policy::prepare(&self.engine, &component, settings, self.workers);
        let ready = policy.map_err(|error| error.to_string()).map(Ready::new)?;
        ready.ok_or_else(|| "its manifest names a header that is none".to_owned())
    }
}

impl Slots {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn take(&mut self) -> Slot {
        let lease = self.number();
        let index = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        Slot { index, lease }
    }
}
