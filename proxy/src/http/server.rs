//! Serves HTTP on one stream until the client goes, falls silent, or the proxy drains.
//!
//! It knows hyper's settings and how to end a connection gently; what a request means is `exchange`'s.

use super::LocalExecutor;
use crate::connection::Connection;
use crate::connections::{Entry, Order};
use crate::exchange;
use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::stream::Stream;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

pub async fn serve_http1(mut stream: Stream, connection: Rc<Connection>) {
    stream.watch(Arc::clone(&connection.entry.activity));
    let served = Rc::clone(&connection);
    let service = service_fn(move |request| exchange::serve(Rc::clone(&served), request));
    let settings = &connection.worker.settings;
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(settings.head_bytes_max.max(BUFFER_BYTES_MIN))
        .max_header_size(settings.head_bytes_max)
        .max_headers(settings.headers_max)
        .auto_date_header(false);
    let served = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    // An idle connection would be closed at once: not before its grace is over. Until then responses say that they are
    // the last.
    let ended = drive(served, &connection, |served| served.graceful_shutdown(), Entry::grace_is_over).await;
    // hyper has answered by itself what it could not read.
    if let Some(refusal) = ended.and_then(|error| unread(&error, settings)) {
        exchange::refused_unread(Rc::clone(&connection), &refusal);
    }
}

fn unread(error: &hyper::Error, settings: &Settings) -> Option<Refusal> {
    if error.is_parse_too_large() {
        return Some(Refusal::HeadersTooLarge {
            bytes_max: settings.head_bytes_max,
            headers_max: settings.headers_max,
        });
    }
    error.is_parse().then_some(Refusal::BadRequest { reason: "the request's head is not HTTP" })
}

/// Frames come for many reasons: only exchanges count as activity here.
pub async fn serve_http2(stream: Stream, connection: Rc<Connection>) {
    let served = Rc::clone(&connection);
    let service = service_fn(move |request| exchange::serve(Rc::clone(&served), request));
    let settings = &connection.worker.settings;
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .max_concurrent_streams(settings.streams_max)
        .max_header_list_size(u32::try_from(settings.head_bytes_max).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
        .auto_date_header(false);
    let served = builder.serve_connection(TokioIo::new(stream), service);
    // GOAWAY is said in two steps, between which nothing is lost.
    drive(served, &connection, |served| served.graceful_shutdown(), |_| true).await;
}

/// Polls the connection before it looks at its orders: what the client had sent when the proxy began to drain is read
/// and answered. Answers the error that the connection ended with.
async fn drive<C>(
    served: C,
    connection: &Connection,
    gently: fn(Pin<&mut C>),
    now: fn(&Entry) -> bool,
) -> Option<hyper::Error>
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut served = pin!(served);
    let mut told = false;
    let ended = std::future::poll_fn(|cx: &mut Context<'_>| {
        loop {
            if let Poll::Ready(ended) = served.as_mut().poll(cx) {
                return Poll::Ready(Some(ended));
            }
            match connection.entry.order(cx.waker()) {
                Order::Close => return Poll::Ready(None),
                Order::Drain if !told && now(&connection.entry) => {
                    told = true;
                    gently(served.as_mut());
                }
                Order::Drain | Order::GoOn => return Poll::Pending,
            }
        }
    })
    .await;
    let error = ended?.err()?;
    tracing::debug!(peer = connection.peer.remote.as_str(), %error, "the client's connection ended");
    Some(error)
}

/// hyper wants room for one read.
const BUFFER_BYTES_MIN: usize = 8192;
/// How much of one HTTP/2 stream may be on its way unread: bounds what a slow reader makes the proxy hold.
pub(super) const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Of one HTTP/2 stream, waiting for the peer's window.
pub(super) const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
