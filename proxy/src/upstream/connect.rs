//! Opens one connection to one endpoint: TCP, then TLS where a sidecar answers there, within the connect timeout.
//!
//! It does not know HTTP, and keeps nothing.

use super::{Backend, Endpoint};
use crate::record::UpstreamFacts;
use crate::refusal::Refusal;
use crate::stream::Stream;
use crate::tls::{Alpn, Peer};
use crate::worker::Worker;
use rustls_pki_types::ServerName;
use std::io;
use std::net::{IpAddr, SocketAddr};
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use weft_snapshot::PeerTls;

/// An open connection and what the log says of it.
pub struct Dialled {
    pub stream: Stream,
    pub facts: Rc<UpstreamFacts>,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("no address of {endpoint} is known: {reason}")]
    Resolve { endpoint: Arc<str>, reason: String },
    #[error("{reason}")]
    Tcp { reason: String },
    #[error("it did not accept within {limit:?}")]
    Timeout { limit: Duration },
    #[error("the TLS handshake failed: {reason}")]
    Tls { reason: String },
    #[error("this proxy has no identity yet; it joins a control plane to get one")]
    NoIdentity,
    #[error("this proxy's identity has expired")]
    IdentityExpired,
    #[error("its address is this proxy's own")]
    Loop,
    #[error("the HTTP handshake failed: {reason}")]
    Http { reason: String },
}

impl ConnectError {
    pub fn into_refusal(self, backend: &Backend, endpoint: &Endpoint) -> Refusal {
        match self {
            Self::IdentityExpired => Refusal::IdentityExpired,
            other => Refusal::Connect {
                backend: backend.name.to_string(),
                endpoint: endpoint.place.address.to_string(),
                reason: other.to_string(),
            },
        }
    }
}

/// `alpn` is what will be spoken; without TLS nobody negotiates it.
pub async fn dial(
    worker: &Worker,
    backend: &Backend,
    endpoint: &Rc<Endpoint>,
    alpn: Alpn,
) -> Result<Dialled, ConnectError> {
    let limit = backend.policy.connect_timeout;
    let dialled = tokio::time::timeout(limit, dial_unlimited(worker, backend.policy.source, endpoint, alpn)).await;
    dialled.unwrap_or(Err(ConnectError::Timeout { limit }))
}

async fn dial_unlimited(
    worker: &Worker,
    source: Option<IpAddr>,
    endpoint: &Rc<Endpoint>,
    alpn: Alpn,
) -> Result<Dialled, ConnectError> {
    let addresses = endpoint.addresses(worker.tick.seconds()).await.map_err(|error| {
        let endpoint = Arc::clone(&endpoint.place.address);
        ConnectError::Resolve { endpoint, reason: error.to_string() }
    })?;
    let (tcp, address) = connect(worker, source, &addresses).await?;
    let facts = Rc::new(UpstreamFacts {
        address: address.into(),
        endpoint_address: Arc::clone(&endpoint.place.address),
        local: tcp.local_addr().ok().map(Into::into),
        party: Arc::clone(&endpoint.place.party),
    });
    let stream = match endpoint.tls() {
        None => Stream::from(tcp),
        Some(peer) => handshake(worker, endpoint, peer, alpn, tcp).await?,
    };
    Ok(Dialled { stream, facts })
}

async fn connect(
    worker: &Worker,
    source: Option<IpAddr>,
    addresses: &[SocketAddr],
) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let mut last = ConnectError::Tcp { reason: "no address".to_owned() };
    for address in addresses {
        if worker.listens_on(*address) {
            last = ConnectError::Loop;
            continue;
        }
        let connected = match source {
            None => TcpStream::connect(*address).await,
            Some(source) => connect_from(source, *address).await,
        };
        match connected.and_then(configured) {
            Ok(tcp) => return Ok((tcp, *address)),
            Err(error) => last = ConnectError::Tcp { reason: error.to_string() },
        }
    }
    Err(last)
}

/// The port is chosen when it is known whereto, so that as many connections as ports go to each address.
pub async fn connect_from(source: IpAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    #[cfg(target_os = "linux")]
    choose_port_late(&socket)?;
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(address).await
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn choose_port_late(socket: &TcpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    let (level, option) = (libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT);
    // SAFETY: the value lives through the call, and its size is the one that is given.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn configured(tcp: TcpStream) -> io::Result<TcpStream> {
    tcp.set_nodelay(true)?;
    crate::listener::keep_alive(&tcp)?;
    Ok(tcp)
}

async fn handshake(
    worker: &Worker,
    endpoint: &Endpoint,
    peer: &PeerTls,
    alpn: Alpn,
    tcp: TcpStream,
) -> Result<Stream, ConnectError> {
    let material = worker.identity.load().ok_or(ConnectError::NoIdentity)?;
    let now = SystemTime::now();
    if material.expired(now) {
        return Err(ConnectError::IdentityExpired);
    }
    let failed = |reason: String| ConnectError::Tls { reason };
    let config = endpoint.client_config(&material, &peer.identity, alpn).map_err(|error| failed(error.to_string()))?;
    let name = ServerName::try_from(peer.sni.clone()).map_err(|_| failed(format!("{:?} is no SNI", peer.sni)))?;
    let tls = TlsConnector::from(config).connect(name, tcp).await.map_err(|error| failed(error.to_string()))?;
    let (_, session) = tls.get_ref();
    let agreed = session.alpn_protocol().and_then(Alpn::from_bytes);
    if agreed != Some(alpn) {
        return Err(failed(format!("the peer does not speak {}", String::from_utf8_lossy(alpn.as_bytes()))));
    }
    // A resumed session has not verified the chain again.
    let seen = Peer::read(session.peer_certificates(), now).map_err(|error| failed(error.to_string()))?;
    if seen.identity != peer.identity {
        return Err(failed(format!("the peer is {}, expected {}", seen.identity, peer.identity)));
    }
    Ok(Stream::from(tls))
}
