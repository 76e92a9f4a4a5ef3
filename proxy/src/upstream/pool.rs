//! Which connection carries the next request to an endpoint: an idle one, a shared one, or a new one.
//!
//! Per worker, so nothing here is locked. It does not choose the endpoint and does not read responses.

use super::limits::{Full, Resource, Taken};
use super::wakes::{Held, Wakes};
use super::{Backend, ConnectError, Endpoint, InFlight, Protocol, dial};
use crate::body::RequestBody;
use crate::connections::Tick;
use crate::http::{LocalExecutor, client};
use crate::record::UpstreamFacts;
use crate::tls::Alpn;
use crate::worker::Worker;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// An HTTP/1 connection that carries nothing right now.
pub(super) struct Idle {
    pub(super) sender: http1::SendRequest<RequestBody>,
    pub(super) facts: Rc<UpstreamFacts>,
    /// The worker's tick.
    pub(super) since: u32,
    requests: u32,
    wakes: Arc<Wakes>,
}

/// An HTTP/2 connection.
pub(super) struct Shared {
    pub(super) sender: http2::SendRequest<RequestBody>,
    pub(super) facts: Rc<UpstreamFacts>,
    pub(super) since: Cell<u32>,
    streams: Cell<u32>,
    requests: Cell<u32>,
}

/// A connection for one request.
pub(super) struct Checked {
    pub(super) carrier: Carrier,
    pub(super) freshness: Freshness,
}

pub(super) enum Carrier {
    Exclusive(Idle),
    Shared(Seat),
}

/// A stream's place on a shared connection, from before its request is sent.
pub(super) struct Seat {
    pub(super) shared: Rc<Shared>,
    tick: Arc<Tick>,
}

impl Seat {
    fn take(shared: Rc<Shared>, worker: &Worker) -> Self {
        shared.streams.set(shared.streams.get() + 1);
        shared.requests.set(shared.requests.get().saturating_add(1));
        Self { shared, tick: Arc::clone(&worker.tick) }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.streams.set(self.shared.streams.get().saturating_sub(1));
        self.shared.since.set(self.tick.seconds());
    }
}

impl Carrier {
    pub(super) fn facts(&self) -> &Rc<UpstreamFacts> {
        match self {
            Self::Exclusive(idle) => &idle.facts,
            Self::Shared(seat) => &seat.shared.facts,
        }
    }

    /// Ticks since it carried something last, or was opened.
    pub(super) fn idle_for(&self, now: u32) -> u32 {
        match self {
            Self::Exclusive(idle) => now.saturating_sub(idle.since),
            Self::Shared(seat) => now.saturating_sub(seat.shared.since.get()),
        }
    }
}

/// A reused connection may have been closed by the peer just now; a new one has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    New,
    Reused,
}

#[derive(Debug)]
pub(super) enum Shortage {
    Full(Full),
    Connect(ConnectError),
}

impl Idle {
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl Shared {
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }
}

/// Which idle connections may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefer {
    Any,
    /// Two idle ones turned out to be closed: no more guessing.
    New,
}

/// What most requests need: the last used connection, if it can carry one right now.
pub(super) fn at_hand(endpoint: &Endpoint, protocol: Protocol, prefer: Prefer) -> Option<Checked> {
    if protocol != Protocol::Http1 || prefer != Prefer::Any {
        return None;
    }
    let idle = endpoint.idle.borrow_mut().pop_if(|idle| idle.sender.is_ready())?;
    Some(Checked { carrier: Carrier::Exclusive(idle), freshness: Freshness::Reused })
}

pub(super) async fn checkout(
    worker: &Worker,
    backend: &Rc<Backend>,
    endpoint: &Rc<Endpoint>,
    protocol: Protocol,
    prefer: Prefer,
) -> Result<Checked, Shortage> {
    match protocol {
        Protocol::Http1 => {
            if prefer == Prefer::Any
                && let Some(idle) = take_idle(endpoint).await
            {
                return Ok(Checked { carrier: Carrier::Exclusive(idle), freshness: Freshness::Reused });
            }
            // Opening is rare, and its future large: it must not make every request's larger.
            Box::pin(exclusive(worker, backend, endpoint)).await
        }
        Protocol::Http2 => shared(worker, backend, endpoint).await,
    }
}

