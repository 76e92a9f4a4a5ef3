//! Puts the parts together and runs them until a signal comes.
//!
//! It knows the order in which parts start and stop, and nothing of what they do.

use crate::artifacts::{Artifacts, ArtifactsOptions};
use crate::ca::{self, Authority, Refreshed};
use crate::kube;
use crate::origin::{self, Origin};
use crate::replica::Fellows;
use crate::state::{Lock, StateFolder};
use crate::status::Metrics;
use crate::stream::{self, Services, ServingTls, Stop};
use crate::token::{self, Uses};
use crate::world::{Event, Loop, Surroundings, WorldCell};
use crate::{Options, RotateOptions, TokenOptions, status};
use anyhow::Context;
use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use weft_config::World;
use weft_filter_host::{Engine, EngineOptions};

/// Runs until SIGTERM or SIGINT.
pub fn run(options: Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("weft-stream").enable_all().build()?;
    runtime.block_on(async {
        let running = ControlPlane::start(&options).await?;
        announce(&options, &running)?;
        stop_signal().await?;
        tracing::info!("stopping");
        running.stop().await;
        Ok(())
    })
}

/// A control plane at work on the runtime at hand.
pub struct ControlPlane {
    pub stream: SocketAddr,
    pub status: SocketAddr,
    events: mpsc::Sender<Event>,
    stop_serving: watch::Sender<Stop>,
    serving: tokio::task::JoinHandle<()>,
    watching: Vec<tokio::task::JoinHandle<()>>,
    world: JoinHandle<()>,
    _claim: Lock,
}

impl ControlPlane {
    /// Returns when it serves.
    pub async fn start(options: &Options) -> anyhow::Result<Self> {
        let (state, claim) = if options.state_shared {
            StateFolder::claim_in(&options.state_path())?
        } else {
            let state = StateFolder::open(&options.state_path())?;
            let claim = state.claim()?;
            (state, claim)
        };
        let now = ca::seconds(SystemTime::now());
        let mut origin = Box::pin(Origin::open(options)).await?;
        let authority = Arc::new(Box::pin(origin.authority(&state, options, now)).await?);
        let filters = state.path().join(FILTERS);
        Box::pin(origin.stock_up(options, &authority, &filters)).await?;
        let metrics = Arc::new(Metrics::new(SystemTime::now()));
        let artifacts = start_artifacts(filters, options, &origin, &authority, &metrics)?;
        let cell: WorldCell = Arc::new(ArcSwap::from_pointee(World::default()));
        let stirred = watch::channel(()).0;
        let files = origin.first().await?;
        origin::warn(&files);
        let (events, incoming) = mpsc::channel(EVENTS_MAX);
        let surroundings = Surroundings {
            state: state.clone(),
            authority: authority.clone(),
            artifacts: artifacts.clone(),
            metrics: metrics.clone(),
            cell: cell.clone(),
            stirred: stirred.clone(),
            events: events.downgrade(),
        };
        // With the world comes the trust domain, and with that our own certificate.
        let world_loop = tokio::task::spawn_blocking(|| Loop::new(surroundings, files)).await??;
        let tls = Arc::new(ServingTls::new(&authority.issuing(), now)?);
        let listener = bind(options.listen, "--listen").await?;
        let status_listener = bind(options.status, "--status").await?;
        let (stream, status) = (listener.local_addr()?, status_listener.local_addr()?);
        let services = Services {
            events: events.clone(),
            first: origin.first_contact(&authority, &cell, &state)?,
            cell,
            authority: authority.clone(),
            metrics: metrics.clone(),
            streams: Arc::new(AtomicU64::new(0)),
            artifacts: artifacts.clone(),
            stirred: stirred.clone(),
        };
        let fellows =
            Fellows { places: origin.fellows(options), authority: authority.clone(), cell: services.cell.clone() };
        let world = std::thread::Builder::new().name("weft-world".to_owned()).spawn(|| world_loop.run(incoming))?;
        let shared = kube::Shared {
            events: events.clone(),
            cell: services.cell.clone(),
            authority: authority.clone(),
            stirred,
            neighbour: Arc::default(),
        };
        let mut watching = origin.watch(&shared, &options.webhooks())?;
        watching.extend([
            tokio::spawn(watch_artifacts(artifacts, events.clone())),
            tokio::spawn(watch_time(authority, tls.clone(), metrics.clone(), events.clone())),
            tokio::spawn(status::serve(status_listener, events.clone(), metrics, fellows)),
        ]);
        let (stop_serving, stopped) = watch::channel(Stop::NotYet);
        let serving = tokio::spawn(stream::serve(listener, tls, services, stopped));
        Ok(Self { stream, status, events, stop_serving, serving, watching, world, _claim: claim })
    }

    /// Ends the streams in order: proxies serve on with what they have.
    pub async fn stop(self) {
        let _ = self.stop_serving.send(Stop::Now);
        let _ = self.events.send(Event::Stop).await;
        if tokio::time::timeout(STOP_MAX, self.serving).await.is_err() {
            tracing::warn!("some connections did not end within {STOP_MAX:?}");
        }
        for task in self.watching {
            task.abort();
        }
        let _ = tokio::task::spawn_blocking(|| self.world.join()).await;
    }
}

