//! The proxy's side of the control plane: its identity, the stream, and what it asks for.
//!
//! Runs on a thread of its own; workers see only what it publishes. It does not know how a plan is made or served.

mod authority;
mod backoff;
mod credentials;
mod dial;
mod driver;
mod event;
mod fetch;
mod first;
mod held;
mod link;
mod publication;
mod rpc;
mod session;
mod signature;
mod status;
mod subscriptions;
mod svid;
mod task;
mod token;

pub use authority::controlplane_id;
pub use dial::{DialError, Reach};
pub use first::{FirstContact, Projected, ProjectedError};
pub use publication::Publish;
pub use status::{Facts, Link, Nacked, StatusCell, Traffic};
pub use svid::SignError;
pub use token::{JoinToken, TokenError};

use crate::discovery::Discovery;
use crate::state::{StateError, StateFolder};
use crate::tls::{self, IdentityCell, IdentityError};
use backoff::Backoff;
use credentials::Credentials;
use driver::{Core, Inbox, Leaving};
use event::{Ask, Event};
use publication::Publication;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use subscriptions::Subscriptions;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use weft_snapshot::{Host, SpiffeId, WorkloadName};

/// What a joined proxy needs to know at its start.
#[derive(Debug)]
pub struct ControlOptions {
    /// HOST:PORT each, tried in this order.
    pub addresses: Vec<String>,
    /// Needed where the state folder has no identity yet.
    pub first: Option<FirstContact>,
    pub workload: WorkloadName,
    /// Where peers reach the inbound side; [`CAPTURED`] with interception.
    pub inbound: Option<SocketAddr>,
    /// Which artifacts this proxy can load: `weft_filter_host::artifact_key()`.
    pub artifact_key: String,
    pub state: StateFolder,
    pub pace: Pace,
}

/// How patient the control thread is.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub reach: Reach,
    /// First and longest pause between tries.
    pub retry_first: Duration,
    pub retry_max: Duration,
    /// A stream that lived this long starts the pauses over.
    pub stable_after: Duration,
    /// A host that no request named for this long is not watched any more.
    pub unused_max: Duration,
    /// How often that is looked at.
    pub sweep_every: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            reach: Reach { answer_max: Duration::from_secs(10), ping_every: Duration::from_secs(10) },
            retry_first: Duration::from_millis(200),
            retry_max: Duration::from_secs(5),
            stable_after: Duration::from_secs(10),
            unused_max: Duration::from_secs(600),
            sweep_every: Duration::from_secs(30),
        }
    }
}

/// Why the control thread cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Files(#[from] ProjectedError),
    #[error("the SVID in {} is not usable: {reason}; join again with --token", state.display())]
    Svid { state: PathBuf, reason: String },
    #[error("the identity in the state folder is not usable: {0}; join again with --token")]
    Identity(IdentityError),
    #[error(
        "this proxy has never joined (there is no identity in {}) and has no join token; \
         make one with `weft token create --for NAMESPACE/SERVICEACCOUNT` and pass it with --token", state.display()
    )]
    NeverJoined { state: PathBuf },
    #[error("the join token for {identity} has expired; make a new one with `weft token create`")]
    TokenExpired { identity: SpiffeId },
    #[error(
        "workload {workload} cannot have the identity {identity}: their namespaces differ; check --workload and --token"
    )]
    Namespace { workload: WorkloadName, identity: SpiffeId },
    #[error("a thread for the control plane cannot be started: {0}")]
    Thread(std::io::Error),
}

/// Why the control thread ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("this proxy cannot join: {0}")]
    Join(SignError),
}

/// The running control thread. Dropping it ends the thread; the plan and the identity stay as they are.
#[derive(Debug)]
pub struct Control {
    discovery: Arc<Asking>,
    status: Arc<StatusCell>,
    orders: mpsc::Sender<Order>,
    failure: Option<oneshot::Receiver<ControlError>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Order {
    Leave,
}

/// What the loop needs of the options.
#[derive(Debug)]
struct Setting {
    addresses: Vec<String>,
    workload: WorkloadName,
    inbound: Option<SocketAddr>,
    artifact_key: String,
    pace: Pace,
}

/// The workers' way to ask; a full queue drops the wish, whose exchange then times out as if there were no answer.
#[derive(Debug)]
struct Asking(mpsc::Sender<Ask>);

impl Discovery for Asking {
    fn ask(&self, host: &Host) {
        let _ = self.0.try_send(Ask::Wanted(host.clone()));
    }

