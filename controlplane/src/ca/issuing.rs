//! The authority at one moment: it signs SVIDs, snapshots, artifacts and tokens with the keys whose turn it is.
//!
//! Immutable; when a turn begins or ends, another takes its place.

use super::CaError;
use super::certificate::{self, Leaf};
use super::given;
use super::keys::{self, Keys, Root, Seconds, Signer};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{Issuer, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest as _, Sha256};
use std::time::Duration;
use weft_snapshot::{Labels, SpiffeId, Trust, svid};

pub struct Issuing {
    keys: Keys,
    trust: Trust,
    issuer: Issuer<'static, KeyPair>,
    issuer_expires: Seconds,
    /// From the certificate that signs to its root.
    chain: Vec<Vec<u8>>,
    signer: Ed25519KeyPair,
    svid_life: Duration,
    valid_until: Option<Seconds>,
}

/// Who gets an SVID; the caller has seen the proof.
pub struct SvidRequest<'a> {
    /// PKCS#10, DER.
    pub csr: &'a [u8],
    pub identity: &'a SpiffeId,
    pub labels: &'a Labels,
    /// On Kubernetes: the only one that may use it.
    pub pod: Option<&'a svid::Pod>,
}

pub struct Svid {
    /// Leaf first, without the root.
    pub chain: Vec<Vec<u8>>,
    pub expires: Seconds,
}

/// The control plane's own certificate and key.
pub struct Serving {
    /// Leaf first, the root last: a proxy with a token knows the root only by its hash.
    pub chain: Vec<Vec<u8>>,
    pub key: Vec<u8>,
    pub expires: Seconds,
}

impl Issuing {
    pub(super) fn new(keys: Keys, svid_life: Duration, now: Seconds) -> Result<Self, CaError> {
        let root = keys::signing(&keys.roots, now).ok_or(CaError::Random)?;
        let chain = ders(root)?;
        let key = KeyPair::from_pem(&root.key).map_err(CaError::Write)?;
        let first = CertificateDer::from(chain[0].as_slice());
        let issuer = Issuer::from_ca_cert_der(&first, key).map_err(CaError::Write)?;
        let signer = load_signer(keys::signing(&keys.signers, now).ok_or(CaError::Random)?)?;
        let (issuer_expires, valid_until) = (root.expires, keys.next_change(now));
        let trust = trust(&keys, now)?;
        Ok(Self { keys, trust, issuer, issuer_expires, chain, signer, svid_life, valid_until })
    }

    /// Whom proxies believe.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The public key of a request, if its signature is right; also what makes two requests the same.
    pub fn requested_key(csr: &[u8]) -> Result<[u8; 32], CaError> {
        use rcgen::PublicKeyData as _;
        let key = certificate::requested_key(csr)?;
        Ok(Sha256::digest(key.subject_public_key_info()).into())
    }

    /// The SPIFFE ids that a request names.
    pub fn claimed_ids(csr: &[u8]) -> Result<Vec<String>, CaError> {
        certificate::claimed_ids(csr)
    }

    pub fn svid(&self, request: &SvidRequest<'_>, now: Seconds) -> Result<Svid, CaError> {
        let key = certificate::requested_key(request.csr)?;
        let leaf = Leaf {
            identity: request.identity,
            dns: None,
            labels: Some(request.labels),
            pod: request.pod,
            life: self.svid_life,
            issuer_expires: self.issuer_expires,
        };
        let (der, expires) = certificate::leaf(&leaf, &key, &self.issuer, now)?;
        let intermediates = &self.chain[..self.chain.len() - 1];
        Ok(Svid { chain: std::iter::once(der).chain(intermediates.iter().cloned()).collect(), expires })
    }

    /// A certificate of our own, with a new key.
    pub fn serving(&self, now: Seconds) -> Result<Serving, CaError> {
        self.own(None, self.svid_life.max(SERVING_LIFE_MIN), now)
    }

    /// The same for clients that know us by a name of DNS.
    pub fn serving_as(&self, name: &str, now: Seconds) -> Result<Serving, CaError> {
        self.own(Some(name), self.svid_life, now)
    }