/// The token's text: what `weft token create` prints. Works before the control plane has ever run.
pub fn create_token(options: &TokenOptions) -> anyhow::Result<String> {
    let path = options.state.clone().unwrap_or_else(StateFolder::default_path);
    let (folder, now) = (StateFolder::open(&path)?, ca::seconds(SystemTime::now()));
    let issuing = ca::issuing_from(&folder, now)?;
    let uses = if options.reusable { Uses::Many } else { Uses::Once };
    Ok(token::create(&issuing, &options.account, uses, options.ttl, now)?)
}

/// What `weft ca rotate` prints.
pub fn rotate_root(options: &RotateOptions) -> anyhow::Result<String> {
    let path = options.state.clone().unwrap_or_else(StateFolder::default_path);
    let (folder, now) = (StateFolder::open(&path)?, ca::seconds(SystemTime::now()));
    let signs_from = ca::rotate(&folder, now)?;
    Ok(format!("proxies are told of the new root now; it signs in {:?}", Duration::from_secs(signs_from - now)))
}

fn start_artifacts(
    folder: PathBuf,
    from: &Options,
    origin: &Origin,
    authority: &Arc<Authority>,
    metrics: &Metrics,
) -> anyhow::Result<Artifacts> {
    let engine = Engine::new(EngineOptions::default()).context("cannot start the Wasm engine that admits filters")?;
    let mut options = ArtifactsOptions {
        cupboard: origin.cupboard(),
        peers: origin.peers(from, authority),
        compilations: metrics.compilations(),
        ..ArtifactsOptions::new(folder, engine)?
    };
    if let Some(folder) = &from.compilers {
        options.add_compilers(folder).with_context(|| format!("cannot read --compilers {}", folder.display()))?;
    }
    Ok(Artifacts::start(options)?)
}

async fn bind(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    let failed = || format!("cannot listen on {address}; free it, or give another with {option}");
    TcpListener::bind(address).await.with_context(failed)
}

async fn watch_artifacts(artifacts: Artifacts, events: mpsc::Sender<Event>) {
    let mut facts = artifacts.facts();
    while facts.changed().await.is_ok() {
        let now = facts.borrow_and_update().clone();
        if events.send(Event::Facts(now)).await.is_err() {
            return;
        }
    }
}

/// What changes by time: turns of keys, our own certificate, patience with proxies.
async fn watch_time(
    authority: Arc<Authority>,
    tls: Arc<ServingTls>,
    metrics: Arc<Metrics>,
    events: mpsc::Sender<Event>,
) {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        let now = ca::seconds(SystemTime::now());
        let keys = authority.clone();
        let refreshed = tokio::task::spawn_blocking(move || keys.refresh(now)).await;
        let Ok(refreshed) = refreshed else { return };
        let issuing = authority.issuing();
        metrics.root_expires(issuing.root_expires());
        let changed = match refreshed {
            Ok(refreshed) => refreshed == Refreshed::Changed || tls.serves_other_than(issuing.trust()),
            Err(error) => {
                tracing::error!(%error, "the keys of the mesh cannot be read or changed; the earlier ones count on");
                false
            }
        };
        let renewed = if changed || tls.is_due(now) { tls.renew(&issuing, now) } else { Ok(()) };
        if let Err(error) = renewed {
            tracing::error!(%error, "the control plane's own certificate cannot be renewed");
        }
        let told = if changed { events.send(Event::Authority).await } else { events.send(Event::Tick).await };
        if told.is_err() {
            return;
        }
    }
}

#[allow(clippy::print_stdout, reason = "what a person waits for when they start it")]
fn announce(options: &Options, running: &ControlPlane) -> anyhow::Result<()> {
    if let Some(path) = &options.ports_file {
        let ports = serde_json::json!({ "stream": running.stream, "status": running.status });
        let new = path.with_extension("new");
        std::fs::write(&new, ports.to_string()).with_context(|| format!("cannot write {}", new.display()))?;
        std::fs::rename(&new, path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    println!(
        "control plane on {}: sidecars at {}, status at http://{}/status",
        options.origin, running.stream, running.status
    );
    if options.origin.kubernetes {
        return Ok(());
    }
    let state = options.state.as_ref().map(|path| format!(" --state {}", path.display())).unwrap_or_default();
    println!(
        "join a sidecar: weft sidecar --controlplane {} --workload NS/NAME --token \"$(weft token create --for NS/SERVICEACCOUNT{state})\"",
        running.stream
    );
    Ok(())
}

async fn stop_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// In the state folder: components, artifacts, what was last good.
const FILTERS: &str = "filters";
const EVENTS_MAX: usize = 1024;
const TICK: Duration = Duration::from_millis(500);
const STOP_MAX: Duration = Duration::from_secs(5);
