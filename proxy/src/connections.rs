//! The downstream connections of one worker: how many there are, which have been silent too long, and how they are
//! told to drain.
//!
//! One sweep a second looks at all of them, so that a request starts no timer. It does not know what they carry.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Waker;
use std::time::Duration;

/// A clock that costs one load: seconds since the worker started, moved on by the sweep.
#[derive(Debug, Default)]
pub struct Tick(AtomicU32);

impl Tick {
    pub fn seconds(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn set(&self, seconds: u32) {
        self.0.store(seconds, Ordering::Relaxed);
    }
}

/// What one HTTP connection is doing. Written by its worker alone; atomic only because hyper wants streams that could
/// be sent elsewhere.
#[derive(Debug)]
pub struct Activity {
    tick: Arc<Tick>,
    state: AtomicU32,
    /// Since when it is in this state.
    since: AtomicU32,
    exchanges: AtomicU32,
}

const IDLE: u32 = 0;
/// The first bytes of a head have come.
const READING: u32 = 1;
const BUSY: u32 = 2;

impl Activity {
    pub fn new(tick: Arc<Tick>) -> Arc<Self> {
        let since = AtomicU32::new(tick.seconds());
        Arc::new(Self { tick, state: AtomicU32::new(IDLE), since, exchanges: AtomicU32::new(0) })
    }

    pub(crate) fn bytes_arrived(&self) {
        if self.state.load(Ordering::Relaxed) == IDLE {
            self.enter(READING);
        }
    }

    /// A head is complete and its exchange begins.
    pub fn exchange_begins(&self) {
        self.exchanges.store(self.exchanges.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.enter(BUSY);
    }

    pub fn exchange_ends(&self) {
        let rest = self.exchanges.load(Ordering::Relaxed).saturating_sub(1);
        self.exchanges.store(rest, Ordering::Relaxed);
        if rest == 0 {
            self.enter(IDLE);
        }
    }

    fn enter(&self, state: u32) {
        self.state.store(state, Ordering::Relaxed);
        self.since.store(self.tick.seconds(), Ordering::Relaxed);
    }

    fn overdue(&self, limits: &SilenceLimits) -> bool {
        let silent = self.tick.seconds().saturating_sub(self.since.load(Ordering::Relaxed));
        let max = match self.state.load(Ordering::Relaxed) {
            IDLE => limits.idle,
            READING => limits.head,
            _ => return false,
        };
        u64::from(silent) > max.as_secs()
    }

    fn busy(&self) -> bool {
        self.state.load(Ordering::Relaxed) == BUSY
    }
}

/// How long a connection may send nothing.
#[derive(Clone, Copy, Debug)]
pub struct SilenceLimits {
    /// Between two requests.
    pub idle: Duration,
    /// From the first byte of a head to its last; before the first request, from the connection on.
    pub head: Duration,
}

/// One downstream connection; dropping it takes it out of the count.
pub struct Entry {
    connections: Rc<Connections>,
    id: u64,
    pub activity: Arc<Activity>,
    told: Rc<Told>,
}

/// What the connection's own task is told from outside.
#[derive(Default)]
struct Told {
    order: Cell<Order>,
    /// The tick at which it was told to drain.
    drain_since: Cell<u32>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    #[default]
    GoOn,
    /// Finish what runs, begin nothing new.
    Drain,
    /// End now: silent for too long, or the drain limit is over.
    Close,
}

impl Entry {
    /// What to do now; the task is woken when that changes.
    pub fn order(&self, waker: &Waker) -> Order {
        let mut stored = self.told.waker.borrow_mut();
        if !stored.as_ref().is_some_and(|stored| stored.will_wake(waker)) {
            *stored = Some(waker.clone());
        }
        self.told.order.get()
    }

    pub fn draining(&self) -> bool {
        self.told.order.get() >= Order::Drain
    }

    /// A client that has sent nothing since draining began has had its time: what it was about to send then, and what
    /// was on its way, has come. Until then an idle connection is not closed under a client's hand.
    pub fn grace_is_over(&self) -> bool {
        let since = self.told.drain_since.get();
        self.connections.tick.seconds().saturating_sub(since) >= DRAIN_GRACE_SECONDS
    }

    /// Resolves when a connection that has said nothing yet shall be given up.
    pub async fn given_up(&self) {
        std::future::poll_fn(|cx| match self.order(cx.waker()) {
            Order::GoOn => std::task::Poll::Pending,
            Order::Drain if !self.grace_is_over() => std::task::Poll::Pending,
            Order::Drain | Order::Close => std::task::Poll::Ready(()),
        })
        .await;
    }

