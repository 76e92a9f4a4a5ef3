//! How a registry asks who we are: the challenge in a 401, and the token that answers it.
//!
//! Does not send anything (endpoint.rs does) and does not know where passwords come from.

use crate::credentials::Login;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::time::{Duration, Instant};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// Reads one WWW-Authenticate header; `None` for schemes that registries do not use.
pub(crate) fn challenge(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let parameters = parameters(rest);
    let find = |name: &str| parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone());
    Some(Challenge::Bearer { realm: find("realm")?, service: find("service"), scope: find("scope") })
}

fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted_value(quoted),
            None => match after.split_once(',') {
                Some((value, after)) => (value.trim().to_owned(), after),
                None => (after.trim().to_owned(), ""),
            },
        };
        found.push((key.trim_matches([' ', ',', '\t']).to_owned(), value));
        rest = after;
    }
    found
}

fn quoted_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => value.push(c),
        }
    }
    (value, "")
}

/// What a realm answers.
#[derive(Deserialize)]
pub(crate) struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// An Authorization header value and until when it is used.
#[derive(Clone)]
pub(crate) struct Authorization {
    pub(crate) value: String,
    pub(crate) until: Option<Instant>,
}

/// The distribution specification's default.
const TOKEN_LIFE_DEFAULT: u64 = 60;
/// A request that starts just before the end must still arrive before it.
const TOKEN_MARGIN: u64 = 10;

impl Authorization {
    pub(crate) fn basic(login: &Login) -> Self {
        let encoded = STANDARD.encode(format!("{}:{}", login.user, login.password));
        Self { value: format!("Basic {encoded}"), until: None }
    }

    pub(crate) fn bearer(answer: TokenAnswer, now: Instant) -> Option<Self> {
        let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
        let life = answer.expires_in.unwrap_or(TOKEN_LIFE_DEFAULT).saturating_sub(TOKEN_MARGIN).min(3600);
        (!token.is_empty())
            .then(|| Self { value: format!("Bearer {token}"), until: Some(now + Duration::from_secs(life)) })
    }

    pub(crate) fn serves(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            let own = |text: Option<&str>| text.map(ToOwned::to_owned);
            Some(Challenge::Bearer { realm: realm.to_owned(), service: own(service), scope: own(scope) })
        };
        let cases = [
            ("Basic realm=\"x\"", Some(Challenge::Basic)),
            (
                r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#,
                bearer("https://auth.example/token", Some("registry.example"), Some("repository:a/b:pull,push")),
            ),
            ("bearer realm=https://auth.example/t, service=s", bearer("https://auth.example/t", Some("s"), None)),
            (r#"Bearer realm="a\"b""#, bearer("a\"b", None, None)),
            ("Bearer service=\"s\"", None),
            ("Negotiate", None),
            ("", None),
        ];
        for (header, want) in cases {
            assert_eq!(challenge(header), want, "header {header:?}");
        }
    }
}
