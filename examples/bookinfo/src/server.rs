//! Accepts connections for one service and ends in order. It does not know what the service answers.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How long requests at hand may take once the service is told to end.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// After a failure to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Bytes of a request's body; the largest is a login form or a book's ratings.
pub(crate) const BODY_BYTES_MAX: usize = 16 * 1024;

pub(crate) type Answer = Response<Full<Bytes>>;

/// What a service answers.
pub(crate) trait App: Send + Sync + 'static {
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Answer> + Send;
}

/// A service that listens.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    end: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no further connections, lets the requests at hand finish, and closes the rest.
    pub async fn stop(self) {
        let Self { end, task, .. } = self;
        drop(end);
        let _ = tokio::time::timeout(DRAIN_MAX, task).await;
    }
}

pub(crate) async fn start(listen: SocketAddr, app: impl App) -> io::Result<Running> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let (end, ended) = watch::channel(());
    let task = tokio::spawn(accept(listener, Arc::new(app), ended));
    Ok(Running { address, end, task })
}

/// Ends when the sender of `ended` is gone.
async fn accept(listener: TcpListener, app: Arc<impl App>, mut ended: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, Arc::clone(&app), ended.clone()));
                }
                // Out of file descriptors, most likely: one that closes makes room.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
            _ = ended.changed() => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(stream: TcpStream, app: Arc<impl App>, mut ended: watch::Receiver<()>) {
    let _ = stream.set_nodelay(true);
    let answer = hyper::service::service_fn(|request| {
        let app = Arc::clone(&app);
        async move { Ok::<_, Infallible>(app.answer(request).await) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), answer));
    // A peer that goes away is its own business; there is nobody to tell.
    let _ = tokio::select! {
        over = connection.as_mut() => over,
        _ = ended.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
}

/// SIGTERM and SIGINT, as one.
pub(crate) struct EndSignals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

pub(crate) fn end_signals() -> io::Result<EndSignals> {
    Ok(EndSignals {
        #[cfg(unix)]
        terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
    })
}

impl EndSignals {
    pub(crate) async fn recv(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}

pub(crate) fn json(status: StatusCode, value: &Value) -> Answer {
    typed(status, "application/json", value.to_string())
}

pub(crate) fn not_found() -> Answer {
    json(StatusCode::NOT_FOUND, &serde_json::json!({"error": "there is no such page"}))
}

pub(crate) fn typed(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
