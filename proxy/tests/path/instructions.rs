//! A load to count instructions by: callgrind with `--separate-threads=yes` shows what the worker's thread executed.
//!
//! Run twice with different `REQUESTS` and divide the difference: what starting costs falls out.

use crate::app;
use crate::config::{HTTP_PORT, Served, backend_name, destination, endpoint, forward, retry, rule};
use crate::proxy::Proxy;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weft_snapshot::{Action, Destination, HeaderOps, Headers, Match, RetryOn, Rule, StringMatch};

const CONNECTIONS: usize = 32;
const REQUEST: &[u8] = b"GET http://reviews:9080/api/9/x HTTP/1.1\r\nhost: reviews:9080\r\nuser-agent: load/1.0\r\n\
    accept: */*\r\naccept-encoding: gzip, deflate, br\r\nx-request-id: 7b0e7b1c-5a3c-4d59-8f5e-2f1f0e6f9d11\r\n\r\n";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\nserver: app\r\n\r\n\
    0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

/// As a sidecar is: ten routes of which the last matches, a timeout, a retry policy, one header operation, the access
/// log, all metrics.
#[tokio::test]
#[ignore = "a load for callgrind, not a test"]
async fn load() {
    let requests: usize = std::env::var("REQUESTS").map_or(20_000, |text| text.parse().unwrap());
    let address = app::tcp(|mut tcp| async move {
        let mut buffer = [0; 4096];
        while let Ok(1..) = tcp.read(&mut buffer).await {
            tcp.write_all(RESPONSE).await.unwrap();
        }
    })
    .await;
    let of = backend_name("reviews", HTTP_PORT, "");
    let mut snapshot = Served::http("reviews", vec![endpoint(address)]).alone();
    let mut service = snapshot.services().next().unwrap().clone();
    service.rules = (0..10).map(|n| numbered(n, destination(of.clone()))).collect();
    snapshot.add_service(service);
    let proxy = Proxy::start(snapshot);
    let clients = (0..CONNECTIONS).map(|_| async {
        let mut tcp = TcpStream::connect(proxy.outbound).await.unwrap();
        let mut buffer = [0; 4096];
        for _ in 0..requests / CONNECTIONS {
            tcp.write_all(REQUEST).await.unwrap();
            let read = tcp.read(&mut buffer).await.unwrap();
            assert!(buffer[..read].starts_with(b"HTTP/1.1 200 OK") && buffer[..read].ends_with(b"789"));
        }
    });
    futures_util::future::join_all(clients).await;
}

fn numbered(n: usize, to: Destination) -> Rule {
    let uri = Some(StringMatch::Prefix(format!("/api/{n}/")));
    let mut action = forward(to.backend);
    action.timeout = Some(Duration::from_secs(15));
    action.retry = Some(retry(2, &[RetryOn::ConnectFailure, RetryOn::RefusedStream, RetryOn::GrpcUnavailable]));
    let request = HeaderOps { set: vec![("x-route".into(), n.to_string())], ..HeaderOps::default() };
    Rule {
        name: format!("route-{n}"),
        matches: vec![Match { uri, ..Match::default() }],
        headers: Headers { request, ..Headers::default() },
        ..rule(Action::Forward(action))
    }
}
