//! The whole proxy: its parts in the order in which they start, and in which they end.
//!
//! It knows nothing of requests. Errors here end the process, so they say what to do.

use crate::admin::{Admin, LogLevel, Sources, Stages};
use crate::control::{self, Control, ControlOptions, FirstContact, Pace};
use crate::discovery::{Complete, Discovery};
use crate::ending::Ending;
use crate::files::{self, Files};
use crate::intercept;
use crate::listener::{self, Bound, Door};
use crate::plan::{self, PlanCell, Publisher};
use crate::record::Side;
use crate::settings::Settings;
use crate::state::StateFolder;
use crate::status;
use crate::telemetry::{LogOptions, Telemetry};
use crate::tls::{self, IdentityCell};
use crate::worker::{self, Phase, Post, Remaining, Shared};
use anyhow::Context;
use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::sync::watch;
use weft_filter_host::{Engine, EngineOptions, artifact_key};
use weft_snapshot::WorkloadName;

/// Everything that a proxy is told before it starts.
pub struct Options {
    pub source: Source,
    pub addresses: Addresses,
    pub serve: Serve,
    /// For the admin port; `None` where the process's log is somebody else's.
    pub log: Option<LogLevel>,
    /// The app to run behind the proxy; empty: it runs already, or elsewhere.
    pub command: Vec<OsString>,
}

/// Where the configuration comes from.
pub enum Source {
    ControlPlane {
        addresses: Vec<String>,
        first: Option<FirstContact>,
        workload: WorkloadName,
        state: PathBuf,
    },
    /// Whole snapshots, by somebody in this process.
    Files(watch::Receiver<Option<Files>>),
}

/// Where the proxy listens; port 0 means any free port.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    pub inbound: Option<SocketAddr>,
    pub outbound: Option<SocketAddr>,
    pub listen: Option<SocketAddr>,
    /// The sidecar of a pod, to which weft-init's rules redirect.
    pub pod: Option<Pod>,
}

/// What a pod's sidecar knows of its pod.
#[derive(Clone, Debug)]
pub struct Pod {
    pub status_port: u16,
    pub app: status::App,
}

/// How the proxy serves.
pub struct Serve {
    pub admin: SocketAddr,
    pub workers: NonZeroUsize,
    pub access_log: Option<LogOptions>,
    pub ports_file: Option<PathBuf>,
    pub settings: Settings,
}

/// Runs a proxy until it is told to end; the exit code is the app's, where there is one.
pub fn run(options: Options) -> anyhow::Result<ExitCode> {
    let Options { source, addresses, serve, log, command } = options;
    let workers = serve.workers.get();
    let engine = Engine::new(EngineOptions { workers, ..EngineOptions::default() })?;
    let telemetry = Telemetry::new(workers, serve.access_log).context("cannot open the access log")?;
    let discovery = match source {
        Source::ControlPlane { .. } => plan::Discovery::OnDemand,
        Source::Files(_) => plan::Discovery::Complete,
    };
    let plans = PlanCell::new(discovery);
    let publisher = Publisher::new(engine.clone(), workers, discovery, Arc::clone(&plans));
    let identity = IdentityCell::new(tls::provider());
    let state = match &source {
        Source::ControlPlane { state, .. } => Some(StateFolder::open(state)?),
        Source::Files(_) => None,
    };
    let last_inbound = state.as_ref().map(StateFolder::inbound_address).transpose()?.flatten();
    let pod = addresses.pod.clone();
    let mut bound = bind(addresses, last_inbound, workers)?;
    let mut faces = Vec::new();
    if let Some(pod) = pod {
        let captured = intercept::bind(workers)?;
        intercept::prove(&captured)?;
        bound.extend(captured);
        faces = status::bind(pod.status_port, pod.app)?;
    }
    let admin = TcpListener::bind(serve.admin).with_context(|| taken("--admin", serve.admin))?;
    let configured = configure(source, state, &bound, Arc::clone(&identity), publisher)?;
    let shared = Arc::new(Shared {
        plans: Arc::clone(&plans),
        identity,
        discovery: configured.discovery(),
        telemetry: Arc::clone(&telemetry),
        engine,
        settings: serve.settings.clone(),
        app_side: bound.iter().filter(|b| b.door.side() == Side::Outbound).map(|b| b.address).collect(),
        captured: bound.iter().filter(|b| matches!(b.door, Door::Captured(_))).map(|b| b.address.port()).collect(),
    });
    let outbound = address_of(&bound, Door::Outbound);
    let ports = ports(&bound, admin.local_addr()?);
    let (phase, workers) = start_workers(&shared, bound, workers)?;
    let stages = Arc::new(Stages::default());
    let sources = Sources {
        plan: Arc::clone(&plans),
        telemetry: Arc::clone(&telemetry),
        stages: Arc::clone(&stages),
        control: configured.control.as_ref().map(Control::status),
        log,
    };
    let admin = Admin::start_with(admin, faces, sources)?;
    if let Some(file) = &serve.ports_file {
        write_ports(file, &ports)?;
    }
    tracing::info!(ports = %serde_json::Value::Object(ports), "listening");
    let drain = serve.settings.drain;
    let ending = Ending { phase, stages, plans, workers, control: configured.control, drain, outbound };
    let code = ending.run(&command);
    admin.stop();
    telemetry.flush();
    code
}

