//! The instances of one policy: who has which, when one is replaced, and where calls run.
//!
//! Workers take and give back without locks; whatever happens on a failure may take one. It does not know messages.

use super::{Isolation, PolicySettings, named};
use crate::conduct::{Conduct, Move, RebuildDebt};
use crate::engine::Admitted;
use crate::instance::{Blueprint, Fault, Instance, Leash, MakeError};
use crate::keeper::Errand;
use crate::ledger::Ledger;
use crate::{Failure, FailureKind, Figures, Manifest, Place, contract, engine};
use crossbeam_queue::ArrayQueue;
use crossbeam_utils::CachePadded;
use crossbeam_utils::atomic::AtomicCell;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(crate) struct Inner {
    pub(crate) settings: PolicySettings,
    pub(crate) origin: Origin,
    pub(crate) ledger: Arc<Ledger>,
    /// By worker.
    seats: Box<[CachePadded<Seat>]>,
    /// Instances that no worker has: one ready to take over, and what the pool works with. Where each call gets one of
    /// its own they are all there are, and the next to be called.
    pub(super) spares: ArrayQueue<Box<Instance>>,
    /// Instances that exist, wherever they are; of those that serve one call, those that wait for it.
    pub(super) alive: AtomicU32,
    /// The keeper has been asked to refill.
    refilling: AtomicBool,
    pub(super) conduct: Mutex<Conduct>,
    debt: Mutex<RebuildDebt>,
    /// On the engine's clock: until when a refused policy is refused.
    refused_until_ms: AtomicU64,
    /// Calls of this policy that wait in the pool or run there.
    pub(crate) pooled_now: AtomicU32,
}

/// Where instances come from, and what all of them answered.
pub(crate) struct Origin {
    /// The engine, and the policy's place in it.
    pub(crate) admitted: Admitted,
    pub(crate) blueprint: Blueprint,
    pub(crate) manifest: Manifest,
    pub(crate) raw_manifest: contract::Manifest,
    /// Of making one more, by the time that the first took.
    pub(crate) refill_deadline: Duration,
}

/// What one worker has of a policy. Only that worker takes from it, while the policy runs on the workers.
#[derive(Default)]
struct Seat {
    instance: AtomicCell<Option<Box<Instance>>>,
    /// Written by the worker alone.
    calls: AtomicU64,
}

/// No lock hides in taking an instance.
const _: () = assert!(AtomicCell::<Option<Box<Instance>>>::is_lock_free());

/// Instances of a policy: one for each worker, and a spare.
pub(super) fn wanted(workers: usize) -> usize {
    workers + 1
}

impl Inner {
    /// `made` are as many instances as are [`wanted`].
    pub(super) fn new(settings: PolicySettings, origin: Origin, workers: usize, mut made: Vec<Instance>) -> Self {
        let ledger = Arc::clone(&origin.blueprint.ledger);
        let alive = u32::try_from(made.len()).unwrap_or(u32::MAX);
        ledger.instances.fetch_add(alive.into(), Ordering::Relaxed);
        let seats: Box<[CachePadded<Seat>]> = (0..workers).map(|_| CachePadded::default()).collect();
        if settings.isolation == Isolation::Reuse {
            for seat in &seats {
                seat.instance.store(made.pop().map(Box::new));
            }
        }
        let spares = ArrayQueue::new(wanted(workers) + 1);
        for spare in made {
            drop(spares.push(Box::new(spare)));
        }
        Self {
            settings,
            origin,
            ledger,
            seats,
            spares,
            alive: AtomicU32::new(alive),
            refilling: AtomicBool::new(false),
            conduct: Mutex::default(),
            debt: Mutex::new(RebuildDebt::new(Instant::now())),
            refused_until_ms: AtomicU64::new(0),
            pooled_now: AtomicU32::new(0),
        }
    }

    pub(super) fn figures(&self) -> Figures {
        let calls = self.seats.iter().map(|seat| seat.calls.load(Ordering::Relaxed)).sum::<u64>();
        self.ledger.figures(calls + self.ledger.pooled.load(Ordering::Relaxed))
    }

