//! How long a route, a try, a connection and a client's own deadline may take.

use crate::app::{App, fed, nobody, whole};
use crate::client::Client;
use crate::config::{Served, endpoint, retry};
use crate::proxy::Proxy;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use weft_snapshot::{RetryOn, RetryPolicy};

/// Never answers, or only the requests after the first.
async fn slow(answers_second: bool) -> App {
    let count = Arc::new(AtomicUsize::new(0));
    App::start(move |_| {
        let second = count.fetch_add(1, Ordering::Relaxed) > 0;
        async move {
            if !(answers_second && second) {
                std::future::pending::<()>().await;
            }
            Response::new(whole("second"))
        }
    })
    .await
}

/// Within it the app is reached, whatever else the machine does: these deadlines are about what never comes.
const SHORT: Duration = Duration::from_secs(1);

#[tokio::test]
async fn routes_and_tries() {
    let per_try = |attempts| RetryPolicy { per_try_timeout: Some(SHORT), ..retry(attempts, &[RetryOn::FiveXx]) };
    let cases: Vec<(&str, bool, Option<Duration>, Option<RetryPolicy>, u16, usize, &str)> = vec![
        ("the route's", false, Some(SHORT), None, 504, 1, "UT"),
        ("the second try is quick", true, None, Some(per_try(1)), 200, 2, "-"),
        ("all tries are slow", false, None, Some(per_try(2)), 504, 3, "UT,URX"),
        ("the route's spans all tries", false, Some(SHORT * 3 / 2), Some(per_try(9)), 504, 2, "UT"),
    ];
    for (name, answers_second, timeout, retry, want, tries, flag) in cases {
        let app = slow(answers_second).await;
        let mut served = Served::http("reviews", vec![endpoint(app.address)]);
        (served.forward.timeout, served.forward.retry) = (timeout, retry);
        let proxy = Proxy::start(served.alone());
        let answer = Client::http1(proxy.outbound).await.get("http://reviews:9080/").await;
        assert_eq!(answer.status.as_u16(), want, "{name}");
        assert_eq!(app.seen().len(), tries, "{name}");
        proxy.logged(name, |line| line["response_flags"] == flag).await;
    }
}

#[tokio::test]
async fn the_routes_timeout_covers_the_body() {
    let app = App::start(|_| async {
        let (sender, body) = fed();
        sender.send(Frame::data("begun".into())).await.unwrap();
        // Kept open, and nothing more is said.
        std::mem::forget(sender);
        Response::new(body)
    })
    .await;
    let mut served = Served::http("reviews", vec![endpoint(app.address)]);
    served.forward.timeout = Some(SHORT);
    let proxy = Proxy::start(served.alone());
    let mut client = Client::http1(proxy.outbound).await;
    let response = client.try_send(crate::client::get("http://reviews:9080/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.into_body().collect().await.is_err(), "it breaks off");
    proxy.logged("the timeout", |line| line["response_flags"] == "UT").await;
}

#[tokio::test]
async fn a_grpc_clients_deadline_counts() {
    let app = slow(false).await;
    let mut served = Served::http("reviews", vec![endpoint(app.address)]);
    served.forward.timeout = Some(Duration::from_secs(30));
    let proxy = Proxy::start(served.alone());
    let request = Request::post("http://reviews:9080/S/M")
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "200m");
    let answer = Client::http2(proxy.outbound).await.send(request.body(whole("")).unwrap()).await;
    assert_eq!((answer.status, answer.header("grpc-status")), (StatusCode::OK, Some("4")));
}

#[tokio::test]
async fn connecting_has_a_limit() {
    // A backlog of one that is full: the kernel drops what comes after.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let full = socket.local_addr().unwrap().as_socket().unwrap();
    let fillers: Vec<_> = (0..4)
        .map(|_| {
            let filler = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            filler.set_nonblocking(true).unwrap();
            let _ = filler.connect(&full.into());
            filler
        })
        .collect();
    let mut served = Served::http("reviews", vec![endpoint(full)]);
    served.backend.connect_timeout = SHORT;
    let proxy = Proxy::start(served.alone());
    let began = Instant::now();
    let answer = Client::http1(proxy.outbound).await.get("http://reviews:9080/").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text.contains("did not accept within 1s"), "{}", answer.text);
    assert!(began.elapsed() < Duration::from_secs(5));
    drop(fillers);
}

#[tokio::test]
async fn a_client_that_sends_half_a_head_is_cut_off() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut setup: crate::proxy::Setup = Served::http("reviews", vec![endpoint(nobody().await)]).alone().into();
    setup.settings.silence.head = Duration::from_secs(1);
    let proxy = Proxy::start(setup);
    for half in ["", "GE", "GET / HTTP/1.1\r\nhost: re"] {
        let mut tcp = tokio::net::TcpStream::connect(proxy.outbound).await.unwrap();
        tcp.write_all(half.as_bytes()).await.unwrap();
        let read = tokio::time::timeout(Duration::from_secs(10), tcp.read(&mut [0; 1])).await;
        let read = read.unwrap_or_else(|_| panic!("{half:?} holds a connection"));
        assert_eq!(read.unwrap_or(0), 0, "{half:?}");
    }
}

#[tokio::test]
async fn an_idle_client_is_cut_off_and_a_busy_one_is_not() {
    use tokio::io::AsyncReadExt;
    let app = App::start(|_| async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        Response::new(whole("late"))
    })
    .await;
    let mut setup: crate::proxy::Setup = Served::http("reviews", vec![endpoint(app.address)]).alone().into();
    setup.settings.silence.idle = Duration::from_secs(1);
    let proxy = Proxy::start(setup);
    let mut client = Client::http1(proxy.outbound).await;
    assert_eq!(client.get("http://reviews:9080/").await.text, "late");
    crate::eventually("the idle connection is closed", async || {
        let Client::Http1(sender) = &client else { panic!("HTTP/1") };
        sender.is_closed().then_some(())
    })
    .await;
    let mut silent = tokio::net::TcpStream::connect(proxy.outbound).await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(15), silent.read(&mut [0; 1])).await;
    assert_eq!(read.expect("a client that says nothing is cut off").unwrap_or(0), 0);
}
