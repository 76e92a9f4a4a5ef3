//! Key, SVID, roots and signers as files.
//!
//! Key and chain are one file, so that a crash never leaves a key beside another key's certificate.

use super::pem;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};

/// Who this proxy is.
#[derive(Debug, PartialEq, Eq)]
pub struct StoredIdentity {
    pub key: PrivatePkcs8KeyDer<'static>,
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
}

/// Whom this proxy believes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredTrust {
    pub roots: Vec<CertificateDer<'static>>,
    /// Ed25519 public keys.
    pub signers: Vec<[u8; 32]>,
}

impl Clone for StoredIdentity {
    fn clone(&self) -> Self {
        Self { key: self.key.clone_key(), chain: self.chain.clone() }
    }
}

impl StoredIdentity {
    pub(super) fn to_pem(&self) -> String {
        let mut text = pem::encode("PRIVATE KEY", self.key.secret_pkcs8_der());
        for certificate in &self.chain {
            text.push_str(&pem::encode("CERTIFICATE", certificate));
        }
        text
    }

    pub(super) fn from_pem(bytes: &[u8]) -> Result<Self, String> {
        let key = pem::private_key(bytes)?;
        let chain: Vec<CertificateDer<'static>> = pem::decode(bytes, "certificate")?;
        if chain.is_empty() {
            return Err("there is no certificate in it".to_owned());
        }
        Ok(Self { key, chain })
    }
}

impl StoredTrust {
    pub(super) fn to_pem(&self) -> String {
        let mut text = String::new();
        for root in &self.roots {
            text.push_str(&pem::encode("CERTIFICATE", root));
        }
        for signer in &self.signers {
            text.push_str(&pem::encode("PUBLIC KEY", &[ED25519_PREFIX, signer].concat()));
        }
        text
    }

    pub(super) fn from_pem(bytes: &[u8]) -> Result<Self, String> {
        let roots: Vec<CertificateDer<'static>> = pem::decode(bytes, "certificate")?;
        if roots.is_empty() {
            return Err("there is no root in it".to_owned());
        }
        let keys: Vec<SubjectPublicKeyInfoDer<'static>> = pem::decode(bytes, "public key")?;
        let signer = |key: &SubjectPublicKeyInfoDer<'_>| {
            let raw = key.strip_prefix(ED25519_PREFIX).and_then(|raw| raw.try_into().ok());
            raw.ok_or_else(|| "a public key in it is no Ed25519 key".to_owned())
        };
        Ok(Self { roots, signers: keys.iter().map(signer).collect::<Result<_, _>>()? })
    }
}

/// SubjectPublicKeyInfo of an Ed25519 key up to its 32 bytes (RFC 8410).
const ED25519_PREFIX: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
