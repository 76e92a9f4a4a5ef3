//! The demo's callers: a light load through the `client` sidecar, each answer held against what the config says.

use super::expectation::{Call, Expectation};
use super::score::Score;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Longest wait for one answer; far above what any answer takes.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// One answer, read whole.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: http::HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    pub(super) fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

/// One HTTP/1.1 connection to a sidecar's outbound side; nothing is tried twice.
pub(super) struct Client {
    sidecar: SocketAddr,
    sender: Option<http1::SendRequest<Empty<Bytes>>>,
}

impl Client {
    pub(super) fn new(sidecar: SocketAddr) -> Self {
        Self { sidecar, sender: None }
    }

    pub(super) async fn get(&mut self, url: &str, headers: &[(&str, &str)]) -> Result<Answer, String> {
        match tokio::time::timeout(ANSWER_MAX, self.exchange(url, headers)).await {
            Ok(answer) => answer,
            Err(_) => {
                self.sender = None;
                Err(format!("no answer within {ANSWER_MAX:?}"))
            }
        }
    }

    async fn exchange(&mut self, url: &str, headers: &[(&str, &str)]) -> Result<Answer, String> {
        let mut sender = match self.sender.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => connect(self.sidecar).await.map_err(|error| format!("cannot reach the client's sidecar: {error}"))?,
        };
        let uri: http::Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let request = Request::get(uri).header("host", authority);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(Empty::new()).map_err(|error| error.to_string())?;
        sender.ready().await.map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        self.sender = Some(sender);
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }
}

async fn connect(
    sidecar: SocketAddr,
) -> Result<http1::SendRequest<Empty<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(sidecar).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// The load while it runs; ended when it is dropped.
pub(super) struct Audience {
    score: Arc<Mutex<Score>>,
    tasks: JoinSet<()>,
}

impl Audience {
    /// Each call of the script `rate` times a second in all, on a connection of its own.
    pub(super) fn start(sidecar: SocketAddr, script: Vec<Call>, rate: u32, expectation: Expectation) -> Self {
        let score = Arc::new(Mutex::new(Score::default()));
        let mut tasks = JoinSet::new();
        let shares: u32 = script.iter().map(|call| call.share).sum();
        for call in script {
            let (score, expectation) = (Arc::clone(&score), expectation.clone());
            let every = Duration::from_secs(1) * shares / (rate * call.share).max(1);
            tasks.spawn(async move {
                let mut client = Client::new(sidecar);
                let mut ticks = tokio::time::interval(every);
                loop {
                    ticks.tick().await;
                    let start = Instant::now();
                    let answer = client.get(&call.url, &[]).await;
                    let judged = expectation.judge(call.name, &answer);
                    score.lock().unwrap_or_else(std::sync::PoisonError::into_inner).add(
                        call.name,
                        start.elapsed(),
                        judged,
                    );
                }
            });
        }
        Self { score, tasks }
    }

    pub(super) fn score(&self) -> Score {
        self.score.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Lets the requests under way end unheard: what is counted so far is the result.
    pub(super) async fn stop(mut self) -> Score {
        self.tasks.shutdown().await;
        self.score()
    }
}
