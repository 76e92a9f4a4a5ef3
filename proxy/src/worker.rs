//! One worker: a thread with a runtime, listeners, pools, counts and filter instances of its own.
//!
//! Nothing of it is shared with another worker, so nothing on a request's way is locked.

use crate::connections::{Connections, Tick};
use crate::discovery::Discovery;
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
}

/// Lives on its own thread.
pub struct Worker {
    pub settings: Settings,
    pub plans: PlanReader,
    pub cell: Arc<PlanCell>,
    pub identity: Arc<IdentityCell>,
    pub discovery: Arc<dyn Discovery>,
    pub shard: Shard,
    pub runner: Runner,
    pub random: RequestIds,
    pub upstreams: Upstreams,
    pub tick: Arc<Tick>,
    inbound: Rc<Connections>,
    outbound: Rc<Connections>,
    app_side: Vec<SocketAddr>,
}

/// What the whole proxy is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Serving,
    /// The inbound side finishes; the app may still call out.
    Draining,
    /// Everything ends now.
    Stopping,
}

impl Worker {
    fn new(index: usize, shared: &Shared) -> io::Result<Self> {
        let tick = Arc::<Tick>::default();
        let connections = || Connections::new(Arc::clone(&tick), shared.settings.connections_max);
        Ok(Self {
            settings: shared.settings.clone(),
            plans: shared.plans.reader(),
            cell: Arc::clone(&shared.plans),
            identity: Arc::clone(&shared.identity),
            discovery: Arc::clone(&shared.discovery),
            shard: shared.telemetry.shard(index),
            runner: Runner::new(&shared.engine, index),
            random: RequestIds::seeded()?,
            upstreams: Upstreams::default(),
            inbound: connections(),
            outbound: connections(),
            app_side: shared.app_side.clone(),
            tick,
        })
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

    /// Once a second: what has been silent or idle too long ends.
    fn sweep(&self, started: Instant, now: Instant) {
        self.tick.set(u32::try_from(now.duration_since(started).as_secs()).unwrap_or(u32::MAX));
        self.inbound.sweep(&self.settings.silence);
        self.outbound.sweep(&self.settings.silence);
        self.upstreams.sweep(self.tick.seconds());
    }
}

/// Starts worker `index` on a thread of its own, which ends after the phase `Draining`, or at once with `Stopping`.
pub fn spawn(
    index: usize,
    shared: Arc<Shared>,
    doors: Vec<(Door, TcpListener)>,
    phase: watch::Receiver<Phase>,
) -> io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let outcome = runtime.and_then(|runtime| {
            let worker = Rc::new(Worker::new(index, &shared)?);
            drop(shared);
            runtime.block_on(run(worker, doors, phase))
        });
        if let Err(error) = outcome {
            tracing::error!(worker = index, %error, "the worker could not run");
        }
    })
}

/// The worker's one loop: a tick each second, and the phases.
async fn run(worker: Rc<Worker>, doors: Vec<(Door, TcpListener)>, mut phase: watch::Receiver<Phase>) -> io::Result<()> {
    let started = Instant::now();
    let outbound_closes = Rc::new(Closing::default());
    let mut accepting = tokio::task::JoinSet::new();
    for (door, socket) in doors {
        let closing = closing(door, phase.clone(), Rc::clone(&outbound_closes));
        accepting.spawn_local(listener::accept(Rc::clone(&worker), door, socket, closing));
    }
    let mut ticks = tokio::time::interval(TICK);
    let mut drain = Drain::default();
    loop {
        tokio::select! {
            now = ticks.tick() => worker.sweep(started, now.into_std()),
            changed = phase.wait_for(|phase| *phase > drain.phase) => match changed.map(|phase| *phase) {
                Ok(Phase::Draining) => {
                    drain.phase = Phase::Draining;
                    // From here on the end is looked for more often than idle connections are.
                    ticks = tokio::time::interval(DRAIN_TICK);
                }
                Ok(_) | Err(_) => break,
            },
        }
        if drain.phase == Phase::Draining
            && drain.finished(&worker, &outbound_closes)
            && accepting.try_join_next().is_some()
        {
            while accepting.join_next().await.is_some() {}
            if worker.inbound.is_empty() && worker.outbound.is_empty() {
                return Ok(());
            }
        }
        while accepting.try_join_next().is_some() {}
        if drain.phase == Phase::Draining
            && accepting.is_empty()
            && worker.inbound.is_empty()
            && worker.outbound.is_empty()
        {
            return Ok(());
        }
    }
    worker.inbound.close();
    worker.outbound.close();
    tokio::task::yield_now().await;
    Ok(())
}

/// How far a worker has come with draining.
struct Drain {
    phase: Phase,
    quiet: u32,
}

impl Default for Drain {
    fn default() -> Self {
        Self { phase: Phase::Serving, quiet: 0 }
    }
}

impl Drain {
    /// One step; true once the outbound side is closing, too.
    fn finished(&mut self, worker: &Worker, outbound: &Closing) -> bool {
        worker.inbound.drain();
        let quiet = worker.inbound.is_empty() && !worker.outbound.busy();
        self.quiet = if quiet { self.quiet + 1 } else { 0 };
        if self.quiet >= QUIET_TICKS {
            outbound.begin();
        }
        if outbound.begun.get() {
            worker.outbound.drain();
        }
        outbound.begun.get()
    }
}

/// Tells this worker's outbound doors to close.
#[derive(Default)]
struct Closing {
    begun: Cell<bool>,
    told: tokio::sync::Notify,
}

impl Closing {
    fn begin(&self) {
        if !self.begun.replace(true) {
            self.told.notify_waiters();
        }
    }
}

async fn closing(door: Door, mut phase: watch::Receiver<Phase>, outbound: Rc<Closing>) {
    let until = match door {
        Door::Inbound | Door::Listen => Phase::Draining,
        Door::Outbound => Phase::Stopping,
    };
    let told = outbound.told.notified();
    tokio::select! {
        // An error means that the proxy is gone.
        _ = phase.wait_for(|phase| *phase >= until) => {}
        () = told, if door == Door::Outbound => {}
    }
}

const TICK: Duration = Duration::from_secs(1);
const DRAIN_TICK: Duration = Duration::from_millis(50);
/// Ticks without a request of the app after which it is taken to have finished.
const QUIET_TICKS: u32 = 20;
