//! One connection to the control plane: TCP, TLS of ours, and gRPC over it.
//!
//! It tries each address once. When to try again, and with which identity, is not its business.

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::future::{Ready, ready};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("no control plane address is given; name one with --controlplane HOST:PORT")]
    NoAddress,
    #[error("the control plane at {address} cannot be reached: {reason}")]
    Unreachable { address: String, reason: io::Error },
    #[error("the control plane at {address} did not answer within {limit:?}")]
    Slow { address: String, limit: Duration },
    #[error("what answers at {address} is not to be trusted: {reason}")]
    NotTrusted { address: String, reason: String },
    #[error("the TLS handshake with {address} failed: {reason}")]
    Handshake { address: String, reason: io::Error },
    #[error("{address} speaks no gRPC: {reason}")]
    Protocol { address: String, reason: tonic::transport::Error },
}

impl DialError {
    /// Trying again will not help.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::NotTrusted { .. })
    }
}

/// An open connection, and to which address.
pub(super) struct Dialled {
    pub(super) channel: Channel,
    pub(super) address: String,
}

/// The first address that works; the error is the last one's.
pub(super) async fn dial(addresses: &[String], tls: Arc<ClientConfig>, pace: Reach) -> Result<Dialled, DialError> {
    let mut failed = DialError::NoAddress;
    for address in addresses {
        let connected = tokio::time::timeout(pace.answer_max, connect(address, tls.clone(), pace)).await;
        match connected {
            Ok(Ok(channel)) => return Ok(Dialled { channel, address: address.clone() }),
            Ok(Err(error)) => failed = error,
            Err(_) => failed = DialError::Slow { address: address.clone(), limit: pace.answer_max },
        }
    }
    Err(failed)
}

/// How patient a connection is.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// For connecting, and for the first answer of each call.
    pub answer_max: Duration,
    /// HTTP/2 pings: a control plane that answers none within this much again is away.
    pub ping_every: Duration,
}

async fn connect(address: &str, tls: Arc<ClientConfig>, reach: Reach) -> Result<Channel, DialError> {
    let unreachable = |reason| DialError::Unreachable { address: address.to_owned(), reason };
    let tcp = open(address).await.map_err(unreachable)?;
    tcp.set_nodelay(true).map_err(unreachable)?;
    // The control plane is known by its SPIFFE id; this name only fills the field.
    let name = ServerName::try_from("weft-controlplane").map_err(|_| DialError::NoAddress)?;
    let stream = TlsConnector::from(tls).connect(name, tcp).await.map_err(|error| handshake_error(address, error))?;
    Endpoint::from_static("http://weft-controlplane")
        .http2_keep_alive_interval(reach.ping_every)
        .keep_alive_timeout(reach.ping_every)
        .keep_alive_while_idle(true)
        .connect_with_connector(Once(Some(stream)))
        .await
        .map_err(|reason| DialError::Protocol { address: address.to_owned(), reason })
}

/// TCP to the first of its addresses that takes it.
async fn open(address: &str) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    for address in tokio::net::lookup_host(address).await? {
        match tokio::time::timeout(CONNECT_MAX, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => failed = error,
            Err(_) => {
                let words = format!("no answer to a connection within {CONNECT_MAX:?}");
                failed = io::Error::new(io::ErrorKind::TimedOut, words);
            }
        }
    }
    Err(failed)
}

/// A Service may lead to a replica that has just gone, whose address nobody answers: the next try finds another. Time for
/// one packet that is lost and sent again.
const CONNECT_MAX: Duration = Duration::from_secs(3);

fn handshake_error(address: &str, error: io::Error) -> DialError {
    let address = address.to_owned();
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        // Our own verifiers' words.
        Some(rustls::Error::General(reason)) => DialError::NotTrusted { address, reason: reason.clone() },
        Some(reason @ rustls::Error::InvalidCertificate(_)) => {
            DialError::NotTrusted { address, reason: reason.to_string() }
        }
        _ => DialError::Handshake { address, reason: error },
    }
}

/// Hands out the one connection: a channel that lost it must not dial behind our back.
struct Once(Option<TlsStream<TcpStream>>);

impl tower_service::Service<http::Uri> for Once {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Ready<Result<Self::Response, io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let closed = || {
            io::Error::new(
                io::ErrorKind::NotConnected,
                "the connection was closed, maybe because this proxy's certificate is not accepted",
            )
        };
        ready(self.0.take().map(TokioIo::new).ok_or_else(closed))
    }
}
