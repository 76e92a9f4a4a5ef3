//! One policy: a component with one config, and its instances.
//!
//! It does not know to what requests it applies.

use crate::conduct::{Conduct, Move, RebuildDebt};
use crate::engine;
use crate::instance::{Blueprint, Instance, Leash, MakeError};
use crate::keeper::Errand;
use crate::ledger::Ledger;
use crate::{Component, Engine, Failure, FailureKind, Figures, Manifest, ManifestError, Place};
use crate::{contract, settings};
use crossbeam_queue::ArrayQueue;
use crossbeam_utils::CachePadded;
use crossbeam_utils::atomic::AtomicCell;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a policy runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySettings {
    /// The policy's name in failures, logs and metrics.
    pub key: String,
    /// Digest of the component, for logs.
    pub component: String,
    /// JSON, passed to `configure`.
    pub config: String,
    /// Of one call of a handler.
    pub deadline: Duration,
    /// Linear memory of one instance, in bytes.
    pub memory_max: u64,
    pub on_failure: OnFailure,
    pub non_utf8: NonUtf8,
}

/// What the caller does with a request whose filter gave no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Answer 503.
    Refuse,
    /// Go on as if the filter had said `pass`.
    Skip,
}

/// What happens to a request attribute that is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonUtf8 {
    /// [`FailureKind::NotUtf8`].
    Refuse,
    /// The filter sees none.
    Absent,
}

#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error("filter {filter} refused its config: {reason}")]
    Config { filter: String, reason: String },
    #[error("filter {filter}: {source}")]
    Manifest { filter: String, source: ManifestError },
    #[error("filter {filter} answered the same config with another manifest; `configure` must be deterministic")]
    NotDeterministic { filter: String },
    #[error("filter {filter} failed in `configure`: {reason}")]
    Configure { filter: String, kind: FailureKind, reason: String },
    #[error("filter {filter}: no instance could be made: {reason}")]
    Instance { filter: String, reason: String },
    #[error("filter {filter}: {field} is {value}, outside {min} to {max}")]
    Setting { filter: String, field: &'static str, value: String, min: String, max: String },
}

/// Instantiation and `configure` together, the first time.
const CONFIGURE_DEADLINE: Duration = Duration::from_secs(1);
const DEADLINE_MIN: Duration = Duration::from_micros(100);
const DEADLINE_MAX: Duration = Duration::from_secs(1);
const MEMORY_BYTES_MIN: u64 = 64 << 10;
const CONFIG_BYTES_MAX: usize = 512 << 10;
/// Bytes of a config error's text; the rest is cut.
const CONFIG_ERROR_BYTES_MAX: usize = 4 << 10;

/// A clone is another handle; the instances go with the last one, on a thread of the engine's own.
#[derive(Clone)]
pub struct Policy {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    engine: Engine,
    pub(crate) settings: PolicySettings,
    pub(crate) manifest: Manifest,
    raw_manifest: contract::Manifest,
    blueprint: Blueprint,
    /// By worker.
    seats: Box<[CachePadded<Seat>]>,
    /// Instances that no worker has: one ready to take over, and what the pool works with.
    spares: ArrayQueue<Box<Instance>>,
    /// Instances that exist, wherever they are.
    alive: AtomicU32,
    /// The keeper has been asked to refill.
    refilling: AtomicBool,
    pub(crate) ledger: Arc<Ledger>,
    conduct: Mutex<Conduct>,
    debt: Mutex<RebuildDebt>,
    /// On the engine's clock: until when a refused policy is refused.
    refused_until_ms: AtomicU64,
    /// Of one refill, by the time that the first instance took.
    refill_deadline: Duration,
    /// Calls of this policy that wait in the pool or run there.
    pub(crate) pooled_now: AtomicU32,
}

/// What one worker has of a policy. Only that worker takes from it, while the policy runs on the workers.
#[derive(Default)]
struct Seat {
    instance: AtomicCell<Option<Box<Instance>>>,
    /// Written by the worker alone.
    calls: AtomicU64,
}

