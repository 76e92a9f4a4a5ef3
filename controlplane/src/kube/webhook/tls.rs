//! The certificate that the API server sees, for the name of our Service.

use crate::ca::{CaError, Issuing, Seconds};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;

pub(super) const NAME: &str = "weft-controlplane.weft-system.svc";

/// A configuration, and what has to be known of it.
pub(super) struct Certified {
    pub(super) config: Arc<ServerConfig>,
    /// DER; whoever believes it believes us.
    pub(super) root: Vec<u8>,
    /// At half of its life.
    pub(super) renew_at: Seconds,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error("the certificates of the CA cannot be used for TLS: {0}")]
    Config(#[from] rustls::Error),
    #[error("the CA has no root")]
    NoRoot,
}

pub(super) fn certify(issuing: &Issuing, now: Seconds) -> Result<Certified, TlsError> {
    let serving = issuing.serving_as(NAME, now)?;
    let root = serving.chain.last().cloned().ok_or(TlsError::NoRoot)?;
    let chain = serving.chain.into_iter().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(serving.key));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let renew_at = now + serving.expires.saturating_sub(now) / 2;
    Ok(Certified { config: Arc::new(config), root, renew_at })
}
