//! Plain HTTP for people and Prometheus: `/status`, `/metrics`, `/ready`.
//!
//! Read-only. It asks the loop for a report and does not know how one is made.

use super::Report;
use super::metrics::Metrics;
use crate::replica::Fellows;
use crate::world::Event;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, events: mpsc::Sender<Event>, metrics: Arc<Metrics>, fellows: Fellows) {
    let asked = Asked { events, metrics, fellows };
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = connections.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "status port: cannot accept");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let asked = asked.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, asked.clone()));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_MAX)
                .serve_connection(TokioIo::new(stream), service);
            // A client that went away is its own affair.
            let _ = connection.await;
            drop(permit);
        });
    }
}

/// Who knows what is asked for here.
#[derive(Clone)]
struct Asked {
    events: mpsc::Sender<Event>,
    metrics: Arc<Metrics>,
    fellows: Fellows,
}

async fn answer(request: Request<Incoming>, asked: Asked) -> Result<Response<Full<Bytes>>, Infallible> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned(), PLAIN));
    }
    Ok(match request.uri().path() {
        "/ready" => match asked.report().await {
            Some(_) => text(StatusCode::OK, "ready\n".to_owned(), PLAIN),
            None => stopping(),
        },
        "/metrics" => text(StatusCode::OK, asked.metrics.text(), PROMETHEUS),
        "/status" => match asked.whole_report().await.and_then(|report| serde_json::to_string(&report).ok()) {
            Some(json) => text(StatusCode::OK, json, JSON),
            None => stopping(),
        },
        _ => text(StatusCode::NOT_FOUND, "there is /status, /metrics and /ready\n".to_owned(), PLAIN),
    })
}

impl Asked {
    /// Of this replica.
    async fn report(&self) -> Option<Report> {
        let (answer, asked) = oneshot::channel();
        self.events.send(Event::Status(answer)).await.ok()?;
        asked.await.ok()
    }

    /// With the proxies of all replicas.
    async fn whole_report(&self) -> Option<Report> {
        let mut report = self.report().await?;
        report.add(self.fellows.proxies().await);
        Some(report)
    }
}

fn stopping() -> Response<Full<Bytes>> {
    text(StatusCode::SERVICE_UNAVAILABLE, "the control plane is stopping\n".to_owned(), PLAIN)
}

fn text(status: StatusCode, body: String, kind: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

const PLAIN: &str = "text/plain; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";
const CONNECTIONS_MAX: usize = 64;
const HEADER_MAX: Duration = Duration::from_secs(10);
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
