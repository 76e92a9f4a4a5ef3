//! Whether a try is repeated, and after what pause: Envoy's conditions.
//!
//! Pure: it neither sends nor waits, and chance is passed in.

use super::Protocol;
use crate::plan::RetryPolicy;
use crate::record::Kind;
use http::{HeaderMap, HeaderName, StatusCode};
use std::time::Duration;
use weft_snapshot::RetryOn;

/// How a try ended, as far as retrying is concerned.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome<'a> {
    Answer(StatusCode, &'a HeaderMap, Kind),
    ConnectFailed,
    /// HTTP/2: the peer says that it has not begun with it.
    RefusedStream,
    /// The connection went away before the request was on it.
    ResetBeforeRequest,
    Reset,
    /// `perTryTimeout`.
    TooSlow,
}

pub(super) fn wants_retry(policy: &RetryPolicy, outcome: Outcome<'_>) -> bool {
    let on = |condition| policy.on.contains(condition);
    match outcome {
        Outcome::Answer(status, headers, kind) => answer_wants_retry(policy, status, headers, kind),
        Outcome::ConnectFailed => on(RetryOn::ConnectFailure) || on(RetryOn::FiveXx) || on(RetryOn::GatewayError),
        Outcome::RefusedStream => on(RetryOn::RefusedStream) || on(RetryOn::FiveXx) || on(RetryOn::Reset),
        Outcome::ResetBeforeRequest => {
            on(RetryOn::ResetBeforeRequest) || on(RetryOn::Reset) || on(RetryOn::FiveXx) || on(RetryOn::GatewayError)
        }
        Outcome::Reset | Outcome::TooSlow => on(RetryOn::Reset) || on(RetryOn::FiveXx) || on(RetryOn::GatewayError),
    }
}

fn answer_wants_retry(policy: &RetryPolicy, status: StatusCode, headers: &HeaderMap, kind: Kind) -> bool {
    let on = |condition| policy.on.contains(condition);
    let code = status.as_u16();
    let by_status = match code {
        // Rate limited by an Envoy: retrying would make it worse, unless it is asked for.
        429 | 503 if headers.contains_key(RATE_LIMITED) => return on(RetryOn::EnvoyRateLimited),
        409 => on(RetryOn::Retriable4xx),
        502..=504 => on(RetryOn::GatewayError) || on(RetryOn::FiveXx),
        500..=599 => on(RetryOn::FiveXx),
        _ => false,
    };
    by_status
        || (on(RetryOn::RetriableStatusCodes) && policy.status_codes.contains(&code))
        || (kind == Kind::Grpc && grpc_condition(headers).is_some_and(on))
}

/// The headers of a response for which this request wants to be tried again: the app names them, since the policy can
/// only say that it may. Taken from the request, as Envoy does.
pub(super) fn retriable_headers(policy: Option<&RetryPolicy>, request: &mut HeaderMap) -> Vec<HeaderName> {
    if !policy.is_some_and(|policy| policy.on.contains(RetryOn::RetriableHeaders)) {
        return Vec::new();
    }
    let named = request.remove(RETRIABLE_HEADER_NAMES);
    let names = named.iter().flat_map(|list| list.as_bytes().split(|byte| *byte == b','));
    names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect()
}

/// Whether a request may be wanted again after it was sent; where not, nobody needs to keep a copy of it.
pub(super) fn may_want_again(policy: &RetryPolicy, protocol: Protocol, kind: Kind) -> bool {
    use RetryOn::{
        EnvoyRateLimited, FiveXx, GatewayError, RefusedStream, Reset, Retriable4xx, RetriableHeaders,
        RetriableStatusCodes,
    };
    let on = |condition| policy.on.contains(condition);
    [EnvoyRateLimited, FiveXx, GatewayError, Reset, Retriable4xx, RetriableHeaders].into_iter().any(on)
        || (on(RetriableStatusCodes) && !policy.status_codes.is_empty())
        || (on(RefusedStream) && protocol == Protocol::Http2)
        || (kind == Kind::Grpc && GRPC.into_iter().any(on))
}

/// Of a response that is nothing but trailers, which is how a gRPC server refuses.
fn grpc_condition(headers: &HeaderMap) -> Option<RetryOn> {
    Some(match headers.get(GRPC_STATUS)?.as_bytes() {
        b"1" => RetryOn::GrpcCancelled,
        b"4" => RetryOn::GrpcDeadlineExceeded,
        b"8" => RetryOn::GrpcResourceExhausted,
        b"13" => RetryOn::GrpcInternal,
        b"14" => RetryOn::GrpcUnavailable,
        _ => return None,
    })
}

/// Full jitter: anything from 0 to the base doubled with each retry, at most ten times the base. `retry` counts from 1.
pub(super) fn pause(base: Duration, retry: u32, draw: impl FnOnce(u64) -> u64) -> Duration {
    let doubled = base.saturating_mul(2u32.saturating_pow(retry.saturating_sub(1)));
    let longest = doubled.min(base.saturating_mul(10));
    Duration::from_micros(draw(u64::try_from(longest.as_micros()).unwrap_or(u64::MAX).max(1)))
}

const GRPC: [RetryOn; 5] = [
    RetryOn::GrpcCancelled,
    RetryOn::GrpcDeadlineExceeded,
    RetryOn::GrpcInternal,
    RetryOn::GrpcResourceExhausted,
    RetryOn::GrpcUnavailable,
];
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const RETRIABLE_HEADER_NAMES: HeaderName = HeaderName::from_static("x-envoy-retriable-header-names");
const RATE_LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");