/// The last used one: it is the most likely to be open still, and the others can grow old.
async fn take_idle(endpoint: &Endpoint) -> Option<Idle> {
    loop {
        let mut idle = endpoint.idle.borrow_mut().pop()?;
        if idle.sender.is_ready() {
            return Some(idle);
        }
        // Its response has just ended, and its task has not been polled since; or it is closed.
        idle.wakes.pass_on();
        if !idle.is_closed() && idle.sender.ready().await.is_ok() {
            return Some(idle);
        }
    }
}

async fn exclusive(worker: &Worker, backend: &Rc<Backend>, endpoint: &Rc<Endpoint>) -> Result<Checked, Shortage> {
    let limits = backend.policy.limits.as_ref();
    let _pending = Taken::of(limits, Resource::PendingRequests).map_err(Shortage::Full)?;
    let room = loop {
        match Taken::of(limits, Resource::Connections) {
            Ok(room) => break room,
            Err(_) => room_or_time(backend).await,
        }
        if let Some(idle) = take_idle(endpoint).await {
            return Ok(Checked { carrier: Carrier::Exclusive(idle), freshness: Freshness::Reused });
        }
    };
    let dialled = dial(worker, backend, endpoint, Alpn::Http1).await.map_err(Shortage::Connect)?;
    let handshake = client::http1().handshake(TokioIo::new(dialled.stream)).await;
    let (sender, connection) = handshake.map_err(http_failed)?;
    let wakes = Arc::<Wakes>::default();
    let carried = Arc::clone(&wakes).carry(connection.with_upgrades());
    spawn(worker, backend, room, async move { drop(carried.await) });
    let idle = Idle { sender, facts: dialled.facts, since: worker.tick.seconds(), requests: 0, wakes };
    Ok(Checked { carrier: Carrier::Exclusive(idle), freshness: Freshness::New })
}

async fn shared(worker: &Worker, backend: &Rc<Backend>, endpoint: &Rc<Endpoint>) -> Result<Checked, Shortage> {
    let mut waited = Freshness::Reused;
    loop {
        if let Some(shared) = with_room(endpoint, &backend.policy.requests_per_connection_max) {
            let carrier = Carrier::Shared(Seat::take(shared, worker));
            return Ok(Checked { carrier, freshness: waited });
        }
        if !endpoint.opening.get() {
            break;
        }
        opened(endpoint).await;
        waited = Freshness::New;
    }
    Box::pin(open_shared(worker, backend, endpoint)).await
}

async fn open_shared(worker: &Worker, backend: &Rc<Backend>, endpoint: &Rc<Endpoint>) -> Result<Checked, Shortage> {
    let limits = backend.policy.limits.as_ref();
    let _pending = Taken::of(limits, Resource::PendingRequests).map_err(Shortage::Full)?;
    let room = Taken::of(limits, Resource::Connections).map_err(Shortage::Full)?;
    let _opening = Opening::begin(endpoint);
    let dialled = dial(worker, backend, endpoint, Alpn::H2).await.map_err(Shortage::Connect)?;
    let handshake = client::http2(LocalExecutor).handshake(TokioIo::new(dialled.stream)).await;
    let (sender, connection) = handshake.map_err(http_failed)?;
    spawn(worker, backend, room, async move { drop(connection.await) });
    let (streams, requests) = (Cell::new(0), Cell::new(0));
    let since = Cell::new(worker.tick.seconds());
    let shared = Rc::new(Shared { sender, facts: dialled.facts, since, streams, requests });
    endpoint.shared.borrow_mut().push(Rc::clone(&shared));
    Ok(Checked { carrier: Carrier::Shared(Seat::take(shared, worker)), freshness: Freshness::New })
}

fn http_failed(error: hyper::Error) -> Shortage {
    Shortage::Connect(ConnectError::Http { reason: error.to_string() })
}

