//! Routing rules.

use super::{all_from, all_to, filters_from, filters_to, nanoseconds, parse, port, required, status, words};
use crate::{DecodeError, proto};
use proto::{redirect, rewrite, rule, string_match};
use std::time::Duration;
use weft_snapshot::{
    Action, Destination, Direct, Forward, HeaderOps, Headers, Match, Redirect, RedirectPath, RedirectPort, RetryPolicy,
    Rewrite, RewritePath, Rule, StringMatch,
};

words!(RetryOn, "RetryOn":
    FiveXx, GatewayError, Reset, ResetBeforeRequest, ConnectFailure, RefusedStream, Retriable4xx, RetriableStatusCodes,
    RetriableHeaders, EnvoyRateLimited, Http3PostConnectFailure, GrpcCancelled, GrpcDeadlineExceeded, GrpcInternal,
    GrpcResourceExhausted, GrpcUnavailable,
);

impl From<&Rule> for proto::Rule {
    fn from(rule: &Rule) -> Self {
        let action = match &rule.action {
            Action::Forward(forward) => rule::Action::Forward(forward.into()),
            Action::Redirect(redirect) => rule::Action::Redirect(redirect.into()),
            Action::Direct(direct) => {
                rule::Action::Direct(proto::Direct { status: direct.status.into(), body: direct.body.clone() })
            }
        };
        Self {
            name: rule.name.clone(),
            origin: rule.origin.clone(),
            matches: all_to(&rule.matches),
            headers: Some((&rule.headers).into()),
            action: Some(action),
            filters: filters_to(&rule.filters),
        }
    }
}

impl TryFrom<proto::Rule> for Rule {
    type Error = DecodeError;

    fn try_from(rule: proto::Rule) -> Result<Self, DecodeError> {
        let action = match required("Rule.action", rule.action)? {
            rule::Action::Forward(forward) => Action::Forward(forward.try_into()?),
            rule::Action::Redirect(redirect) => Action::Redirect(redirect.try_into()?),
            rule::Action::Direct(direct) => {
                Action::Direct(Direct { status: status("Direct.status", direct.status)?, body: direct.body })
            }
        };
        Ok(Self {
            name: rule.name,
            origin: rule.origin,
            matches: all_from(rule.matches)?,
            headers: required("Rule.headers", rule.headers)?.into(),
            action,
            filters: filters_from(rule.filters),
        })
    }
}

impl From<&Match> for proto::Match {
    fn from(found: &Match) -> Self {
        let one = |value: &Option<StringMatch>| value.as_ref().map(Into::into);
        Self {
            uri: one(&found.uri),
            ignore_uri_case: found.ignore_uri_case,
            scheme: one(&found.scheme),
            method: one(&found.method),
            authority: one(&found.authority),
            headers: named_to(&found.headers),
            without_headers: named_to(&found.without_headers),
            query: named_to(&found.query),
            port: found.port.map(u32::from),
        }
    }
}

impl TryFrom<proto::Match> for Match {
    type Error = DecodeError;

    fn try_from(found: proto::Match) -> Result<Self, DecodeError> {
        let one = |value: Option<proto::StringMatch>| value.map(StringMatch::try_from).transpose();
        Ok(Self {
            uri: one(found.uri)?,
            ignore_uri_case: found.ignore_uri_case,
            scheme: one(found.scheme)?,
            method: one(found.method)?,
            authority: one(found.authority)?,
            headers: named_from(found.headers)?,
            without_headers: named_from(found.without_headers)?,
            query: named_from(found.query)?,
            port: found.port.map(|value| port("Match.port", value)).transpose()?,
        })
    }
}

fn named_to(matches: &[(String, StringMatch)]) -> Vec<proto::NamedMatch> {
    matches.iter().map(|(name, value)| proto::NamedMatch { name: name.clone(), value: Some(value.into()) }).collect()
}

fn named_from(matches: Vec<proto::NamedMatch>) -> Result<Vec<(String, StringMatch)>, DecodeError> {
    let one = |found: proto::NamedMatch| Ok((found.name, required("NamedMatch.value", found.value)?.try_into()?));
    matches.into_iter().map(one).collect()
}

