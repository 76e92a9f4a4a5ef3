//! A CA that the user gives: an intermediate (or a root) with its key, and the root to which it leads.
//!
//! It checks that the parts fit together before anything is signed with them.

use super::CaError;
use super::keys::{Root, Seconds};
use rcgen::{KeyPair, PublicKeyData};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::fs;
use std::path::{Path, PathBuf};
use x509_parser::prelude::X509Certificate;

/// The files of `--ca-cert`, `--ca-key` and `--ca-root`.
#[derive(Clone, Debug)]
pub struct GivenCa {
    /// PEM: the certificate that signs, then any that lead on towards the root.
    pub certificate: PathBuf,
    /// PEM, PKCS#8, of the first certificate.
    pub key: PathBuf,
    /// PEM; `None` where the certificate is itself a root.
    pub root: Option<PathBuf>,
}

/// Reads the files; the chain of the result ends in the root.
pub(super) fn load(given: &GivenCa, now: Seconds) -> Result<Root, CaError> {
    let mut chain = certificates(&given.certificate)?;
    let key_pem = read(&given.key)?;
    let key = KeyPair::from_pem(&key_pem).map_err(|error| wrong(&given.key, format!("{error}; give PKCS#8 PEM")))?;
    if let Some(path) = &given.root {
        let roots = certificates(path)?;
        let [root] = &roots[..] else {
            return Err(wrong(path, format!("it holds {} certificates, and one root is wanted", roots.len())));
        };
        if chain.last() != Some(root) {
            chain.push(root.clone());
        }
    }
    let parsed = chain
        .iter()
        .map(|der| x509_parser::parse_x509_certificate(der).map(|(_, certificate)| certificate))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(&given.certificate, error.to_string()))?;
    let expires = check(given, &parsed, &key, now)?;
    let chain = chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
    Ok(Root { chain, key: key.serialize_pem(), expires, given: true })
}

fn check(given: &GivenCa, chain: &[X509Certificate<'_>], key: &KeyPair, now: Seconds) -> Result<Seconds, CaError> {
    let file = &given.certificate;
    let (Some(first), Some(last)) = (chain.first(), chain.last()) else {
        return Err(wrong(file, "it holds no certificate".to_owned()));
    };
    if first.public_key().raw != key.subject_public_key_info() {
        return Err(wrong(&given.key, format!("it is not the key of {}", file.display())));
    }
    for pair in chain.windows(2) {
        if pair[0].issuer() != pair[1].subject() || pair[0].verify_signature(Some(pair[1].public_key())).is_err() {
            let (this, next) = (pair[0].subject(), pair[1].subject());
            return Err(wrong(file, format!("{this} is not signed by {next}; order the files leaf to root")));
        }
    }
    if last.issuer() != last.subject() || last.verify_signature(None).is_err() {
        return Err(wrong(file, format!("{} is no root; give the root with --ca-root", last.subject())));
    }
    if let Some(no_ca) = chain.iter().find(|certificate| !certificate.is_ca()) {
        return Err(wrong(file, format!("{} may not sign certificates (basicConstraints)", no_ca.subject())));
    }
    let ends = chain.iter().map(|certificate| certificate.validity().not_after.timestamp()).min();
    let expires = ends.and_then(|at| Seconds::try_from(at).ok()).unwrap_or(0);
    if expires <= now {
        return Err(wrong(file, "a certificate in it has expired".to_owned()));
    }
    Ok(expires)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CaError> {
    CertificateDer::pem_slice_iter(read(path)?.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(path, error.to_string()))
}

fn read(path: &Path) -> Result<String, CaError> {
    fs::read_to_string(path).map_err(|error| wrong(path, error.to_string()))
}

fn wrong(path: &Path, reason: String) -> CaError {
    CaError::Given { path: path.to_owned(), reason }
}

pub(super) fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("base64 is ASCII")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