fn with_room(endpoint: &Endpoint, requests_max: &Option<u32>) -> Option<Rc<Shared>> {
    let mut all = endpoint.shared.borrow_mut();
    // One that has carried all it may is left to finish; it closes when its last user drops it.
    let used_up = |shared: &Shared| requests_max.is_some_and(|max| shared.requests.get() >= max);
    if all.iter().any(|shared| shared.is_closed() || used_up(shared)) {
        all.retain(|shared| !shared.is_closed() && !used_up(shared));
    }
    all.iter().find(|shared| shared.streams.get() < STREAMS_PER_CONNECTION_MAX).cloned()
}

/// The task that moves a connection's bytes; what it took is given back when the connection ends.
fn spawn(worker: &Worker, backend: &Rc<Backend>, room: Taken, connection: impl Future<Output = ()> + 'static) {
    let gauges = Arc::clone(&worker.shard.gauges);
    let backend = Rc::downgrade(backend);
    gauges.upstream_connections.up();
    tokio::task::spawn_local(async move {
        connection.await;
        gauges.upstream_connections.down();
        drop(room);
        if let Some(backend) = backend.upgrade() {
            backend.wake_waiting();
        }
    });
}

/// Until a connection of this worker ends or goes idle. Other workers tell nobody, so time passes for an answer, too.
async fn room_or_time(backend: &Backend) {
    let mut registered = false;
    let woken = std::future::poll_fn(|cx| {
        if std::mem::replace(&mut registered, true) {
            return Poll::Ready(());
        }
        backend.waiting.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    });
    // Whether it was the waker or the clock: the caller looks again.
    let _ = tokio::time::timeout(OTHER_WORKERS, woken).await;
}

async fn opened(endpoint: &Endpoint) {
    std::future::poll_fn(|cx| {
        if !endpoint.opening.get() {
            return Poll::Ready(());
        }
        endpoint.waiting.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    })
    .await;
}

/// While it lives an HTTP/2 connection is being opened; the end, good or bad, wakes those who wait.
struct Opening(Rc<Endpoint>);

impl Opening {
    fn begin(endpoint: &Rc<Endpoint>) -> Self {
        endpoint.opening.set(true);
        Self(Rc::clone(endpoint))
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.opening.set(false);
        let waiting = std::mem::take(&mut *self.0.waiting.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// Holds the connection for one exchange, and the room that the exchange takes.
pub struct Lease {
    carrier: Carrier,
    backend: Rc<Backend>,
    in_flight: InFlight,
    tick: Arc<Tick>,
    _room: Taken,
}

impl Lease {
    pub(super) fn new(
        worker: &Worker,
        backend: &Rc<Backend>,
        in_flight: InFlight,
        carrier: Carrier,
        room: Taken,
    ) -> Self {
        let (backend, tick) = (Rc::clone(backend), Arc::clone(&worker.tick));
        Self { carrier, backend, in_flight, tick, _room: room }
    }

    /// While a piece of the response is taken: was it the last, the connection need not be woken. On a shared connection
    /// there is always somebody else's.
    pub fn hold_wakes(&self) -> Option<Held<'_>> {
        match &self.carrier {
            Carrier::Exclusive(idle) => Some(idle.wakes.hold()),
            Carrier::Shared(_) => None,
        }
    }

    /// Request and response are over, all of them: an HTTP/1 connection can carry the next. One that is dropped instead
    /// is in the middle of something, and closes.
    pub fn give_back(self) {
        let Self { carrier, backend, in_flight, tick, _room } = self;
        let Carrier::Exclusive(mut idle) = carrier else { return };
        idle.requests = idle.requests.saturating_add(1);
        let used_up = backend.policy.requests_per_connection_max.is_some_and(|max| idle.requests >= max);
        if used_up || idle.is_closed() {
            return;
        }
        idle.since = tick.seconds();
        in_flight.endpoint().idle.borrow_mut().push(idle);
        if !backend.waiting.borrow().is_empty() {
            backend.wake_waiting();
        }
    }
}

/// Requests on one HTTP/2 connection before another is opened; the usual limit of servers.
const STREAMS_PER_CONNECTION_MAX: u32 = 100;
/// How often a request that waits for room looks for what other workers gave back.
const OTHER_WORKERS: Duration = Duration::from_millis(20);
