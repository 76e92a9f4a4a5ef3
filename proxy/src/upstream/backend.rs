//! Backends as one worker sees them: arrays by slot, rebuilt only when a list of endpoints or a policy changes.
//!
//! It does not send anything; it keeps who could be sent to.

use super::Endpoint;
use super::limits::Limits;
use crate::balance::Balancer;
use crate::origin::Origin;
use crate::plan;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;
use weft_snapshot::{Dial, Labels, LoadBalancer, Upgrade};

/// A backend with the endpoints of one moment.
pub struct Backend {
    /// Istio's cluster name, for errors.
    pub name: Arc<str>,
    pub policy: Policy,
    pub endpoints: Box<[Rc<Endpoint>]>,
    pub balancer: Balancer,
    /// Requests that wait for room for a connection.
    pub(super) waiting: RefCell<Vec<Waker>>,
}

/// What the pool needs to know of a DestinationRule.
#[derive(Clone, Debug)]
pub struct Policy {
    pub connect_timeout: Duration,
    pub idle_timeout: Option<Duration>,
    pub requests_per_connection_max: Option<u32>,
    pub upgrade: Upgrade,
    pub limits: Option<Arc<Limits>>,
    /// Where connections come from; `None`: the system's choice.
    pub source: Option<IpAddr>,
}

/// Whereto, and from which address.
type Way = (Dial, Option<IpAddr>);

/// All backends of one worker.
#[derive(Default)]
pub struct Upstreams {
    by_slot: RefCell<Vec<Option<Kept>>>,
    /// The workload's own app, and hosts outside the mesh.
    by_way: RefCell<HashMap<Way, Rc<Backend>, foldhash::fast::RandomState>>,
    /// For the sweep.
    all: RefCell<Vec<Weak<Backend>>>,
    sweeps: Cell<u32>,
}

struct Kept {
    lease: u64,
    generation: u64,
    source: Arc<plan::Backend>,
    backend: Rc<Backend>,
}

impl Upstreams {
    /// The worker's side of a backend of the plan.
    pub fn backend(&self, source: &Arc<plan::Backend>) -> Rc<Backend> {
        let endpoints = source.endpoints();
        let mut by_slot = self.by_slot.borrow_mut();
        let index = source.slot.index;
        if by_slot.len() <= index {
            by_slot.resize_with(index + 1, || None);
        }
        let slot = &mut by_slot[index];
        match slot {
            Some(kept) if kept.generation == endpoints.generation && Arc::ptr_eq(&kept.source, source) => {
                Rc::clone(&kept.backend)
            }
            _ => {
                let previous = slot.take().filter(|kept| kept.lease == source.slot.lease);
                let old = previous.as_ref().map_or(&[][..], |kept| &kept.backend.endpoints);
                let backend = Rc::new(Backend::of_plan(source, &endpoints, old));
                self.register(&backend);
                let (lease, generation) = (source.slot.lease, endpoints.generation);
                *slot = Some(Kept { lease, generation, source: Arc::clone(source), backend: Rc::clone(&backend) });
                backend
            }
        }
    }

    /// The same for a connection that was going to one of the endpoints, where the backend leaves the choice to the app:
    /// that endpoint alone.
    pub fn meant(&self, source: &Arc<plan::Backend>, origin: &Origin) -> Rc<Backend> {
        let backend = self.backend(source);
        let (Origin::Captured(to), LoadBalancer::Original) = (origin, source.policy.load_balancer) else {
            return backend;
        };
        let chosen = backend.endpoints.iter().find(|endpoint| endpoint.place.dial == Dial::Address(*to));
        let Some(endpoint) = chosen.filter(|_| backend.endpoints.len() > 1) else { return backend };
        let alone = Rc::new(Backend {
            name: Arc::clone(&backend.name),
            policy: backend.policy.clone(),
            endpoints: Box::new([Rc::clone(endpoint)]),
            balancer: Balancer::new(LoadBalancer::Random, &[1]),
            waiting: RefCell::default(),
        });
        if alone.policy.limits.is_some() {
            // Who waits for room there is woken by the sweep: others give it back elsewhere.
            self.register(&alone);
        }
        alone
    }

    /// The workload's own app.
    pub fn app(&self, address: SocketAddr, cluster: &Arc<str>) -> Rc<Backend> {
        self.single((Dial::Address(address), None), cluster)
    }

    /// The same by the address at which a client called it, from one whose connections are not redirected again.
    pub fn captured_app(&self, address: SocketAddr, cluster: &Arc<str>) -> Rc<Backend> {
        self.single((Dial::Address(address), Some(passthrough_source(address))), cluster)
    }

