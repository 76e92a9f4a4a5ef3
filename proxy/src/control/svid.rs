//! Getting an SVID: a fresh key, a request for it, and an answer that is checked before it is believed.
//!
//! The key never leaves this process. When to renew is a rule here; waiting for it is the loop's.

use super::authority::{controlplane_id, join_config};
use super::dial::{DialError, Dialled, Reach, dial};
use super::first::{Introduction, ProjectedError};
use super::rpc::identity::identity_client::IdentityClient;
use crate::state::{StoredIdentity, StoredTrust};
use crate::tls::{Alpn, Identity, Material};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::crypto::CryptoProvider;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use weft_snapshot::{SpiffeId, WorkloadName};
use weft_wire::proto;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Files(#[from] ProjectedError),
    #[error("the control plane did not sign: {message}")]
    Refused { code: tonic::Code, message: String },
    #[error("the control plane's answer is not usable: {0}")]
    Answer(String),
    #[error("no request for a certificate can be made: {0}")]
    Request(String),
    #[error(
        "the SVID expired while the control plane was away, and there is no join token; \
         restart with --token (`weft token create` makes one)"
    )]
    Expired,
}

impl SignError {
    /// Trying again with the same proof will not help.
    pub(super) fn is_final(&self) -> bool {
        use tonic::Code;
        match self {
            Self::Dial(error) => error.is_final(),
            Self::Files(_) => false,
            Self::Refused { code, .. } => {
                matches!(code, Code::PermissionDenied | Code::Unauthenticated | Code::InvalidArgument)
            }
            Self::Answer(_) | Self::Request(_) | Self::Expired => true,
        }
    }
}

/// How a proxy proves who it is.
pub(super) enum Proof {
    Introduction(Introduction),
    Svid { material: Arc<Material>, id: SpiffeId },
}

impl Proof {
    fn id(&self) -> &SpiffeId {
        match self {
            Self::Introduction(introduction) => &introduction.identity,
            Self::Svid { id, .. } => id,
        }
    }
}

pub(super) struct Asking {
    pub(super) addresses: Vec<String>,
    pub(super) reach: Reach,
    pub(super) proof: Proof,
    pub(super) key: PrivatePkcs8KeyDer<'static>,
    pub(super) workload: WorkloadName,
    pub(super) provider: Arc<CryptoProvider>,
}

/// An answer that was checked.
#[derive(Debug)]
pub(super) struct Signed {
    pub(super) id: SpiffeId,
    pub(super) identity: StoredIdentity,
    pub(super) trust: StoredTrust,
}

pub(super) fn new_key() -> Result<PrivatePkcs8KeyDer<'static>, SignError> {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|e| SignError::Request(e.to_string()))?;
    Ok(pair.into())
}

pub(super) async fn sign(asking: Asking) -> Result<Signed, SignError> {
    let request = proto::SignRequest {
        csr: csr(&asking.key)?,
        token: match &asking.proof {
            Proof::Introduction(introduction) => introduction.token.clone(),
            Proof::Svid { .. } => String::new(),
        },
        workload: asking.workload.to_string(),
    };
    let tls = config(&asking)?;
    let Dialled { channel, address } = dial(&asking.addresses, tls, asking.reach).await?;
    let mut client = IdentityClient::new(channel);
    let limit = asking.reach.answer_max;
    let answer = tokio::time::timeout(limit, client.sign(request)).await;
    let answer = answer
        .map_err(|_| DialError::Slow { address, limit })?
        .map_err(|status| SignError::Refused { code: status.code(), message: status.message().to_owned() })?;
    checked(&asking, answer.into_inner()).map_err(SignError::Answer)
}

fn config(asking: &Asking) -> Result<Arc<rustls::ClientConfig>, SignError> {
    let request = |error: &dyn std::fmt::Display| SignError::Request(error.to_string());
    let controlplane = controlplane_id(asking.proof.id().trust_domain()).map_err(|e| request(&e))?;
    match &asking.proof {
        Proof::Introduction(introduction) => {
            join_config(Arc::clone(&asking.provider), introduction, controlplane).map_err(|e| request(&e))
        }
        Proof::Svid { material, .. } => material.client(&controlplane, Alpn::H2).map_err(|e| request(&e)),
    }
}

/// Only its public key counts: the control plane writes names from its own records.
fn csr(key: &PrivatePkcs8KeyDer<'static>) -> Result<Vec<u8>, SignError> {
    let failed = |error: rcgen::Error| SignError::Request(error.to_string());
    let pair = KeyPair::try_from(key).map_err(failed)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(&pair).map_err(failed)?.der().to_vec())
}