    fn own(&self, dns: Option<&str>, life: Duration, now: Seconds) -> Result<Serving, CaError> {
        let key = KeyPair::generate().map_err(CaError::Write)?;
        let identity = self.control_plane()?;
        let leaf =
            Leaf { identity: &identity, dns, labels: None, pod: None, life, issuer_expires: self.issuer_expires };
        let (der, expires) = certificate::leaf(&leaf, &key, &self.issuer, now)?;
        let chain = std::iter::once(der).chain(self.chain.iter().cloned()).collect();
        Ok(Serving { chain, key: key.serialize_der(), expires })
    }

    /// Ed25519 by the signer whose turn it is. The caller's message begins with what it is for.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.signer.sign(message).as_ref().to_vec()
    }

    /// SHA-256 of each root that is believed: what a token carries.
    pub fn root_hashes(&self) -> Vec<[u8; 32]> {
        self.trust.roots.iter().map(|der| Sha256::digest(der).into()).collect()
    }

    /// All roots that are believed, as pods read them.
    pub fn roots_pem(&self) -> String {
        self.trust.roots.iter().map(|der| given::pem("CERTIFICATE", der)).collect()
    }

    /// True where what is signed now leads to this root.
    pub fn leads_to(&self, root: &[u8]) -> bool {
        self.chain.last().is_some_and(|last| last == root)
    }

    /// When the root that signs expires.
    pub fn root_expires(&self) -> Seconds {
        self.issuer_expires
    }

    pub fn svid_life(&self) -> Duration {
        self.svid_life
    }

    /// The id that the control plane itself serves with.
    pub fn control_plane(&self) -> Result<SpiffeId, CaError> {
        let domain = &self.trust.trust_domain;
        SpiffeId::new(domain, "weft-system", "weft-controlplane")
            .map_err(|error| CaError::Request(format!("trust domain: {error}")))
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(super) fn valid_until(&self) -> Option<Seconds> {
        self.valid_until
    }
}

pub(super) fn new_signer() -> Result<Signer, CaError> {
    let key = Ed25519KeyPair::generate().map_err(|_| CaError::Random)?;
    let document = key.to_pkcs8().map_err(|_| CaError::Random)?;
    Ok(Signer { key: STANDARD.encode(document.as_ref()) })
}

fn load_signer(signer: &Signer) -> Result<Ed25519KeyPair, CaError> {
    let damaged = |reason: String| CaError::Request(format!("signer in the state folder: {reason}"));
    let bytes = STANDARD.decode(&signer.key).map_err(|error| damaged(error.to_string()))?;
    Ed25519KeyPair::from_pkcs8(&bytes).map_err(|error| damaged(error.to_string()))
}

fn trust(keys: &Keys, now: Seconds) -> Result<Trust, CaError> {
    let mut roots = Vec::new();
    for turn in keys.roots.iter().filter(|turn| turn.believed(now)) {
        roots.extend(ders(&turn.key)?.pop());
    }
    roots.dedup();
    let mut signers = Vec::new();
    for turn in keys.signers.iter().filter(|turn| turn.believed(now)) {
        let public = load_signer(&turn.key)?.public_key().as_ref().try_into();
        signers.push(public.map_err(|_| CaError::Random)?);
    }
    Ok(Trust { trust_domain: keys.trust_domain.clone(), roots, signers })
}

/// Never empty.
fn ders(root: &Root) -> Result<Vec<Vec<u8>>, CaError> {
    let damaged = |reason: String| CaError::Request(format!("root in the state folder: {reason}"));
    let chain = CertificateDer::pem_slice_iter(root.chain.as_bytes())
        .map(|der| der.map(|der| der.to_vec()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| damaged(error.to_string()))?;
    if chain.is_empty() { Err(damaged("it has no certificate".to_owned())) } else { Ok(chain) }
}

/// The control plane renews its own at half life; shorter than this would only cost.
const SERVING_LIFE_MIN: Duration = Duration::from_secs(3600);
