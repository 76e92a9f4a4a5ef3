//! A whole proxy in this process: its workers on their threads, its plan and identity in the test's hand.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;
use weft_filter_host::{Engine, EngineOptions};
use weft_proxy::discovery::{Complete, Discovery};
use weft_proxy::listener::{self, Door};
use weft_proxy::plan::{self, Artifacts, Next, PlanCell, Publisher};
use weft_proxy::settings::Settings;
use weft_proxy::telemetry::{LogFormat, LogOptions, LogTarget, Telemetry};
use weft_proxy::tls::{self, Identity, IdentityCell};
use weft_proxy::worker::{self, Phase, Post, Remaining, Shared};
use weft_snapshot::{Digest, Snapshot};

pub struct Proxy {
    pub inbound: SocketAddr,
    pub outbound: SocketAddr,
    pub listen: SocketAddr,
    pub identity: Arc<IdentityCell>,
    pub phase: watch::Sender<Phase>,
    publisher: std::sync::Mutex<Publisher>,
    threads: Vec<std::thread::JoinHandle<()>>,
    log: tempfile::TempDir,
}

pub struct Setup {
    pub snapshot: Option<Snapshot>,
    pub identity: Option<Identity>,
    pub settings: Settings,
    pub workers: usize,
    pub discovery: Option<Arc<dyn Discovery>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { snapshot: None, identity: None, settings: Settings::default(), workers: 1, discovery: None }
    }
}

impl From<Snapshot> for Setup {
    fn from(snapshot: Snapshot) -> Self {
        Self { snapshot: Some(snapshot), ..Self::default() }
    }
}

struct NoArtifacts;

impl Artifacts for NoArtifacts {
    fn path(&self, _: &Digest) -> Option<PathBuf> {
        None
    }
}

impl Proxy {
    pub fn start(setup: impl Into<Setup>) -> Self {
        let Setup { snapshot, identity: given, settings, workers, discovery } = setup.into();
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let engine = Engine::new(EngineOptions { workers, policies_max: 1, ..EngineOptions::default() }).unwrap();
        let log = tempfile::tempdir().unwrap();
        let options = LogOptions { target: LogTarget::File(log.path().join("log")), format: LogFormat::Json };
        let telemetry = Telemetry::new(workers, Some(options)).unwrap();
        let kind = if discovery.is_some() { plan::Discovery::OnDemand } else { plan::Discovery::Complete };
        let plans = PlanCell::new(kind);
        let publisher = Publisher::new(engine.clone(), workers, kind, Arc::clone(&plans));
        let identity = IdentityCell::new(tls::provider());
        if let Some(given) = given {
            identity.replace(given).unwrap();
        }
        let bound =
            [Door::Inbound, Door::Outbound, Door::Listen].map(|door| listener::bind(door, loopback, workers).unwrap());
        let [inbound, outbound, listen] = [0, 1, 2].map(|index: usize| bound[index].address);
        let shared = Arc::new(Shared {
            plans,
            identity: Arc::clone(&identity),
            discovery: discovery.unwrap_or_else(|| Arc::new(Complete)),
            telemetry,
            engine,
            settings,
            app_side: vec![outbound, listen],
            captured: Vec::new(),
        });
        let (phase, watched) = watch::channel(Phase::Serving);
        let mut doors: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
        for bound in bound {
            for (doors, socket) in doors.iter_mut().zip(bound.sockets) {
                doors.push((bound.door, socket));
            }
        }
        let start = |(index, doors)| {
            let remaining = Arc::<Remaining>::default();
            worker::spawn(Arc::clone(&shared), Post { index, doors, phase: watched.clone(), remaining }).unwrap()
        };
        let threads = doors.into_iter().enumerate().map(start).collect();
        let publisher = std::sync::Mutex::new(publisher);
        let proxy = Self { inbound, outbound, listen, identity, phase, publisher, threads, log };
        if let Some(snapshot) = snapshot {
            proxy.publish(&snapshot);
        }
        proxy
    }

    pub fn publish(&self, snapshot: &Snapshot) {
        static REVISIONS: AtomicU64 = AtomicU64::new(1);
        let revision = REVISIONS.fetch_add(1, Ordering::Relaxed).to_string();
        let next = Next { snapshot, update: None, revision: &revision };
        self.publisher.lock().unwrap().publish(&next, &NoArtifacts).unwrap();
    }

    /// True once all workers have ended by themselves.
    pub fn ended(&self) -> bool {
        self.threads.iter().all(|thread| thread.is_finished())
    }

    /// The lines of the access log so far.
    pub fn log(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.log.path().join("log")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The first line of which `is` is true, as soon as it is written.
    pub async fn logged(&self, what: &str, is: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        crate::eventually(&format!("a log line: {what}"), async || self.log().into_iter().find(|line| is(line))).await
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Stopping);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}