#[cfg(test)]
#[allow(clippy::type_complexity)]
mod tests {
    use super::*;
    use RetryOn::*;
    use http::HeaderValue;

    fn policy(on: &[RetryOn], codes: &[u16]) -> RetryPolicy {
        RetryPolicy {
            attempts: 2,
            per_try_timeout: None,
            on: on.iter().copied().collect(),
            status_codes: codes.into(),
            backoff: Duration::from_millis(25),
            ignore_previous_hosts: true,
        }
    }

    #[test]
    fn conditions_on_answers() {
        let cases: &[(&[RetryOn], &[u16], u16, Option<(&'static str, &'static str)>, bool)] = &[
            (&[FiveXx], &[], 500, None, true),
            (&[FiveXx], &[], 404, None, false),
            (&[GatewayError], &[], 500, None, false),
            (&[GatewayError], &[], 504, None, true),
            (&[Retriable4xx], &[], 409, None, true),
            (&[Retriable4xx], &[], 404, None, false),
            (&[RetriableStatusCodes], &[404, 418], 418, None, true),
            (&[RetriableStatusCodes], &[], 503, None, false),
            (&[ConnectFailure], &[418], 418, None, false),
            (&[GrpcUnavailable], &[], 200, Some(("grpc-status", "14")), true),
            (&[GrpcUnavailable], &[], 200, Some(("grpc-status", "13")), false),
            (&[GrpcCancelled], &[], 200, Some(("grpc-status", "1")), true),
            (&[FiveXx], &[], 503, Some(("x-envoy-ratelimited", "true")), false),
            (&[EnvoyRateLimited], &[], 429, Some(("x-envoy-ratelimited", "true")), true),
            (&[], &[], 503, None, false),
        ];
        for (on, codes, status, header, want) in cases {
            let mut headers = HeaderMap::new();
            if let Some((name, value)) = header {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            let status = StatusCode::from_u16(*status).expect("valid");
            let policy = policy(on, codes);
            let got = wants_retry(&policy, Outcome::Answer(status, &headers, Kind::Grpc));
            assert_eq!(got, *want, "{on:?} {codes:?} on {status} {header:?}");
            assert!(!got || may_want_again(&policy, Protocol::Http1, Kind::Grpc), "{on:?} needs a copy");
        }
    }

    #[test]
    fn a_request_names_the_headers_that_are_worth_another_try() {
        type Row<'a> = (&'a str, &'a [RetryOn], Option<&'static str>, &'a [&'a str], bool);
        let rows: &[Row] = &[
            ("named", &[RetriableHeaders], Some("X-Again , x-busy,, b@d"), &["x-again", "x-busy"], false),
            ("none named", &[RetriableHeaders], None, &[], false),
            ("not asked for: somebody else's header", &[FiveXx], Some("x-again"), &[], true),
        ];
        for (row, on, named, want, stays) in rows {
            let mut headers: HeaderMap =
                named.iter().map(|names| (RETRIABLE_HEADER_NAMES, HeaderValue::from_static(names))).collect();
            let got = retriable_headers(Some(&policy(on, &[])), &mut headers);
            assert_eq!(got.iter().map(HeaderName::as_str).collect::<Vec<_>>(), *want, "{row}");
            assert_eq!(headers.contains_key(RETRIABLE_HEADER_NAMES), *stays, "{row}");
        }
    }

    #[test]
    fn conditions_without_an_answer() {
        use Outcome as O;
        let cases: &[(&[RetryOn], Outcome<'_>, bool)] = &[
            (&[ConnectFailure], O::ConnectFailed, true),
            (&[ConnectFailure], O::Reset, false),
            (&[Reset], O::Reset, true),
            (&[Reset], O::TooSlow, true),
            (&[RefusedStream], O::RefusedStream, true),
            (&[RefusedStream], O::Reset, false),
            (&[ResetBeforeRequest], O::ResetBeforeRequest, true),
            (&[ResetBeforeRequest], O::Reset, false),
            (&[FiveXx], O::ConnectFailed, true),
            (&[FiveXx], O::TooSlow, true),
            (&[GatewayError], O::TooSlow, true),
            (&[Retriable4xx, RetriableStatusCodes], O::ConnectFailed, false),
        ];
        for (on, outcome, want) in cases {
            let policy = policy(on, &[]);
            assert_eq!(wants_retry(&policy, *outcome), *want, "{on:?} on {outcome:?}");
            let sent = !matches!(outcome, O::ConnectFailed | O::ResetBeforeRequest);
            assert!(!(sent && *want) || may_want_again(&policy, Protocol::Http2, Kind::Http), "{on:?} needs a copy");
        }
    }

    #[test]
    fn istios_default_needs_no_copy_of_a_plain_request() {
        let default =
            policy(&[ConnectFailure, RefusedStream, GrpcUnavailable, GrpcCancelled, RetriableStatusCodes], &[]);
        let cases = [
            (Protocol::Http1, Kind::Http, false),
            (Protocol::Http2, Kind::Http, true),
            (Protocol::Http2, Kind::Grpc, true),
        ];
        for (protocol, kind, want) in cases {
            assert_eq!(may_want_again(&default, protocol, kind), want, "{protocol:?} {kind:?}");
        }
    }

    #[test]
    fn pauses_double_to_ten_times_the_base() {
        let base = Duration::from_millis(25);
        let longest = |retry| pause(base, retry, |n| n).as_millis();
        assert_eq!([1, 2, 3, 4, 5, 40].map(longest), [25, 50, 100, 200, 250, 250]);
        assert_eq!(pause(base, 3, |_| 0), Duration::ZERO);
        assert_eq!(pause(Duration::ZERO, 1, |n| n - 1), Duration::ZERO);
    }
}
