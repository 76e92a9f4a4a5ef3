//! The apps behind the sidecars: an HTTP server that says who it is and what it saw, or raw TCP.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// One request as the app saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

/// A server on a loopback port of its own, ended with its value.
pub struct App {
    pub address: SocketAddr,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    /// A request to `/held…` is answered when it gets a permit.
    pub gate: Arc<Semaphore>,
    task: JoinHandle<()>,
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl App {
    /// Answers 200 with its name as body and in `x-app`, on HTTP/1.1 and h2c. `/status/N` answers N, `/echo` the body,
    /// `/held…` only with a permit of `gate`; every request is remembered (at most 10,000).
    pub async fn http(name: &str) -> Self {
        Self::http_at(ANYWHERE, name).await
    }

    /// The same at an address that is given.
    pub async fn http_at(address: SocketAddr, name: &str) -> Self {
        let name = name.to_owned();
        let gate = Arc::new(Semaphore::new(0));
        let held = Arc::clone(&gate);
        let mut app = Self::serve(address, move |stream, seen| {
            let (name, held) = (name.clone(), Arc::clone(&held));
            async move {
                let service =
                    service_fn(move |request| answer(name.clone(), (Arc::clone(&seen), Arc::clone(&held)), request));
                let _ = if is_http2(&stream).await {
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                } else {
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
                };
            }
        })
        .await;
        app.gate = gate;
        app
    }

    /// h2c; answers the request's body with trailers that say `grpc-status: 5`.
    pub async fn grpc() -> Self {
        Self::serve(ANYWHERE, |stream, _| async move {
            let service = service_fn(|request: Request<Incoming>| async move {
                let body = request.into_body().collect().await?.to_bytes();
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", http::HeaderValue::from_static("5"));
                let body = Full::new(body).with_trailers(std::future::ready(Some(Ok(trailers))));
                Ok::<_, hyper::Error>(
                    Response::builder()
                        .header("content-type", "application/grpc")
                        .body(body)
                        .expect("a valid response"),
                )
            });
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        })
        .await
    }

    /// Sends `greeting` first, then echoes; closes its side when the client does.
    pub async fn tcp(greeting: &'static str) -> Self {
        Self::tcp_at(ANYWHERE, greeting).await
    }

    /// The same at an address that is given.
    pub async fn tcp_at(address: SocketAddr, greeting: &'static str) -> Self {
        Self::serve(address, move |mut stream, _| async move {
            let _ = stream.write_all(greeting.as_bytes()).await;
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = write.shutdown().await;
        })
        .await
    }

    /// Reads one request's head and hands the stream to `answer`, for what a well-behaved server never does.
    pub async fn raw<F, Fut>(answer: F) -> Self
    where
        F: Fn(TcpStream, String) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = ()> + Send,
    {
        Self::serve(ANYWHERE, move |mut stream, _| {
            let answer = answer.clone();
            async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                answer(stream, String::from_utf8_lossy(&head).into_owned()).await;
            }
        })
        .await
    }

    async fn serve<F, Fut>(address: SocketAddr, connection: F) -> Self
    where
        F: Fn(TcpStream, Arc<Mutex<Vec<Seen>>>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = ()> + Send,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let (connection, log) = (connection.clone(), Arc::clone(&log));
                connections.spawn(async move { connection(stream, log).await });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, seen, gate: Arc::new(Semaphore::new(0)), task }
    }

    pub fn last_seen(&self) -> Seen {
        self.seen.lock().unwrap().last().cloned().expect("the app has seen a request")
    }
}

const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

async fn is_http2(stream: &TcpStream) -> bool {
    let mut prefix = [0; 3];
    while let Ok(length) = stream.peek(&mut prefix).await {
        if length == 0 || length == prefix.len() {
            break;
        }
    }
    &prefix == b"PRI"
}

fn remember(seen: &Mutex<Vec<Seen>>, request: Seen) {
    let mut seen = seen.lock().unwrap();
    if seen.len() < 10_000 {
        seen.push(request);
    }
}

async fn answer(
    name: String,
    (seen, gate): (Arc<Mutex<Vec<Seen>>>, Arc<Semaphore>),
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let echo = path.starts_with("/echo");
    let held = path.starts_with("/held");
    let status = path.strip_prefix("/status/").and_then(|status| status.parse().ok()).unwrap_or(200u16);
    remember(&seen, Seen { method: head.method.to_string(), path, headers: head.headers, body: body.clone() });
    if held {
        gate.acquire().await.expect("the gate is never closed").forget();
    }
    let answer = if echo { body } else { Bytes::from(name.clone()) };
    Ok(Response::builder().status(status).header("x-app", name).body(Full::new(answer)).expect("a valid response"))
}
