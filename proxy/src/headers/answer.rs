//! Rules that answer by themselves: redirects and direct responses.
//!
//! It builds heads and bodies; it does not write them to anyone.

use super::head::split_port;
use super::rewrite::swap_path;
use super::{Head, Matched, Scheme};
use crate::refusal::Reply;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use weft_snapshot::{self as snapshot, RedirectPath, RedirectPort};

#[derive(Clone, Debug)]
pub struct Redirect {
    status: StatusCode,
    scheme: Option<String>,
    authority: Option<String>,
    port: Option<RedirectPort>,
    path: Option<RedirectPath>,
}

#[derive(Clone, Debug)]
pub struct Direct {
    status: StatusCode,
    body: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no status that can be answered")]
pub struct InvalidStatus(pub u16);

impl Redirect {
    pub fn new(redirect: &snapshot::Redirect) -> Result<Self, InvalidStatus> {
        Ok(Self {
            status: status(redirect.status)?,
            scheme: redirect.scheme.clone(),
            authority: redirect.authority.clone(),
            port: redirect.port,
            path: redirect.path.clone(),
        })
    }

    /// `port` is the one that the request came to.
    pub fn answer(&self, head: &Head, matched: Matched, port: u16) -> Reply {
        let mut headers = HeaderMap::new();
        // What the client sent was a valid head, and config was checked; anything else is answered without location.
        if let Ok(location) = HeaderValue::try_from(self.location(head, matched, port)) {
            headers.insert(header::LOCATION, location);
        }
        Reply { status: self.status, headers, body: Bytes::new() }
    }

    fn location(&self, head: &Head, matched: Matched, port: u16) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(head.scheme.as_str());
        let (host, written) = split_port(self.authority.as_deref().unwrap_or(head.authority.as_str()));
        let port = match self.port {
            Some(RedirectPort::Number(number)) => Some(number),
            Some(RedirectPort::Request) => Some(port),
            Some(RedirectPort::ProtocolDefault) => None,
            // The old scheme's port means nothing under the new one.
            None if self.authority.is_none() && scheme != head.scheme.as_str() => {
                written.filter(|port| *port != head.scheme.default_port())
            }
            None => written,
        };
        let port = port.filter(|port| Some(*port) != default_port(scheme));
        let path = match &self.path {
            None => head.path.as_str().to_owned(),
            Some(RedirectPath::Prefix(with)) => swap_path(&head.path, matched, with),
            Some(RedirectPath::Replace(with)) if with.contains('?') => with.clone(),
            Some(RedirectPath::Replace(with)) => swap_path(&head.path, Matched::Whole, with),
        };
        match port {
            Some(port) => format!("{scheme}://{host}:{port}{path}"),
            None => format!("{scheme}://{host}{path}"),
        }
    }
}

impl Direct {
    pub fn new(direct: &snapshot::Direct) -> Result<Self, InvalidStatus> {
        Ok(Self { status: status(direct.status)?, body: Bytes::from(direct.body.clone()) })
    }

    pub fn answer(&self) -> Reply {
        let mut headers = HeaderMap::new();
        if !self.body.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        Reply { status: self.status, headers, body: self.body.clone() }
    }
}

fn status(code: u16) -> Result<StatusCode, InvalidStatus> {
    StatusCode::from_u16(code).ok().filter(|s| s.as_u16() >= 200).ok_or(InvalidStatus(code))
}

fn default_port(scheme: &str) -> Option<u16> {
    [Scheme::Http, Scheme::Https].into_iter().find(|s| s.as_str() == scheme).map(Scheme::default_port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::Authority;
    use http::Method;

    fn head(authority: &'static str, path: &str) -> Head {
        Head {
            method: Method::GET,
            scheme: Scheme::Http,
            authority: Authority::from_header(HeaderValue::from_static(authority)).expect("host"),
            path: path.parse().expect("path"),
            headers: HeaderMap::new(),
        }
    }

    fn redirect(
        scheme: Option<&str>,
        authority: Option<&str>,
        port: Option<RedirectPort>,
        path: Option<RedirectPath>,
    ) -> Redirect {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let rule = snapshot::Redirect { status: 302, scheme: owned(scheme), authority: owned(authority), port, path };
        Redirect::new(&rule).expect("valid")
    }

    #[test]
    fn locations() {
        use RedirectPort::{Number, ProtocolDefault, Request};
        let prefix = |with: &str| Some(RedirectPath::Prefix(with.to_owned()));
        let whole = |with: &str| Some(RedirectPath::Replace(with.to_owned()));
        let rows = [
            ("nothing", redirect(None, None, None, None), "a:9080", "/x?q", "http://a:9080/x?q"),
            ("authority", redirect(None, Some("b"), None, None), "a:9080", "/x", "http://b/x"),
            ("scheme", redirect(Some("https"), None, None, None), "a", "/x", "https://a/x"),
            (
                "scheme drops the old default port",
                redirect(Some("https"), None, None, None),
                "a:80",
                "/x",
                "https://a/x",
            ),
            ("scheme keeps another port", redirect(Some("https"), None, None, None), "a:8443", "/", "https://a:8443/"),
            ("port", redirect(None, None, Some(Number(8080)), None), "a", "/", "http://a:8080/"),
            (
                "port that is the scheme's",
                redirect(Some("https"), None, Some(Number(443)), None),
                "a:80",
                "/",
                "https://a/",
            ),
            (
                "derived from the protocol",
                redirect(None, None, Some(ProtocolDefault), None),
                "a:9080",
                "/",
                "http://a/",
            ),
            (
                "derived from the request",
                redirect(Some("https"), Some("b"), Some(Request), None),
                "a",
                "/",
                "https://b:9080/",
            ),
            (
                "whole path keeps the query",
                redirect(None, None, None, whole("/n")),
                "a",
                "/old/x?q=1",
                "http://a/n?q=1",
            ),
            (
                "whole path with its own query",
                redirect(None, None, None, whole("/n?z")),
                "a",
                "/old?q=1",
                "http://a/n?z",
            ),
            ("prefix", redirect(None, None, None, prefix("/new")), "a", "/old/x?q", "http://a/new/x?q"),
            ("IPv6", redirect(None, None, Some(Number(81)), None), "[::1]:80", "/", "http://[::1]:81/"),
        ];
        for (row, redirect, authority, path, want) in rows {
            let reply = redirect.answer(&head(authority, path), Matched::Prefix(4), 9080);
            assert_eq!(reply.headers[header::LOCATION], want, "{row}");
            assert_eq!(reply.status, 302, "{row}");
        }
    }

    #[test]
    fn direct_responses() {
        let direct = Direct::new(&snapshot::Direct { status: 503, body: b"gone".to_vec() }).expect("valid").answer();
        assert_eq!((direct.status.as_u16(), &direct.body[..]), (503, &b"gone"[..]));
        assert_eq!(Direct::new(&snapshot::Direct { status: 42, body: vec![] }).expect_err("42"), InvalidStatus(42));
    }
}