impl Policy {
    /// Makes and configures one instance for each worker and a spare. Blocks, for up to a second for each instance
    /// where the filter is slow: never call it on a worker.
    pub fn prepare(
        engine: &Engine,
        component: &Component,
        settings: PolicySettings,
        workers: usize,
    ) -> Result<Self, PrepareError> {
        check(&settings)?;
        let ledger = Arc::new(Ledger::new(&settings.key));
        let blueprint = Blueprint {
            component: component.clone(),
            config: settings.config.clone(),
            memory_max: settings.memory_max,
            ledger: Arc::clone(&ledger),
        };
        let maker = engine.inner.maker();
        let begun = Instant::now();
        let leash = Leash { watch: &engine.inner.watch, slot: maker.slot, deadline: CONFIGURE_DEADLINE };
        let named = |error| named(&settings.key, error);
        let (first, raw_manifest) = blueprint.make(&engine.inner, leash).map_err(named)?;
        let first_took = begun.elapsed();
        let manifest = accept(component, &raw_manifest)
            .map_err(|source| PrepareError::Manifest { filter: settings.key.clone(), source })?;
        ledger.declare(manifest.counters.len());

        let seats: Box<[CachePadded<Seat>]> = (0..workers).map(|_| CachePadded::default()).collect();
        let spares = ArrayQueue::new(workers + 2);
        let mut made = vec![Box::new(first)];
        while made.len() < workers + 1 {
            let (next, again) = blueprint.make(&engine.inner, leash).map_err(named)?;
            if again != raw_manifest {
                return Err(PrepareError::NotDeterministic { filter: settings.key });
            }
            made.push(Box::new(next));
        }
        let alive = u32::try_from(made.len()).unwrap_or(u32::MAX);
        ledger.instances.fetch_add(alive.into(), Ordering::Relaxed);
        for seat in &seats {
            seat.instance.store(made.pop());
        }
        for spare in made {
            drop(spares.push(spare));
        }
        drop(maker);
        let inner = Inner {
            engine: engine.clone(),
            manifest,
            raw_manifest,
            blueprint,
            seats,
            spares,
            alive: AtomicU32::new(alive),
            refilling: AtomicBool::new(false),
            ledger,
            conduct: Mutex::default(),
            debt: Mutex::new(RebuildDebt::new(begun)),
            refused_until_ms: AtomicU64::new(0),
            refill_deadline: (first_took * 4 + Duration::from_millis(20)).min(CONFIGURE_DEADLINE),
            pooled_now: AtomicU32::new(0),
            settings,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub fn manifest(&self) -> &Manifest {
        &self.inner.manifest
    }

    pub fn settings(&self) -> &PolicySettings {
        &self.inner.settings
    }

    /// Takes no lock.
    pub fn figures(&self) -> Figures {
        let calls = self.inner.seats.iter().map(|seat| seat.calls.load(Ordering::Relaxed)).sum::<u64>();
        self.inner.ledger.figures(calls + self.inner.ledger.pooled.load(Ordering::Relaxed))
    }
}

impl Inner {
    /// The instance of a worker, or the spare where it has none.
    #[inline]
    pub(crate) fn take(&self, worker: usize) -> Option<Box<Instance>> {
        let seat = self.seats.get(worker)?;
        let instance = seat.instance.take().or_else(|| self.spares.pop())?;
        seat.calls.store(seat.calls.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        Some(instance)
    }

    /// Gives a worker's instance back, or a fresh one in its place where it has served long enough.
    #[inline]
    pub(crate) fn give_back(self: &Arc<Self>, worker: usize, instance: Box<Instance>) {
        let instance =
            if instance.is_worn(self.engine.inner.options.recycle_calls) { self.recycled(instance) } else { instance };
        match self.seats.get(worker) {
            Some(seat) => seat.instance.store(Some(instance)),
            None => self.give_to_pool(instance),
        }
    }

    /// For the pool: any instance that nobody uses.
    pub(crate) fn take_any(&self) -> Option<Box<Instance>> {
        self.spares.pop().or_else(|| self.seats.iter().find_map(|seat| seat.instance.take()))
    }

    pub(crate) fn give_to_pool(&self, instance: Box<Instance>) {
        if let Err(instance) = self.spares.push(instance) {
            self.bury(instance);
        }
    }

    /// Where the policy's calls run now. A refused one whose time is over is readmitted by whoever asks first.
    #[inline]
    pub(crate) fn place(&self) -> Place {
        match self.ledger.place() {
            Place::Refused => self.after_refusal(),
            place => place,
        }
    }

    /// A call failed in the guest: its instance goes, another is made, and a miss may move the policy.
    #[cold]
    pub(crate) fn failed(self: &Arc<Self>, instance: Box<Instance>, kind: FailureKind, place: Place) {
        self.bury(instance);
        self.alive.fetch_sub(1, Ordering::Relaxed);
        if kind == FailureKind::Deadline {
            self.missed(place);
        }
        self.ask_refill();
    }

    /// No instance was ready.
    #[cold]
    pub(crate) fn starved(self: &Arc<Self>) -> Failure {
        self.ask_refill();
        self.ledger.failure(FailureKind::Unavailable, "no instance is ready: it keeps failing and is being replaced")
    }

    #[cold]
    pub(crate) fn refused(&self) -> Failure {
        self.ledger.failure(FailureKind::Unavailable, "it is refused for a while: it keeps missing its deadline")
    }

    /// Makes what is missing, on the keeper's thread; answers how long to wait where that costs too much.
    pub(crate) fn refill(&self, slot: usize) -> Option<Duration> {
        self.refilling.store(false, Ordering::SeqCst);
        let wanted = u32::try_from(self.seats.len() + 1).unwrap_or(u32::MAX);
        while self.alive.load(Ordering::Relaxed) < wanted {
            let begun = Instant::now();
            let wait = self.debt().wait(begun);
            if !wait.is_zero() {
                return Some(wait);
            }
            let leash = Leash { watch: &self.engine.inner.watch, slot, deadline: self.refill_deadline };
            let made = self.blueprint.make(&self.engine.inner, leash);
            self.debt().add(begun.elapsed(), Instant::now());
            match made {
                Ok((instance, manifest)) if manifest == self.raw_manifest => {
                    self.ledger.instances.fetch_add(1, Ordering::Relaxed);
                    self.alive.fetch_add(1, Ordering::Relaxed);
                    drop(self.spares.push(Box::new(instance)));
                }
                Ok(_) => return Some(self.unfit("it answered with another manifest")),
                Err(error) => return Some(self.unfit(&named(&self.settings.key, error).to_string())),
            }
        }
        None
    }

    pub(crate) fn reads_lazily(&self) -> bool {
        self.blueprint.component.inner.reads_lazily
    }

    pub(crate) fn engine(&self) -> &engine::Inner {
        &self.engine.inner
    }

    fn after_refusal(&self) -> Place {
        if self.engine.inner.clock_ms(Instant::now()) < self.refused_until_ms.load(Ordering::Acquire) {
            return Place::Refused;
        }
        let mut conduct = self.conduct.lock().unwrap_or_else(PoisonError::into_inner);
        if self.ledger.place() == Place::Refused {
            conduct.readmit();
            self.ledger.move_to(Place::Pool);
        }
        Place::Pool
    }

    fn missed(&self, place: Place) {
        let misses = match place {
            Place::Worker => &self.ledger.misses_on_workers,
            Place::Pool | Place::Refused => &self.ledger.misses_in_pool,
        };
        misses.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let mut conduct = self.conduct.lock().unwrap_or_else(PoisonError::into_inner);
        // A miss on a worker after the policy has left the workers says nothing new.
        if place != self.ledger.place() {
            return;
        }
        let filter = self.settings.key.as_str();
        match conduct.missed(now) {
            Some(Move::ToPool) => {
                tracing::warn!(filter, "the filter misses its deadline and leaves the workers");
                self.ledger.move_to(Place::Pool);
            }
            Some(Move::RefuseFor(time)) => {
                tracing::warn!(filter, ?time, "the filter misses its deadline in the pool too and is refused");
                let until = self.engine.inner.clock_ms(now + time);
                self.refused_until_ms.store(until, Ordering::Release);
                self.ledger.move_to(Place::Refused);
            }
            None => {}
        }
    }

    #[cold]
    fn recycled(self: &Arc<Self>, worn: Box<Instance>) -> Box<Instance> {
        // Without a spare the worn one serves on: a call without an instance is worse.
        let Some(fresh) = self.spares.pop() else { return worn };
        self.ledger.recycled.fetch_add(1, Ordering::Relaxed);
        self.bury(worn);
        self.alive.fetch_sub(1, Ordering::Relaxed);
        self.ask_refill();
        fresh
    }

    fn ask_refill(self: &Arc<Self>) {
        if !self.refilling.swap(true, Ordering::SeqCst)
            && !self.engine.inner.keeper.ask(Errand::Refill(Arc::downgrade(self)))
        {
            self.refilling.store(false, Ordering::SeqCst);
        }
    }

    fn bury(&self, instance: Box<Instance>) {
        // Where the queue is full it is dropped here and now.
        self.engine.inner.keeper.ask(Errand::Bury(instance));
    }

    fn unfit(&self, reason: &str) -> Duration {
        tracing::warn!(filter = self.settings.key, reason, "a new instance of the filter cannot be used");
        self.debt().wait(Instant::now()).max(Duration::from_millis(100))
    }

    fn debt(&self) -> std::sync::MutexGuard<'_, RebuildDebt> {
        self.debt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        while let Some(instance) = self.take_any() {
            self.bury(instance);
        }
    }
}

fn check(settings: &PolicySettings) -> Result<(), PrepareError> {
    let outside = |field, value: String, min: String, max: String| {
        Err(PrepareError::Setting { filter: settings.key.clone(), field, value, min, max })
    };
    if !(DEADLINE_MIN..=DEADLINE_MAX).contains(&settings.deadline) {
        let [value, min, max] = [settings.deadline, DEADLINE_MIN, DEADLINE_MAX].map(|time| format!("{time:?}"));
        return outside("limits.deadline", value, min, max);
    }
    let (memory, memory_max) = (settings.memory_max, settings::MEMORY_BYTES_MAX);
    if !(MEMORY_BYTES_MIN..=memory_max).contains(&memory) {
        let [value, min, max] = [memory, MEMORY_BYTES_MIN, memory_max].map(|bytes| format!("{bytes} bytes"));
        return outside("limits.memory", value, min, max);
    }
    if settings.config.len() > CONFIG_BYTES_MAX {
        let [value, min, max] = [settings.config.len(), 0, CONFIG_BYTES_MAX].map(|bytes| format!("{bytes} bytes"));
        return outside("config", value, min, max);
    }
    Ok(())
}

fn accept(component: &Component, raw: &contract::Manifest) -> Result<Manifest, ManifestError> {
    let manifest = Manifest::parse(raw)?;
    if !manifest.response.is_empty() && !component.has_response_phase() {
        return Err(ManifestError::NoResponsePhase { interface: contract::RESPONSE_PHASE });
    }
    Ok(manifest)
}

fn named(filter: &str, error: MakeError) -> PrepareError {
    let filter = filter.to_owned();
    match error {
        MakeError::Instance(reason) => PrepareError::Instance { filter, reason },
        MakeError::Configure(fault) => PrepareError::Configure { filter, kind: fault.kind, reason: fault.reason },
        MakeError::Config(mut reason) => {
            reason.truncate(reason.floor_char_boundary(CONFIG_ERROR_BYTES_MAX));
            PrepareError::Config { filter, reason }
        }
    }
}
