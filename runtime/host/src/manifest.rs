//! What a filter declared that it wants to see and may change, parsed once into types that cannot be wrong.
//!
//! It does not know how the answer of `configure` was obtained, nor HTTP's own types.

use crate::contract;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt;

/// The checked answer of `configure`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// What `on-request` is passed, in order.
    pub request: Vec<Attribute>,
    /// What `on-response` is passed, in order. Empty: it is never called.
    pub response: Vec<Attribute>,
    /// What edits of a request name by index.
    pub request_writes: Vec<Writable>,
    /// What edits of a response name by index.
    pub response_writes: Vec<Writable>,
    /// Subsets that `Forward::pick` names by index.
    pub upstreams: Vec<String>,
    /// Counters that `host.count` names by index.
    pub counters: Vec<String>,
    /// It protects the service, and so belongs at the destination.
    pub guard: bool,
}

/// One thing that a filter may see of a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Attribute {
    /// Lower-case; all values joined by ", " (`cookie` by "; "). Of the message at hand.
    Header(String),
    Method,
    Scheme,
    Authority,
    /// With its query.
    Path,
    SourceIdentity,
    SourceAddress,
    SourceNamespace,
    DestinationService,
    Route,
    RequestId,
    /// The first value of a query parameter, percent-decoded.
    Query(String),
    /// The value of one cookie.
    Cookie(String),
    /// Of a response: its status.
    Status,
    /// Of a response: the subset that answered.
    Subset,
    /// Of a response: the endpoint that answered.
    Upstream,
    /// Of a response: an attribute of the request that it answers.
    Request(Box<Attribute>),
}

/// One thing that a filter may change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Writable {
    /// The request's target, with its query. Can only be set.
    Path,
    /// Lower-case. `set-cookie` can only be appended to.
    Header(String),
}

/// Which handler a list of a manifest is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Request,
    Response,
}

/// Why an answer of `configure` is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("{field} names {name:?}, which is no attribute of that phase; {remedy}")]
    UnknownAttribute { field: &'static str, name: String, remedy: &'static str },
    #[error("{field} names {name:?}, which a filter may not change: {reason}")]
    NotWritable { field: &'static str, name: String, reason: &'static str },
    #[error("{field} has {count} entries, more than the {max} that a filter may have; declare fewer")]
    TooMany { field: &'static str, count: usize, max: usize },
    #[error("{field} has an entry of {length} bytes, more than {max}; shorten it")]
    TooLong { field: &'static str, length: usize, max: usize },
    #[error("{field} names {name:?}: {reason}")]
    BadName { field: &'static str, name: String, reason: &'static str },
    #[error("the manifest asks for {feature}, which is not supported yet; leave `{field}` empty")]
    NotSupported { feature: &'static str, field: &'static str },
    #[error("the manifest declares response attributes, but the component does not export {interface}")]
    NoResponsePhase { interface: &'static str },
}

/// Entries in one list of a manifest.
pub const ENTRIES_MAX: usize = 64;
/// Bytes of one entry.
pub const ENTRY_BYTES_MAX: usize = 256;

/// Headers of one hop or of the message's framing: the proxy's own business.
const HOP_OR_FRAMING: [&str; 11] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Manifest {
    pub(crate) fn parse(raw: &contract::Manifest) -> Result<Self, ManifestError> {
        if !raw.callouts.is_empty() {
            return Err(ManifestError::NotSupported { feature: "callouts", field: "callouts" });
        }
        if raw.body_limit != 0 {
            return Err(ManifestError::NotSupported { feature: "request bodies", field: "body-limit" });
        }
        Ok(Self {
            request: list("request", &raw.request, |name| attribute("request", Phase::Request, name))?,
            response: list("response", &raw.response, |name| attribute("response", Phase::Response, name))?,
            request_writes: list("request-writes", &raw.request_writes, |name| {
                writable("request-writes", Phase::Request, name)
            })?,
            response_writes: list("response-writes", &raw.response_writes, |name| {
                writable("response-writes", Phase::Response, name)
            })?,
            upstreams: distinct("upstreams", list("upstreams", &raw.upstreams, subset)?)?,
            counters: distinct("counters", list("counters", &raw.counters, counter)?)?,
            guard: raw.guard,
        })
    }
}

impl Attribute {
    /// Reads an attribute of the request phase as a manifest writes it.
    pub fn of_request(name: &str) -> Option<Self> {
        Self::common(name).or_else(|| match name {
            ":method" => Some(Self::Method),
            ":scheme" => Some(Self::Scheme),
            ":authority" => Some(Self::Authority),
            ":path" => Some(Self::Path),
            "@source.identity" => Some(Self::SourceIdentity),
            "@source.address" => Some(Self::SourceAddress),
            "@source.namespace" => Some(Self::SourceNamespace),
            "@destination.service" => Some(Self::DestinationService),
            "@route" => Some(Self::Route),
            "@request.id" => Some(Self::RequestId),
            _ => {
                let named = |prefix| name.strip_prefix(prefix).filter(|rest: &&str| !rest.is_empty());
                match (named("@query:"), named("@cookie:")) {
                    (Some(parameter), _) => Some(Self::Query(parameter.to_owned())),
                    (_, Some(cookie)) => Some(Self::Cookie(cookie.to_owned())),
                    _ => None,
                }
            }
        })
    }

    /// Reads an attribute of the response phase as a manifest writes it.
    pub fn of_response(name: &str) -> Option<Self> {
        Self::common(name).or_else(|| match name {
            ":status" => Some(Self::Status),
            "@subset" => Some(Self::Subset),
            "@upstream" => Some(Self::Upstream),
            _ => name.strip_prefix("req:").and_then(Self::of_request).map(|inner| Self::Request(Box::new(inner))),
        })
    }

    fn common(name: &str) -> Option<Self> {
        (is_header_name(name) && name != "set-cookie").then(|| Self::Header(name.to_owned()))
    }
}

/// As a manifest writes it.
impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => f.write_str(name),
            Self::Method => f.write_str(":method"),
            Self::Scheme => f.write_str(":scheme"),
            Self::Authority => f.write_str(":authority"),
            Self::Path => f.write_str(":path"),
            Self::SourceIdentity => f.write_str("@source.identity"),
            Self::SourceAddress => f.write_str("@source.address"),
            Self::SourceNamespace => f.write_str("@source.namespace"),
            Self::DestinationService => f.write_str("@destination.service"),
            Self::Route => f.write_str("@route"),
            Self::RequestId => f.write_str("@request.id"),
            Self::Query(name) => write!(f, "@query:{name}"),
            Self::Cookie(name) => write!(f, "@cookie:{name}"),
            Self::Status => f.write_str(":status"),
            Self::Subset => f.write_str("@subset"),
            Self::Upstream => f.write_str("@upstream"),
            Self::Request(inner) => write!(f, "req:{inner}"),
        }
    }
}

