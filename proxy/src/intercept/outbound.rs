//! What the app sends: HTTP goes by the host that each request names, everything else by the address to which it was
//! sent.
//!
//! Where the mesh knows neither, the connection goes on as if there were no mesh, if that is permitted; never because
//! the control plane is away.

use super::Arrived;
use super::inbound::server_name;
use crate::connection::{Connection, Unserved, detect_within, serve_http};
use crate::detect::{SERVER_FIRST_PORTS, Spoken};
use crate::exchange::{Exchange, PASSTHROUGH};
use crate::locate::{Located, locate_place};
use crate::origin::{Origin, Place};
use crate::plan::{Lookup, Pinned, VirtualHost};
use crate::record::{Side, Target};
use crate::refusal::Refusal;
use crate::stream::Stream;
use crate::tcp::{self, Way};
use crate::worker::Worker;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use weft_snapshot::{Host, Protocol};

pub(super) async fn serve(arrived: Arrived) -> Result<(), Unserved> {
    let Arrived { worker, mut stream, entry, peer, to } = arrived;
    let spoken = tokio::select! {
        biased;
        spoken = first(&worker, &mut stream, to) => spoken?,
        () = entry.given_up() => return Err(Unserved::Draining),
    };
    let connection = Connection::new((worker, entry), Side::Outbound, Origin::Captured(to), peer);
    match spoken {
        // An app that calls a proxy of its own: what it asks of that one is none of ours.
        Spoken::Http1 if stream.prefix().starts_with(b"CONNECT ") => {
            bytes(stream, connection, to, Spoken::Opaque).await
        }
        Spoken::Http1 | Spoken::Http2 => serve_http(stream, spoken, connection).await,
        Spoken::Tls | Spoken::Opaque => bytes(stream, connection, to, spoken).await,
    }
    Ok(())
}

/// What the app speaks. A port that is known to carry bytes is not listened to, and one of which it becomes known
/// meanwhile not any longer: its server may speak first.
async fn first(worker: &Worker, stream: &mut Stream, to: SocketAddr) -> Result<Spoken, Unserved> {
    let declared = declared(&worker.plans.pin(), to);
    let limit = match declared {
        Declared::Bytes => return Ok(Spoken::Opaque),
        Declared::Http => worker.settings.silence.head,
        Declared::Nothing if SERVER_FIRST_PORTS.contains(&to.port()) => return Ok(Spoken::Opaque),
        Declared::Nothing | Declared::Unknown => worker.settings.detect_timeout,
    };
    let seen = async {
        loop {
            match detect_within(stream, limit).await? {
                Some(spoken) => return Ok(spoken),
                None if becomes_http(worker, to) => {}
                None => return Ok(Spoken::Opaque),
            }
        }
    };
    if declared != Declared::Unknown {
        return seen.await;
    }
    tokio::select! {
        biased;
        spoken = seen => spoken,
        () = told_bytes(worker, to) => Ok(Spoken::Opaque),
    }
}

/// What the plan says of an address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Declared {
    Bytes,
    Http,
    /// A service that leaves it open, or no service.
    Nothing,
    /// Nobody has said yet what is there.
    Unknown,
}

fn declared(plan: &Pinned, to: SocketAddr) -> Declared {
    match plan.lookup(&to.ip().to_string()) {
        Lookup::Found(service) => match service.port(to.port()).map(|port| port.protocol) {
            Some(Protocol::Tcp) => Declared::Bytes,
            Some(Protocol::Http | Protocol::Http2) => Declared::Http,
            Some(Protocol::Detect) | None => Declared::Nothing,
        },
        Lookup::Absent => Declared::Nothing,
        Lookup::Unknown => Declared::Unknown,
    }
}

fn becomes_http(worker: &Worker, to: SocketAddr) -> bool {
    declared(&worker.plans.pin(), to) == Declared::Http
}

/// Asks what is at the address, and resolves when the answer is that it carries bytes.
async fn told_bytes(worker: &Worker, to: SocketAddr) {
    let mut changes = worker.cell.changes();
    if let Ok(address) = to.ip().to_string().parse::<Host>() {
        worker.discovery.ask(&address);
    }
    loop {
        if declared(&worker.plans.pin(), to) == Declared::Bytes || changes.changed().await.is_err() {
            return;
        }
    }
}