    /// For a call on a worker: its instance, or the spare where it has none; or a fresh one.
    #[inline]
    pub(crate) fn take(self: &Arc<Self>, worker: usize) -> Result<Box<Instance>, Failure> {
        let Some(seat) = self.seats.get(worker) else { return Err(self.starved()) };
        let instance = match self.settings.isolation {
            Isolation::Reuse => seat.instance.take().or_else(|| self.spares.pop()).ok_or_else(|| self.starved())?,
            Isolation::Request => self.fresh(worker, Place::Worker)?,
        };
        seat.calls.store(seat.calls.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        Ok(instance)
    }

    /// Gives a worker's instance back, or a fresh one in its place where it has served long enough.
    #[inline]
    pub(crate) fn give_back(self: &Arc<Self>, worker: usize, instance: Box<Instance>) {
        if self.settings.isolation == Isolation::Request {
            return self.spend(instance);
        }
        let instance =
            if instance.is_worn(self.engine().options.recycle_calls) { self.recycled(instance) } else { instance };
        match self.seats.get(worker) {
            Some(seat) => seat.instance.store(Some(instance)),
            None => self.give_to_pool(instance),
        }
    }

    /// For a call in the pool, on a thread with that slot of the watchdog.
    pub(crate) fn take_pooled(self: &Arc<Self>, slot: usize) -> Result<Box<Instance>, Failure> {
        match self.settings.isolation {
            Isolation::Reuse => self.take_any().ok_or_else(|| self.starved()),
            Isolation::Request => self.fresh(slot, Place::Pool),
        }
    }

    pub(crate) fn give_to_pool(&self, instance: Box<Instance>) {
        if self.settings.isolation == Isolation::Request {
            return self.spend(instance);
        }
        if let Err(instance) = self.spares.push(instance) {
            self.bury(instance);
        }
    }

    /// Any instance that nobody uses.
    fn take_any(&self) -> Option<Box<Instance>> {
        self.spares.pop().or_else(|| self.seats.iter().find_map(|seat| seat.instance.take()))
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
        if kind == FailureKind::Deadline {
            self.missed(place);
        }
        if self.settings.isolation == Isolation::Reuse {
            self.alive.fetch_sub(1, Ordering::Relaxed);
            self.ask_refill();
        }
    }

    /// No instance was ready.
    #[cold]
    fn starved(self: &Arc<Self>) -> Failure {
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
        let wanted = u32::try_from(wanted(self.seats.len())).unwrap_or(u32::MAX);
        while self.alive.load(Ordering::Relaxed) < wanted {
            let begun = Instant::now();
            let wait = self.debt().wait(begun);
            if !wait.is_zero() {
                return Some(wait);
            }
            let made = self.make(slot);
            // One that every call uses up is no replacement: what it costs is that of the calls.
            if self.settings.isolation == Isolation::Reuse {
                self.debt().add(begun.elapsed(), Instant::now());
            }
            match made {
                Ok(instance) => {
                    self.alive.fetch_add(1, Ordering::Relaxed);
                    drop(self.spares.push(instance));
                }
                Err(unfit) => return Some(self.unfit(&unfit.reason)),
            }
        }
        None
    }

    /// One more instance, on a thread with that slot of the watchdog.
    pub(super) fn make(&self, slot: usize) -> Result<Box<Instance>, Fault> {
        let leash = Leash { watch: &self.engine().watch, slot, deadline: self.origin.refill_deadline };
        match self.origin.blueprint.make(self.engine(), leash) {
            Ok((instance, manifest)) if manifest == self.origin.raw_manifest => {
                self.ledger.instances.fetch_add(1, Ordering::Relaxed);
                Ok(Box::new(instance))
            }
            Ok(_) => {
                let reason = "it answered with another manifest".to_owned();
                Err(Fault { kind: FailureKind::Unavailable, reason })
            }
            Err(error) => {
                let kind = match &error {
                    MakeError::Configure(fault) => fault.kind,
                    MakeError::Instance(_) | MakeError::Config(_) => FailureKind::Unavailable,
                };
                Err(Fault { kind, reason: named(&self.settings.key, error).to_string() })
            }
        }
    }

    pub(crate) fn reads_lazily(&self) -> bool {
        self.origin.blueprint.component.inner.reads_lazily
    }

    pub(crate) fn engine(&self) -> &engine::Inner {
        self.origin.admitted.engine()
    }

    fn after_refusal(&self) -> Place {
        if self.engine().clock_ms(Instant::now()) < self.refused_until_ms.load(Ordering::Acquire) {
            return Place::Refused;
        }
        let mut conduct = self.conduct.lock().unwrap_or_else(PoisonError::into_inner);
        if self.ledger.place() == Place::Refused {
            conduct.readmit();
            self.ledger.move_to(Place::Pool);
        }
        Place::Pool
    }

    pub(super) fn missed(&self, place: Place) {
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
                let until = self.engine().clock_ms(now + time);
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

    pub(super) fn ask_refill(self: &Arc<Self>) {
        if !self.refilling.swap(true, Ordering::SeqCst)
            && !self.engine().keeper.ask(Errand::Refill(Arc::downgrade(self)))
        {
            self.refilling.store(false, Ordering::SeqCst);
        }
    }

    pub(super) fn bury(&self, instance: Box<Instance>) {
        // Where the queue is full it is dropped here and now.
        self.engine().keeper.ask(Errand::Bury(instance));
    }

    fn unfit(&self, reason: &str) -> Duration {
        tracing::warn!(filter = self.settings.key, reason, "a new instance of the filter cannot be used");
        self.debt().wait(Instant::now()).max(Duration::from_millis(100))
    }

    fn debt(&self) -> MutexGuard<'_, RebuildDebt> {
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
