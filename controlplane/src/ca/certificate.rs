//! The certificates that the CA writes: its own root, and leaves for workloads and for the control plane itself.
//!
//! It does not know who may have one; that is decided before.

use super::CaError;
use super::keys::{Root, Seconds};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKey, PublicKeyData, SanType, SerialNumber,
    SigningKey,
};
use rustls_pki_types::CertificateSigningRequestDer;
use std::time::Duration;
use time::OffsetDateTime;
use weft_snapshot::{Labels, SpiffeId, svid};

/// A new self-signed root (ECDSA P-256) with its key.
pub(super) fn new_root(now: Seconds, life: Duration) -> Result<Root, CaError> {
    let key = KeyPair::generate().map_err(CaError::Write)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = name("Weft root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(serial()?);
    let expires = now + life.as_secs().max(1);
    (params.not_before, params.not_after) = (moment(now.saturating_sub(BACKDATE_MAX)), moment(expires));
    let certificate = params.self_signed(&key).map_err(CaError::Write)?;
    Ok(Root { chain: certificate.pem(), key: key.serialize_pem(), expires, given: false })
}

/// Who a leaf is for, and for how long.
pub(super) struct Leaf<'a> {
    pub(super) identity: &'a SpiffeId,
    /// A name of DNS beside it.
    pub(super) dns: Option<&'a str>,
    /// Written into the certificate for the peers' metrics.
    pub(super) labels: Option<&'a Labels>,
    /// Bound to it.
    pub(super) pod: Option<&'a svid::Pod>,
    pub(super) life: Duration,
    /// Of the certificate that signs: no leaf outlives it.
    pub(super) issuer_expires: Seconds,
}

/// Gives the DER and the moment from which it is void.
pub(super) fn leaf<S: SigningKey>(
    leaf: &Leaf<'_>,
    key: &impl PublicKeyData,
    issuer: &Issuer<'_, S>,
    now: Seconds,
) -> Result<(Vec<u8>, Seconds), CaError> {
    let mut params = CertificateParams::default();
    // An empty subject: the SPIFFE id is the name. (SPIFFE asks for it, and RFC 5280 allows it with a critical SAN.)
    params.distinguished_name = DistinguishedName::new();
    let id = leaf.identity.as_str().try_into().map_err(CaError::Write)?;
    params.subject_alt_names = vec![SanType::URI(id)];
    if let Some(name) = leaf.dns {
        params.subject_alt_names.push(SanType::DnsName(name.try_into().map_err(CaError::Write)?));
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(serial()?);
    let labels = leaf.labels.map(|labels| (svid::LABELS_OID, svid::encode_labels(labels)));
    let pod = leaf.pod.map(|pod| (svid::POD_OID, svid::encode_pod(pod)));
    let extensions = labels.into_iter().chain(pod);
    params.custom_extensions = extensions.map(|(oid, der)| CustomExtension::from_oid_content(oid, der)).collect();
    let life = leaf.life.as_secs().max(1);
    let expires = (now + life).min(leaf.issuer_expires);
    // A little before now, since clocks differ; a tenth of the life at most, so that half life stays half life.
    params.not_before = moment(now.saturating_sub(BACKDATE_MAX.min(life / 10)));
    params.not_after = moment(expires);
    let certificate = params.signed_by(key, issuer).map_err(CaError::Write)?;
    Ok((certificate.der().to_vec(), expires))
}

/// The public key of a request whose signature proves that the asker holds the private one. Nothing else of it counts.
pub(super) fn requested_key(csr: &[u8]) -> Result<PublicKey, CaError> {
    Ok(parsed(csr)?.public_key)
}

/// The URIs that a request names: none of them is ever written, but one that is not the asker's is a lie.
pub(super) fn claimed_ids(csr: &[u8]) -> Result<Vec<String>, CaError> {
    let names = parsed(csr)?.params.subject_alt_names;
    let uri = |name| match name {
        SanType::URI(uri) => Some(uri.to_string()),
        _ => None,
    };
    Ok(names.into_iter().filter_map(uri).collect())
}

fn parsed(csr: &[u8]) -> Result<CertificateSigningRequestParams, CaError> {
    if csr.len() > CSR_BYTES_MAX {
        return Err(CaError::Request("it is longer than 16 KiB".to_owned()));
    }
    CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr))
        .map_err(|error| CaError::Request(error.to_string()))
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Weft");
    name.push(DnType::CommonName, common);
    name
}

fn serial() -> Result<SerialNumber, CaError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| CaError::Random)?;
    bytes[0] &= 0x7f; // positive
    Ok(SerialNumber::from_slice(&bytes))
}

fn moment(at: Seconds) -> OffsetDateTime {
    let at = i64::try_from(at).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(at).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

const BACKDATE_MAX: Seconds = 60;
const CSR_BYTES_MAX: usize = 16 * 1024;
