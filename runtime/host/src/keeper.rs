//! The thread that does what workers must not wait for: dropping stores and making new instances.
//!
//! Dropping a store of 64 MiB takes 10 ms. One loop over one queue; it does not know why an instance has to go.

use crate::instance::Instance;
use crate::policy;
use crate::watch::Watch;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Errands that may wait. One that finds no room is done by whoever has it, or asked for again by the next call.
const QUEUE_MAX: usize = 1024;
/// Errands with which it is behind.
const BEHIND: usize = 16;

pub(crate) enum Errand {
    Bury(Box<Instance>),
    /// Bring a policy back to its number of instances.
    Refill(Weak<policy::Inner>),
}

pub(crate) struct Keeper {
    errands: SyncSender<Errand>,
    /// Errands that wait or are being done.
    open: Arc<AtomicUsize>,
}

impl Keeper {
    /// `slot` is the watchdog's, for the instances that it makes.
    pub(crate) fn start(watch: Arc<Watch>, slot: usize) -> std::io::Result<Self> {
        let (errands, queue) = sync_channel(QUEUE_MAX);
        let open = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&open);
        std::thread::Builder::new().name("weft-filter-keeper".to_owned()).spawn(move || {
            watch.claim(slot);
            keep(&queue, slot, &counted);
        })?;
        Ok(Self { errands, open })
    }

    /// False where the queue is full; then the errand has been dropped, and with it what it holds.
    pub(crate) fn ask(&self, errand: Errand) -> bool {
        self.open.fetch_add(1, Ordering::Relaxed);
        let taken = self.errands.try_send(errand).is_ok();
        if !taken {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
        taken
    }

    /// It does not keep up: what it is given only grows the heap of what waits.
    pub(crate) fn is_behind(&self) -> bool {
        self.open.load(Ordering::Relaxed) >= BEHIND
    }
}

/// A policy whose replacements cost too much, and when it may have the next.
struct Later {
    at: Instant,
    policy: Weak<policy::Inner>,
}

/// Ends with the engine, whose keeper holds the other end of the queue.
fn keep(queue: &Receiver<Errand>, slot: usize, open: &AtomicUsize) {
    let mut later: BinaryHeap<Reverse<Later>> = BinaryHeap::new();
    loop {
        let now = Instant::now();
        while later.peek().is_some_and(|Reverse(first)| first.at <= now) {
            if let Some(Reverse(due)) = later.pop() {
                refill(due.policy, slot, &mut later);
            }
        }
        let errand = match later.peek() {
            Some(Reverse(first)) => queue.recv_timeout(first.at.saturating_duration_since(Instant::now())),
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match errand {
            Ok(Errand::Bury(instance)) => drop(instance),
            Ok(Errand::Refill(policy)) => refill(policy, slot, &mut later),
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        }
        open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn refill(policy: Weak<policy::Inner>, slot: usize, later: &mut BinaryHeap<Reverse<Later>>) {
    // The policy may be gone meanwhile.
    let wait: Option<Duration> = policy.upgrade().and_then(|policy| policy.refill(slot));
    if let Some(wait) = wait {
        later.push(Reverse(Later { at: Instant::now() + wait, policy }));
    }
}

impl PartialEq for Later {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Later {}

impl PartialOrd for Later {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Later {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}