/// Who gives the configuration, running.
struct Configured {
    control: Option<Control>,
}

impl Configured {
    fn discovery(&self) -> Arc<dyn Discovery> {
        self.control.as_ref().map_or_else(|| Arc::new(Complete) as _, Control::discovery)
    }
}

fn configure(
    source: Source,
    state: Option<StateFolder>,
    bound: &[Bound],
    identity: Arc<IdentityCell>,
    publisher: Publisher,
) -> anyhow::Result<Configured> {
    match (source, state) {
        (Source::ControlPlane { addresses, first, workload, .. }, Some(state)) => {
            let captured = bound.iter().any(|bound| matches!(bound.door, Door::Captured(_)));
            let options = ControlOptions {
                addresses,
                first,
                workload,
                inbound: address_of(bound, Door::Inbound).or(captured.then_some(control::CAPTURED)),
                artifact_key: artifact_key(),
                state,
                pace: Pace::default(),
            };
            Ok(Configured { control: Some(control::start(options, identity, Box::new(publisher))?) })
        }
        (Source::Files(told), _) => {
            files::follow(told, publisher)?;
            Ok(Configured { control: None })
        }
        (Source::ControlPlane { state, .. }, None) => anyhow::bail!("the state folder {} is not open", state.display()),
    }
}

/// `last_inbound` is where peers knew this proxy before it was started again: taken again if any port will do.
fn bind(addresses: Addresses, last_inbound: Option<SocketAddr>, workers: usize) -> anyhow::Result<Vec<Bound>> {
    let mut bound = Vec::new();
    if let Some(inbound) = addresses.inbound {
        let again = last_inbound.filter(|last| inbound.port() == 0 && last.ip() == inbound.ip());
        let again = again.and_then(|last| listener::bind(Door::Inbound, last, workers).ok());
        bound.push(match again {
            Some(again) => again,
            None => listener::bind(Door::Inbound, inbound, workers).with_context(|| taken("--inbound", inbound))?,
        });
    }
    for (door, option, address) in
        [(Door::Outbound, "--outbound", addresses.outbound), (Door::Listen, "--listen", addresses.listen)]
    {
        if let Some(address) = address {
            bound.push(listener::bind(door, address, workers).with_context(|| taken(option, address))?);
        }
    }
    Ok(bound)
}

fn taken(option: &str, address: SocketAddr) -> String {
    format!("cannot listen on {address}; choose another address with {option} (port 0: any)")
}

fn address_of(bound: &[Bound], door: Door) -> Option<SocketAddr> {
    bound.iter().find(|bound| bound.door == door).map(|bound| bound.address)
}

/// A worker's thread, and what it has left to do.
pub struct Running {
    pub thread: std::thread::JoinHandle<()>,
    pub remaining: Arc<Remaining>,
}

fn start_workers(
    shared: &Arc<Shared>,
    bound: Vec<Bound>,
    workers: usize,
) -> anyhow::Result<(watch::Sender<Phase>, Vec<Running>)> {
    let (phase, watched) = watch::channel(Phase::Serving);
    let mut doors: Vec<Vec<(Door, TcpListener)>> = (0..workers).map(|_| Vec::new()).collect();
    for bound in bound {
        for (doors, socket) in doors.iter_mut().zip(bound.sockets) {
            doors.push((bound.door, socket));
        }
    }
    let mut running = Vec::new();
    for (index, doors) in doors.into_iter().enumerate() {
        let remaining = Arc::<Remaining>::default();
        let post = Post { index, doors, phase: watched.clone(), remaining: Arc::clone(&remaining) };
        let thread = worker::spawn(Arc::clone(shared), post).context("cannot start a worker thread")?;
        running.push(Running { thread, remaining });
    }
    Ok((phase, running))
}

fn ports(bound: &[Bound], admin: SocketAddr) -> serde_json::Map<String, serde_json::Value> {
    let name = |door| match door {
        Door::Inbound => "inbound",
        Door::Outbound => "outbound",
        Door::Listen => "listen",
        Door::Captured(Side::Inbound) => "captured_inbound",
        Door::Captured(Side::Outbound) => "captured_outbound",
    };
    let bound = bound.iter().map(|bound| (name(bound.door), bound.address));
    let all = bound.chain([("admin", admin)]);
    all.map(|(name, address)| (name.to_owned(), address.to_string().into())).collect()
}

/// Whole or not at all: who waits for the file never reads half of it.
fn write_ports(file: &Path, ports: &serde_json::Map<String, serde_json::Value>) -> anyhow::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let text = format!("{}\n", serde_json::Value::Object(ports.clone()));
    let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, file));
    written.with_context(|| format!("cannot write --ports-file {}", file.display()))
}
