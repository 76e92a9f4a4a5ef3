//! Where the current plan lies: readers never wait, a writer replaces it whole.
//!
//! Exchanges pin one plan for their whole life; pinning touches no shared counter.

use super::Plan;
use arc_swap::ArcSwap;
use arc_swap::cache::Cache;
use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::watch;

/// Shared by all threads.
#[derive(Debug)]
pub struct PlanCell {
    plan: Arc<ArcSwap<Plan>>,
    changed: watch::Sender<u64>,
}

/// A worker's own door to the cell.
#[derive(Debug)]
pub struct PlanReader {
    cache: RefCell<Cached>,
}

#[derive(Debug)]
struct Cached {
    cell: Cache<Arc<ArcSwap<Plan>>, Arc<Plan>>,
    pinned: Pinned,
}

/// One plan, held by exchanges of one worker.
// The outer count is the worker's own: pinning writes no cache line that another worker reads.
#[allow(clippy::redundant_allocation)]
#[derive(Clone, Debug)]
pub struct Pinned(Rc<Arc<Plan>>);

impl Deref for Pinned {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.0
    }
}

impl PlanCell {
    /// Starts with a plan that knows nothing; its generation is 0.
    pub fn new(discovery: super::Discovery) -> Arc<Self> {
        let plan = Arc::new(ArcSwap::from_pointee(Plan::empty(discovery)));
        Arc::new(Self { plan, changed: watch::Sender::new(0) })
    }

    pub fn load(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    pub fn reader(&self) -> PlanReader {
        let mut cell = Cache::new(self.plan.clone());
        let pinned = Pinned(Rc::new(cell.load().clone()));
        PlanReader { cache: RefCell::new(Cached { cell, pinned }) }
    }

    /// Tells each new generation, for those who wait for a plan (an answer about a host, listeners to open).
    /// Also told when only endpoints changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) fn replace(&self, plan: Plan) {
        let generation = plan.generation;
        self.plan.store(Arc::new(plan));
        self.changed.send_replace(generation);
    }

    pub(super) fn endpoints_changed(&self) {
        self.changed.send_modify(|_| {});
    }
}

impl PlanReader {
    pub fn pin(&self) -> Pinned {
        let cached = &mut *self.cache.borrow_mut();
        let current = cached.cell.load();
        if !Arc::ptr_eq(current, &cached.pinned.0) {
            cached.pinned = Pinned(Rc::new(current.clone()));
        }
        cached.pinned.clone()
    }
}
