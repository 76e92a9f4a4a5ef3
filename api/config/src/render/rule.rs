//! A routing rule as text.
//!
//! It does not know the service that the rule belongs to.

use super::filters;
use crate::quantity::duration_text;
use std::fmt::Write;
use weft_snapshot::{
    Action, Forward, HeaderOps, Headers, Match, Redirect, RedirectPath, RedirectPort, RetryOn, RetryPolicy, Rewrite,
    RewritePath, Rule, StringMatch,
};

pub(super) fn rule(rule: &Rule) -> String {
    let name = if rule.name.is_empty() { "-" } else { &rule.name };
    let mut text = format!("  rule {name}");
    if !rule.origin.is_empty() {
        let _ = write!(text, " of {}", rule.origin);
    }
    text.push_str(&filters(&rule.filters));
    text.push('\n');
    for one in &rule.matches {
        let _ = writeln!(text, "    match{}", conditions(one));
    }
    text.push_str(&headers(&rule.headers, "    "));
    match &rule.action {
        Action::Forward(one) => text.push_str(&forward(one)),
        Action::Redirect(one) => text.push_str(&redirect(one)),
        Action::Direct(one) => {
            let _ = writeln!(text, "    respond {} {:?}", one.status, String::from_utf8_lossy(&one.body));
        }
    }
    text
}

fn conditions(conditions: &Match) -> String {
    let Match { uri, ignore_uri_case, scheme, method, authority, headers, without_headers, query, port } = conditions;
    let mut text = String::new();
    for (word, condition) in [("uri", uri), ("scheme", scheme), ("method", method), ("authority", authority)] {
        if let Some(condition) = condition {
            let _ = write!(text, " {word} {}", string(condition));
        }
    }
    if *ignore_uri_case {
        text.push_str(" ignoring case");
    }
    for (word, named) in [("header", headers), ("without", without_headers), ("query", query)] {
        for (name, condition) in named {
            let _ = write!(text, " {word} {name} {}", string(condition));
        }
    }
    if let Some(port) = port {
        let _ = write!(text, " port {port}");
    }
    text
}

fn string(condition: &StringMatch) -> String {
    match condition {
        StringMatch::Exact(text) => format!("= {text:?}"),
        StringMatch::Prefix(text) => format!("^ {text:?}"),
        StringMatch::Regex(text) => format!("~ {text:?}"),
        StringMatch::Present => "present".into(),
    }
}

fn headers(headers: &Headers, indent: &str) -> String {
    let mut text = String::new();
    for (direction, ops) in [("request", &headers.request), ("response", &headers.response)] {
        let HeaderOps { set, add, remove } = ops;
        for name in remove {
            let _ = writeln!(text, "{indent}{direction} remove {name}");
        }
        for (word, values) in [("set", set), ("add", add)] {
            for (name, value) in values {
                let _ = writeln!(text, "{indent}{direction} {word} {name}: {value}");
            }
        }
    }
    text
}

fn forward(forward: &Forward) -> String {
    let mut text = String::from("    forward");
    if let Some(timeout) = forward.timeout {
        let _ = write!(text, " timeout {}", duration_text(timeout));
    }
    match &forward.retry {
        Some(policy) => text.push_str(&retry(policy)),
        None => text.push_str(" no retries"),
    }
    if let Some(Rewrite { path, authority }) = &forward.rewrite {
        match path {
            Some(RewritePath::Replace(path)) => {
                let _ = write!(text, " path {path}");
            }
            Some(RewritePath::Regex { pattern, with }) => {
                let _ = write!(text, " path ~ {pattern:?} -> {with:?}");
            }
            None => {}
        }
        if let Some(authority) = authority {
            let _ = write!(text, " authority {authority}");
        }
    }
    text.push('\n');
    for destination in &forward.destinations {
        let chain = filters(&destination.filters);
        let _ = writeln!(text, "      {} weight {}{chain}", destination.backend, destination.weight);
        text.push_str(&headers(&destination.headers, "        "));
    }
    text
}

fn retry(policy: &RetryPolicy) -> String {
    let mut text = format!(" retry {}", policy.attempts);
    if let Some(each) = policy.per_try_timeout {
        let _ = write!(text, " each {}", duration_text(each));
    }
    let words: Vec<_> = policy.on.iter().map(|on| word(*on)).collect();
    let _ = write!(text, " on {}", words.join(","));
    for code in &policy.status_codes {
        let _ = write!(text, ",{code}");
    }
    let _ = write!(text, " after {}", duration_text(policy.backoff));
    if !policy.ignore_previous_hosts {
        text.push_str(" on any endpoint");
    }
    text
}

/// Envoy's words.
fn word(on: RetryOn) -> &'static str {
    match on {
        RetryOn::FiveXx => "5xx",
        RetryOn::GatewayError => "gateway-error",
        RetryOn::Reset => "reset",
        RetryOn::ResetBeforeRequest => "reset-before-request",
        RetryOn::ConnectFailure => "connect-failure",
        RetryOn::RefusedStream => "refused-stream",
        RetryOn::Retriable4xx => "retriable-4xx",
        RetryOn::RetriableStatusCodes => "retriable-status-codes",
        RetryOn::RetriableHeaders => "retriable-headers",
        RetryOn::EnvoyRateLimited => "envoy-ratelimited",
        RetryOn::Http3PostConnectFailure => "http3-post-connect-failure",
        RetryOn::GrpcCancelled => "cancelled",
        RetryOn::GrpcDeadlineExceeded => "deadline-exceeded",
        RetryOn::GrpcInternal => "internal",
        RetryOn::GrpcResourceExhausted => "resource-exhausted",
        RetryOn::GrpcUnavailable => "unavailable",
    }
}

fn redirect(redirect: &Redirect) -> String {
    let mut text = format!("    redirect {}", redirect.status);
    for (word, value) in [("scheme", &redirect.scheme), ("authority", &redirect.authority)] {
        if let Some(value) = value {
            let _ = write!(text, " {word} {value}");
        }
    }
    match redirect.port {
        Some(RedirectPort::Number(port)) => {
            let _ = write!(text, " port {port}");
        }
        Some(RedirectPort::ProtocolDefault) => text.push_str(" port of the scheme"),
        Some(RedirectPort::Request) => text.push_str(" port of the request"),
        None => {}
    }
    match &redirect.path {
        Some(RedirectPath::Replace(path)) => {
            let _ = write!(text, " path {path}");
        }
        Some(RedirectPath::Prefix(prefix)) => {
            let _ = write!(text, " prefix {prefix}");
        }
        None => {}
    }
    text.push('\n');
    text
}
