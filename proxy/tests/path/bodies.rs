//! Bodies stream: no byte waits for the next, and nobody is made to hold what the other side does not read.

use crate::app::{App, fed, whole};
use crate::client::Client;
use crate::config::{Served, endpoint};
use crate::proxy::Proxy;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The app echoes each chunk at once; the client sends the next only when it has the echo.
#[tokio::test]
async fn chunks_pass_one_by_one() {
    let app = App::start(|request| async move {
        let mut asked = request.into_body();
        let (sender, body) = fed();
        tokio::spawn(async move {
            while let Some(Ok(frame)) = asked.frame().await {
                if sender.send(frame).await.is_err() {
                    return;
                }
            }
        });
        Response::new(body)
    })
    .await;
    let proxy = Proxy::start(Served::http("echo", vec![endpoint(app.address)]).alone());
    for mut client in [Client::http1(proxy.outbound).await, Client::http2(proxy.outbound).await] {
        let (sender, body) = fed();
        let request = Request::post("http://echo:9080/").body(body).unwrap();
        let response = tokio::time::timeout(Duration::from_secs(10), client.try_send(request));
        let mut answer = response.await.expect("the head comes before the body has ended").unwrap().into_body();
        for chunk in ["one", "two", "three"] {
            sender.send(Frame::data(chunk.into())).await.unwrap();
            let echoed = tokio::time::timeout(Duration::from_secs(10), answer.frame()).await;
            let echoed = echoed.unwrap_or_else(|_| panic!("{chunk} is held back"));
            assert_eq!(echoed.unwrap().unwrap().into_data().unwrap(), chunk);
        }
        drop(sender);
        // HTTP/2 may say the end in an empty frame.
        assert_eq!(answer.collect().await.unwrap().to_bytes(), "");
    }
}

#[tokio::test]
async fn a_slow_reader_slows_the_sender() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let app = App::start(move |_| {
        let sent = Arc::clone(&counted);
        async move {
            let (sender, body) = fed();
            tokio::spawn(async move {
                let chunk = Bytes::from(vec![b'x'; 64 * 1024]);
                while sender.send(Frame::data(chunk.clone())).await.is_ok() {
                    sent.fetch_add(chunk.len(), Ordering::Relaxed);
                }
            });
            Response::new(body)
        }
    })
    .await;
    let proxy = Proxy::start(Served::http("firehose", vec![endpoint(app.address)]).alone());
    for mut client in [Client::http1(proxy.outbound).await, Client::http2(proxy.outbound).await] {
        sent.store(0, Ordering::Relaxed);
        let request = Request::get("http://firehose:9080/").body(whole("")).unwrap();
        let response = client.try_send(request).await.unwrap();
        // The count settles once every buffer on the way is full.
        let settled = crate::eventually("the app is slowed down", async || {
            let before = sent.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(300)).await;
            let after = sent.load(Ordering::Relaxed);
            (before == after && after > 0).then_some(after)
        })
        .await;
        // Kernel buffers of two connections are most of it.
        assert!(settled < 24 * 1024 * 1024, "{settled} bytes are held for a client that reads nothing");
        drop(response);
    }
}

#[tokio::test]
async fn a_large_body_arrives_whole_both_ways() {
    let app =
        App::start(
            |request| async move { Response::new(whole(request.into_body().collect().await.unwrap().to_bytes())) },
        )
        .await;
    let proxy = Proxy::start(Served::http("echo", vec![endpoint(app.address)]).alone());
    let text: String = (0..400_000).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
    for mut client in [Client::http1(proxy.outbound).await, Client::http2(proxy.outbound).await] {
        let request = Request::post("http://echo:9080/").body(whole(text.clone())).unwrap();
        let answer = client.send(request).await;
        assert!(answer.text == text, "{} bytes came back of {}", answer.text.len(), text.len());
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_taken_for_whole() {
    let address = crate::app::tcp(|mut tcp| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut head = [0; 1024];
        let _ = tcp.read(&mut head).await;
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
    })
    .await;
    let proxy = Proxy::start(Served::http("half", vec![endpoint(address)]).alone());
    for mut client in [Client::http1(proxy.outbound).await, Client::http2(proxy.outbound).await] {
        if matches!(client, Client::Http2(_)) {
            continue; // The upstream speaks HTTP/1 only.
        }
        let response = client.try_send(crate::client::get("http://half:9080/")).await.unwrap();
        assert!(response.into_body().collect().await.is_err());
    }
    proxy.logged("the break", |line| line["response_flags"] == "UC" && line["bytes_sent"] == 4).await;
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_upstream_request() {
    let gone = Arc::new(AtomicUsize::new(0));
    let noted = Arc::clone(&gone);
    let app = App::start(move |_| {
        struct Gone(Arc<AtomicUsize>);
        impl Drop for Gone {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let held = Gone(Arc::clone(&noted));
        async move {
            let _held = held;
            std::future::pending().await
        }
    })
    .await;
    let proxy = Proxy::start(Served::http("slow", vec![endpoint(app.address)]).alone());
    for (index, mut client) in
        [Client::http1(proxy.outbound).await, Client::http2(proxy.outbound).await].into_iter().enumerate()
    {
        tokio::select! {
            answer = client.try_send(crate::client::get("http://slow:9080/")) => panic!("{answer:?}"),
            () = crate::eventually("the app has the request", async || {
                (app.seen().len() == index + 1).then_some(())
            }) => {}
        }
        drop(client);
        crate::eventually("the app's request is over", async || {
            (gone.load(Ordering::Relaxed) == index + 1).then_some(())
        })
        .await;
    }
    proxy.logged("the client that went", |line| line["response_flags"] == "DC").await;
}