impl From<&StringMatch> for proto::StringMatch {
    fn from(value: &StringMatch) -> Self {
        use string_match::Kind;
        let kind = match value.clone() {
            StringMatch::Exact(text) => Kind::Exact(text),
            StringMatch::Prefix(text) => Kind::Prefix(text),
            StringMatch::Regex(text) => Kind::Regex(text),
            StringMatch::Present => Kind::Present(proto::Nothing {}),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<proto::StringMatch> for StringMatch {
    type Error = DecodeError;

    fn try_from(value: proto::StringMatch) -> Result<Self, DecodeError> {
        use string_match::Kind;
        Ok(match required("StringMatch.kind", value.kind)? {
            Kind::Exact(text) => Self::Exact(text),
            Kind::Prefix(text) => Self::Prefix(text),
            Kind::Regex(text) => Self::Regex(text),
            Kind::Present(_) => Self::Present,
        })
    }
}

impl From<&Headers> for proto::Headers {
    fn from(headers: &Headers) -> Self {
        let ops = |ops: &HeaderOps| (!ops.is_empty()).then(|| ops.into());
        Self { request: ops(&headers.request), response: ops(&headers.response) }
    }
}

impl From<proto::Headers> for Headers {
    fn from(headers: proto::Headers) -> Self {
        let ops = |ops: Option<proto::HeaderOps>| ops.map(HeaderOps::from).unwrap_or_default();
        Self { request: ops(headers.request), response: ops(headers.response) }
    }
}

impl From<&HeaderOps> for proto::HeaderOps {
    fn from(ops: &HeaderOps) -> Self {
        let pairs = |pairs: &[(String, String)]| {
            pairs.iter().map(|(name, value)| proto::Pair { name: name.clone(), value: value.clone() }).collect()
        };
        Self { set: pairs(&ops.set), add: pairs(&ops.add), remove: ops.remove.clone() }
    }
}

impl From<proto::HeaderOps> for HeaderOps {
    fn from(ops: proto::HeaderOps) -> Self {
        let pairs = |pairs: Vec<proto::Pair>| pairs.into_iter().map(|pair| (pair.name, pair.value)).collect();
        Self { set: pairs(ops.set), add: pairs(ops.add), remove: ops.remove }
    }
}

impl From<&Forward> for proto::Forward {
    fn from(forward: &Forward) -> Self {
        Self {
            destinations: all_to(&forward.destinations),
            rewrite: forward.rewrite.as_ref().map(Into::into),
            timeout_ns: forward.timeout.map(nanoseconds),
            retry: forward.retry.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<proto::Forward> for Forward {
    type Error = DecodeError;

    fn try_from(forward: proto::Forward) -> Result<Self, DecodeError> {
        if forward.destinations.is_empty() {
            return Err(DecodeError::Missing { field: "Forward.destinations" });
        }
        Ok(Self {
            destinations: all_from(forward.destinations)?,
            rewrite: forward.rewrite.map(Rewrite::try_from).transpose()?,
            timeout: forward.timeout_ns.map(Duration::from_nanos),
            retry: forward.retry.map(RetryPolicy::try_from).transpose()?,
        })
    }
}

impl From<&Destination> for proto::Destination {
    fn from(destination: &Destination) -> Self {
        Self {
            backend: destination.backend.to_string(),
            weight: destination.weight,
            headers: Some((&destination.headers).into()),
            filters: filters_to(&destination.filters),
        }
    }
}

impl TryFrom<proto::Destination> for Destination {
    type Error = DecodeError;

    fn try_from(destination: proto::Destination) -> Result<Self, DecodeError> {
        Ok(Self {
            backend: parse("Destination.backend", &destination.backend)?,
            weight: destination.weight,
            headers: required("Destination.headers", destination.headers)?.into(),
            filters: filters_from(destination.filters),
        })
    }
}

impl From<&Rewrite> for proto::Rewrite {
    fn from(rewrite: &Rewrite) -> Self {
        let path = match rewrite.path.clone() {
            Some(RewritePath::Replace(path)) => rewrite::Path::Replace(path),
            Some(RewritePath::Regex { pattern, with }) => rewrite::Path::Regex(proto::RegexRewrite { pattern, with }),
            None => rewrite::Path::Keep(proto::Nothing {}),
        };
        Self { path: Some(path), authority: rewrite.authority.clone() }
    }
}

impl TryFrom<proto::Rewrite> for Rewrite {
    type Error = DecodeError;

    fn try_from(rewrite: proto::Rewrite) -> Result<Self, DecodeError> {
        let path = match required("Rewrite.path", rewrite.path)? {
            rewrite::Path::Replace(path) => Some(RewritePath::Replace(path)),
            rewrite::Path::Regex(regex) => Some(RewritePath::Regex { pattern: regex.pattern, with: regex.with }),
            rewrite::Path::Keep(_) => None,
        };
        Ok(Self { path, authority: rewrite.authority })
    }
}

impl From<&Redirect> for proto::Redirect {
    fn from(redirect: &Redirect) -> Self {
        let port = match redirect.port {
            Some(RedirectPort::Number(port)) => redirect::Port::Number(port.into()),
            Some(RedirectPort::ProtocolDefault) => redirect::Port::ProtocolDefault(proto::Nothing {}),
            Some(RedirectPort::Request) => redirect::Port::RequestPort(proto::Nothing {}),
            None => redirect::Port::NoPort(proto::Nothing {}),
        };
        let path = match redirect.path.clone() {
            Some(RedirectPath::Replace(path)) => redirect::Path::Replace(path),
            Some(RedirectPath::Prefix(prefix)) => redirect::Path::Prefix(prefix),
            None => redirect::Path::Keep(proto::Nothing {}),
        };
        Self {
            status: redirect.status.into(),
            scheme: redirect.scheme.clone(),
            authority: redirect.authority.clone(),
            port: Some(port),
            path: Some(path),
        }
    }
}

impl TryFrom<proto::Redirect> for Redirect {
    type Error = DecodeError;

    fn try_from(redirect: proto::Redirect) -> Result<Self, DecodeError> {
        let port = match required("Redirect.port", redirect.port)? {
            redirect::Port::Number(number) => Some(RedirectPort::Number(port("Redirect.number", number)?)),
            redirect::Port::ProtocolDefault(_) => Some(RedirectPort::ProtocolDefault),
            redirect::Port::RequestPort(_) => Some(RedirectPort::Request),
            redirect::Port::NoPort(_) => None,
        };
        let path = match required("Redirect.path", redirect.path)? {
            redirect::Path::Replace(path) => Some(RedirectPath::Replace(path)),
            redirect::Path::Prefix(prefix) => Some(RedirectPath::Prefix(prefix)),
            redirect::Path::Keep(_) => None,
        };
        Ok(Self {
            status: status("Redirect.status", redirect.status)?,
            scheme: redirect.scheme,
            authority: redirect.authority,
            port,
            path,
        })
    }
}

impl From<&RetryPolicy> for proto::RetryPolicy {
    fn from(retry: &RetryPolicy) -> Self {
        Self {
            attempts: retry.attempts,
            per_try_timeout_ns: retry.per_try_timeout.map(nanoseconds),
            on: retry.on.iter().map(|on| proto::RetryOn::from(*on).into()).collect(),
            status_codes: retry.status_codes.iter().map(|status| u32::from(*status)).collect(),
            backoff_ns: nanoseconds(retry.backoff),
            ignore_previous_hosts: retry.ignore_previous_hosts,
        }
    }
}

impl TryFrom<proto::RetryPolicy> for RetryPolicy {
    type Error = DecodeError;

    fn try_from(retry: proto::RetryPolicy) -> Result<Self, DecodeError> {
        let code = |value: u32| status("RetryPolicy.status_codes", value);
        Ok(Self {
            attempts: retry.attempts,
            per_try_timeout: retry.per_try_timeout_ns.map(Duration::from_nanos),
            on: retry.on.into_iter().map(proto::RetryOn::read).collect::<Result<_, _>>()?,
            status_codes: retry.status_codes.into_iter().map(code).collect::<Result<_, _>>()?,
            backoff: Duration::from_nanos(retry.backoff_ns),
            ignore_previous_hosts: retry.ignore_previous_hosts,
        })
    }
}
