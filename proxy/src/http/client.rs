//! How hyper's client connections are set up: what the proxy accepts from upstreams.
//!
//! It opens nothing; the pool does.

use super::LocalExecutor;
use hyper::client::conn::{http1, http2};

pub fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(BUFFER_BYTES_MAX).max_headers(HEADERS_MAX);
    builder
}

pub fn http2(executor: LocalExecutor) -> http2::Builder<LocalExecutor> {
    let mut builder = http2::Builder::new(executor);
    builder
        .initial_stream_window_size(super::server::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(super::server::CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_send_buf_size(super::server::SEND_BUFFER_BYTES_MAX);
    builder
}

/// Of one connection, each way: also the longest head of a response.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Headers of one response.
const HEADERS_MAX: usize = 100;
/// Headers of one HTTP/2 response, together.
const HEADER_BYTES_MAX: u32 = 64 * 1024;