    pub async fn closed(&self) {
        std::future::poll_fn(|cx| match self.order(cx.waker()) {
            Order::Close => std::task::Poll::Ready(()),
            Order::GoOn | Order::Drain => std::task::Poll::Pending,
        })
        .await;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.connections.open.borrow_mut().remove(&self.id);
        if let Some(waker) = self.connections.room.take() {
            waker.wake();
        }
    }
}

struct Open {
    activity: Arc<Activity>,
    told: Rc<Told>,
}

/// All downstream connections of one worker.
pub struct Connections {
    tick: Arc<Tick>,
    open: RefCell<HashMap<u64, Open, foldhash::fast::RandomState>>,
    next: Cell<u64>,
    max: usize,
    /// The acceptor, while it waits for room.
    room: Cell<Option<Waker>>,
}

impl Connections {
    pub fn new(tick: Arc<Tick>, max: usize) -> Rc<Self> {
        let (open, next, room) = (RefCell::default(), Cell::new(0), Cell::new(None));
        Rc::new(Self { tick, open, next, max, room })
    }

    pub fn len(&self) -> usize {
        self.open.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits while the worker is at its limit: the kernel's accept queue holds who comes meanwhile. One waits at a time
    /// for each listener; a second one is woken with the first.
    pub async fn room(&self) {
        std::future::poll_fn(|cx| {
            if self.len() < self.max {
                return std::task::Poll::Ready(());
            }
            if let Some(other) = self.room.replace(Some(cx.waker().clone()))
                && !other.will_wake(cx.waker())
            {
                other.wake();
            }
            std::task::Poll::Pending
        })
        .await;
    }

    pub fn enter(self: &Rc<Self>) -> Entry {
        let id = self.next.get();
        self.next.set(id + 1);
        let (activity, told) = (Activity::new(Arc::clone(&self.tick)), Rc::<Told>::default());
        self.open.borrow_mut().insert(id, Open { activity: Arc::clone(&activity), told: Rc::clone(&told) });
        Entry { connections: Rc::clone(self), id, activity, told }
    }

    /// Closes those that have been silent too long; once a second.
    pub fn sweep(&self, limits: &SilenceLimits) {
        self.tell(Order::Close, |activity| activity.overdue(limits));
    }

    /// Again and again while the proxy drains: each call is also a tick for those whose grace is running.
    pub fn drain(&self) {
        self.tell(Order::Drain, |_| true);
    }

    pub fn close(&self) {
        self.tell(Order::Close, |_| true);
    }

    /// True while any of them is in the middle of an exchange.
    pub fn busy(&self) -> bool {
        self.open.borrow().values().any(|open| open.activity.busy())
    }

    fn tell(&self, order: Order, whom: impl Fn(&Activity) -> bool) {
        let mut wakers = Vec::new();
        for open in self.open.borrow().values() {
            let before = open.told.order.get();
            if before > order || !whom(&open.activity) {
                continue;
            }
            if before < order {
                open.told.order.set(order);
                open.told.drain_since.set(self.tick.seconds());
            }
            wakers.extend(open.told.waker.borrow_mut().take());
        }
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// From the order to drain until an idle connection is closed: one to two seconds, in which peers hear from the control
/// plane that this endpoint is leaving.
const DRAIN_GRACE_SECONDS: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SilenceLimits = SilenceLimits { idle: Duration::from_secs(60), head: Duration::from_secs(10) };

    #[test]
    fn silence() {
        type Steps = fn(&Activity);
        let cases: &[(&str, Steps, u32, bool)] = &[
            ("idle, in time", |_| {}, 60, false),
            ("idle, too long", |_| {}, 61, true),
            ("a head begun, in time", |a| a.bytes_arrived(), 10, false),
            ("a head begun, too long", |a| a.bytes_arrived(), 11, true),
            ("an exchange may take its time", |a| a.exchange_begins(), 10_000, false),
            (
                "bytes during an exchange begin no head",
                |a| {
                    a.exchange_begins();
                    a.bytes_arrived();
                    a.exchange_ends();
                },
                60,
                false,
            ),
            (
                "one of two exchanges ends",
                |a| {
                    a.exchange_begins();
                    a.exchange_begins();
                    a.exchange_ends();
                },
                10_000,
                false,
            ),
        ];
        for (name, steps, seconds, want) in cases {
            let tick = Arc::new(Tick::default());
            let activity = Activity::new(Arc::clone(&tick));
            steps(&activity);
            tick.set(*seconds);
            assert_eq!(activity.overdue(&LIMITS), *want, "{name}");
        }
    }

    #[test]
    fn orders_reach_each_connection_once_and_close_is_final() {
        let connections = Connections::new(Arc::default(), 8);
        let (a, b) = (connections.enter(), connections.enter());
        assert_eq!(a.order(Waker::noop()), Order::GoOn);
        connections.drain();
        assert_eq!((a.order(Waker::noop()), b.order(Waker::noop())), (Order::Drain, Order::Drain));
        assert!(!a.grace_is_over());
        connections.tick.set(DRAIN_GRACE_SECONDS);
        connections.drain();
        assert!(a.grace_is_over(), "told again, it does not begin anew");
        connections.close();
        connections.drain();
        assert_eq!(a.order(Waker::noop()), Order::Close);
        drop((a, b));
        assert!(connections.is_empty());
    }
}