fn checked(asking: &Asking, answer: proto::SignResponse) -> Result<Signed, String> {
    let chain: Vec<CertificateDer<'static>> = answer.chain.into_iter().map(CertificateDer::from).collect();
    let roots: Vec<CertificateDer<'static>> = answer.roots.into_iter().map(CertificateDer::from).collect();
    let leaf = chain.first().ok_or("it has no certificate")?;
    let facts = SvidFacts::read(leaf)?;
    let want = asking.proof.id();
    if facts.id != *want {
        return Err(format!("it gave the identity {}, expected {want}", facts.id));
    }
    if answer.trust_domain != want.trust_domain() {
        return Err(format!("it is of trust domain {:?}, expected {:?}", answer.trust_domain, want.trust_domain()));
    }
    let pair = KeyPair::try_from(&asking.key).map_err(|error| error.to_string())?;
    if facts.public_key != rcgen::PublicKeyData::subject_public_key_info(&pair) {
        return Err("its certificate is for another key".to_owned());
    }
    if let Proof::Introduction(given) = &asking.proof
        && !roots.iter().any(|root| given.roots.contains(&Sha256::digest(root).into()))
    {
        return Err(format!("no root that {} names is among its roots", given.roots_from));
    }
    let signer = |key: Vec<u8>| key.try_into().map_err(|_| "a signer's key has not 32 bytes".to_owned());
    let signers: Vec<[u8; 32]> = answer.signers.into_iter().map(signer).collect::<Result<_, _>>()?;
    if signers.is_empty() {
        return Err("it names no signer".to_owned());
    }
    let identity = StoredIdentity { key: asking.key.clone_key(), chain };
    Ok(Signed { id: facts.id, identity, trust: StoredTrust { roots, signers } })
}

/// What an SVID says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SvidFacts {
    pub(super) id: SpiffeId,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    /// SubjectPublicKeyInfo, DER.
    public_key: Vec<u8>,
}

impl SvidFacts {
    pub(super) fn read(leaf: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| "its certificate cannot be read")?;
        let names = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        });
        let [GeneralName::URI(uri)] = names.map(Vec::as_slice).unwrap_or_default() else {
            return Err("its certificate has not exactly one name, a SPIFFE id".to_owned());
        };
        let time = |at: x509_parser::time::ASN1Time| {
            let seconds = u64::try_from(at.timestamp()).unwrap_or(0);
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
        };
        Ok(Self {
            id: uri.parse().map_err(|error: weft_snapshot::InvalidName| error.to_string())?,
            not_before: time(certificate.validity().not_before),
            not_after: time(certificate.validity().not_after),
            public_key: certificate.public_key().raw.to_vec(),
        })
    }

    /// Before half its life is over, so that the control plane may be away for the other half. `chance` (0..1) spreads
    /// proxies that joined together.
    pub(super) fn renew_at(&self, chance: f64) -> SystemTime {
        let life = self.not_after.duration_since(self.not_before).unwrap_or_default();
        self.not_before + life.mul_f64(0.4 + 0.1 * chance.clamp(0.0, 1.0))
    }

    pub(super) fn expired(&self, now: SystemTime) -> bool {
        self.not_after <= now
    }
}

/// As `tls` wants it.
pub(super) fn identity(id: &SpiffeId, stored: &StoredIdentity, trust: &StoredTrust) -> Identity {
    Identity {
        id: id.clone(),
        chain: stored.chain.clone(),
        key: stored.key.clone_key(),
        trust_domain: id.trust_domain().to_owned(),
        roots: trust.roots.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_comes_at_about_half_life() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let facts = SvidFacts {
            id: "spiffe://t/ns/a/sa/b".parse().expect("valid"),
            not_before: at(1000),
            not_after: at(2000),
            public_key: vec![],
        };
        for (chance, want) in [(0.0, 1400), (0.5, 1450), (1.0, 1500), (7.0, 1500)] {
            assert_eq!(facts.renew_at(chance), at(want), "chance {chance}");
        }
        assert_eq!((facts.expired(at(1999)), facts.expired(at(2000))), (false, true));
    }

    #[test]
    fn a_request_holds_the_public_key_alone() {
        let key = new_key().expect("random bytes");
        let der = csr(&key).expect("a request");
        let pair = KeyPair::try_from(&key).expect("its own key");
        let public = rcgen::PublicKeyData::der_bytes(&pair);
        let private = key.secret_pkcs8_der();
        let holds = |part: &[u8]| der.windows(part.len()).any(|window| window == part);
        assert!(holds(public));
        // The 32 bytes of a P-256 private key begin at offset 36 of its PKCS#8 form.
        assert!(!holds(&private[36..68]));
    }
}
