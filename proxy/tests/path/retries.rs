//! Which tries are repeated, where, how often, and with what body.

use crate::app::{App, nobody, tcp, whole};
use crate::client::{Client, post};
use crate::config::{Served, endpoint, retry};
use crate::proxy::Proxy;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use weft_snapshot::{LoadBalancer, RetryOn, RetryPolicy};

/// Answers with these, in order; the last again and again.
async fn answers(statuses: &'static [u16]) -> App {
    let count = Arc::new(AtomicUsize::new(0));
    App::start(move |request| {
        let status = statuses[count.fetch_add(1, Ordering::Relaxed).min(statuses.len() - 1)];
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            Response::builder().status(status).body(whole(body)).unwrap()
        }
    })
    .await
}

/// Accepts, reads something, and closes.
async fn resets() -> SocketAddr {
    tcp(|mut tcp| async move {
        use tokio::io::AsyncReadExt;
        let _ = tcp.read(&mut [0; 1024]).await;
    })
    .await
}

fn served(endpoints: &[SocketAddr], policy: RetryPolicy) -> Proxy {
    let mut served = Served::http("reviews", endpoints.iter().map(|address| endpoint(*address)).collect());
    served.forward.retry = Some(policy);
    // The first endpoint is tried first.
    served.backend.load_balancer = LoadBalancer::RoundRobin;
    Proxy::start(served.alone())
}

#[tokio::test]
async fn conditions() {
    use RetryOn::*;
    let codes = |codes: &[u16]| RetryPolicy { status_codes: codes.to_vec(), ..retry(2, &[RetriableStatusCodes]) };
    let cases: Vec<(&str, &[u16], RetryPolicy, u16, usize, &str)> = vec![
        ("5xx until it works", &[500, 503, 200], retry(2, &[FiveXx]), 200, 3, "-"),
        ("no more than allowed", &[503], retry(2, &[FiveXx]), 503, 3, "URX"),
        ("500 is no gateway error", &[500], retry(2, &[GatewayError]), 500, 1, "-"),
        ("504 is one", &[504, 200], retry(1, &[GatewayError]), 200, 2, "-"),
        ("409 where asked for", &[409, 200], retry(1, &[Retriable4xx]), 200, 2, "-"),
        ("status codes by number", &[418, 200], codes(&[418]), 200, 2, "-"),
        ("but only these", &[503], codes(&[418]), 503, 1, "-"),
        (
            "Istio's default does not repeat 503",
            &[503],
            retry(2, &[ConnectFailure, RefusedStream, GrpcUnavailable]),
            503,
            1,
            "-",
        ),
    ];
    for (name, statuses, policy, want, tries, flag) in cases {
        let app = answers(statuses).await;
        let proxy = served(&[app.address], policy);
        let answer = Client::http1(proxy.outbound).await.send(post("http://reviews:9080/", "the body")).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (want, "the body"), "{name}");
        assert_eq!(app.seen().len(), tries, "{name}");
        assert_eq!(app.last().header("x-envoy-attempt-count"), Some(tries.to_string().as_str()), "{name}");
        proxy.logged(name, |line| line["response_flags"] == flag).await;
    }
}

/// The policy allows it, the request says which headers are meant.
#[tokio::test]
async fn responses_with_headers_that_the_request_names_are_not_good_enough() {
    for (named, want, tries) in [(Some("x-other, x-again"), StatusCode::OK, 2), (None, StatusCode::NOT_FOUND, 1)] {
        let count = Arc::new(AtomicUsize::new(0));
        let app = App::start(move |_| {
            let first = count.fetch_add(1, Ordering::Relaxed) == 0;
            let builder =
                if first { Response::builder().status(404).header("x-again", "1") } else { Response::builder() };
            async move { builder.body(whole("")).unwrap() }
        })
        .await;
        let proxy = served(&[app.address], retry(2, &[RetryOn::RetriableHeaders]));
        let mut request = http::Request::get("http://reviews:9080/");
        if let Some(names) = named {
            request = request.header("x-envoy-retriable-header-names", names);
        }
        let answer = Client::http1(proxy.outbound).await.send(request.body(whole("")).unwrap()).await;
        assert_eq!((answer.status, app.seen().len()), (want, tries), "{named:?}");
        assert_eq!(app.last().header("x-envoy-retriable-header-names"), None);
    }
}

#[tokio::test]
async fn another_endpoint_is_tried() {
    use RetryOn::*;
    let cases: Vec<(&str, SocketAddr, &[RetryOn], u16)> = vec![
        ("connect failure", nobody().await, &[ConnectFailure], 200),
        ("connect failure, not asked for", nobody().await, &[Retriable4xx], 503),
        ("reset", resets().await, &[Reset], 200),
        ("reset, as 5xx", resets().await, &[FiveXx], 200),
        ("reset, not asked for", resets().await, &[ConnectFailure], 503),
    ];
    for (name, bad, on, want) in cases {
        let good = App::saying("good").await;
        let proxy = served(&[bad, good.address], retry(1, on));
        let answer = Client::http1(proxy.outbound).await.get("http://reviews:9080/").await;
        assert_eq!(answer.status.as_u16(), want, "{name}");
    }
}

#[tokio::test]
async fn refusals_name_what_failed() {
    let cases = [("nobody answers", nobody().await, "UF,URX"), ("it closes", resets().await, "UC,URX")];
    for (name, address, flag) in cases {
        let proxy = served(&[address], retry(1, &[RetryOn::FiveXx]));
        let answer = Client::http1(proxy.outbound).await.get("http://reviews:9080/").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{name}");
        proxy.logged(name, |line| line["response_flags"] == flag).await;
    }
}

#[tokio::test]
async fn a_body_too_large_to_keep_is_sent_once() {
    let app = answers(&[503, 200]).await;
    let proxy = served(&[app.address], retry(2, &[RetryOn::FiveXx]));
    let mut client = Client::http1(proxy.outbound).await;
    let small = client.send(post("http://reviews:9080/", vec![b'x'; 64 * 1024])).await;
    assert_eq!((small.status, small.text.len()), (StatusCode::OK, 64 * 1024), "64 KiB are kept");
    let app = answers(&[503, 200]).await;
    let proxy = served(&[app.address], retry(2, &[RetryOn::FiveXx]));
    let mut client = Client::http1(proxy.outbound).await;
    let large = client.send(post("http://reviews:9080/", vec![b'x'; 64 * 1024 + 1])).await;
    assert_eq!((large.status, large.text.len()), (StatusCode::SERVICE_UNAVAILABLE, 64 * 1024 + 1));
    assert_eq!(app.seen().len(), 1);
}

#[tokio::test]
async fn grpc_statuses_are_conditions() {
    let count = Arc::new(AtomicUsize::new(0));
    let app = App::start(move |_| {
        let status = if count.fetch_add(1, Ordering::Relaxed) == 0 { "14" } else { "0" };
        async move {
            let builder = Response::builder().header("content-type", "application/grpc").header("grpc-status", status);
            builder.body(whole("")).unwrap()
        }
    })
    .await;
    let proxy = served(&[app.address], retry(2, &[RetryOn::GrpcUnavailable]));
    let request = http::Request::post("http://reviews:9080/S/M").header("content-type", "application/grpc");
    let answer = Client::http2(proxy.outbound).await.send(request.body(whole("")).unwrap()).await;
    assert_eq!((answer.header("grpc-status"), app.seen().len()), (Some("0"), 2));
}
