//! Why a request gets no answer of its upstream's, and what it gets instead: one table.
//!
//! A refusal becomes a response in exactly one place (`exchange::serve`). It does not know HTTP versions or filters.

use http::StatusCode;
use std::time::Duration;

/// The error of the request path.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("{reason}")]
    BadRequest { reason: &'static str },
    #[error("the request's head exceeds {bytes_max} bytes or {headers_max} headers")]
    HeadersTooLarge { bytes_max: usize, headers_max: usize },
    #[error("no route of {service} matches this request")]
    NoRoute { service: String },
    #[error("{host} is not in the mesh, and the outbound policy is REGISTRY_ONLY")]
    UnknownHost { host: String },
    #[error("the control plane did not say within {limit:?} what {host} is")]
    NotDiscovered { host: String, limit: Duration },
    #[error("{backend} is not known to this proxy")]
    NoBackend { backend: String },
    #[error("{backend} has no endpoint")]
    NoEndpoint { backend: String },
    #[error("connecting to {endpoint} of {backend} failed: {reason}")]
    Connect { backend: String, endpoint: String, reason: String },
    #[error("this proxy's identity has expired and could not be renewed")]
    IdentityExpired,
    #[error("{endpoint} of {backend} closed the connection before it answered")]
    Reset { backend: String, endpoint: String },
    #[error("{backend} sent no valid response: {reason}")]
    UpstreamProtocol { backend: String, reason: String },
    #[error("{backend} did not answer within {limit:?}")]
    Timeout { backend: String, limit: Duration },
    #[error("a try to {backend} did not answer within {limit:?}")]
    TryTimeout { backend: String, limit: Duration },
    #[error("{backend} is at its limit of {max} {what}")]
    Overflow { backend: String, what: &'static str, max: u32 },
    #[error("the client went away")]
    ClientGone,
    #[error("the peer may not speak plain text to port {port}")]
    PlainText { port: u16 },
    #[error("filter {filter} failed: {reason}")]
    FilterFailed { filter: String, reason: String },
    #[error("filter {filter} denied it: {reason}")]
    Denied { filter: String, reason: String, reply: Box<Reply> },
    #[error("filter {filter} cannot read {attribute}: not UTF-8")]
    NotUtf8 { filter: String, attribute: String },
    #[error("the proxy is at its limit of {max} {what}")]
    Busy { what: &'static str, max: usize },
}

/// A whole response that a filter gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: http::HeaderMap,
    pub body: bytes::Bytes,
}

/// What a refusal means to the client, the log and the retry policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    pub status: StatusCode,
    /// Istio's `response_flags`; `-` where it has none.
    pub flag: &'static str,
    /// Istio's `response_code_details`.
    pub details: &'static str,
}

impl Refusal {
    pub fn terms(&self) -> Terms {
        let (status, flag, details) = match self {
            Self::BadRequest { .. } => (StatusCode::BAD_REQUEST, "DPE", "http1.codec_error"),
            Self::HeadersTooLarge { .. } => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "DPE", "request_headers_too_large")
            }
            Self::NoRoute { .. } => (StatusCode::NOT_FOUND, "NR", "route_not_found"),
            Self::UnknownHost { .. } => (StatusCode::BAD_GATEWAY, "-", "direct_response"),
            Self::NotDiscovered { .. } => (StatusCode::SERVICE_UNAVAILABLE, "NC", "host_not_discovered"),
            Self::NoBackend { .. } => (StatusCode::SERVICE_UNAVAILABLE, "NC", "cluster_not_found"),
            Self::NoEndpoint { .. } => (StatusCode::SERVICE_UNAVAILABLE, "UH", "no_healthy_upstream"),
            Self::Connect { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "UF", "upstream_reset_before_response_started{connection_failure}")
            }
            Self::IdentityExpired => (StatusCode::SERVICE_UNAVAILABLE, "UF,SX", "identity_expired"),
            Self::Reset { .. } => {
                let details = "upstream_reset_before_response_started{connection_termination}";
                (StatusCode::SERVICE_UNAVAILABLE, "UC", details)
            }
            Self::UpstreamProtocol { .. } => {
                let details = "upstream_reset_before_response_started{protocol_error}";
                (StatusCode::BAD_GATEWAY, "UPE", details)
            }
            Self::Timeout { .. } => (StatusCode::GATEWAY_TIMEOUT, "UT", "response_timeout"),
            Self::TryTimeout { .. } => (StatusCode::GATEWAY_TIMEOUT, "UT", "upstream_per_try_timeout"),
            Self::Overflow { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "UO", "upstream_reset_before_response_started{overflow}")
            }
            Self::ClientGone => {
                (StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST), "DC", "downstream_remote_disconnect")
            }
            Self::PlainText { .. } => (StatusCode::FORBIDDEN, "NR", "filter_chain_not_found"),
            Self::FilterFailed { .. } => (StatusCode::SERVICE_UNAVAILABLE, "-", "wasm_fail_stream"),
            Self::Denied { reply, .. } => (reply.status, "UAEX", "filter_denied"),
            Self::NotUtf8 { .. } => (StatusCode::BAD_REQUEST, "DPE", "attribute_not_utf8"),
            Self::Busy { .. } => (StatusCode::SERVICE_UNAVAILABLE, "UO", "overload"),
        };
        Terms { status, flag, details }
    }
}
