//! The proxy's own identity, ready for handshakes, in a cell that is replaced whole at renewal.
//!
//! Open connections keep what they began with, so a renewal drops none of them.

use super::verify::{AnyOfTheMesh, Exactly, Roots};
use super::{Alpn, peer};
use arc_swap::ArcSwapOption;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;
use weft_snapshot::SpiffeId;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Who this proxy is, and whom it believes.
#[derive(Debug)]
pub struct Identity {
    pub id: SpiffeId,
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivatePkcs8KeyDer<'static>,
    pub trust_domain: String,
    pub roots: Vec<CertificateDer<'static>>,
}

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("the identity has no certificate")]
    NoCertificate,
    #[error("the certificate of {id} cannot be read")]
    Unreadable { id: SpiffeId },
    #[error("the key of {id} cannot be used: {reason}")]
    Key { id: SpiffeId, reason: rustls::Error },
    #[error("there is no root to trust, or one that cannot be read: {reason}")]
    Root { reason: String },
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// An identity with all that its handshakes share.
#[derive(Debug)]
pub struct Material {
    pub id: SpiffeId,
    pub expires: SystemTime,
    /// For the inbound side: client certificates are required.
    pub server: Arc<ServerConfig>,
    /// Distinguishes one identity from the next.
    pub generation: u64,
    provider: Arc<CryptoProvider>,
    roots: Arc<Roots>,
    certified: Arc<SingleCertAndKey>,
}

impl Material {
    fn new(identity: Identity, provider: Arc<CryptoProvider>, generation: u64) -> Result<Self, IdentityError> {
        let Identity { id, chain, key, trust_domain, roots } = identity;
        let leaf = chain.first().ok_or(IdentityError::NoCertificate)?;
        let expires = match X509Certificate::from_der(leaf) {
            Ok((_, certificate)) => peer::expiry(&certificate),
            Err(_) => return Err(IdentityError::Unreadable { id }),
        };
        let certified = CertifiedKey::from_der(chain, PrivateKeyDer::Pkcs8(key), &provider)
            .map_err(|reason| IdentityError::Key { id: id.clone(), reason })?;
        let certified = Arc::new(SingleCertAndKey::from(certified));
        let anchors = anchors(&roots)?;
        let roots = Arc::new(Roots { anchors, trust_domain, provider: Arc::clone(&provider) });
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(AnyOfTheMesh(Arc::clone(&roots))))
            .with_cert_resolver(Arc::clone(&certified) as _);
        server.alpn_protocols = Alpn::ALL.map(|alpn| alpn.as_bytes().to_vec()).into();
        // Stateless tickets: nothing is kept per client, and the workers share no session table. Their key dies with
        // this identity, so nobody resumes past a change of roots.
        server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        server.send_tls13_tickets = TICKETS_PER_HANDSHAKE;
        Ok(Self { id, expires, server: Arc::new(server), generation, provider, roots, certified })
    }

    /// For dialling one endpoint. Sessions are resumed only with that same identity and protocol, since the
    /// configuration that keeps them is made for these.
    pub fn client(&self, peer: &SpiffeId, alpn: Alpn) -> Result<Arc<ClientConfig>, IdentityError> {
        let verifier = Exactly { roots: Arc::clone(&self.roots), identity: peer.clone() };
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::clone(&self.certified) as _);
        client.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        client.resumption = Resumption::in_memory_sessions(SESSIONS_PER_ENDPOINT);
        Ok(Arc::new(client))
    }

    pub fn expired(&self, now: SystemTime) -> bool {
        self.expires < now
    }
}

fn anchors(roots: &[CertificateDer<'static>]) -> Result<Vec<rustls_pki_types::TrustAnchor<'static>>, IdentityError> {
    if roots.is_empty() {
        return Err(IdentityError::Root { reason: "none given".to_owned() });
    }
    let anchor = |root| webpki::anchor_from_trusted_cert(root).map(|anchor| anchor.to_owned());
    roots.iter().map(anchor).collect::<Result<_, _>>().map_err(|e| IdentityError::Root { reason: e.to_string() })
}

/// Empty until the proxy has joined; readers never wait.
#[derive(Debug)]
pub struct IdentityCell {
    material: ArcSwapOption<Material>,
    provider: Arc<CryptoProvider>,
    generations: AtomicU64,
}

impl IdentityCell {
    pub fn new(provider: Arc<CryptoProvider>) -> Arc<Self> {
        Arc::new(Self { material: ArcSwapOption::empty(), provider, generations: AtomicU64::new(0) })
    }

    /// At join, at renewal, and whenever the roots change. An error leaves the old identity in place.
    pub fn replace(&self, identity: Identity) -> Result<(), IdentityError> {
        let generation = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
        let material = Material::new(identity, Arc::clone(&self.provider), generation)?;
        self.material.store(Some(Arc::new(material)));
        Ok(())
    }

    /// `None` before the proxy has joined, and always for a proxy without a control plane.
    pub fn load(&self) -> Option<Arc<Material>> {
        self.material.load_full()
    }
}

/// rustls sends two; one connection that is reused needs no spare.
const TICKETS_PER_HANDSHAKE: usize = 1;
/// Tickets are single use in TLS 1.3; a few let a burst of new connections resume.
const SESSIONS_PER_ENDPOINT: usize = 8;
