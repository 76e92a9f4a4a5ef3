//! gRPC's health checking protocol (grpc.health.v1.Health/Check), as far as a probe needs it.
//!
//! Both messages have one field, so they are written and read here.

use super::dial;
use super::probe::Outcome;
use bytes::{BufMut, Bytes, BytesMut};
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use std::time::Duration;

pub(super) async fn check(to: SocketAddr, service: &str, limit: Duration) -> Outcome {
    match tokio::time::timeout(limit, ask(to, service)).await {
        Ok(Ok(SERVING)) => Outcome::Passed,
        Ok(Ok(status)) => Outcome::Failed(format!("the service says status {status}, and 1 is SERVING")),
        Ok(Err(error)) => Outcome::Failed(error),
        Err(_) => Outcome::Failed(format!("no answer within {limit:?}")),
    }
}

async fn ask(to: SocketAddr, service: &str) -> Result<u8, String> {
    let tcp = dial::tcp(to).await.map_err(|error| error.to_string())?;
    let said = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.map_err(said)?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://{to}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Full::new(request_message(service)))
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(said)?;
    let refused = answer.headers().get("grpc-status").cloned();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|error| error.to_string())?;
    let status = refused.or_else(|| body.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned());
    connection.abort();
    match status {
        Some(status) if status != "0" => Err(format!("the call ended with gRPC status {status:?}")),
        _ => Ok(serving_status(&body.to_bytes())),
    }
}

/// HealthCheckRequest in a gRPC frame: field 1, the service's name.
fn request_message(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.extend_from_slice(&message);
    frame.freeze()
}

/// HealthCheckResponse: field 1, an enum below 128; absent means 0, UNKNOWN.
fn serving_status(frame: &[u8]) -> u8 {
    match frame.get(5..) {
        Some([0x08, status, ..]) => *status,
        _ => 0,
    }
}

const SERVING: u8 = 1;
const ANSWER_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        assert_eq!(&request_message("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&request_message("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = request_message(&"x".repeat(200));
        assert_eq!(long[5..8], [0x0a, 0xc8, 0x01]);
        let cases: [(&[u8], u8); 3] = [(&[0, 0, 0, 0, 2, 8, 1], 1), (&[0, 0, 0, 0, 2, 8, 2], 2), (&[0, 0, 0, 0, 0], 0)];
        for (frame, want) in cases {
            assert_eq!(serving_status(frame), want, "frame {frame:?}");
        }
    }
}
