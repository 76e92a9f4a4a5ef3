//! One downstream connection: what it speaks, who is at its other end, and where it was meant to go.
//!
//! From here on it is HTTP (`http::server`), bytes (`tcp`), or refused. It does not read requests.

use crate::connections::Entry;
use crate::deadline::Alarm;
use crate::detect::{PREFIX_BYTES_MAX, Spoken, detect};
use crate::headers::Scheme;
use crate::http::{forwarded, server};
use crate::intercept;
use crate::listener::Door;
use crate::locate::Memo;
use crate::origin::{Origin, Place};
use crate::record::{PeerFacts, Security, Side};
use crate::stream::Stream;
use crate::tcp;
use crate::telemetry::Party;
use crate::tls::{Alpn, Peer};
use crate::worker::Worker;
use http::HeaderValue;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// What the exchanges of one connection share.
pub struct Connection {
    pub worker: Rc<Worker>,
    pub side: Side,
    pub origin: Origin,
    pub peer: Rc<PeerFacts>,
    pub scheme: Scheme,
    pub entry: Entry,
    /// The inbound side's element of `x-forwarded-client-cert`.
    pub certificate_note: Option<HeaderValue>,
    /// What the last request was found to be meant for.
    pub memo: Memo,
    pub alarm: Rc<Alarm>,
}

impl Connection {
    /// Of which nothing is known yet but where it comes from and where it was meant to go.
    pub fn new((worker, entry): (Rc<Worker>, Entry), side: Side, origin: Origin, peer: PeerFacts) -> Self {
        Self {
            worker,
            side,
            origin,
            peer: Rc::new(peer),
            // What arrives behind a sidecar's TLS is plain text too; `https` would make apps build wrong links.
            scheme: Scheme::Http,
            entry,
            certificate_note: None,
            memo: Memo::default(),
            alarm: Rc::default(),
        }
    }
}

/// Serves one accepted connection to its end.
pub async fn serve(worker: Rc<Worker>, door: Door, tcp: TcpStream, remote: SocketAddr, entry: Entry) {
    worker.shard.gauges.downstream_connections.up();
    let gauges = Arc::clone(&worker.shard.gauges);
    let served = match door {
        Door::Captured(side) => intercept::serve(worker, side, tcp, remote, entry).await,
        _ => serve_accepted(worker, door, tcp, remote, entry).await,
    };
    if let Err(error) = served {
        tracing::debug!(%remote, ?door, %error, "the connection was not served");
    }
    gauges.downstream_connections.down();
}

