//! One worker: a thread with a runtime, listeners, pools, counts and filter instances of its own.
//!
//! Nothing of it is shared with another worker, so nothing on a request's way is locked.

use crate::connections::{Connections, Tick};
use crate::discovery::{Discovery, Told};
use crate::headers::RequestIds;
use crate::listener::{self, Door};
use crate::plan::{PlanCell, PlanReader};
use crate::record::Side;
use crate::settings::Settings;
use crate::telemetry::{Shard, Telemetry};
use crate::tls::IdentityCell;
use crate::upstream::Upstreams;
use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;
use weft_filter_host::{Engine, Runner};

/// What all workers of a proxy share; read-only or atomic.
pub struct Shared {
    pub plans: Arc<PlanCell>,
    pub identity: Arc<IdentityCell>,
    pub discovery: Arc<dyn Discovery>,
    pub telemetry: Arc<Telemetry>,
    pub engine: Engine,
    pub settings: Settings,
    /// Where the app's requests come in: never dialled, or a request would go round for ever.
    pub app_side: Vec<SocketAddr>,
    /// Those at which redirected connections come in, from either side.
    pub captured: Vec<u16>,
}

/// Lives on its own thread.
pub struct Worker {
    pub settings: Settings,
    pub plans: PlanReader,
    pub cell: Arc<PlanCell>,
    pub identity: Arc<IdentityCell>,
    pub discovery: Arc<dyn Discovery>,
    pub told: Told,
    pub shard: Shard,
    pub runner: Runner,
    pub random: RequestIds,
    pub upstreams: Upstreams,
    pub tick: Arc<Tick>,
    /// Since the last relief, both directions together.
    connections_most: Cell<usize>,
    inbound: Rc<Connections>,
    outbound: Rc<Connections>,
    app_side: Vec<SocketAddr>,
    captured: Vec<u16>,
}

/// What the whole proxy is doing; phases only go forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Serving,
    /// The inbound side's clients are asked to go elsewhere, and served as long as they do not.
    Asking,
    /// The inbound side takes no new connections and finishes; the app may still call out.
    InboundEnds,
    /// The outbound side, too; a worker without connections ends.
    OutboundEnds,
    /// Everything ends now.
    Stopping,
}

/// What one worker still has to do, as it was at its last tick.
#[derive(Debug, Default)]
pub struct Remaining {
    /// Inbound connections, and one while the accept queue may hold some.
    pub inbound: AtomicUsize,
    /// 1 while a request of the app is being served.
    pub outbound_busy: AtomicUsize,
}

impl Worker {
    fn new(index: usize, shared: &Shared) -> Self {
        let tick = Arc::<Tick>::default();
        let connections = || Connections::new(Arc::clone(&tick), shared.settings.connections_max);
        Self {
            settings: shared.settings.clone(),
            plans: shared.plans.reader(),
            cell: Arc::clone(&shared.plans),
            identity: Arc::clone(&shared.identity),
            discovery: Arc::clone(&shared.discovery),
            told: Told::default(),
            shard: shared.telemetry.shard(index),
            runner: Runner::new(&shared.engine, index),
            random: RequestIds::seeded(),
            upstreams: Upstreams::default(),
            connections_most: Cell::new(0),
            inbound: connections(),
            outbound: connections(),
            app_side: shared.app_side.clone(),
            captured: shared.captured.clone(),
            tick,
        }
    }

    pub fn connections(&self, side: Side) -> &Rc<Connections> {
        match side {
            Side::Inbound => &self.inbound,
            Side::Outbound => &self.outbound,
        }
    }

    /// A number below `below`, for weights and jitter.
    pub fn draw(&self, below: u64) -> u64 {
        ((u128::from(self.random.next_u64()) * u128::from(below)) >> 64) as u64
    }

    /// True for an address at which this proxy takes its own app's requests.
    pub fn listens_on(&self, address: SocketAddr) -> bool {
        self.app_side.iter().any(|own| {
            own.port() == address.port()
                && (own.ip() == address.ip() || (own.ip().is_unspecified() && address.ip().is_loopback()))
        })
    }

    /// True for a port of this pod at which this proxy takes redirected connections.
    pub fn is_captured_port(&self, port: u16) -> bool {
        self.captured.contains(&port)
    }

