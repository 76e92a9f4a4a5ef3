//! Connections to upstreams are kept, shared, and replaced without anybody noticing.

use crate::app::{App, tcp, whole};
use crate::client::Client;
use crate::config::{Served, endpoint};
use crate::proxy::{Proxy, Setup};
use http::{Response, StatusCode};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_snapshot::{Dial, Endpoint};

#[tokio::test]
async fn one_connection_serves_one_client_and_clients_share_an_http2_one() {
    let app = App::saying("ok").await;
    let proxy = Proxy::start(Served::http("reviews", vec![endpoint(app.address)]).alone());
    for _ in 0..5 {
        let mut client = Client::http1(proxy.outbound).await;
        for _ in 0..4 {
            assert_eq!(client.get("http://reviews:9080/").await.status, StatusCode::OK);
        }
    }
    assert_eq!(app.connections(), 1, "HTTP/1, one request after the other");
    for _ in 0..5 {
        assert_eq!(Client::http2(proxy.outbound).await.get("http://reviews:9080/").await.status, StatusCode::OK);
    }
    assert_eq!(app.connections(), 2, "and one for HTTP/2");
}

/// The app closes each connection right after its answer, without a word: no request may be lost to that.
#[tokio::test]
async fn connections_that_the_peer_has_closed_cost_nobody_a_request() {
    let address = tcp(|mut tcp| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match tcp.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    })
    .await;
    let mut served = Served::http("reviews", vec![endpoint(address)]);
    served.forward.retry = Some(crate::config::retry(2, &[weft_snapshot::RetryOn::Reset]));
    let proxy = Proxy::start(served.alone());
    let mut client = Client::http1(proxy.outbound).await;
    for n in 0..200 {
        assert_eq!(client.get("http://reviews:9080/").await.status, StatusCode::OK, "request {n}");
    }
}

#[tokio::test]
async fn idle_connections_are_closed_in_time() {
    let app = App::saying("ok").await;
    let mut served = Served::http("reviews", vec![endpoint(app.address)]);
    served.backend.idle_timeout = Some(Duration::from_secs(1));
    let proxy = Proxy::start(served.alone());
    let mut client = Client::http1(proxy.outbound).await;
    client.get("http://reviews:9080/").await;
    crate::eventually("the idle connection is closed and a new one opened", async || {
        tokio::time::sleep(Duration::from_millis(2500)).await;
        client.get("http://reviews:9080/").await;
        (app.connections() > 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn endpoints_come_and_go_under_requests() {
    let (first, second) = (App::saying("first").await, App::saying("second").await);
    let served =
        |apps: &[&App]| Served::http("reviews", apps.iter().map(|app| endpoint(app.address)).collect()).alone();
    let proxy = Proxy::start(served(&[&first]));
    let mut client = Client::http1(proxy.outbound).await;
    assert_eq!(client.get("http://reviews:9080/").await.text, "first");
    proxy.publish(&served(&[&first, &second]));
    crate::eventually("the second is used", async || {
        (client.get("http://reviews:9080/").await.text == "second").then_some(())
    })
    .await;
    proxy.publish(&served(&[&second]));
    for _ in 0..10 {
        assert_eq!(client.get("http://reviews:9080/").await.text, "second");
    }
    assert_eq!(
        (first.connections(), second.connections()),
        (1, 1),
        "a connection survives the lists in which it stays"
    );
}

#[tokio::test]
async fn load_goes_to_who_has_less() {
    let slow = App::start(|_| async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        Response::new(whole("slow"))
    })
    .await;
    let quick = App::saying("quick").await;
    let proxy = Proxy::start(Served::http("reviews", vec![endpoint(slow.address), endpoint(quick.address)]).alone());
    let clients = (0..8).map(|_| async {
        let mut client = Client::http1(proxy.outbound).await;
        for _ in 0..25 {
            client.get("http://reviews:9080/").await;
        }
    });
    futures_util::future::join_all(clients).await;
    assert!(quick.seen().len() > 3 * slow.seen().len(), "quick {} slow {}", quick.seen().len(), slow.seen().len());
}

#[tokio::test]
async fn names_are_resolved() {
    let app = App::saying("by name").await;
    let dial = Dial::Name { host: "localhost".to_owned(), port: app.address.port() };
    let proxy = Proxy::start(Served::http("reviews", vec![Endpoint { dial, ..endpoint(app.address) }]).alone());
    assert_eq!(Client::http1(proxy.outbound).await.get("http://reviews:9080/").await.text, "by name");
    let dial = Dial::Name { host: "nowhere.invalid".to_owned(), port: 1 };
    let setup: Setup = Served::http("reviews", vec![Endpoint { dial, ..endpoint(app.address) }]).alone().into();
    let proxy = Proxy::start(setup);
    let answer = Client::http1(proxy.outbound).await.get("http://reviews:9080/").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text.contains("nowhere.invalid"), "{}", answer.text);
}
