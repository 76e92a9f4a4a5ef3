//! TLS under the stream: our own certificate, and clients verified by our own roots.
//!
//! A client may come without a certificate (it has none before it joins); one that shows a certificate must show a
//! good one. It does not know what clients may do.

use super::caller::{Caller, read_svid};
use crate::ca::{CaError, Issuing, Seconds};
use arc_swap::ArcSwap;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;
use weft_snapshot::Trust;

/// What new connections are served with; replaced when roots change or our certificate is half over.
pub(crate) struct ServingTls {
    config: ArcSwap<ServerConfig>,
    renew_at: ArcSwap<Seconds>,
    trust: ArcSwap<Trust>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error("the certificates of the CA cannot be used for TLS: {0}")]
    Config(String),
}

impl ServingTls {
    pub(crate) fn new(issuing: &Issuing, now: Seconds) -> Result<Self, TlsError> {
        let (config, renew_at) = build(issuing, now)?;
        Ok(Self {
            config: ArcSwap::from_pointee(config),
            renew_at: ArcSwap::from_pointee(renew_at),
            trust: ArcSwap::from_pointee(issuing.trust().clone()),
        })
    }

    /// Open connections live on.
    pub(crate) fn renew(&self, issuing: &Issuing, now: Seconds) -> Result<(), TlsError> {
        let (config, renew_at) = build(issuing, now)?;
        self.config.store(Arc::new(config));
        self.renew_at.store(Arc::new(renew_at));
        self.trust.store(Arc::new(issuing.trust().clone()));
        Ok(())
    }

    /// True where the trust domain or the roots have changed since.
    pub(crate) fn serves_other_than(&self, trust: &Trust) -> bool {
        **self.trust.load() != *trust
    }

    pub(crate) fn is_due(&self, now: Seconds) -> bool {
        now >= **self.renew_at.load()
    }
}

fn build(issuing: &Issuing, now: Seconds) -> Result<(ServerConfig, Seconds), TlsError> {
    let wrong = |error: &dyn std::fmt::Display| TlsError::Config(error.to_string());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for root in &issuing.trust().roots {
        roots.add(CertificateDer::from(root.clone())).map_err(|error| wrong(&error))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| wrong(&error))?;
    let serving = issuing.serving(now)?;
    let chain = serving.chain.into_iter().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(serving.key));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| wrong(&error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| wrong(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would outlive the certificate by which it was opened.
    config.send_tls13_tickets = 0;
    Ok((config, now + serving.expires.saturating_sub(now) / 2))
}

/// Accepts and shakes hands until nobody takes connections any more.
pub(super) async fn accept(
    listener: TcpListener,
    tls: Arc<ServingTls>,
    accepted: mpsc::Sender<Result<Connection, io::Error>>,
) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let Ok(permit) = handshakes.clone().acquire_owned().await else { return };
        let (stream, remote) = match listener.accept().await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(%error, "stream port: cannot accept");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let (acceptor, accepted) = (TlsAcceptor::from(tls.config.load_full()), accepted.clone());
        tokio::spawn(async move {
            let shaken = tokio::time::timeout(HANDSHAKE_MAX, shake(acceptor, stream, remote)).await;
            drop(permit);
            match shaken {
                // The server may have stopped meanwhile.
                Ok(Ok(connection)) => drop(accepted.send(Ok(connection)).await),
                Ok(Err(error)) => tracing::info!(%remote, %error, "TLS handshake failed"),
                Err(_) => tracing::info!(%remote, "no TLS handshake within {HANDSHAKE_MAX:?}"),
            }
        });
    }
}

async fn shake(acceptor: TlsAcceptor, stream: TcpStream, remote: SocketAddr) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    let stream = acceptor.accept(stream).await?;
    let certificates = stream.get_ref().1.peer_certificates();
    let svid = match certificates.and_then(|chain| chain.first()) {
        None => None,
        Some(leaf) => {
            let svid = read_svid(leaf);
            Some(svid.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the certificate is no SVID"))?)
        }
    };
    Ok(Connection { stream, caller: Caller { remote, svid } })
}

/// A TLS connection that knows who is at its other end.
pub(super) struct Connection {
    stream: TlsStream<TcpStream>,
    caller: Caller,
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

const HANDSHAKES_MAX: usize = 256;
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
