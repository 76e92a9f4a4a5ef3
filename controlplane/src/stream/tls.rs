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
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
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

/// A TLS connection, and who is at its other end.
pub(super) async fn shake(
    tls: &ServingTls,
    stream: TcpStream,
    remote: SocketAddr,
) -> io::Result<(TlsStream<TcpStream>, Caller)> {
    stream.set_nodelay(true)?;
    let stream = TlsAcceptor::from(tls.config.load_full()).accept(stream).await?;
    let certificates = stream.get_ref().1.peer_certificates();
    let svid = match certificates.and_then(|chain| chain.first()) {
        None => None,
        Some(leaf) => {
            let svid = read_svid(leaf);
            Some(svid.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the certificate is no SVID"))?)
        }
    };
    Ok((stream, Caller { remote, svid }))
}
