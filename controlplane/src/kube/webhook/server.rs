//! The HTTPS server: connections in, one review per request, answers out.
//!
//! It does not know what is decided.

use super::{Desk, injection, review, validation};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// Until the task is aborted.
pub(super) async fn serve(listener: TcpListener, desk: Arc<Desk>) {
    let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(seat) = seats.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let desk = desk.clone();
                tokio::spawn(async move {
                    connection(stream, &desk).await;
                    drop(seat);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the webhooks could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, desk: &Arc<Desk>) {
    let Some(config) = desk.tls.load_full() else { return };
    let _ = stream.set_nodelay(true);
    let shaken = tokio::time::timeout(HANDSHAKE_MAX, TlsAcceptor::from(config).accept(stream)).await;
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake with the webhooks failed");
            return;
        }
        Err(_) => return,
    };
    let service = service_fn(|request| answer(request, desk));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SILENCE_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the webhooks broke");
    }
}

async fn answer(request: Request<Incoming>, desk: &Arc<Desk>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(match reviewed(request, desk).await {
        Ok(body) => with(StatusCode::OK, "application/json", body),
        Err((status, reason)) => with(status, "text/plain; charset=utf-8", reason),
    })
}

async fn reviewed(request: Request<Incoming>, desk: &Arc<Desk>) -> Result<String, (StatusCode, String)> {
    let path = request.uri().path().to_owned();
    if request.method() != Method::POST {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "POST an AdmissionReview".to_owned()));
    }
    let body = tokio::time::timeout(BODY_MAX, Limited::new(request.into_body(), BODY_BYTES_MAX).collect()).await;
    let body = body
        .map_err(|_| (StatusCode::REQUEST_TIMEOUT, format!("the body did not come within {BODY_MAX:?}")))?
        .map_err(|error| (StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}")))?
        .to_bytes();
    let bad = |reason: &str| (StatusCode::BAD_REQUEST, reason.to_owned());
    let asked = review::Asked::read(&body).ok_or_else(|| bad("this is no AdmissionReview of admission.k8s.io/v1"))?;
    let verdict = match path.as_str() {
        "/inject" => injection::judge(desk, &asked).await,
        "/validate" => validation::judge(desk, &asked).await,
        _ => return Err((StatusCode::NOT_FOUND, "there are /inject and /validate".to_owned())),
    };
    let verdict = verdict.map_err(|reason| (StatusCode::INTERNAL_SERVER_ERROR, reason))?;
    Ok(asked.answer(&verdict))
}

fn with(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}

/// An API server uses a few; others may open more.
const CONNECTIONS_MAX: usize = 1024;
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Longer than the API server keeps an idle connection (90 s), so that it is always the one to close.
const SILENCE_MAX: Duration = Duration::from_secs(120);
const BODY_MAX: Duration = Duration::from_secs(5);
/// Twice what the API server stores of an object, for the old one comes too, and room for the rest.
const BODY_BYTES_MAX: usize = 8 << 20;
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
