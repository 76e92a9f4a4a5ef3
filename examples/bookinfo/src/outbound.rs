//! Calls one service from another: by name, through HTTP_PROXY in absolute form, or straight where there is no proxy.
//!
//! NO_PROXY is not looked at: what is called here lies in the mesh, and past the sidecar there would be no mesh.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Idle connections kept to one address.
const IDLE_MAX: usize = 32;

/// How the other services are reached.
#[derive(Debug, Clone, Args)]
pub struct Mesh {
    /// The sidecar, as an HTTP proxy [default: $http_proxy, else none]
    #[arg(long, env = "HTTP_PROXY", value_name = "URL")]
    pub http_proxy: Option<String>,
    /// Appended to the names of services, such as `default.svc.cluster.local`
    #[arg(long, env = "SERVICES_DOMAIN", default_value = "", value_name = "DOMAIN")]
    pub services_domain: String,
    /// The port of every service
    #[arg(long, env = "SERVICES_PORT", default_value_t = 9080, value_name = "PORT")]
    pub services_port: u16,
}

/// Calls other services, over connections that it keeps.
pub(crate) struct Outbound {
    mesh: Mesh,
    proxy: Option<String>,
    idle: Mutex<HashMap<String, Vec<SendRequest<Empty<Bytes>>>>>,
}

/// What another service answered.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum CallError {
    BadAddress(String),
    Unreachable(String),
    Broken(String),
    TooSlow(Duration),
}

impl fmt::Display for CallError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadAddress(what) => write!(out, "{what} is no address"),
            Self::Unreachable(why) => write!(out, "cannot connect: {why}"),
            Self::Broken(why) => write!(out, "the connection broke: {why}"),
            Self::TooSlow(limit) => write!(out, "no answer within {limit:?}"),
        }
    }
}

impl Outbound {
    pub(crate) fn new(mesh: Mesh) -> Self {
        let proxy = mesh.http_proxy.clone().or_else(|| std::env::var("http_proxy").ok()).filter(|url| !url.is_empty());
        Self { mesh, proxy, idle: Mutex::default() }
    }

    /// `GET path` of the service `name`, within `limit`.
    pub(crate) async fn get(
        &self,
        name: &str,
        path: &str,
        headers: HeaderMap,
        limit: Duration,
    ) -> Result<Reply, CallError> {
        let host = match self.mesh.services_domain.as_str() {
            "" => name.to_owned(),
            domain => format!("{name}.{domain}"),
        };
        let authority = format!("{host}:{}", self.mesh.services_port);
        let (address, target) = match &self.proxy {
            Some(url) => (proxy_address(url)?, format!("http://{authority}{path}")),
            None => (authority.clone(), path.to_owned()),
        };
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = target.parse().map_err(|_| CallError::BadAddress(target))?;
        *request.headers_mut() = headers;
        let host = HeaderValue::from_str(&authority).map_err(|_| CallError::BadAddress(authority))?;
        request.headers_mut().insert(header::HOST, host);
        match tokio::time::timeout(limit, self.exchange(&address, request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CallError::TooSlow(limit)),
        }
    }

    async fn exchange(&self, address: &str, mut request: Request<Empty<Bytes>>) -> Result<Reply, CallError> {
        let broken = |problem: hyper::Error| CallError::Broken(problem.to_string());
        loop {
            let (mut connection, kept) = match self.take(address) {
                Some(connection) => (connection, true),
                None => (connect(address).await?, false),
            };
            let response = match connection.try_send_request(request).await {
                Ok(response) => response,
                Err(mut failure) => match failure.take_message() {
                    // The other side closed it while it lay idle; nothing was sent.
                    Some(unsent) if kept => {
                        request = unsent;
                        continue;
                    }
                    _ => return Err(broken(failure.into_error())),
                },
            };
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|problem| CallError::Broken(problem.to_string()))?.to_bytes();
            self.put(address, connection);
            return Ok(Reply { status: head.status, headers: head.headers, body });
        }
    }

    fn take(&self, address: &str) -> Option<SendRequest<Empty<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = idle.get_mut(address)?;
        std::iter::from_fn(|| connections.pop()).find(SendRequest::is_ready)
    }

    fn put(&self, address: &str, connection: SendRequest<Empty<Bytes>>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = idle.entry(address.to_owned()).or_default();
        if connections.len() < IDLE_MAX && !connection.is_closed() {
            connections.push(connection);
        }
    }
}

async fn connect(address: &str) -> Result<SendRequest<Empty<Bytes>>, CallError> {
    let stream =
        TcpStream::connect(address).await.map_err(|problem| CallError::Unreachable(format!("{address}: {problem}")))?;
    let _ = stream.set_nodelay(true);
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|problem| CallError::Broken(problem.to_string()))?;
    // It ends with its sender; what went wrong the sender learns itself.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// `http://HOST:PORT`, or `HOST:PORT` as some write it.
fn proxy_address(url: &str) -> Result<String, CallError> {
    let wrong = || CallError::BadAddress(format!("HTTP_PROXY={url}"));
    let whole = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let uri: Uri = whole.parse().map_err(|_| wrong())?;
    let host = uri.host().ok_or_else(wrong)?;
    Ok(format!("{host}:{}", uri.port_u16().unwrap_or(80)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::proxy_address;

    #[test]
    fn proxies_are_written_in_several_ways() {
        let cases = [
            ("http://127.0.0.1:15001", Some("127.0.0.1:15001")),
            ("http://127.0.0.1:15001/", Some("127.0.0.1:15001")),
            ("127.0.0.1:15001", Some("127.0.0.1:15001")),
            ("http://proxy", Some("proxy:80")),
            ("http://[::1]:15001", Some("[::1]:15001")),
            ("://", None),
        ];
        for (url, want) in cases {
            assert_eq!(proxy_address(url).ok().as_deref(), want, "{url}");
        }
    }
}
