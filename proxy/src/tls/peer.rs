//! Who is at the other end of a verified connection: SPIFFE id, labels, and until when its certificate holds.
//!
//! The chain has been verified already; this reads what it says.

use rustls_pki_types::CertificateDer;
use std::time::{Duration, SystemTime};
use weft_snapshot::{Labels, SpiffeId, svid};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub identity: SpiffeId,
    /// `unknown` where the certificate has no labels.
    pub labels: Labels,
    pub expires: SystemTime,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    #[error("the peer showed no certificate")]
    NoCertificate,
    #[error("the peer's certificate cannot be read")]
    Unreadable,
    #[error("the peer's certificate has no SPIFFE id")]
    NoIdentity,
    /// A resumed session skips the verification of the chain, and so its expiry.
    #[error("the peer's certificate has expired since its session began")]
    Expired,
}

impl Peer {
    /// Reads the leaf of `chain`.
    pub fn read(chain: Option<&[CertificateDer<'_>]>, now: SystemTime) -> Result<Self, PeerError> {
        let leaf = chain.and_then(<[_]>::first).ok_or(PeerError::NoCertificate)?;
        let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| PeerError::Unreadable)?;
        let expires = expiry(&certificate);
        if expires < now {
            return Err(PeerError::Expired);
        }
        let identity = identity(&certificate).ok_or(PeerError::NoIdentity)?;
        let labels = labels(&certificate).unwrap_or_default();
        Ok(Self { identity, labels, expires })
    }
}

pub(super) fn expiry(certificate: &X509Certificate<'_>) -> SystemTime {
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn identity(certificate: &X509Certificate<'_>) -> Option<SpiffeId> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => names.general_names.iter().find_map(|name| match name {
            GeneralName::URI(uri) => uri.parse().ok(),
            _ => None,
        }),
        _ => None,
    })
}

fn labels(certificate: &X509Certificate<'_>) -> Option<Labels> {
    let oid = svid::labels_oid_der();
    let extension = certificate.extensions().iter().find(|extension| extension.oid.as_bytes() == oid)?;
    svid::decode_labels(extension.value)
}
