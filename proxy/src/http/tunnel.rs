//! What leaves HTTP: CONNECT, and 101 Switching Protocols.
//!
//! A tunnel in which HTTP is spoken comes back to HTTP as if the app had sent it to the host that CONNECT named.

use super::server;
use crate::connection::{Connection, detect_within};
use crate::connections::Connections;
use crate::detect::Spoken;
use crate::exchange::{End, Exchange, PASSTHROUGH, ResponseBody, unknown_facts};
use crate::headers::{Authority, Scheme};
use crate::locate::{Located, Memo, locate_place};
use crate::origin::{Origin, Place};
use crate::plan::Backend;
use crate::record::{Kind, RequestFacts, Target};
use crate::refusal::Refusal;
use crate::stream::Stream;
use crate::tcp::{self, Way};
use crate::upstream::Lease;
use http::{HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use std::rc::Rc;
use std::sync::Arc;
use weft_snapshot::Protocol;

/// What a tunnel leads to, once it is known that it leads anywhere.
enum Opened {
    /// Bytes, and the way is open already: a server that speaks first is not kept waiting.
    Bytes(Box<Way>),
    /// HTTP, or bytes to this backend where nobody said what the port speaks.
    Look(Place, Otherwise),
}

enum Otherwise {
    Bytes(Arc<Backend>),
    Refuse,
}

/// Answers CONNECT: 200 once it can be kept, a refusal else.
pub async fn connect(connection: Rc<Connection>, mut request: Request<Incoming>) -> Response<ResponseBody> {
    let client = hyper::upgrade::on(&mut request);
    let authority = request.uri().authority().cloned().map(Authority::from_uri);
    let named = authority.as_ref().map_or(HeaderValue::from_static(""), Authority::to_header);
    let facts = unknown_facts(Method::CONNECT, request.version(), named);
    let mut exchange = Exchange::open(connection, RequestFacts { kind: Kind::Tcp, ..facts });
    match open(&mut exchange, authority.as_ref()).await {
        Ok(opened) => {
            exchange.record.status = Some(http::StatusCode::OK);
            tokio::task::spawn_local(run(exchange, client, opened));
            Response::new(ResponseBody::empty())
        }
        Err(refusal) => exchange.refuse(refusal),
    }
}

async fn open(exchange: &mut Exchange, authority: Option<&Authority>) -> Result<Opened, Refusal> {
    let connection = Rc::clone(&exchange.connection);
    if !matches!(connection.origin, Origin::Proxy) {
        return Err(Refusal::BadRequest { reason: "CONNECT is for an app's outbound side" });
    }
    let place =
        authority.and_then(|authority| Some(Place { host: authority.host().into_owned(), port: authority.port()? }));
    let place = place.ok_or(Refusal::BadRequest { reason: "CONNECT needs host:port" })?;
    let port = place.port;
    let service = match locate_place(&connection.worker, &mut exchange.record.plan, place.clone()).await? {
        Located::Service(service, _) => service,
        Located::Passthrough(place, facts) => {
            exchange.record.service = Some(facts);
            exchange.record.target = Target::Passthrough;
            let backend = connection.worker.upstreams.passthrough(&place.host, port, &PASSTHROUGH);
            return Ok(Opened::Bytes(Box::new(tcp::way(exchange, &backend).await?)));
        }
        Located::BlackHole(facts) => {
            exchange.record.service = Some(facts);
            exchange.record.target = Target::BlackHole;
            return Err(Refusal::UnknownHost { host: place.host });
        }
    };
    exchange.record.service = Some(Arc::clone(&service.facts));
    match service.port(port) {
        Some(declared) => {
            let backend = declared.backend.as_ref();
            match declared.protocol {
                Protocol::Http | Protocol::Http2 => Ok(Opened::Look(place, Otherwise::Refuse)),
                Protocol::Tcp | Protocol::Detect => {
                    let unknown = || Refusal::NoBackend { backend: declared.name.to_string() };
                    let backend = backend.ok_or_else(unknown)?;
                    exchange.record.target = Target::Backend(Arc::clone(backend));
                    if declared.protocol == Protocol::Detect {
                        return Ok(Opened::Look(place, Otherwise::Bytes(Arc::clone(backend))));
                    }
                    let backend = connection.worker.upstreams.backend(backend);
                    Ok(Opened::Bytes(Box::new(tcp::way(exchange, &backend).await?)))
                }
            }
        }
        // A VirtualService alone speaks of the host: its rules are for HTTP.
        None if service.ports.is_empty() => Ok(Opened::Look(place, Otherwise::Refuse)),
        None => Err(Refusal::NoRoute { service: format!("{}:{port}", service.name) }),
    }
}

/// The tunnel itself, from the moment at which the client has its 200.
async fn run(mut exchange: Exchange, client: OnUpgrade, opened: Opened) {
    // The client's HTTP connection is over as far as hyper is concerned; the tunnel counts for itself.
    let connection = inner(&exchange.connection, exchange.connection.origin.clone());
    let Ok(upgraded) = client.await else { return exchange.close(End::ClientGone) };
    let mut stream = Stream::from(upgraded);
    let (place, otherwise) = match opened {
        Opened::Bytes(way) => return tcp::carry(exchange.moved_to(connection), stream, *way).await,
        Opened::Look(place, otherwise) => (place, otherwise),
    };
    let limit = match otherwise {
        Otherwise::Bytes(_) => connection.worker.settings.detect_timeout,
        Otherwise::Refuse => connection.worker.settings.silence.head,
    };
    match (detect_within(&mut stream, limit).await, otherwise) {
        (Ok(Some(spoken @ (Spoken::Http1 | Spoken::Http2))), _) => {
            exchange.dissolve();
            let connection = Rc::new(Connection { origin: Origin::Tunnel(place), ..connection });
            match spoken {
                Spoken::Http2 => server::serve_http2(stream, connection).await,
                _ => server::serve_http1(stream, connection).await,
            }
        }
        (Ok(_), Otherwise::Bytes(backend)) => {
            let backend = connection.worker.upstreams.backend(&backend);
            match tcp::way(&mut exchange, &backend).await {
                Ok(way) => tcp::carry(exchange.moved_to(connection), stream, way).await,
                Err(refusal) => tcp::refuse(exchange, &refusal),
            }
        }
        (Ok(_), Otherwise::Refuse) => {
            tcp::refuse(exchange, &Refusal::BadRequest { reason: "the port speaks HTTP, and this is none" });
        }
        (Err(_), _) => exchange.close(End::ClientGone),
    }
}

/// After 101: both sides' bytes, until both have ended.
pub async fn switch(mut exchange: Exchange, client: OnUpgrade, server: OnUpgrade, lease: Lease) {
    let connection = inner(&exchange.connection, exchange.connection.origin.clone());
    match tokio::try_join!(client, server) {
        Ok((client, server)) => {
            let way = Way::upgraded(Stream::from(server), lease);
            tcp::carry(exchange.moved_to(connection), Stream::from(client), way).await;
        }
        Err(error) => {
            exchange.record.reason = Some(error.to_string());
            exchange.close(End::ClientGone);
        }
    }
}

/// The same client, on what is a connection of its own now.
fn inner(outer: &Connection, origin: Origin) -> Connection {
    let connections: &Rc<Connections> = outer.worker.connections(outer.side);
    Connection {
        worker: Rc::clone(&outer.worker),
        side: outer.side,
        origin,
        peer: Rc::clone(&outer.peer),
        scheme: Scheme::Http,
        entry: connections.enter(),
        certificate_note: outer.certificate_note.clone(),
        memo: Memo::default(),
        alarm: Rc::default(),
    }
}
