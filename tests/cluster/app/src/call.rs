//! One HTTP connection, and a request on it: no pool, no retry, nothing hidden from the one who counts.

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, Uri, header};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use tokio::net::TcpStream;

pub(crate) type Body = BoxBody<Bytes, hyper::Error>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    /// Prior knowledge, no TLS.
    Http2,
}

/// Where to connect and what to ask for.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) uri: Uri,
    pub(crate) version: Version,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Where the host is looked up for each connection: `None`.
    address: Option<SocketAddr>,
}

impl Target {
    pub(crate) fn new(url: &str, version: Version, headers: &[String]) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url} is no URL"))?;
        if uri.scheme_str() != Some("http") || uri.authority().is_none() {
            bail!("{url} is no URL of the form http://HOST:PORT/PATH");
        }
        let headers = headers.iter().map(|header| parse_header(header)).collect::<Result<_, _>>()?;
        Ok(Self { uri, version, headers, address: None })
    }

    /// The host is looked up here, and not for each connection: load is to show what the mesh does, and DNS has a load of its
    /// own.
    pub(crate) async fn looked_up(self) -> anyhow::Result<Self> {
        let found = tokio::net::lookup_host(self.host_and_port()).await;
        let address = found.with_context(|| format!("looking up the host of {}", self.uri))?.next();
        Ok(Self { address, ..self })
    }

    fn host_and_port(&self) -> (&str, u16) {
        let host = self.uri.host().unwrap_or_default().trim_matches(['[', ']']);
        (host, self.uri.port_u16().unwrap_or(80))
    }

    pub(crate) async fn connect(&self) -> anyhow::Result<Connection> {
        let (host, port) = self.host_and_port();
        let stream = match self.address {
            Some(address) => TcpStream::connect(address).await,
            None => TcpStream::connect((host, port)).await,
        };
        let stream = stream.with_context(|| format!("connecting {host}:{port}"))?;
        stream.set_nodelay(true)?;
        let io = TokioIo::new(stream);
        Ok(match self.version {
            Version::Http1 => {
                let (sender, connection) = http1::handshake(io).await?;
                tokio::spawn(connection);
                Connection::Http1(sender)
            }
            Version::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(connection);
                Connection::Http2(sender)
            }
        })
    }

    pub(crate) fn request(&self, body: Body) -> anyhow::Result<Request<Body>> {
        let mut request = Request::new(body);
        match self.version {
            Version::Http1 => {
                let authority = self.uri.authority().map_or("", |authority| authority.as_str());
                request.headers_mut().insert(header::HOST, HeaderValue::from_str(authority)?);
                *request.uri_mut() = self.uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
            }
            Version::Http2 => *request.uri_mut() = self.uri.clone(),
        }
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        Ok(request)
    }
}

fn parse_header(text: &str) -> anyhow::Result<(HeaderName, HeaderValue)> {
    let (name, value) = text.split_once(':').with_context(|| format!("{text} is no header NAME: VALUE"))?;
    Ok((name.trim().parse()?, value.trim().parse()?))
}

pub(crate) enum Connection {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Connection {
    pub(crate) async fn send(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// Whether the other side has closed it, or said that it will: not an error, the next request takes another.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }
}

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) head: http::response::Parts,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) async fn of(response: Response<Incoming>) -> hyper::Result<Self> {
        let (head, body) = response.into_parts();
        Ok(Self { head, body: body.collect().await?.to_bytes() })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }
}
