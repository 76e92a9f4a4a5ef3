//! Routing rules, already resolved: no short names, no defaults left open.
//!
//! Field semantics are Istio's VirtualService (networking.istio.io); where a field is named after one, it means that.

use crate::{BackendName, FilterKey};
use std::time::Duration;

/// One entry of `http`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Logged as `route_name`; for a rule that no VirtualService wrote, `default`.
    pub name: String,
    /// `NAMESPACE/NAME` of the VirtualService, empty for a default rule.
    pub origin: String,
    /// Any of these; empty: every request.
    pub matches: Vec<Match>,
    pub headers: Headers,
    pub action: Action,
    /// Filters of the VirtualService, then of the route, in the order in which requests meet them.
    pub filters: Vec<FilterKey>,
}

/// All of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Match {
    /// The path without query.
    pub uri: Option<StringMatch>,
    /// For `exact` and `prefix` of `uri`.
    pub ignore_uri_case: bool,
    pub scheme: Option<StringMatch>,
    pub method: Option<StringMatch>,
    pub authority: Option<StringMatch>,
    /// Lower-case name; an absent header never matches.
    pub headers: Vec<(String, StringMatch)>,
    /// Inverted; a missing header counts as empty.
    pub without_headers: Vec<(String, StringMatch)>,
    pub query: Vec<(String, StringMatch)>,
    /// The port that the app asked for.
    pub port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StringMatch {
    Exact(String),
    /// A string prefix: `/foo` matches `/foobar`.
    Prefix(String),
    /// RE2 syntax, the whole value.
    Regex(String),
    /// Any value, an empty one too.
    Present,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Forward(Forward),
    Redirect(Redirect),
    Direct(Direct),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Forward {
    /// At least one. Those of weight 0 are never drawn, but a filter may pick them.
    pub destinations: Vec<Destination>,
    pub rewrite: Option<Rewrite>,
    /// Spans all tries; `None`: no limit.
    pub timeout: Option<Duration>,
    /// `None`: no retries.
    pub retry: Option<RetryPolicy>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    pub backend: BackendName,
    /// Share of the sum of all weights of this rule. A single destination takes all, whatever its weight.
    pub weight: u32,
    pub headers: Headers,
    pub filters: Vec<FilterKey>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rewrite {
    pub path: Option<RewritePath>,
    /// Beats an authority set by a header operation.
    pub authority: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RewritePath {
    /// After a prefix match the prefix is swapped; after an exact or regex match the whole path. The query stays.
    Replace(String),
    /// Every match of the RE2 pattern, with `\1` for groups.
    Regex { pattern: String, with: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    pub scheme: Option<String>,
    pub authority: Option<String>,
    pub port: Option<RedirectPort>,
    pub path: Option<RedirectPath>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RedirectPath {
    Replace(String),
    /// Swaps the prefix that matched.
    Prefix(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RedirectPort {
    Number(u16),
    /// The scheme's own (80 or 443), which is not written out.
    ProtocolDefault,
    /// The port that the request came to.
    Request,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Direct {
    pub status: u16,
    pub body: Vec<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Headers {
    pub request: HeaderOps,
    pub response: HeaderOps,
}

/// Removed first, then set, then added. Names are lower-case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct HeaderOps {
    /// `:authority` here sets the authority of the request.
    pub set: Vec<(String, String)>,
    pub add: Vec<(String, String)>,
    pub remove: Vec<String>,
}

impl HeaderOps {
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RetryPolicy {
    /// Tries after the first.
    pub attempts: u32,
    /// `None`: the route's timeout.
    pub per_try_timeout: Option<Duration>,
    pub on: Vec<RetryOn>,
    /// For [`RetryOn::RetriableStatusCodes`].
    pub status_codes: Vec<u16>,
    /// Base of the exponential back-off with full jitter; the longest pause is ten times this.
    pub backoff: Duration,
    /// Try an endpoint that this request has not met yet, where there is one.
    pub ignore_previous_hosts: bool,
}

/// Envoy's retry conditions (`x-envoy-retry-on` and `x-envoy-retry-grpc-on`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetryOn {
    FiveXx,
    GatewayError,
    Reset,
    ResetBeforeRequest,
    ConnectFailure,
    RefusedStream,
    Retriable4xx,
    RetriableStatusCodes,
    RetriableHeaders,
    EnvoyRateLimited,
    Http3PostConnectFailure,
    GrpcCancelled,
    GrpcDeadlineExceeded,
    GrpcInternal,
    GrpcResourceExhausted,
    GrpcUnavailable,
}
