//! Apps behind the proxies: HTTP in both versions, answering as the test says, and raw TCP.

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

pub type Body = BoxBody<Bytes, Infallible>;

/// What an app saw of one request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub uri: String,
    pub version: Version,
    pub headers: HeaderMap,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub struct App {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Seen>>>,
    accepting: tokio::task::JoinHandle<()>,
}

pub fn whole(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed()
}

/// A body that the test feeds.
pub fn fed() -> (mpsc::Sender<Frame<Bytes>>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Fed(receiver).boxed())
}

struct Fed(mpsc::Receiver<Frame<Bytes>>);

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

impl App {
    /// Answers each request with what `answer` gives.
    pub async fn start<F, A>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (noted, counted, answer) = (Arc::clone(&seen), Arc::clone(&connections), Arc::new(answer));
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((tcp, _)) = listener.accept().await else { return };
                counted.fetch_add(1, Ordering::Relaxed);
                let (noted, answer) = (Arc::clone(&noted), Arc::clone(&answer));
                tokio::spawn(serve(tcp, move |request: Request<Incoming>| {
                    noted.lock().unwrap().push(Seen {
                        uri: request.uri().to_string(),
                        version: request.version(),
                        headers: request.headers().clone(),
                    });
                    let answered = answer(request);
                    async move { Ok::<_, Infallible>(answered.await) }
                }));
            }
        });
        Self { address, connections, seen, accepting }
    }

    /// Answers 200 with the given text.
    pub async fn saying(text: &'static str) -> Self {
        Self::start(move |_| async move { Response::new(whole(text)) }).await
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn last(&self) -> Seen {
        self.seen().pop().expect("the app has seen a request")
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve<F, A>(tcp: TcpStream, answer: F)
where
    F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
{
    let mut first = [0; 3];
    while tcp.peek(&mut first).await.unwrap_or(0) < 3 {
        if tcp.readable().await.is_err() || matches!(tcp.peek(&mut first).await, Ok(0) | Err(_)) {
            return;
        }
    }
    let answer = service_fn(answer);
    let io = TokioIo::new(tcp);
    let _ = match &first {
        b"PRI" => {
            let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            http2.serve_connection(io, answer).await
        }
        _ => hyper::server::conn::http1::Builder::new().serve_connection(io, answer).with_upgrades().await,
    };
}

/// A TCP server; `serve` runs for each connection.
pub async fn tcp<F, A>(serve: F) -> SocketAddr
where
    F: Fn(TcpStream) -> A + Send + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(serve(tcp));
        }
    });
    address
}

/// An address at which nobody answers.
pub async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
