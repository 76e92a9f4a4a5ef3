//! The one form that a request's head has inside the proxy, whatever HTTP version it came in or leaves in.
//!
//! Routing, filters and header operations see this form only; it does not know what a route is.

use super::Glance;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header, request, uri};
use std::borrow::Cow;

/// A request's head: the target in parts. `host` is in the headers only as it came, where it says what `authority` says;
/// nobody asks for it there.
#[derive(Clone, Debug)]
pub struct Head {
    pub method: Method,
    pub scheme: Scheme,
    pub authority: Authority,
    pub path: PathAndQuery,
    pub headers: HeaderMap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Host and port as the client wrote them. Held in whichever form it came in, so that passing it on copies nothing.
#[derive(Clone, Debug)]
pub struct Authority(Form);

#[derive(Clone, Debug)]
enum Form {
    /// As it came in the `host` header, which is among the headers still.
    Received(HeaderValue),
    Header(HeaderValue),
    Uri(uri::Authority),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHead {
    #[error("the request names no host")]
    NoHost,
    #[error("the request names more than one host")]
    SeveralHosts,
    #[error("the request's host is no valid authority")]
    BadHost,
    #[error("the request's target has no path")]
    NoPath,
}

impl Authority {
    pub fn from_header(value: HeaderValue) -> Result<Self, InvalidHead> {
        if value.is_empty() || !value.as_bytes().iter().all(|byte| OF_AUTHORITIES[usize::from(*byte)]) {
            return Err(InvalidHead::BadHost);
        }
        Ok(Self(Form::Header(value)))
    }

    fn received(host: HeaderValue) -> Result<Self, InvalidHead> {
        match Self::from_header(host)?.0 {
            Form::Header(host) => Ok(Self(Form::Received(host))),
            other => Ok(Self(other)),
        }
    }

    pub fn from_uri(authority: uri::Authority) -> Self {
        Self(Form::Uri(authority))
    }

    pub fn as_str(&self) -> &str {
        match &self.0 {
            // All constructors let nothing but visible ASCII in.
            Form::Received(value) | Form::Header(value) => value.to_str().unwrap_or_default(),
            Form::Uri(authority) => authority.as_str(),
        }
    }

    /// The host in the form of [`weft_snapshot::Host`]: lower-case, without port, brackets and trailing dot.
    pub fn host(&self) -> Cow<'_, str> {
        normal_host(split_port(self.as_str()).0)
    }

    pub fn port(&self) -> Option<u16> {
        split_port(self.as_str()).1
    }

    pub fn to_header(&self) -> HeaderValue {
        match &self.0 {
            Form::Received(value) | Form::Header(value) => value.clone(),
            Form::Uri(authority) => {
                HeaderValue::from_str(authority.as_str()).unwrap_or_else(|_| HeaderValue::from_static(""))
            }
        }
    }

    fn to_uri(&self) -> Result<uri::Authority, InvalidHead> {
        match &self.0 {
            Form::Received(value) | Form::Header(value) => {
                uri::Authority::try_from(value.as_bytes()).map_err(|_| InvalidHead::BadHost)
            }
            Form::Uri(authority) => Ok(authority.clone()),
        }
    }
}

/// `host:port`, `[v6]:port` or either without port; a port that is no number counts as none.
pub fn split_port(authority: &str) -> (&str, Option<u16>) {
    let authority = authority.rsplit_once('@').map_or(authority, |(_, rest)| rest);
    let colon_from = authority.rfind(']').unwrap_or(0);
    match authority[colon_from..].rfind(':') {
        // An unbracketed IPv6 address holds more than one colon and has no port.
        Some(at) if colon_from > 0 || authority.find(':') == Some(at) => {
            let at = colon_from + at;
            (&authority[..at], authority[at + 1..].parse().ok())
        }
        _ => (authority, None),
    }
}

/// Lower-case, without brackets and trailing dot.
pub fn normal_host(host: &str) -> Cow<'_, str> {
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

impl Head {
    /// Takes apart what hyper received: origin form or absolute form, HTTP/1 or HTTP/2. Where the target names an
    /// authority it beats `host` (RFC 9112, section 3.2.2); `scheme` is the connection's, for a target without one.
    pub fn from_parts(
        parts: request::Parts,
        glance: &Glance,
        scheme: Scheme,
    ) -> Result<(Self, http::Extensions), InvalidHead> {
        let mut headers = parts.headers;
        let target = parts.uri.into_parts();
        if glance.hosts > 1 {
            return Err(InvalidHead::SeveralHosts);
        }
        let authority = match (target.authority, &glance.named.host) {
            // As valid as the target's.
            (Some(authority), Some(host)) if authority.as_str().as_bytes() == host.as_bytes() => {
                Authority(Form::Received(host.clone()))
            }
            (Some(authority), host) => {
                if host.is_some() {
                    headers.remove(header::HOST);
                }
                Authority::from_uri(authority)
            }
            (None, Some(host)) => Authority::received(host.clone())?,
            (None, None) => return Err(InvalidHead::NoHost),
        };
        let scheme = match target.scheme {
            Some(s) if s == uri::Scheme::HTTPS => Scheme::Https,
            Some(_) => Scheme::Http,
            None => scheme,
        };
        let path = match target.path_and_query {
            Some(path) => path,
            // `GET http://host HTTP/1.1`.
            None if parts.method != Method::CONNECT => PathAndQuery::from_static("/"),
            None => return Err(InvalidHead::NoPath),
        };
        Ok((Self { method: parts.method, scheme, authority, path, headers }, parts.extensions))
    }

    /// For an HTTP/1 upstream: origin form and a `host` header. The request is new; the headers move to it.
    pub fn move_to_http1<B>(&mut self, request: &mut Request<B>) {
        std::mem::swap(request.headers_mut(), &mut self.headers);
        if !matches!(self.authority.0, Form::Received(_)) {
            request.headers_mut().insert(header::HOST, self.authority.to_header());
        }
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::from(self.path.clone());
    }

    /// For an HTTP/2 upstream: a whole target, from which hyper makes the pseudo headers. The request is new; the headers
    /// move to it.
    pub fn move_to_http2<B>(&mut self, request: &mut Request<B>) -> Result<(), InvalidHead> {
        let scheme = match self.scheme {
            Scheme::Http => uri::Scheme::HTTP,
            Scheme::Https => uri::Scheme::HTTPS,
        };
        let mut parts = uri::Parts::default();
        parts.scheme = Some(scheme);
        parts.authority = Some(self.authority.to_uri()?);
        parts.path_and_query = Some(self.path.clone());
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| InvalidHead::NoPath)?;
        *request.method_mut() = self.method.clone();
        std::mem::swap(request.headers_mut(), &mut self.headers);
        request.headers_mut().remove(header::HOST);
        Ok(())
    }
}

/// Letters, digits and the other characters that a host and a port may be written with.
const OF_AUTHORITIES: [bool; 256] = {
    let mut valid = [false; 256];
    let others = b"-._~:[]%!$&'()*+,;=";
    let mut byte = 0;
    while byte < 128 {
        valid[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        valid[others[at] as usize] = true;
        at += 1;
    }
    valid
};
