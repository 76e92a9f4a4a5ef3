//! Names that cannot be wrong: hosts, digests, SPIFFE ids, workloads, backends.
//!
//! Parsing is the only way in, so that no other code has to validate them again.

use std::fmt;
use std::str::FromStr;

/// Why a text is not the name it was taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidName {
    pub what: &'static str,
    pub value: String,
    pub reason: &'static str,
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no {}: {}", self.value, self.what, self.reason)
    }
}

impl std::error::Error for InvalidName {}

fn invalid<T>(what: &'static str, value: &str, reason: &'static str) -> Result<T, InvalidName> {
    Err(InvalidName { what, value: value.to_owned(), reason })
}

/// A lower-case DNS name or IP literal without port and without trailing dot, or `*.` and a suffix, or `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(String);

impl Host {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with('*')
    }

    /// For `*.example.com`, `.example.com`; `None` for an exact host.
    pub fn suffix(&self) -> Option<&str> {
        self.0.strip_prefix('*')
    }
}

impl FromStr for Host {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let what = "host";
        let host = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if host.is_empty() || host.len() > 253 {
            return invalid(what, text, "it needs 1 to 253 characters");
        }
        if host.parse::<std::net::IpAddr>().is_ok() {
            return Ok(Self(host));
        }
        let name = match host.strip_prefix('*') {
            Some("") => return Ok(Self(host)),
            Some(rest) => match rest.strip_prefix('.') {
                Some(name) => name,
                None => return invalid(what, text, "a wildcard is a whole first label, as in *.example.com"),
            },
            None => host.as_str(),
        };
        let label_ok = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        };
        if !name.split('.').all(label_ok) {
            return invalid(what, text, "each label needs 1 to 63 of a-z, 0-9, - and _");
        }
        Ok(Self(host))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The SHA-256 of some bytes, written `sha256:<64 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl FromStr for Digest {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let what = "digest";
        let Some(hex) = text.strip_prefix("sha256:") else {
            return invalid(what, text, "it needs to start with sha256:");
        };
        if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return invalid(what, text, "sha256: needs 64 lower-case hexadecimal digits after it");
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let digit = |c: u8| if c.is_ascii_digit() { c - b'0' } else { c - b'a' + 10 };
            *byte = digit(pair[0]) << 4 | digit(pair[1]);
        }
        Ok(Self(bytes))
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // At once: an access log has one in each line, and a number at a time costs as much as the filter that it names.
        let mut text = *b"sha256:0000000000000000000000000000000000000000000000000000000000000000";
        for (digits, byte) in text[7..].chunks_exact_mut(2).zip(self.0) {
            digits.copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        f.write_str(std::str::from_utf8(&text).expect("ASCII"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who a workload is: `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT` (SPIFFE ID specification, Istio's path).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    text: String,
    trust_domain_end: usize,
    namespace: (usize, usize),
}

impl SpiffeId {
    /// Fails where a part is empty or holds a character that a SPIFFE path segment may not hold.
    pub fn new(trust_domain: &str, namespace: &str, service_account: &str) -> Result<Self, InvalidName> {
        format!("spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}").parse()
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn trust_domain(&self) -> &str {
        &self.text[SCHEME.len()..self.trust_domain_end]
    }

    pub fn namespace(&self) -> &str {
        &self.text[self.namespace.0..self.namespace.1]
    }

    pub fn service_account(&self) -> &str {
        &self.text[self.namespace.1 + "/sa/".len()..]
    }

    /// The form in which Istio's policies write it: without `spiffe://`.
    pub fn principal(&self) -> &str {
        &self.text[SCHEME.len()..]
    }
}

const SCHEME: &str = "spiffe://";

impl FromStr for SpiffeId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let what = "SPIFFE id";
        let Some(rest) = text.strip_prefix(SCHEME) else {
            return invalid(what, text, "it needs to start with spiffe://");
        };
        let parts: Vec<&str> = rest.split('/').collect();
        let [domain, "ns", namespace, "sa", account] = parts[..] else {
            return invalid(what, text, "it needs the form spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT");
        };
        let segment_ok = |s: &str| {
            !s.is_empty()
                && s != "."
                && s != ".."
                && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        };
        if !segment_ok(domain) || domain.bytes().any(|b| b.is_ascii_uppercase()) {
            return invalid(what, text, "the trust domain needs a-z, 0-9, -, . and _");
        }
        if !segment_ok(namespace) || !segment_ok(account) {
            return invalid(what, text, "namespace and service account need letters, digits, -, . and _");
        }
        let trust_domain_end = SCHEME.len() + domain.len();
        let start = trust_domain_end + "/ns/".len();
        let namespace = (start, start + namespace.len());
        Ok(Self { text: text.to_owned(), trust_domain_end, namespace })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `NAMESPACE/NAME` of a WorkloadEntry or a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadName {
    pub namespace: String,
    pub name: String,
}

impl FromStr for WorkloadName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => invalid("workload", text, "it needs the form NAMESPACE/NAME"),
        }
    }
}

impl fmt::Display for WorkloadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Where requests can be sent: one port of one subset of one service. Written as Istio names clusters,
/// `outbound|PORT|SUBSET|HOST`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendName {
    pub host: Host,
    pub port: u16,
    /// Empty for the service as a whole.
    pub subset: String,
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "outbound|{}|{}|{}", self.port, self.subset, self.host)
    }
}

impl FromStr for BackendName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let what = "backend name";
        let parts: Vec<&str> = text.split('|').collect();
        let ["outbound", port, subset, host] = parts[..] else {
            return invalid(what, text, "it needs the form outbound|PORT|SUBSET|HOST");
        };
        let Ok(port) = port.parse() else {
            return invalid(what, text, "the port needs to be a number from 0 to 65535");
        };
        Ok(Self { host: host.parse()?, port, subset: subset.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let cases = [
            ("Reviews.", Some("reviews")),
            ("*.example.com", Some("*.example.com")),
            ("*", Some("*")),
            ("10.0.0.1", Some("10.0.0.1")),
            ("::1", Some("::1")),
            ("*example.com", None),
            ("a..b", None),
            ("", None),
            ("host:80", None),
            ("spa ce", None),
        ];
        for (text, want) in cases {
            let got = text.parse::<Host>().ok();
            assert_eq!(got.as_ref().map(Host::as_str), want, "host {text:?}");
        }
    }

    #[test]
    fn spiffe_ids() {
        let id: SpiffeId = "spiffe://cluster.local/ns/default/sa/reviews".parse().expect("valid");
        assert_eq!(
            (id.trust_domain(), id.namespace(), id.service_account(), id.principal()),
            ("cluster.local", "default", "reviews", "cluster.local/ns/default/sa/reviews")
        );
        for bad in [
            "spiffe://a/ns/b",
            "http://a/ns/b/sa/c",
            "spiffe:///ns/b/sa/c",
            "spiffe://a/ns//sa/c",
            "spiffe://A/ns/b/sa/c",
        ] {
            assert!(bad.parse::<SpiffeId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn digests_and_backends_round_trip() {
        let digest = Digest([0xab; 32]);
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!("sha256:AB".parse::<Digest>().is_err());
        let backend: BackendName = "outbound|9080|v1|reviews.default.svc.cluster.local".parse().expect("valid");
        assert_eq!(backend.to_string().parse(), Ok(backend));
    }
}
