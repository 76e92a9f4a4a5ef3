//! First contact: how a proxy without an SVID proves who it is, and by which root it knows its control plane.
//!
//! A join token says both in itself; on Kubernetes a projected service-account token and a root file do. It asks
//! nobody; joining is `svid`'s.

use super::token::JoinToken;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use weft_snapshot::SpiffeId;

/// What this proxy was given to join with.
#[derive(Clone, Debug)]
pub enum FirstContact {
    /// From `weft token create`.
    Token(JoinToken),
    /// Of a pod.
    Projected(Projected),
}

/// A pod's files. Both are read anew for each use: the kubelet replaces the token before it expires, and the root
/// file when the mesh's root changes.
#[derive(Clone, Debug)]
pub struct Projected {
    /// Holds a service-account token (JWT) that the kubelet renews.
    pub token: PathBuf,
    /// PEM certificates; nothing else is believed at first contact.
    pub root: PathBuf,
    /// Of the mesh: with it the control plane's id is exact.
    pub trust_domain: String,
}

/// Read for one attempt. Debug shows nothing that lets somebody join.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Introduction {
    /// As it is sent to the control plane.
    pub(super) token: String,
    /// The identity that it should give.
    pub(super) identity: SpiffeId,
    /// SHA-256 of the DER of each root that the control plane may present.
    pub(super) roots: Vec<[u8; 32]>,
    /// What names the roots, for who reads of a control plane that has none of them.
    pub(super) roots_from: String,
}

/// Files may come later or change: none of these is final.
#[derive(Debug, thiserror::Error)]
pub enum ProjectedError {
    #[error("{} cannot be read: {reason}; {remedy}", path.display())]
    Read { path: PathBuf, reason: io::Error, remedy: &'static str },
    #[error("{} holds no service-account token: {reason}; {TOKEN_REMEDY}", path.display())]
    Token { path: PathBuf, reason: String },
    #[error("{} holds no usable root: {reason}; {ROOT_REMEDY}", path.display())]
    Root { path: PathBuf, reason: String },
}

impl From<JoinToken> for FirstContact {
    fn from(token: JoinToken) -> Self {
        Self::Token(token)
    }
}

impl FirstContact {
    /// A pod's token is renewed for it.
    pub(super) fn expired(&self, now: SystemTime) -> bool {
        matches!(self, Self::Token(token) if token.expired(now))
    }

    /// What is refused now may be taken later: a file is read anew.
    pub(super) fn may_change(&self) -> bool {
        matches!(self, Self::Projected(_))
    }

    pub(super) fn read(&self) -> Result<Introduction, ProjectedError> {
        match self {
            Self::Token(token) => Ok(Introduction {
                token: token.text().to_owned(),
                identity: token.identity.clone(),
                roots: token.roots.clone(),
                roots_from: "the join token".to_owned(),
            }),
            Self::Projected(files) => files.read(),
        }
    }
}

impl Projected {
    fn read(&self) -> Result<Introduction, ProjectedError> {
        let token = read(&self.token, TOKEN_REMEDY)?;
        let refused = |reason| ProjectedError::Token { path: self.token.clone(), reason };
        let token = String::from_utf8(token).map_err(|_| refused("it is no text".to_owned()))?;
        let token = token.trim().to_owned();
        let identity = subject(&token, &self.trust_domain).map_err(refused)?;
        Ok(Introduction { token, identity, roots: self.roots()?, roots_from: self.root.display().to_string() })
    }

    /// SHA-256 of each root in the file.
    fn roots(&self) -> Result<Vec<[u8; 32]>, ProjectedError> {
        let pem = read(&self.root, ROOT_REMEDY)?;
        let refused = |reason| ProjectedError::Root { path: self.root.clone(), reason };
        let roots: Vec<[u8; 32]> = CertificateDer::pem_slice_iter(&pem)
            .map(|root| root.map(|der| Sha256::digest(der).into()))
            .collect::<Result<_, _>>()
            .map_err(|error| refused(error.to_string()))?;
        if roots.is_empty() { Err(refused("there is no certificate in it".to_owned())) } else { Ok(roots) }
    }
}

impl fmt::Debug for Introduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Introduction(as {}, to a root of {})", self.identity, self.roots_from)
    }
}