impl Writable {
    pub fn name(&self) -> &str {
        match self {
            Self::Path => ":path",
            Self::Header(name) => name,
        }
    }
}

/// True for a lower-case token (RFC 9110, section 5.6.2): what HTTP/2 allows as a field name.
pub(crate) fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9') || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// True for a header that only the proxy may write.
pub(crate) fn is_hop_or_framing(name: &str) -> bool {
    HOP_OR_FRAMING.contains(&name)
}

fn list<T>(
    field: &'static str,
    names: &[String],
    parse: impl Fn(&str) -> Result<T, ManifestError>,
) -> Result<Vec<T>, ManifestError> {
    if names.len() > ENTRIES_MAX {
        return Err(ManifestError::TooMany { field, count: names.len(), max: ENTRIES_MAX });
    }
    if let Some(long) = names.iter().find(|name| name.len() > ENTRY_BYTES_MAX) {
        return Err(ManifestError::TooLong { field, length: long.len(), max: ENTRY_BYTES_MAX });
    }
    names.iter().map(|name| parse(name)).collect()
}

fn attribute(field: &'static str, phase: Phase, name: &str) -> Result<Attribute, ManifestError> {
    let parsed = match phase {
        Phase::Request => Attribute::of_request(name),
        Phase::Response => Attribute::of_response(name),
    };
    parsed.ok_or_else(|| {
        let header = name.strip_prefix("req:").unwrap_or(name).to_ascii_lowercase();
        let remedy = match () {
            () if header == "set-cookie" => "its values cannot be joined, read them with request.header-values",
            () if is_header_name(&header) => "write header names in lower case",
            () => "see the doc comment of `manifest` in wit/types.wit for the list",
        };
        ManifestError::UnknownAttribute { field, name: name.to_owned(), remedy }
    })
}

fn writable(field: &'static str, phase: Phase, name: &str) -> Result<Writable, ManifestError> {
    let refused = |reason| Err(ManifestError::NotWritable { field, name: name.to_owned(), reason });
    match name {
        ":path" if phase == Phase::Request => Ok(Writable::Path),
        ":path" => refused("a response has no path"),
        ":method" | ":scheme" | ":authority" | ":status" => refused("of the pseudo headers only :path can be changed"),
        name if is_hop_or_framing(name) => refused("it concerns one hop or the framing, which the proxy writes"),
        name if is_header_name(name) => Ok(Writable::Header(name.to_owned())),
        _ => refused("it is no lower-case header name"),
    }
}

fn subset(name: &str) -> Result<String, ManifestError> {
    if name.is_empty() {
        return Err(ManifestError::BadName { field: "upstreams", name: String::new(), reason: "a subset has a name" });
    }
    Ok(name.to_owned())
}

fn counter(name: &str) -> Result<String, ManifestError> {
    let starts = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if !starts || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        let reason = "a counter's name is a letter or `_`, then letters, digits and `_`";
        return Err(ManifestError::BadName { field: "counters", name: name.to_owned(), reason });
    }
    Ok(name.to_owned())
}

fn distinct(field: &'static str, names: Vec<String>) -> Result<Vec<String>, ManifestError> {
    let mut seen = HashSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(twice) => Err(ManifestError::BadName { field, name: twice.clone(), reason: "it is there twice" }),
        None => Ok(names),
    }
}

#[cfg(test)]
mod tests;
