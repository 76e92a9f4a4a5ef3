//! `retries`: how often a request is tried again, and when.
//!
//! It does not know the route's timeout, which bounds all tries.

use crate::fields::Cursor;
use crate::problem::Code;
use std::time::Duration;
use weft_snapshot::{RetryOn, RetryPolicy};

/// Istio's default where a route says nothing (503 is not among the conditions since 1.25).
pub(crate) fn default_policy() -> RetryPolicy {
    RetryPolicy {
        attempts: 2,
        per_try_timeout: None,
        on: vec![RetryOn::ConnectFailure, RetryOn::RefusedStream, RetryOn::GrpcUnavailable, RetryOn::GrpcCancelled],
        status_codes: Vec::new(),
        backoff: Duration::from_millis(25),
        ignore_previous_hosts: true,
    }
}

/// `None`: no retries.
pub(crate) fn policy(cursor: &Cursor<'_>) -> Option<RetryPolicy> {
    cursor.object(|fields| {
        let attempts = fields.get("attempts").map(|c| c.integer(i64::from(i32::MIN)..=100));
        let mut policy = default_policy();
        policy.per_try_timeout = fields.get("perTryTimeout").and_then(|c| positive(&c));
        if let Some(conditions) = fields.get("retryOn") {
            (policy.on, policy.status_codes) = self::conditions(&conditions);
        }
        if let Some(backoff) = fields.get("backoff").and_then(|c| positive(&c)) {
            policy.backoff = backoff;
        }
        if let Some(choice) = fields.get("retryIgnorePreviousHosts").and_then(|c| c.boolean()) {
            policy.ignore_previous_hosts = choice;
        }
        fields.not_supported("retryRemoteLocalities", "choosing another locality for a retry");
        if attempts.is_none() {
            let reason = "retries without attempts: Istio takes that as 0, which turns retries off";
            cursor.warn(Code::MissingField, reason, "add attempts");
        }
        policy.attempts = u32::try_from(attempts.flatten().unwrap_or(0)).unwrap_or(0);
        (policy.attempts > 0).then_some(policy)
    })?
}

/// A duration of at least 1 ms; 0 counts as absent.
pub(crate) fn positive(cursor: &Cursor<'_>) -> Option<Duration> {
    let duration = cursor.duration()?;
    if duration > Duration::ZERO && duration < Duration::from_millis(1) {
        cursor.error(Code::BadValue, "less than 1ms", "write 1ms or more, or 0s for none");
        return None;
    }
    (!duration.is_zero()).then_some(duration)
}

const CONDITIONS: &[(&str, RetryOn)] = &[
    ("5xx", RetryOn::FiveXx),
    ("gateway-error", RetryOn::GatewayError),
    ("reset", RetryOn::Reset),
    ("reset-before-request", RetryOn::ResetBeforeRequest),
    ("connect-failure", RetryOn::ConnectFailure),
    ("refused-stream", RetryOn::RefusedStream),
    ("retriable-4xx", RetryOn::Retriable4xx),
    ("retriable-status-codes", RetryOn::RetriableStatusCodes),
    ("retriable-headers", RetryOn::RetriableHeaders),
    ("envoy-ratelimited", RetryOn::EnvoyRateLimited),
    ("http3-post-connect-failure", RetryOn::Http3PostConnectFailure),
    ("cancelled", RetryOn::GrpcCancelled),
    ("deadline-exceeded", RetryOn::GrpcDeadlineExceeded),
    ("internal", RetryOn::GrpcInternal),
    ("resource-exhausted", RetryOn::GrpcResourceExhausted),
    ("unavailable", RetryOn::GrpcUnavailable),
];

/// Envoy's conditions by name, and status codes by number, which bring `retriable-status-codes` with them.
fn conditions(cursor: &Cursor<'_>) -> (Vec<RetryOn>, Vec<u16>) {
    let (mut on, mut codes) = (Vec::new(), Vec::new());
    let text = cursor.scalar().unwrap_or_default();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        if let Some((_, condition)) = CONDITIONS.iter().find(|(name, _)| *name == word) {
            if !on.contains(condition) {
                on.push(*condition);
            }
        } else if let Some(code) = word.parse::<u16>().ok().filter(|code| (100..600).contains(code)) {
            codes.push(code);
        } else {
            let remedy = match crate::suggest::nearest(word, CONDITIONS.iter().map(|(name, _)| *name)) {
                Some(name) => format!("did you mean {name}?"),
                None => "use Envoy's retry conditions, such as connect-failure, reset, 5xx or unavailable".into(),
            };
            cursor.error(Code::BadValue, format!("{word:?} is no retry condition"), remedy);
        }
    }
    if !codes.is_empty() && !on.contains(&RetryOn::RetriableStatusCodes) {
        on.push(RetryOn::RetriableStatusCodes);
    }
    if on.is_empty() { (default_policy().on, codes) } else { (on, codes) }
}
