//! Opaque bytes: from a client to an endpoint and back, each direction ending by itself.
//!
//! Nothing is read of what is carried; it is counted.

use crate::connection::Connection;
use crate::exchange::{End, Exchange, unknown_facts};
use crate::locate::{permit, receive_captured, receive_place};
use crate::origin::Origin;
use crate::record::{Kind, RequestFacts, Target};
use crate::refusal::Refusal;
use crate::stream::Stream;
use crate::telemetry::TcpSeries;
use crate::tls::Alpn;
use crate::upstream::limits::{Resource, Taken};
use crate::upstream::{Backend, Dialled, InFlight, Lease, dial};
use http::{HeaderValue, Method, Version};
use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use weft_snapshot::Protocol;

/// An open way to an endpoint, and what it takes there.
pub struct Way {
    upstream: Stream,
    _held: Held,
}

/// Given back when the bytes have ended.
enum Held {
    Dialled { _load: InFlight, _room: Taken },
    Upgraded { _lease: Lease },
}

impl Way {
    /// An HTTP connection that was upgraded.
    pub fn upgraded(upstream: Stream, lease: Lease) -> Self {
        Self { upstream, _held: Held::Upgraded { _lease: lease } }
    }
}

/// To the workload's own app: from a peer's sidecar, which named the port in its SNI, or redirected on the way there.
pub async fn serve_inbound(stream: Stream, connection: Rc<Connection>) {
    let mut exchange = Exchange::open(Rc::clone(&connection), tcp_facts());
    match way_to_app(&mut exchange).await {
        Ok(way) => carry(exchange, stream, way).await,
        Err(refusal) => refuse(exchange, &refusal),
    }
}

async fn way_to_app(exchange: &mut Exchange) -> Result<Way, Refusal> {
    let connection = Rc::clone(&exchange.connection);
    let plan = &exchange.record.plan;
    let (received, named) = match &connection.origin {
        Origin::Sidecar(place) => (receive_place(plan, place), place.host.clone()),
        Origin::Received { to, named } => {
            let (host, port) = named.as_ref().map_or(("", None), |place| (place.host.as_str(), Some(place.port)));
            (receive_captured(plan, *to, host, port), to.to_string())
        }
        _ => return Err(Refusal::BadRequest { reason: "opaque bytes need a sidecar that says where they go" }),
    };
    let received = received.ok_or(Refusal::NoRoute { service: named })?;
    let port = &received.port;
    exchange.record.service = Some(Arc::clone(&received.service));
    exchange.record.target = Target::Inbound(Arc::clone(port));
    permit(&connection, &received)?;
    // Filters see HTTP. Where the port is not declared TCP, bytes would be a way round them.
    if port.protocol != Protocol::Tcp && (!port.filters.is_empty() || port.protocol != Protocol::Detect) {
        return Err(Refusal::BadRequest { reason: "the port speaks HTTP" });
    }
    way(exchange, &received.app(&connection)).await
}

/// Opens a connection to one of the backend's endpoints, trying another where one does not answer.
pub async fn way(exchange: &mut Exchange, backend: &Rc<Backend>) -> Result<Way, Refusal> {
    let worker = Rc::clone(&exchange.connection.worker);
    let room = Taken::of(backend.policy.limits.as_ref(), Resource::Connections).map_err(|full| Refusal::Overflow {
        backend: backend.name.to_string(),
        what: full.resource.name(),
        max: full.max,
    })?;
    let mut met = Vec::new();
    loop {
        let load = |index: usize| backend.endpoints[index].load();
        let picked = backend.balancer.pick_other(|index| met.contains(&index), load, |below| worker.draw(below));
        let picked = picked.ok_or_else(|| Refusal::NoEndpoint { backend: backend.name.to_string() })?;
        met.push(picked);
        exchange.record.tries += 1;
        let endpoint = &backend.endpoints[picked];
        let load = endpoint.enter();
        match dial(&worker, backend, endpoint, Alpn::Tcp).await {
            Ok(Dialled { stream, facts }) => {
                exchange.record.upstream = Some(facts);
                return Ok(Way { upstream: stream, _held: Held::Dialled { _load: load, _room: room } });
            }
            Err(error) => {
                exchange.record.upstream_failure = Some(error.to_string());
                if met.len() >= CONNECTS_MAX.min(backend.endpoints.len()) {
                    return Err(error.into_refusal(backend, endpoint));
                }
            }
        }
    }
}

/// Moves bytes both ways until both directions have ended, or nothing came for too long, or the proxy stops.
pub async fn carry(mut exchange: Exchange, client: Stream, way: Way) {
    let connection = Rc::clone(&exchange.connection);
    let tcp = exchange.record.request.kind == Kind::Tcp;
    let meter = Meter::new(tcp.then(|| connection.worker.shard.tcp(&exchange.record)));
    let mut client = Metered { stream: client, count: &meter.received, meter: &meter };
    let mut upstream = Metered { stream: way.upstream, count: &meter.sent, meter: &meter };
    if let Some(series) = &meter.series {
        series.opened();
    }
    let idle = connection.worker.settings.tcp_idle_timeout;
    let ended = tokio::select! {
        copied = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER_BYTES, BUFFER_BYTES) => {
            copied.map(drop).map_err(|error| error.to_string())
        }
        () = meter.silent_for(idle) => Err(format!("no byte came for {idle:?}")),
        () = connection.entry.closed() => Err("the proxy stops".to_owned()),
    };
    if let Some(series) = &meter.series {
        series.closed();
    }
    let record = &mut exchange.record;
    record.bytes_received = meter.received.get();
    record.bytes_sent = meter.sent.get();
    record.reason = ended.err();
    exchange.close(End::Complete);
}

/// The log says why; the client sees its connection end.
pub fn refuse(mut exchange: Exchange, refusal: &Refusal) {
    let terms = refusal.terms();
    (exchange.record.flag, exchange.record.details) = (terms.flag, terms.details);
    exchange.record.reason = Some(refusal.to_string());
    exchange.close(End::Broken);
}

pub fn tcp_facts() -> RequestFacts {
    let facts = unknown_facts(Method::CONNECT, Version::HTTP_11, HeaderValue::from_static(""));
    RequestFacts { kind: Kind::Tcp, ..facts }
}

/// What has been moved, and when last.
struct Meter {
    /// `None` for what began as an HTTP request and is counted as one.
    series: Option<TcpSeries>,
    received: Cell<u64>,
    sent: Cell<u64>,
    last: Cell<Instant>,
}

impl Meter {
    fn new(series: Option<TcpSeries>) -> Self {
        Self { series, received: Cell::new(0), sent: Cell::new(0), last: Cell::new(Instant::now()) }
    }

    async fn silent_for(&self, limit: Duration) {
        loop {
            let until = self.last.get() + limit;
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

/// One side; what is read from it is counted.
struct Metered<'a> {
    stream: Stream,
    count: &'a Cell<u64>,
    meter: &'a Meter,
}

impl AsyncRead for Metered<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let read = (buffer.filled().len() - before) as u64;
        if read > 0 {
            self.count.set(self.count.get() + read);
            self.meter.last.set(Instant::now());
            match &self.meter.series {
                Some(series) if std::ptr::eq(self.count, &self.meter.received) => series.received(read),
                Some(series) => series.sent(read),
                None => {}
            }
        }
        polled
    }
}

impl AsyncWrite for Metered<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Of each direction of one connection.
const BUFFER_BYTES: usize = 16 * 1024;
/// Endpoints tried for one connection.
const CONNECTS_MAX: usize = 3;
