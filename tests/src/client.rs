//! HTTP clients that never retry and count what they see.
//!
//! A connection that the other side announced to close (`connection: close`, GOAWAY) is replaced; anything else that
//! goes wrong is an error of that request.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http1,
    /// Prior knowledge, no TLS.
    Http2,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap_or("(not text)"))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or("(not text)")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or(serde_json::Value::Null)
    }
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// One connection at a time to one address: a sidecar's outbound listener (URLs are absolute), or a server.
pub struct Client {
    address: SocketAddr,
    version: Version,
    sender: Option<Sender>,
}

impl Client {
    pub fn new(address: SocketAddr, version: Version) -> Self {
        Self { address, version, sender: None }
    }

    pub async fn get(&mut self, url: &str) -> Result<Answer, String> {
        self.send(Request::get(url).body(Full::default()).map_err(|error| error.to_string())?).await
    }

    /// A GET with headers.
    pub async fn get_with(&mut self, url: &str, headers: &[(&str, &str)]) -> Result<Answer, String> {
        let request = headers.iter().fold(Request::get(url), |request, (name, value)| request.header(*name, *value));
        self.send(request.body(Full::default()).map_err(|error| error.to_string())?).await
    }

    pub async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Result<Answer, String> {
        if self.version == Version::Http1 && !request.headers().contains_key("host") {
            let host = request.uri().authority().map_or_else(|| self.address.to_string(), ToString::to_string);
            request.headers_mut().insert("host", host.parse().map_err(|_| format!("host {host}"))?);
        }
        let mut sender = match self.sender.take() {
            Some(sender) if sender.is_usable() => sender,
            _ => Sender::connect(self.address, self.version).await?,
        };
        let response = sender.send(request).await.map_err(|error| format!("{error}: {error:?}"))?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| format!("body: {error}: {error:?}"))?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        let body = body.to_bytes();
        if head.headers.get("connection").is_none_or(|value| value != "close") {
            self.sender = Some(sender);
        }
        Ok(Answer { status: head.status, headers: head.headers, body, trailers })
    }
}

impl Sender {
    async fn connect(address: SocketAddr, version: Version) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| format!("connect {address}: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let io = TokioIo::new(stream);
        match version {
            Version::Http1 => {
                let (mut sender, connection) = http1::handshake(io).await.map_err(|error| error.to_string())?;
                tokio::spawn(connection);
                sender.ready().await.map_err(|error| error.to_string())?;
                Ok(Self::Http1(sender))
            }
            Version::Http2 => {
                let handshake = http2::handshake(TokioExecutor::new(), io);
                let (mut sender, connection) = handshake.await.map_err(|error| error.to_string())?;
                tokio::spawn(connection);
                sender.ready().await.map_err(|error| error.to_string())?;
                Ok(Self::Http2(sender))
            }
        }
    }

    fn is_usable(&self) -> bool {
        match self {
            Self::Http1(sender) => !sender.is_closed(),
            Self::Http2(sender) => !sender.is_closed(),
        }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<http::Response<hyper::body::Incoming>> {
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
}

/// What a load saw.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub requests: u64,
    /// What was wrong, at most 20 of them in words.
    pub failures: Vec<String>,
    pub failed: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.failures.extend(other.failures.iter().take(20usize.saturating_sub(self.failures.len())).cloned());
    }

    #[track_caller]
    pub fn assert_clean(&self, requests_min: u64) {
        assert_eq!(self.failed, 0, "{} of {} requests failed: {:#?}", self.failed, self.requests, self.failures);
        assert!(self.requests >= requests_min, "only {} requests were made, {requests_min} wanted", self.requests);
    }
}

/// Closed-loop load on several connections until it is stopped; every answer is judged.
pub struct Load {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Tally>>,
}

impl Load {
    /// `request` makes the nth request of a connection, and what its judge has to know; `judge` says what is wrong with
    /// the answer.
    pub fn start<T: Send>(
        (address, version): (SocketAddr, Version),
        connections: usize,
        request: impl Fn(u64) -> (Request<Full<Bytes>>, T) + Clone + Send + 'static,
        judge: impl Fn(T, &Answer) -> Result<(), String> + Clone + Send + 'static,
    ) -> Self {
        let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let tasks = (0..connections).map(|_| {
            let (stop, made) = (Arc::clone(&stop), Arc::clone(&made));
            let (request, judge) = (request.clone(), judge.clone());
            tokio::spawn(async move {
                let mut client = Client::new(address, version);
                let mut tally = Tally::default();
                while !stop.load(Ordering::Relaxed) {
                    let (request, wanted) = request(tally.requests);
                    let answer = client.send(request).await;
                    tally.requests += 1;
                    made.fetch_add(1, Ordering::Relaxed);
                    if let Err(failure) = answer.and_then(|answer| judge(wanted, &answer)) {
                        tally.failed += 1;
                        if tally.failures.len() < 20 {
                            tally.failures.push(failure);
                        }
                    }
                }
                tally
            })
        });
        let tasks = tasks.collect();
        Self { stop, made, tasks }
    }

    /// Waits until it has made so many requests in all.
    pub async fn made(&self, requests: u64) {
        crate::eventually_async(&format!("the load makes {requests} requests"), async || {
            let made = self.made.load(Ordering::Relaxed);
            if made >= requests { Ok(()) } else { Err(made) }
        })
        .await;
    }

    pub async fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for task in self.tasks {
            all.add(&task.await.unwrap());
        }
        all
    }
}
