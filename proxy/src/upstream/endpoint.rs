//! One endpoint on one worker: its idle and shared connections, its load, its TLS configurations.
//!
//! It opens no connection (`connect`) and chooses none (`pool`).

use super::pool::{Idle, Shared};
use super::resolve::Resolved;
use crate::plan;
use crate::tls::{Alpn, IdentityError, Material};
use rustls::ClientConfig;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;
use weft_snapshot::{PeerTls, SpiffeId};

/// Lives as long as a list of endpoints or a request holds it; its idle connections close with it.
pub struct Endpoint {
    pub place: Arc<plan::Endpoint>,
    in_flight: Cell<u32>,
    needed: Needed,
    /// HTTP/1 connections without a request, the last used one last.
    pub(super) idle: RefCell<Vec<Idle>>,
    /// HTTP/2 connections.
    pub(super) shared: RefCell<Vec<Rc<Shared>>>,
    /// An HTTP/2 connection is being opened; who needs one waits for it.
    pub(super) opening: Cell<bool>,
    pub(super) waiting: RefCell<Vec<Waker>>,
    pub(super) resolved: RefCell<Option<Resolved>>,
    client_configs: RefCell<ClientConfigs>,
}

/// The most requests at once, in this stretch of time and in the one before.
#[derive(Debug, Default)]
struct Needed {
    stretch: Cell<u32>,
    now: Cell<u32>,
    before: Cell<u32>,
}

impl Needed {
    fn note(&self, in_flight: u32) {
        self.now.set(self.now.get().max(in_flight));
    }

    /// `tick` in seconds.
    fn at(&self, tick: u32, in_flight: u32) -> u32 {
        let stretch = tick / STRETCH_SECONDS;
        let passed = stretch.saturating_sub(self.stretch.replace(stretch));
        if passed > 0 {
            let last = self.now.replace(in_flight);
            self.before.set(if passed == 1 { last } else { in_flight });
        }
        self.now.get().max(self.before.get())
    }
}

/// Idle connections to close now: half of those beyond what was needed lately, so that what a burst left behind is gone
/// within seconds, buffers and all, and the usual load finds its connections.
fn surplus(idle: usize, in_flight: u32, needed: u32) -> usize {
    let wanted = needed.saturating_sub(in_flight).max(IDLE_KEPT);
    idle.saturating_sub(wanted as usize).div_ceil(2)
}

/// Made from one identity; another identity means other ones.
#[derive(Default)]
struct ClientConfigs {
    generation: u64,
    by_alpn: [Option<Arc<ClientConfig>>; Alpn::ALL.len()],
}

/// Counts a request or a TCP connection as load for as long as it is held.
pub struct InFlight(Rc<Endpoint>);

impl Endpoint {
    pub(super) fn new(place: Arc<plan::Endpoint>) -> Rc<Self> {
        Rc::new(Self {
            place,
            in_flight: Cell::new(0),
            needed: Needed::default(),
            idle: RefCell::default(),
            shared: RefCell::default(),
            opening: Cell::new(false),
            waiting: RefCell::default(),
            resolved: RefCell::default(),
            client_configs: RefCell::default(),
        })
    }

    pub fn load(&self) -> u32 {
        self.in_flight.get()
    }

    pub fn enter(self: &Rc<Self>) -> InFlight {
        self.in_flight.set(self.in_flight.get() + 1);
        self.needed.note(self.in_flight.get());
        InFlight(Rc::clone(self))
    }

    pub(super) fn tls(&self) -> Option<&PeerTls> {
        self.place.tls.as_ref()
    }

    /// Kept per endpoint, so that a session is resumed only where it began.
    pub(super) fn client_config(
        &self,
        material: &Material,
        peer: &SpiffeId,
        alpn: Alpn,
    ) -> Result<Arc<ClientConfig>, IdentityError> {
        let mut configs = self.client_configs.borrow_mut();
        if configs.generation != material.generation {
            *configs = ClientConfigs { generation: material.generation, ..ClientConfigs::default() };
        }
        let kept = &mut configs.by_alpn[alpn as usize];
        match kept {
            Some(config) => Ok(Arc::clone(config)),
            None => Ok(Arc::clone(kept.insert(material.client(peer, alpn)?))),
        }
    }

    /// Closes what has been idle for longer than `max`, or is more than was needed lately; `now` in ticks.
    pub(super) fn sweep(&self, now: u32, max: Option<Duration>) {
        let needed = self.needed.at(now, self.load());
        let surplus = surplus(self.idle.borrow().len(), self.load(), needed);
        self.idle.borrow_mut().drain(..surplus);
        let Some(max) = max else { return };
        let stale = |since: u32| u64::from(now.saturating_sub(since)) >= max.as_secs().max(1);
        let mut idle = self.idle.borrow_mut();
        let fresh = idle.iter().position(|idle| !idle.is_closed() && !stale(idle.since)).unwrap_or(idle.len());
        idle.drain(..fresh);
        if idle.is_empty() {
            idle.shrink_to_fit();
        }
        self.shared
            .borrow_mut()
            .retain(|shared| !(shared.is_closed() || shared.is_idle() && stale(shared.since.get())));
    }

    /// Idle connections of both kinds.
    pub fn idle_connections(&self) -> usize {
        self.idle.borrow().len() + self.shared.borrow().iter().filter(|shared| shared.is_idle()).count()
    }
}

impl InFlight {
    pub fn endpoint(&self) -> &Rc<Endpoint> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get().saturating_sub(1));
    }
}

const STRETCH_SECONDS: u32 = 10;
/// Idle connections that stay however little was needed, until they are idle for too long.
const IDLE_KEPT: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_needed_counts_for_one_stretch_more() {
        let needed = Needed::default();
        needed.note(50);
        let rows = [(9, 3, 50), (10, 3, 50), (19, 3, 50), (20, 3, 3), (45, 1, 1)];
        for (tick, in_flight, want) in rows {
            assert_eq!(needed.at(tick, in_flight), want, "at {tick}");
        }
    }

    #[test]
    fn half_of_what_is_too_much_goes() {
        let rows = [(0, 0, 0, 0), (50, 0, 50, 0), (50, 0, 0, 23), (5, 0, 0, 1), (4, 0, 0, 0), (40, 10, 30, 10)];
        for (idle, in_flight, needed, want) in rows {
            assert_eq!(surplus(idle, in_flight, needed), want, "{idle} idle, {in_flight} of {needed} in flight");
        }
    }
}
