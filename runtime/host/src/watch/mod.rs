//! Holds every call to its deadline, at a few nanoseconds a call and without a clock on the caller's side.
//!
//! Each thread that calls guests has a slot with a counter that is odd while a call runs. A watchdog thread remembers
//! when it first saw an odd value and how much CPU time the thread had used by then; when both the clock and the
//! thread's CPU time say that the same call has gone on for too long, it marks that value as condemned and moves the
//! engine's epoch, and the store's callback asks whether its own call is meant. A call that was preempted has used no
//! CPU time. One whose virtual processor was taken away has, by the clock of its kernel, which also counts interrupts:
//! so a condemned call that asks is warned first, and stopped only once it has run on for a while. An innocent one has
//! long returned by then. The watchdog sleeps while nothing runs.
//!
//! It does not know guests: it is told what to do about a condemned call.

mod alarm;
mod clock;
mod suspect;

use alarm::Alarm;
use clock::ThreadClock;
use crossbeam_utils::CachePadded;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};
use suspect::{Finding, Suspect};

/// How long a call may run unseen.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How often the epoch is moved for a condemned call: an increment between its callback's decision and its re-arming
/// is lost.
const REPEAT_EVERY: Duration = Duration::from_micros(300);
/// CPU time that a warned call has to return.
const GRACE: Duration = Duration::from_micros(100);

pub(crate) struct Watch {
    slots: Box<[CachePadded<Slot>]>,
    /// The watchdog sleeps without a timer; whoever begins a call has to wake it.
    parked: AtomicBool,
    stopped: AtomicBool,
    alarm: Alarm,
}

#[derive(Default)]
struct Slot {
    /// Odd while a call runs; written by the slot's thread alone.
    seq: AtomicU64,
    /// The odd value that is to end.
    condemned: AtomicU64,
    /// The odd value that was told so, and the thread's CPU time then; the slot's thread alone uses them.
    warned: AtomicU64,
    warned_at_ns: AtomicU64,
    deadline_us: AtomicU32,
    clock: ThreadClock,
}

/// A call that runs; dropping it ends it.
pub(crate) struct Running<'a> {
    slot: &'a Slot,
    seq: u64,
}

impl Watch {
    /// `condemn` is called whenever a condemned call still runs.
    pub(crate) fn start(slots: usize, condemn: impl Fn() + Send + 'static) -> std::io::Result<Arc<Self>> {
        let watch = Arc::new(Self {
            slots: (0..slots).map(|_| CachePadded::new(Slot::default())).collect(),
            // The watchdog begins by waiting for the first call.
            parked: AtomicBool::new(true),
            stopped: AtomicBool::new(false),
            alarm: Alarm::new()?,
        });
        let watched = Arc::clone(&watch);
        std::thread::Builder::new()
            .name("weft-watchdog".to_owned())
            .stack_size(128 << 10)
            .spawn(move || watched.keep(&condemn))?;
        Ok(watch)
    }

    /// Says that the calling thread is the one that uses this slot from now on.
    pub(crate) fn claim(&self, slot: usize) {
        self.slots[slot].clock.adopt_current_thread();
    }

    /// Begins a call on the slot of the calling thread.
    #[inline]
    pub(crate) fn enter(&self, slot: usize, deadline: Duration) -> Running<'_> {
        let slot = &*self.slots[slot];
        slot.deadline_us.store(u32::try_from(deadline.as_micros()).unwrap_or(u32::MAX), Ordering::Relaxed);
        let seq = slot.seq.load(Ordering::Relaxed) + 1;
        // Sequentially consistent with the watchdog's `parked`: either it sees this call, or this sees it parked.
        slot.seq.swap(seq, Ordering::SeqCst);
        if self.parked.load(Ordering::SeqCst) {
            self.wake();
        }
        Running { slot, seq }
    }

    /// Whether the call that a slot showed as `seq` is to end now; asked by the thread that runs it, whenever the epoch
    /// has moved.
    pub(crate) fn ends(&self, slot: usize, seq: u64) -> bool {
        let slot = &*self.slots[slot];
        slot.condemned.load(Ordering::Acquire) == seq && slot.has_run_on(seq)
    }

    /// Ends the watchdog; calls that run are no longer stopped.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.alarm.set(Duration::from_nanos(1));
    }

    #[cold]
    fn wake(&self) {
        if self.parked.swap(false, Ordering::SeqCst) {
            self.alarm.set(LOOK_EVERY);
        }
    }

    fn keep(&self, condemn: &dyn Fn()) {
        let mut suspects = vec![Suspect::default(); self.slots.len()];
        loop {
            self.alarm.wait();
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            match self.look(&mut suspects, condemn) {
                Some(next) => self.alarm.set(next),
                None => self.park(),
            }
        }
    }

    /// Looks at each slot once; answers when to look again, `None` when nothing runs.
    fn look(&self, suspects: &mut [Suspect], condemn: &dyn Fn()) -> Option<Duration> {
        let now = Instant::now();
        let mut next: Option<Duration> = None;
        let mut sooner = |wait: Duration| next = Some(next.map_or(wait, |known| known.min(wait)));
        let mut condemned = false;
        for (slot, suspect) in self.slots.iter().zip(suspects) {
            let seq = slot.seq.load(Ordering::SeqCst);
            let deadline = Duration::from_micros(slot.deadline_us.load(Ordering::Relaxed).into());
            match suspect.look(seq, deadline, now, || slot.clock.used()) {
                Finding::Idle => {}
                Finding::Running { wait } => sooner(wait.clamp(REPEAT_EVERY, LOOK_EVERY)),
                Finding::Overdue => {
                    slot.condemned.store(seq, Ordering::Release);
                    condemned = true;
                    sooner(REPEAT_EVERY);
                }
            }
        }
        if condemned {
            condemn();
        }
        next
    }

    fn park(&self) {
        self.parked.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        // A call that began before `parked` was set has not woken anybody.
        if self.slots.iter().any(|slot| slot.seq.load(Ordering::SeqCst) % 2 == 1) {
            self.wake();
        }
    }
}

impl Slot {
    /// False the first time, which is a warning. Where the system tells no CPU times the second time is enough.
    fn has_run_on(&self, seq: u64) -> bool {
        let used = self.clock.used().map(|used| u64::try_from(used.as_nanos()).unwrap_or(u64::MAX));
        if self.warned.swap(seq, Ordering::Relaxed) != seq {
            self.warned_at_ns.store(used.unwrap_or_default(), Ordering::Relaxed);
            return false;
        }
        let since = used.map(|used| used.saturating_sub(self.warned_at_ns.load(Ordering::Relaxed)));
        since.is_none_or(|since| Duration::from_nanos(since) >= GRACE)
    }
}

impl Running<'_> {
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.slot.seq.store(self.seq + 1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