    /// Once a second: what has been silent or idle too long ends.
    fn sweep(&self, started: Instant, now: Instant) {
        self.tick.set(u32::try_from(now.duration_since(started).as_secs()).unwrap_or(u32::MAX));
        self.inbound.sweep(&self.settings.silence);
        self.outbound.sweep(&self.settings.silence);
        self.upstreams.sweep(self.tick.seconds());
        self.shard.gauges.upstream_idle.set(self.upstreams.idle_connections() as u64);
        self.relieve();
    }

    /// Once after each time that most connections have gone.
    fn relieve(&self) {
        let open = self.inbound.len() + self.outbound.len() + self.shard.gauges.upstream_connections.value() as usize;
        let most = self.connections_most.get().max(open);
        self.connections_most.set(most);
        if most >= RELIEF_MIN && open <= most / 4 {
            self.connections_most.set(open);
            (self.settings.relief)();
        }
    }
}

/// A worker's share of what is prepared before it starts.
pub struct Post {
    pub index: usize,
    pub doors: Vec<(Door, TcpListener)>,
    pub phase: watch::Receiver<Phase>,
    pub remaining: Arc<Remaining>,
}

/// Starts a worker on a thread of its own, which ends by itself after the phase `OutboundEnds`.
pub fn spawn(shared: Arc<Shared>, post: Post) -> io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(format!("worker-{}", post.index)).spawn(move || {
        let index = post.index;
        (shared.settings.worker_begins)();
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let outcome = runtime.and_then(|runtime| {
            let worker = Rc::new(Worker::new(index, &shared));
            drop(shared);
            runtime.block_on(run(worker, post))
        });
        if let Err(error) = outcome {
            tracing::error!(worker = index, %error, "the worker could not run");
        }
    })
}

/// The worker's one loop: ticks, phases, and doors that have closed.
async fn run(worker: Rc<Worker>, post: Post) -> io::Result<()> {
    let Post { doors, mut phase, remaining, .. } = post;
    let started = Instant::now();
    let mut open: Vec<(Door, tokio::task::JoinHandle<io::Result<()>>)> = Vec::new();
    for (door, socket) in doors {
        let accepting = listener::accept(Rc::clone(&worker), door, socket, closing(door, phase.clone()));
        open.push((door, tokio::task::spawn_local(accepting)));
    }
    let mut ticks = tokio::time::interval(TICK);
    loop {
        let now = tokio::select! {
            now = ticks.tick() => now.into_std(),
            changed = phase.changed() => {
                if changed.is_err() || *phase.borrow() == Phase::Stopping {
                    break;
                }
                // From here on the end is looked for more often than idle connections are.
                ticks = tokio::time::interval(DRAIN_TICK);
                continue;
            }
        };
        worker.sweep(started, now);
        open.retain(|(_, accepting)| !accepting.is_finished());
        if worker.ends(*phase.borrow(), &open, &remaining) {
            return Ok(());
        }
    }
    worker.inbound.close();
    worker.outbound.close();
    // Once round the tasks, so that each can see that it is over.
    tokio::task::yield_now().await;
    Ok(())
}

impl Worker {
    /// Asks connections to end as the phase wants it, and says what remains; true when nothing does.
    fn ends<T>(&self, phase: Phase, open: &[(Door, T)], remaining: &Remaining) -> bool {
        if phase >= Phase::Asking {
            self.inbound.drain();
        }
        if phase >= Phase::OutboundEnds {
            self.outbound.drain();
        }
        let accepting = open.iter().any(|(door, _)| door.side() == Side::Inbound);
        remaining.inbound.store(self.inbound.len() + usize::from(accepting), Ordering::Relaxed);
        // An app whose connections come here by themselves is there for as long as it holds one.
        let captured = open.iter().any(|(door, _)| *door == Door::Captured(Side::Outbound));
        let busy = if captured { !self.outbound.is_empty() } else { self.outbound.busy() };
        remaining.outbound_busy.store(usize::from(busy), Ordering::Relaxed);
        phase >= Phase::OutboundEnds && open.is_empty() && self.inbound.is_empty() && self.outbound.is_empty()
    }
}

/// Resolves when the door is to take nobody new.
async fn closing(door: Door, mut phase: watch::Receiver<Phase>) {
    let until = match door.side() {
        Side::Inbound => Phase::InboundEnds,
        Side::Outbound => Phase::OutboundEnds,
    };
    // An error means that the proxy is gone.
    let _ = phase.wait_for(|phase| *phase >= until).await;
}

/// Connections whose end is worth giving memory back.
const RELIEF_MIN: usize = 16;
const TICK: Duration = Duration::from_secs(1);
const DRAIN_TICK: Duration = Duration::from_millis(50);
