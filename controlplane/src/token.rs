//! Join tokens: the proof by which a proxy outside of Kubernetes says for whom it comes.
//!
//! A token is a line of text that anyone can read and only the control plane can sign. It does not know whether
//! it was used before; that is [`used`].

pub mod used;

use crate::ca::{CaError, Issuing, Seconds};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use weft_snapshot::SpiffeId;

/// `weft1:TRUST-DOMAIN:ROOT[+ROOT…]:NAMESPACE:SERVICE-ACCOUNT:ID:EXPIRES:once|reusable:SIGNATURE`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    claims: Claims,
    signature: Vec<u8>,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    pub identity: SpiffeId,
    /// SHA-256 of each root that is believed: how the proxy knows the control plane at first contact.
    pub roots: Vec<[u8; 32]>,
    pub id: [u8; 16],
    pub expires: Seconds,
    pub uses: Uses,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uses {
    Once,
    /// Any number of times until it expires.
    Many,
}

/// Each says what to do, since it reaches the person who starts the sidecar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("this is no join token ({reason}); make one with: weft token create --for NAMESPACE/SERVICEACCOUNT")]
    Malformed { reason: &'static str },
    #[error("the join token was not signed by this control plane; make one here with: weft token create --for {who}")]
    Foreign { who: String },
    #[error("the join token expired {ago:?} ago; make another with: weft token create --for {who}")]
    Expired { who: String, ago: Duration },
    #[error("the join token was used already; make another with: weft token create --for {who} (--reusable for many)")]
    Used { who: String },
    #[error(
        "the join token is for {token}, and workload {workload} is {wanted}; make one with: weft token create --for {who}"
    )]
    OtherIdentity { token: String, workload: String, wanted: String, who: String },
    #[error("the join token is of trust domain {token}, and this mesh is {mesh}; make another here")]
    OtherTrustDomain { token: String, mesh: String },
}

/// Makes a token that is good until `now + ttl`.
pub fn create(
    issuing: &Issuing,
    account: &ServiceAccount,
    uses: Uses,
    ttl: Duration,
    now: Seconds,
) -> Result<String, CaError> {
    let trust_domain = &issuing.trust().trust_domain;
    let identity = SpiffeId::new(trust_domain, &account.namespace, &account.name)
        .map_err(|error| CaError::Request(error.to_string()))?;
    let mut id = [0; 16];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| CaError::Random)?;
    let claims = Claims { identity, roots: issuing.root_hashes(), id, expires: now + ttl.as_secs().max(1), uses };
    let signature = issuing.sign(&claims.message());
    Ok(Token { claims, signature }.to_string())
}

impl Token {
    /// The claims, if a signer of this control plane signed them and they have not expired.
    pub fn verify(&self, issuing: &Issuing, now: Seconds) -> Result<&Claims, TokenError> {
        let trust = issuing.trust();
        let message = self.claims.message();
        let ours = |key: &[u8; 32]| UnparsedPublicKey::new(&ED25519, key).verify(&message, &self.signature).is_ok();
        let who = self.claims.who();
        if !trust.signers.iter().any(ours) {
            return Err(TokenError::Foreign { who });
        }
        if self.claims.expires <= now {
            return Err(TokenError::Expired { who, ago: Duration::from_secs(now - self.claims.expires) });
        }
        if self.claims.identity.trust_domain() != trust.trust_domain {
            let (token, mesh) = (self.claims.identity.trust_domain().to_owned(), trust.trust_domain.clone());
            return Err(TokenError::OtherTrustDomain { token, mesh });
        }
        Ok(&self.claims)
    }
}

impl Claims {
    /// `NAMESPACE/SERVICEACCOUNT`, as `weft token create --for` wants it.
    pub fn who(&self) -> String {
        format!("{}/{}", self.identity.namespace(), self.identity.service_account())
    }

    fn message(&self) -> Vec<u8> {
        format!("weft token 1\n{self}").into_bytes()
    }
}

impl fmt::Display for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roots: Vec<String> = self.roots.iter().map(|root| hex(root)).collect();
        let uses = match self.uses {
            Uses::Once => ONCE,
            Uses::Many => MANY,
        };
        let (id, roots) = (&self.identity, roots.join("+"));
        let (domain, namespace, account) = (id.trust_domain(), id.namespace(), id.service_account());
        write!(f, "{PREFIX}:{domain}:{roots}:{namespace}:{account}:{}:{}:{uses}", hex(&self.id), self.expires)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.claims, hex(&self.signature))
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let malformed = |reason| TokenError::Malformed { reason };
        let parts: Vec<&str> = text.trim().split(':').collect();
        let [PREFIX, domain, roots, namespace, account, id, expires, uses, signature] = parts[..] else {
            return Err(malformed("it needs nine parts with : between them, the first weft1"));
        };
        let uses = match uses {
            ONCE => Uses::Once,
            MANY => Uses::Many,
            _ => return Err(malformed("its eighth part needs to be once or reusable")),
        };
        let claims = Claims {
            identity: SpiffeId::new(domain, namespace, account).map_err(|_| malformed("its identity is no name"))?,
            roots: roots.split('+').map(unhex).collect::<Option<_>>().ok_or(malformed("a root is no SHA-256"))?,
            id: unhex(id).ok_or(malformed("its id is not 16 bytes in hex"))?,
            expires: expires.parse().map_err(|_| malformed("its expiry is no number"))?,
            uses,
        };
        let signature: [u8; 64] = unhex(signature).ok_or(malformed("its signature is not 64 bytes in hex"))?;
        Ok(Self { claims, signature: signature.to_vec() })
    }
}

/// `NAMESPACE/SERVICEACCOUNT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    pub namespace: String,
    pub name: String,
}

impl FromStr for ServiceAccount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("{text:?} needs the form NAMESPACE/SERVICEACCOUNT, as in default/reviews");
        let (namespace, name) = text.split_once('/').ok_or_else(form)?;
        SpiffeId::new("any", namespace, name).map_err(|_| form())?;
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

const PREFIX: &str = "weft1";
const ONCE: &str = "once";
const MANY: &str = "reusable";

#[cfg(test)]
mod tests;