    fn used(&self, host: &Host) {
        let _ = self.0.try_send(Ask::Used(host.clone()));
    }
}

/// Reads the state folder, then starts the thread, which first serves what lies there.
pub fn start(
    options: ControlOptions,
    identity: Arc<IdentityCell>,
    publish: Box<dyn Publish>,
) -> Result<Control, StartError> {
    let ControlOptions { addresses, first, workload, inbound, artifact_key, state, pace } = options;
    let (state, now) = (Arc::new(state), SystemTime::now());
    let pauses = Backoff::new(pace.retry_first, pace.retry_max);
    let credentials = Credentials::load(Arc::clone(&state), Arc::clone(&identity), first, pauses.clone(), now)?;
    credentials.check_workload(&workload)?;
    if let Some(address) = inbound {
        state.save_inbound_address(address)?;
    }
    let status = StatusCell::new(now);
    let (events, happened) = mpsc::channel(EVENTS_MAX);
    let start = Instant::now();
    let core = Core {
        publication: Publication::new(state, publish, workload.clone(), artifact_key.clone())
            .map_err(StartError::Thread)?,
        setting: Setting { addresses, workload, inbound, artifact_key, pace },
        provider: tls::provider(),
        cell: identity,
        credentials,
        subscriptions: Subscriptions::new(pace.unused_max),
        status: Arc::clone(&status),
        events,
        link: link::Link::Down { retry_at: start },
        backoff: pauses,
        sessions: 0,
        sweep_at: start + pace.sweep_every,
        leaving: Leaving::No,
    };
    spawn(core, happened, status)
}

fn spawn(core: Core, events: mpsc::Receiver<Event>, status: Arc<StatusCell>) -> Result<Control, StartError> {
    let (asks, asked) = mpsc::channel(ASKS_MAX);
    let (orders, ordered) = mpsc::channel(ORDERS_MAX);
    let (fail, failure) = oneshot::channel();
    let inbox = Inbox { orders: ordered, events, asks: asked };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
    let body = move || {
        if let Err(error) = runtime.block_on(core.run(inbox)) {
            // Who waits for it says it; where nobody does, it is said here.
            if let Err(error) = fail.send(error) {
                tracing::error!("{error}");
            }
        }
    };
    let thread = std::thread::Builder::new().name("weft-control".to_owned()).spawn(body).map_err(StartError::Thread)?;
    let discovery = Arc::new(Asking(asks));
    Ok(Control { discovery, status, orders, failure: Some(failure), thread: Some(thread) })
}

impl Control {
    /// For the workers.
    pub fn discovery(&self) -> Arc<dyn Discovery> {
        Arc::clone(&self.discovery) as _
    }

    /// For the admin port.
    pub fn status(&self) -> Arc<StatusCell> {
        Arc::clone(&self.status)
    }

    /// Tells the control plane that this proxy drains, so that its endpoints get no new request. Never blocks.
    pub fn leave(&self) {
        let _ = self.orders.try_send(Order::Leave);
    }

    /// Resolves when the thread gave up: joining was refused, and there is nothing to serve. Taken once.
    pub fn failure(&mut self) -> Option<oneshot::Receiver<ControlError>> {
        self.failure.take()
    }

    /// Ends the thread and waits for it.
    pub fn stop(self) {
        let Self { discovery, orders, thread, .. } = self;
        drop((discovery, orders));
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// Of a sidecar to which connections are redirected: what is sent to its app comes to it.
pub const CAPTURED: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Wishes of workers that the control thread has not seen yet.
const ASKS_MAX: usize = 1024;
const EVENTS_MAX: usize = 64;
const ORDERS_MAX: usize = 8;