/// Whose token it is, as it says itself: only to tell a wrong file early. The control plane lets the API server judge.
fn subject(jwt: &str, trust_domain: &str) -> Result<SpiffeId, String> {
    #[derive(Deserialize)]
    struct Payload {
        sub: String,
    }
    let [_, payload, _] = jwt.split('.').collect::<Vec<_>>()[..] else {
        return Err("it has not the three parts of a JWT".to_owned());
    };
    let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| "its payload is not base64url".to_owned())?;
    let Payload { sub } =
        serde_json::from_slice(&payload).map_err(|error| format!("its payload is not what it should be: {error}"))?;
    let account = sub.strip_prefix("system:serviceaccount:").and_then(|account| account.split_once(':'));
    let (namespace, name) = account.ok_or_else(|| format!("its subject {sub:?} is no service account"))?;
    SpiffeId::new(trust_domain, namespace, name).map_err(|error| error.to_string())
}

fn read(path: &Path, remedy: &'static str) -> Result<Vec<u8>, ProjectedError> {
    let failed = |reason| ProjectedError::Read { path: path.to_owned(), reason, remedy };
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(bytes)
}

/// A token has some 1 kB, a root 1 kB more for each that counts.
const FILE_BYTES_MAX: u64 = 256 << 10;
const TOKEN_REMEDY: &str = "mount a projected serviceAccountToken of audience weft-ca there, as injection does";
const ROOT_REMEDY: &str = "mount key root.pem of the ConfigMap weft-root there, as injection does";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn jwt(payload: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))
    }

    fn files(folder: &Path, token: &str, root: &str) -> Projected {
        let projected =
            Projected { token: folder.join("token"), root: folder.join("root.pem"), trust_domain: "t".to_owned() };
        std::fs::write(&projected.token, token).unwrap();
        std::fs::write(&projected.root, root).unwrap();
        projected
    }

    #[test]
    fn a_pod_is_introduced_by_what_its_files_hold_now() {
        let folder = tempfile::tempdir().unwrap();
        let root = |bytes: &str| format!("-----BEGIN CERTIFICATE-----\n{bytes}\n-----END CERTIFICATE-----\n");
        let good = jwt(r#"{"sub": "system:serviceaccount:shop:cart", "aud": ["weft-ca"]}"#);
        let projected = files(folder.path(), &format!("{good}\n"), &(root("AQID") + &root("BAUG")));
        let read = projected.read().unwrap();
        assert_eq!((read.token.as_str(), read.identity.as_str()), (good.as_str(), "spiffe://t/ns/shop/sa/cart"));
        let digest = |der: &[u8]| -> [u8; 32] { Sha256::digest(der).into() };
        assert_eq!(read.roots, [digest(&[1, 2, 3]), digest(&[4, 5, 6])]);
        assert!(!format!("{read:?}").contains(&good), "no secret in logs");
        let rotated = jwt(r#"{"sub": "system:serviceaccount:shop:cart", "exp": 2}"#);
        files(folder.path(), &rotated, &root("BAUG"));
        let read = projected.read().unwrap();
        assert_eq!((read.token, read.roots), (rotated, vec![digest(&[4, 5, 6])]), "read anew");
    }

    #[test]
    fn a_wrong_file_is_named_with_its_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let root = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
        let good = jwt(r#"{"sub": "system:serviceaccount:shop:cart"}"#);
        let cases = [
            ("a join token", "weft1:a:b", root, "three parts"),
            ("an empty token", "", root, "three parts"),
            ("no base64", "a.!.c", root, "base64url"),
            ("no subject", &jwt("{}"), root, "sub"),
            ("a user", &jwt(r#"{"sub": "jane"}"#), root, "no service account"),
            ("an empty root", &good, "", "no certificate"),
            ("a damaged root", &good, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "no usable root"),
        ];
        for (row, token, root, want) in cases {
            let error = files(folder.path(), token, root).read().expect_err(row).to_string();
            assert!(error.contains(want) && error.contains("as injection does"), "{row}: {error}");
        }
        let nothing = Projected { root: folder.path().join("none"), ..files(folder.path(), &good, root) };
        assert!(nothing.read().expect_err("no file").to_string().contains("none cannot be read"));
    }
}