async fn bytes(mut stream: Stream, connection: Connection, to: SocketAddr, spoken: Spoken) {
    let connection = Rc::new(connection);
    let mut exchange = Exchange::open(Rc::clone(&connection), tcp::tcp_facts());
    let limit = connection.worker.settings.detect_timeout;
    match way(&mut exchange, &mut stream, (to, spoken), limit).await {
        Ok(way) => tcp::carry(exchange, stream, way).await,
        Err(refusal) => tcp::refuse(exchange, &refusal),
    }
}

/// By address; TLS to an address that is nobody's by the name that it asks for; else on to where it was going.
async fn way(
    exchange: &mut Exchange,
    stream: &mut Stream,
    (to, spoken): (SocketAddr, Spoken),
    limit: Duration,
) -> Result<Way, Refusal> {
    let worker = Rc::clone(&exchange.connection.worker);
    let place = Place { host: to.ip().to_string(), port: to.port() };
    let mut located = locate_place(&worker, &mut exchange.record.plan, place.clone()).await?;
    if spoken == Spoken::Tls && !serves(&located, to.port()) {
        let named = server_name(stream, limit).await.ok().flatten();
        if let Some(host) = named.filter(|name| name.parse::<Host>().is_ok()) {
            let named = Place { host, port: to.port() };
            let by_name = locate_place(&worker, &mut exchange.record.plan, named).await?;
            if serves(&by_name, to.port()) || !matches!(located, Located::Service(..)) {
                located = by_name;
            }
        }
    }
    match located {
        Located::Service(service, port) if service.serves(port) => to_service(exchange, &service, port).await,
        // The mesh knows the name and not the port: to everyone who is not in the mesh that is an address like others.
        Located::Service(..) => match exchange.record.plan.outbound {
            weft_snapshot::OutboundPolicy::AllowAny => on(exchange, to).await,
            weft_snapshot::OutboundPolicy::RegistryOnly => Err(black_hole(exchange, &place.host)),
        },
        Located::Passthrough(_, facts) => {
            exchange.record.service = Some(facts);
            on(exchange, to).await
        }
        Located::BlackHole(facts) => {
            exchange.record.service = Some(facts);
            Err(black_hole(exchange, &place.host))
        }
    }
}

fn serves(located: &Located, port: u16) -> bool {
    matches!(located, Located::Service(service, _) if service.port(port).is_some())
}

async fn to_service(exchange: &mut Exchange, service: &Arc<VirtualHost>, port: u16) -> Result<Way, Refusal> {
    let connection = Rc::clone(&exchange.connection);
    exchange.record.service = Some(Arc::clone(&service.facts));
    let no_route = || Refusal::NoRoute { service: format!("{}:{port}", service.name) };
    let declared = service.port(port).ok_or_else(no_route)?;
    if matches!(declared.protocol, Protocol::Http | Protocol::Http2) {
        return Err(Refusal::BadRequest { reason: "the port speaks HTTP, and this is none" });
    }
    let unknown = || Refusal::NoBackend { backend: declared.name.to_string() };
    let backend = declared.backend.as_ref().ok_or_else(unknown)?;
    exchange.record.target = Target::Backend(Arc::clone(backend));
    let backend = connection.worker.upstreams.meant(backend, &connection.origin);
    tcp::way(exchange, &backend).await
}

async fn on(exchange: &mut Exchange, to: SocketAddr) -> Result<Way, Refusal> {
    exchange.record.target = Target::Passthrough;
    let worker = Rc::clone(&exchange.connection.worker);
    let backend = worker.upstreams.passthrough(&to.ip().to_string(), to.port(), &PASSTHROUGH);
    tcp::way(exchange, &backend).await
}

fn black_hole(exchange: &mut Exchange, host: &str) -> Refusal {
    exchange.record.target = Target::BlackHole;
    Refusal::UnknownHost { host: host.to_owned() }
}