    /// A host that the mesh does not know.
    pub fn passthrough(&self, host: &str, port: u16, cluster: &Arc<str>) -> Rc<Backend> {
        let dial = match host.parse() {
            Ok(ip) => Dial::Address(SocketAddr::new(ip, port)),
            Err(_) => Dial::Name { host: host.to_owned(), port },
        };
        self.single((dial, None), cluster)
    }

    fn single(&self, way: Way, cluster: &Arc<str>) -> Rc<Backend> {
        let mut by_way = self.by_way.borrow_mut();
        if let Some(backend) = by_way.get(&way) {
            return Rc::clone(backend);
        }
        if by_way.len() >= SINGLES_MAX {
            // Who is in the middle of something keeps its own Rc; the rest is opened again when needed.
            by_way.retain(|_, backend| backend.endpoints.iter().any(|endpoint| endpoint.load() > 0));
        }
        let backend = Rc::new(Backend::single(way.clone(), cluster));
        self.register(&backend);
        by_way.insert(way, Rc::clone(&backend));
        backend
    }

    fn register(&self, backend: &Rc<Backend>) {
        self.all.borrow_mut().push(Rc::downgrade(backend));
    }

    /// Closes idle connections; once a second, with the worker's tick.
    pub fn sweep(&self, now: u32) {
        self.all.borrow_mut().retain(|backend| {
            let Some(backend) = backend.upgrade() else { return false };
            backend.endpoints.iter().for_each(|endpoint| endpoint.sweep(now, backend.policy.idle_timeout));
            backend.wake_waiting();
            true
        });
        self.sweeps.set(self.sweeps.get().wrapping_add(1));
        if self.sweeps.get().is_multiple_of(SINGLES_SWEEP) {
            let in_use =
                |backend: &Rc<Backend>| backend.endpoints.iter().any(|e| e.load() + e.idle_connections() as u32 > 0);
            self.by_way.borrow_mut().retain(|_, backend| in_use(backend));
        }
    }

    pub fn idle_connections(&self) -> usize {
        let all = self.all.borrow();
        let backends = all.iter().filter_map(Weak::upgrade);
        backends.map(|backend| backend.endpoints.iter().map(|e| e.idle_connections()).sum::<usize>()).sum()
    }
}

impl Backend {
    fn of_plan(source: &plan::Backend, endpoints: &plan::Endpoints, old: &[Rc<Endpoint>]) -> Self {
        let kept = |place: &Arc<plan::Endpoint>| {
            let same = old.iter().find(|old| Arc::ptr_eq(&old.place, place));
            same.cloned().unwrap_or_else(|| Endpoint::new(Arc::clone(place)))
        };
        let weights: Vec<u32> = endpoints.list.iter().map(|endpoint| endpoint.weight).collect();
        Self {
            name: Arc::clone(&source.cluster),
            policy: Policy {
                connect_timeout: source.policy.connect_timeout,
                idle_timeout: source.policy.idle_timeout,
                requests_per_connection_max: source.policy.limits.requests_per_connection_max,
                upgrade: source.policy.upgrade,
                limits: source.limits.clone(),
                source: None,
            },
            endpoints: endpoints.list.iter().map(kept).collect(),
            balancer: Balancer::new(source.policy.load_balancer, &weights),
            waiting: RefCell::default(),
        }
    }

    fn single((dial, source): Way, cluster: &Arc<str>) -> Self {
        let place = weft_snapshot::Endpoint { dial, tls: None, weight: 1, labels: Labels::default() };
        Self {
            name: Arc::clone(cluster),
            policy: Policy {
                connect_timeout: CONNECT_TIMEOUT,
                idle_timeout: Some(IDLE_TIMEOUT),
                requests_per_connection_max: None,
                upgrade: Upgrade::Keep,
                limits: None,
                source,
            },
            endpoints: Box::new([Endpoint::new(Arc::new(plan::Endpoint::new(&place)))]),
            balancer: Balancer::new(LoadBalancer::Random, &[1]),
            waiting: RefCell::default(),
        }
    }

    /// Room may have been given back: let those try that wait for it.
    pub(super) fn wake_waiting(&self) {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// Istio's 127.0.0.6 and ::6, which weft-init's rules let pass.
pub fn passthrough_source(to: SocketAddr) -> IpAddr {
    if to.is_ipv4() { Ipv4Addr::new(127, 0, 0, 6).into() } else { Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6).into() }
}

/// Apps and hosts outside the mesh that one worker remembers.
const SINGLES_MAX: usize = 1024;
/// Sweeps after which those without a connection are forgotten.
const SINGLES_SWEEP: u32 = 64;
/// Istio's defaults, for what no DestinationRule speaks of.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