/// Why a connection ended before anything on it had a record.
#[derive(Debug, thiserror::Error)]
pub enum Unserved {
    #[error("it ended: {0}")]
    Ended(#[from] io::Error),
    #[error("it said nothing within {0:?}")]
    Silent(Duration),
    #[error("the proxy is going away")]
    Draining,
    #[error("it speaks {0:?}, which is not served here")]
    Protocol(Spoken),
    #[error("this proxy has no identity to speak TLS with")]
    NoIdentity,
    #[error("this proxy's identity has expired")]
    IdentityExpired,
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
    #[error(transparent)]
    Peer(#[from] crate::tls::PeerError),
    #[error("its SNI {0:?} names no host and port")]
    Sni(String),
    #[error("the kernel does not say where it was going: {0}")]
    Origin(io::Error),
    #[error("it was going to {0}, which is this proxy itself")]
    Loop(SocketAddr),
    #[error("this proxy has not been told yet what its workload accepts")]
    NoPlan,
}

async fn serve_accepted(
    worker: Rc<Worker>,
    door: Door,
    tcp: TcpStream,
    remote: SocketAddr,
    entry: Entry,
) -> Result<(), Unserved> {
    let local = tcp.local_addr()?;
    let mut stream = Stream::from(tcp);
    let spoken = first_words(&mut stream, &entry, worker.settings.silence.head).await?;
    let plan = worker.plans.pin();
    let app = plan.workload.as_ref().filter(|_| door != Door::Inbound).map(|workload| Arc::clone(&workload.party));
    let party = app.unwrap_or_else(|| Arc::new(Party::unknown()));
    let (remote, local) = (remote.into(), local.into());
    let peer = PeerFacts { remote, local, party, security: Security::None, sni: None };
    match (door, spoken, door.origin()) {
        (Door::Inbound, Spoken::Tls, _) => serve_tls(worker, stream, entry, (peer, None)).await,
        (_, Spoken::Http1 | Spoken::Http2, Some(origin)) => {
            let connection = Connection::new((worker, entry), door.side(), origin, peer);
            serve_http(stream, spoken, connection).await;
            Ok(())
        }
        (_, other, _) => Err(Unserved::Protocol(other)),
    }
}

pub async fn serve_http(stream: Stream, spoken: Spoken, connection: Connection) {
    match spoken {
        Spoken::Http2 => server::serve_http2(stream, Rc::new(connection)).await,
        _ => server::serve_http1(stream, Rc::new(connection)).await,
    }
}

/// A peer's sidecar: verified both ways before a byte of what it wants is read. Redirected, it is served by where it
/// was going; the SNI only names the service.
pub async fn serve_tls(
    worker: Rc<Worker>,
    stream: Stream,
    entry: Entry,
    (peer, to): (PeerFacts, Option<SocketAddr>),
) -> Result<(), Unserved> {
    let material = worker.identity.load().ok_or(Unserved::NoIdentity)?;
    if material.expired(SystemTime::now()) {
        return Err(Unserved::IdentityExpired);
    }
    let accept = TlsAcceptor::from(Arc::clone(&material.server)).accept(stream);
    let limit = worker.settings.silence.head;
    let tls = tokio::time::timeout(limit, accept).await.map_err(|_| Unserved::Silent(limit))?;
    let tls = tls.map_err(Unserved::Handshake)?;
    let (_, session) = tls.get_ref();
    let caller = Peer::read(session.peer_certificates(), SystemTime::now())?;
    let leaf = session.peer_certificates().and_then(<[_]>::first);
    let note = leaf.and_then(|leaf| forwarded::certificate_note(&material.id, &caller.identity, leaf));
    let sni = session.server_name().unwrap_or_default().to_owned();
    let alpn = session.alpn_protocol().and_then(Alpn::from_bytes);
    let place = Place::of_sni(&sni).ok_or_else(|| Unserved::Sni(sni.clone()))?;
    let mut stream = Stream::from(tls);
    let spoken = match alpn {
        Some(Alpn::H2) => Spoken::Http2,
        Some(Alpn::Http1) => Spoken::Http1,
        Some(Alpn::Tcp) => Spoken::Opaque,
        None => first_words(&mut stream, &entry, limit).await?,
    };
    let party = Arc::new(Party::new(caller.labels, Some(caller.identity)));
    let peer = PeerFacts { party, security: Security::MutualTls, sni: Some(sni), ..peer };
    let origin = match to {
        Some(to) => Origin::Received { to, named: Some(place) },
        None => Origin::Sidecar(place),
    };
    let connection =
        Connection { certificate_note: note, ..Connection::new((worker, entry), Side::Inbound, origin, peer) };
    match spoken {
        Spoken::Http1 | Spoken::Http2 => serve_http(stream, spoken, connection).await,
        Spoken::Tls | Spoken::Opaque => tcp::serve_inbound(stream, Rc::new(connection)).await,
    }
    Ok(())
}

/// Reads ahead until the first bytes say what is spoken. What has come before the proxy began to drain counts.
async fn first_words(stream: &mut Stream, entry: &Entry, limit: Duration) -> Result<Spoken, Unserved> {
    let seen = async {
        loop {
            if let Some(spoken) = detect(stream.prefix()) {
                return Ok(spoken);
            }
            if stream.read_ahead(PREFIX_BYTES_MAX).await? == 0 {
                return Err(Unserved::Ended(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    };
    tokio::select! {
        biased;
        seen = tokio::time::timeout(limit, seen) => seen.unwrap_or(Err(Unserved::Silent(limit))),
        () = entry.given_up() => Err(Unserved::Draining),
    }
}

/// The same where silence has a meaning: the server speaks first. `None` after `limit`.
pub async fn detect_within(stream: &mut Stream, limit: Duration) -> io::Result<Option<Spoken>> {
    let seen = async {
        loop {
            if let Some(spoken) = detect(stream.prefix()) {
                return Ok(Some(spoken));
            }
            if stream.read_ahead(PREFIX_BYTES_MAX).await? == 0 {
                return Ok(Some(Spoken::Opaque));
            }
        }
    };
    tokio::time::timeout(limit, seen).await.unwrap_or(Ok(None))
}
