//! Ending: nothing that has begun is lost, in both versions, on both sides.

use crate::app::{App, whole};
use crate::client::{Client, get, read};
use crate::config::{HTTP_PORT, Served, endpoint, inbound_port, server};
use crate::proxy::{Proxy, Setup};
use http::{Request, Response, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use weft_proxy::worker::Phase;
use weft_snapshot::{MtlsMode, Protocol};

async fn slow_app() -> App {
    App::start(|_| async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        Response::new(whole("finished"))
    })
    .await
}

fn inbound(app: &App) -> Setup {
    let port = inbound_port(HTTP_PORT, app.address, Protocol::Http, MtlsMode::Permissive);
    server("reviews", vec![port]).into()
}

#[tokio::test]
async fn what_has_begun_is_finished_and_the_worker_ends() {
    let app = slow_app().await;
    let proxy = Proxy::start(Setup { workers: 2, ..inbound(&app) });
    let request = || Request::get("/").header("host", "reviews:9080").body(whole("")).unwrap();
    let mut http1 = Client::http1(proxy.inbound).await;
    let mut http2 = Client::http2(proxy.inbound).await;
    let mut idle = Client::http1(proxy.inbound).await;
    idle.send(request()).await;
    let begun = async { tokio::join!(http1.try_send(request()), http2.try_send(get("http://reviews:9080/"))) };
    let draining = async {
        crate::eventually("both have begun", async || (app.seen().len() == 3).then_some(())).await;
        proxy.phase.send_replace(Phase::InboundEnds);
    };
    let ((first, second), ()) = tokio::join!(begun, draining);
    let first = read(first.unwrap()).await;
    assert_eq!((first.text.as_str(), first.header("connection")), ("finished", Some("close")));
    assert_eq!(read(second.unwrap()).await.text, "finished");
    crate::eventually("an idle connection is closed", async || {
        let Client::Http1(sender) = &idle else { panic!("HTTP/1") };
        sender.is_closed().then_some(())
    })
    .await;
    let refused =
        crate::eventually("nobody new is let in", async || tokio::net::TcpStream::connect(proxy.inbound).await.err());
    assert_eq!(refused.await.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(!proxy.ended(), "the outbound side goes on");
    proxy.phase.send_replace(Phase::OutboundEnds);
    crate::eventually("the workers end", async || proxy.ended().then_some(())).await;
}

#[tokio::test]
async fn the_app_may_call_out_while_the_inbound_side_drains() {
    let app = App::saying("still there").await;
    let proxy = Proxy::start(Served::http("ratings", vec![endpoint(app.address)]).alone());
    let mut client = Client::http1(proxy.outbound).await;
    proxy.phase.send_replace(Phase::InboundEnds);
    for _ in 0..10 {
        assert_eq!(client.get("http://ratings:9080/").await.status, StatusCode::OK);
        assert_eq!(Client::http1(proxy.outbound).await.get("http://ratings:9080/").await.status, StatusCode::OK);
    }
    proxy.phase.send_replace(Phase::OutboundEnds);
    crate::eventually("the worker ends", async || proxy.ended().then_some(())).await;
}

/// A client that sends its next request on a kept connection just after the proxy began to drain is served.
#[tokio::test]
async fn a_kept_connection_is_not_closed_under_the_clients_hand() {
    let app = App::saying("served").await;
    let proxy = Proxy::start(inbound(&app));
    let request = || Request::get("/").header("host", "reviews:9080").body(whole("")).unwrap();
    let mut kept = Client::http1(proxy.inbound).await;
    kept.send(request()).await;
    let mut fresh = Client::http1(proxy.inbound).await;
    crate::eventually("both are accepted", async || (app.seen().len() == 1).then_some(())).await;
    proxy.phase.send_replace(Phase::InboundEnds);
    // The door has shut, so the order to drain is out; the connections have a second at least.
    crate::eventually("nobody new is let in", async || tokio::net::TcpStream::connect(proxy.inbound).await.err()).await;
    for client in [&mut kept, &mut fresh] {
        let answer = client.send(request()).await;
        assert_eq!((answer.text.as_str(), answer.header("connection")), ("served", Some("close")));
    }
}

/// Clients come in a stream, each on a connection of its own; while the proxy drains everyone is either served or
/// refused at the door, and nobody is cut off in between.
#[tokio::test]
async fn nobody_is_cut_off_at_the_door() {
    let app = App::saying("served").await;
    let proxy = Proxy::start(Setup { workers: 2, ..inbound(&app) });
    let (served, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (served, stop, address) = (Arc::clone(&served), Arc::clone(&stop), proxy.inbound);
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let Ok(tcp) = tokio::net::TcpStream::connect(address).await else { return None };
                    let request = b"GET / HTTP/1.1\r\nhost: reviews:9080\r\nconnection: close\r\n\r\n";
                    let answer = exchange(tcp, request).await;
                    if !answer.starts_with("HTTP/1.1 200") {
                        return Some(answer);
                    }
                    served.fetch_add(1, Ordering::Relaxed);
                }
                None
            })
        })
        .collect();
    crate::eventually("there is traffic", async || (served.load(Ordering::Relaxed) > 200).then_some(())).await;
    proxy.phase.send_replace(Phase::OutboundEnds);
    crate::eventually("the workers end", async || proxy.ended().then_some(())).await;
    stop.store(true, Ordering::Relaxed);
    let mut lost = Vec::new();
    for client in clients {
        lost.extend(client.await.unwrap());
    }
    // Only Linux can be told to keep the door shut while the last ones come in.
    let allowed = usize::from(!cfg!(target_os = "linux"));
    assert!(lost.len() <= allowed, "cut off: {lost:?}");
}

async fn exchange(mut tcp: tokio::net::TcpStream, request: &[u8]) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    if let Err(error) = tcp.write_all(request).await {
        return format!("not sent: {error}");
    }
    let mut answer = Vec::new();
    match tcp.read_to_end(&mut answer).await {
        Ok(_) => String::from_utf8_lossy(&answer).into_owned(),
        Err(error) => format!("not answered: {error}"),
    }
}

#[tokio::test]
async fn stopping_cuts_what_is_left() {
    let app = App::start(|_| async { std::future::pending().await }).await;
    let proxy = Proxy::start(Served::http("reviews", vec![endpoint(app.address)]).alone());
    let mut client = Client::http1(proxy.outbound).await;
    let asked = client.try_send(get("http://reviews:9080/"));
    let stopping = async {
        crate::eventually("the request is under way", async || (app.seen().len() == 1).then_some(())).await;
        proxy.phase.send_replace(Phase::Stopping);
    };
    let (answer, ()) = tokio::join!(asked, stopping);
    assert!(answer.is_err());
    crate::eventually("the worker ends", async || proxy.ended().then_some(())).await;
}
