//! What a DestinationRule and the settings allow at once, and what happens beyond it.

use crate::app::{App, whole};
use crate::client::{Client, get, read};
use crate::config::{Served, endpoint};
use crate::proxy::{Proxy, Setup};
use http::{Response, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use weft_snapshot::PoolLimits;

/// Holds each request until the test lets it go.
async fn gated() -> (App, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let app = App::start(move |_| {
        let gate = Arc::clone(&opened);
        async move {
            gate.acquire().await.unwrap().forget();
            Response::new(whole("through"))
        }
    })
    .await;
    (app, gate)
}

fn asked(proxy: &Proxy) -> tokio::task::JoinHandle<(StatusCode, String)> {
    let address = proxy.outbound;
    tokio::spawn(async move {
        let answer = Client::http1(address).await.get("http://reviews:9080/").await;
        (answer.status, answer.text)
    })
}

async fn reached(app: &App, count: usize) {
    crate::eventually("the app has the requests", async || (app.seen().len() >= count).then_some(())).await;
}

#[tokio::test]
async fn requests_beyond_the_limit_overflow() {
    let (app, gate) = gated().await;
    let mut served = Served::http("reviews", vec![endpoint(app.address)]);
    served.backend.limits = PoolLimits { requests_max: Some(2), ..PoolLimits::default() };
    let proxy = Proxy::start(Setup { workers: 2, ..served.alone().into() });
    let held = [asked(&proxy), asked(&proxy)];
    reached(&app, 2).await;
    let (status, text) = asked(&proxy).await.unwrap();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.contains("limit of 2 requests"), "{text}");
    proxy.logged("the overflow", |line| line["response_flags"] == "UO").await;
    gate.add_permits(3);
    for held in held {
        assert_eq!(held.await.unwrap().0, StatusCode::OK);
    }
    assert_eq!(asked(&proxy).await.unwrap().0, StatusCode::OK, "room is given back");
}

#[tokio::test]
async fn requests_wait_for_a_connection_and_few_may_wait() {
    let (app, gate) = gated().await;
    let mut served = Served::http("reviews", vec![endpoint(app.address)]);
    served.backend.limits =
        PoolLimits { connections_max: Some(1), pending_requests_max: Some(1), ..PoolLimits::default() };
    let proxy = Proxy::start(served.alone());
    let first = asked(&proxy);
    reached(&app, 1).await;
    // Whichever of two comes first waits; the other is one too many.
    let (refused, waiting) = futures_util::future::select(asked(&proxy), asked(&proxy)).await.factor_first();
    let (status, text) = refused.unwrap();
    assert!(status == StatusCode::SERVICE_UNAVAILABLE && text.contains("pending requests"), "{status} {text}");
    gate.add_permits(10);
    assert_eq!(first.await.unwrap().0, StatusCode::OK);
    assert_eq!(waiting.await.unwrap().0, StatusCode::OK);
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn a_connection_carries_no_more_requests_than_allowed() {
    for (max, want) in [(Some(1), 6), (Some(3), 2), (None, 1)] {
        let app = App::saying("ok").await;
        let mut served = Served::http("reviews", vec![endpoint(app.address)]);
        served.backend.limits = PoolLimits { requests_per_connection_max: max, ..PoolLimits::default() };
        let proxy = Proxy::start(served.alone());
        let mut client = Client::http1(proxy.outbound).await;
        for _ in 0..6 {
            assert_eq!(client.get("http://reviews:9080/").await.status, StatusCode::OK);
        }
        assert_eq!(app.connections(), want, "at most {max:?} requests each");
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_outside() {
    let app = App::saying("ok").await;
    let mut setup: Setup = Served::http("reviews", vec![endpoint(app.address)]).alone().into();
    setup.settings.connections_max = 2;
    let proxy = Proxy::start(setup);
    let mut first = Client::http1(proxy.outbound).await;
    let mut second = Client::http1(proxy.outbound).await;
    first.get("http://reviews:9080/").await;
    second.get("http://reviews:9080/").await;
    let mut third = Client::http1(proxy.outbound).await;
    let waiting = third.try_send(get("http://reviews:9080/"));
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut waiting).await.is_err());
    drop(first);
    let answer = tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("there is room now");
    assert_eq!(read(answer.unwrap()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn streams_of_one_connection_are_limited() {
    let (app, gate) = gated().await;
    let mut setup: Setup = Served::http("reviews", vec![endpoint(app.address)]).alone().into();
    setup.settings.streams_max = 3;
    let proxy = Proxy::start(setup);
    let Client::Http2(sender) = Client::http2(proxy.outbound).await else { panic!("HTTP/2") };
    let call = |mut sender: hyper::client::conn::http2::SendRequest<crate::app::Body>| async move {
        sender.send_request(get("http://reviews:9080/")).await.map(|response| response.status())
    };
    // The first response tells the client what the limit is.
    gate.add_permits(1);
    assert_eq!(call(sender.clone()).await.unwrap(), StatusCode::OK);
    let calls: Vec<_> = (0..6).map(|_| tokio::spawn(call(sender.clone()))).collect();
    reached(&app, 4).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(app.seen().len(), 4, "three at a time");
    gate.add_permits(6);
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), StatusCode::OK);
    }
}
