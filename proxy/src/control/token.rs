//! What a join token says to the proxy that carries it: which control plane to trust at first contact, and as whom.
//!
//! Its signature is for the control plane: a proxy that has never joined knows no key to verify it with.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};
use weft_snapshot::SpiffeId;

/// A parsed token. Neither Debug nor Display shows what lets somebody join.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    text: String,
    /// The identity that it gives.
    pub identity: SpiffeId,
    /// SHA-256 of the DER of each root that the control plane may present.
    pub roots: Vec<[u8; 32]>,
    pub expires: SystemTime,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the join token is not usable: {reason}; make one with `weft token create --for NAMESPACE/SERVICEACCOUNT`")]
pub struct TokenError {
    reason: String,
}

impl JoinToken {
    /// As it is sent to the control plane.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub fn expired(&self, now: SystemTime) -> bool {
        self.expires <= now
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken(for {})", self.identity)
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let refuse = |reason: &str| TokenError { reason: reason.to_owned() };
        let parts: Vec<&str> = text.split(':').collect();
        let [version, domain, roots, namespace, account, _id, expires, _uses, _signature] = parts[..] else {
            return Err(refuse("it has not the nine parts of a token, was it cut short?"));
        };
        if version != "weft1" {
            return Err(refuse("it is of a version that this proxy does not know, or no token at all"));
        }
        let identity = SpiffeId::new(domain, namespace, account).map_err(|error| refuse(&error.to_string()))?;
        let roots: Option<Vec<[u8; 32]>> = roots.split('+').map(sha256).collect();
        let roots = roots.ok_or_else(|| refuse("the SHA-256 of a root needs 64 lower-case hexadecimal digits"))?;
        let seconds = expires.parse().map_err(|_| refuse("its expiry is no number of seconds"))?;
        let expires = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        let expires = expires.ok_or_else(|| refuse("its expiry is out of range"))?;
        Ok(Self { text: text.to_owned(), identity, roots, expires })
    }
}

fn sha256(hex: &str) -> Option<[u8; 32]> {
    format!("sha256:{hex}").parse::<weft_snapshot::Digest>().ok().map(|digest| digest.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        let root = "ab".repeat(32);
        let good = format!("weft1:cluster.local:{root}+{root}:default:reviews:00ff:1800000000:once:beef");
        let token: JoinToken = format!(" {good}\n").parse().expect("valid");
        assert_eq!(token.identity.as_str(), "spiffe://cluster.local/ns/default/sa/reviews");
        assert_eq!((token.roots.len(), token.text()), (2, good.as_str()));
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!((token.expired(at(1_799_999_999)), token.expired(at(1_800_000_000))), (false, true));
        assert!(!format!("{token:?}").contains("beef"), "no secret in logs");
        let cases = [
            ("cut short", good[..40].to_owned(), "cut short"),
            ("empty", String::new(), "cut short"),
            ("another version", good.replace("weft1", "weft2"), "version"),
            ("a short root", good.replace("ab+", "+"), "64 lower-case"),
            ("an identity that is none", good.replace("default", ""), "SPIFFE id"),
            ("no time", good.replace("1800000000", "soon"), "no number of seconds"),
            ("never", good.replace("1800000000", &u64::MAX.to_string()), "out of range"),
        ];
        for (row, text, want) in cases {
            let error = text.parse::<JoinToken>().expect_err(row).to_string();
            assert!(error.contains(want) && error.contains("weft token create"), "{row}: {error}");
        }
    }
}
