//! An app that says who it is and what it saw.
//!
//! `/status/N` answers N, `/delay/MS` waits, `/bytes/N` answers so many bytes, a POST to `/echo` its body; everything
//! else a JSON object of the request. A gRPC request is echoed message by message, but for health checks.

use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Map, Value, json};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

#[derive(Args)]
pub(crate) struct Options {
    /// How it calls itself
    #[arg(long, env = "POD_NAME", default_value = "app")]
    name: String,
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Where it greets with its name and then echoes
    #[arg(long, default_value_t = 9000)]
    tcp_port: u16,
    /// The same as on `--port`, over TLS
    #[arg(long, default_value_t = 8443)]
    tls_port: u16,
}

/// After SIGTERM; what is still open then is cut.
const ENDING_MAX: Duration = Duration::from_secs(10);
const BYTES_MAX: usize = 16 << 20;

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let any = |port| SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
    let name: Arc<str> = options.name.into();
    let http = TcpListener::bind(any(options.port)).await?;
    tokio::spawn(greet(TcpListener::bind(any(options.tcp_port)).await?, Arc::clone(&name)));
    tokio::spawn(crate::tls::serve(TcpListener::bind(any(options.tls_port)).await?, Arc::clone(&name)));
    let (ending, ends) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut end = crate::end_signal()?;
    loop {
        let (stream, peer) = tokio::select! {
            accepted = http.accept() => accepted?,
            _ = end.recv() => break,
        };
        stream.set_nodelay(true)?;
        connections.spawn(connection(stream, peer, Arc::clone(&name), ends.clone()));
        while connections.try_join_next().is_some() {}
    }
    drop((http, ending));
    let _ = tokio::time::timeout(ENDING_MAX, connections.join_all()).await;
    Ok(())
}

/// Serves until the client goes, or says on its next answer that it closes when `ends` has no sender left.
async fn connection(stream: TcpStream, peer: SocketAddr, name: Arc<str>, mut ends: watch::Receiver<()>) {
    let http2 = is_http2(&stream).await;
    let io = TokioIo::new(stream);
    let service = service_fn(move |request| {
        let name = Arc::clone(&name);
        async move { answer(&name, peer, request).await }
    });
    // A client that goes away is no concern of the server's.
    if http2 {
        let mut connection = pin!(http2::Builder::new(TokioExecutor::new()).serve_connection(io, service));
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = ends.changed() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    } else {
        let mut connection = pin!(http1::Builder::new().serve_connection(io, service));
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = ends.changed() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }
}

/// Whether the client begins with HTTP/2's preface.
async fn is_http2(stream: &TcpStream) -> bool {
    let mut prefix = [0; 3];
    let _ = stream.readable().await;
    matches!(stream.peek(&mut prefix).await, Ok(3)) && &prefix == b"PRI"
}

async fn greet(listener: TcpListener, name: Arc<str>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(echo(stream, format!("{name}\n")));
    }
}

async fn echo(mut stream: TcpStream, greeting: String) -> std::io::Result<()> {
    stream.write_all(greeting.as_bytes()).await?;
    let (mut read, mut write) = stream.split();
    tokio::io::copy(&mut read, &mut write).await?;
    write.shutdown().await
}

pub(crate) type Answer = Response<BoxBody<Bytes, hyper::Error>>;

pub(crate) async fn answer(name: &str, peer: SocketAddr, request: Request<Incoming>) -> Result<Answer, hyper::Error> {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    if content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc")) {
        return Ok(match request.uri().path() {
            "/grpc.health.v1.Health/Check" => health(request.into_body().collect().await?.to_bytes()),
            _ => messages(request.into_body().boxed()),
        });
    }
    let path = request.uri().path().to_owned();
    let number = |prefix: &str| path.strip_prefix(prefix).and_then(|rest| rest.parse::<u64>().ok());
    if let Some(wait) = number("/delay/") {
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
    let status = number("/status/").and_then(|status| StatusCode::from_u16(status as u16).ok()).unwrap_or_default();
    let mut response = if let Some(length) = number("/bytes/") {
        whole(vec![b'x'; (length as usize).min(BYTES_MAX)])
    } else if path == "/echo" {
        Response::new(request.into_body().boxed())
    } else {
        let seen = seen(name, peer, &request);
        request.into_body().collect().await?;
        whole(seen.to_string())
    };
    *response.status_mut() = status;
    if let Ok(name) = HeaderValue::from_str(name) {
        response.headers_mut().insert("x-app", name);
    }
    Ok(response)
}

fn whole(body: impl Into<Bytes>) -> Answer {
    Response::new(Full::new(body.into()).map_err(|never| match never {}).boxed())
}

fn seen(name: &str, peer: SocketAddr, request: &Request<Incoming>) -> Value {
    let headers: Map<String, Value> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    json!({
        "app": name,
        "peer": peer.ip().to_canonical().to_string(),
        "version": format!("{:?}", request.version()),
        "method": request.method().as_str(),
        "path": request.uri().path_and_query().map_or("/", |path| path.as_str()),
        "authority": request.uri().authority().map(|authority| authority.as_str()),
        "headers": headers,
    })
}

/// The app as a whole, the service without a name, is SERVING; another one that is asked for is not.
fn health(asked: Bytes) -> Answer {
    const EMPTY: &[u8] = &[0, 0, 0, 0, 0];
    let (serving, not_serving) = ([0, 0, 0, 0, 2, 8, 1], [0, 0, 0, 0, 2, 8, 2]);
    let message = if asked == EMPTY { serving } else { not_serving };
    messages(Full::new(Bytes::copy_from_slice(&message)).map_err(|never| match never {}).boxed())
}

/// A gRPC answer of these frames.
fn messages(frames: BoxBody<Bytes, hyper::Error>) -> Answer {
    let trailers = HeaderMap::from_iter([(header::HeaderName::from_static("grpc-status"), HeaderValue::from(0))]);
    let body = frames.with_trailers(std::future::ready(Some(Ok(trailers)))).boxed();
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
