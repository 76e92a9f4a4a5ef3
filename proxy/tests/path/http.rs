//! Requests in every form in which an app can write them, and what the upstream and the client get to see.

use crate::app::{App, Body, fed, whole};
use crate::client::{Client, get, post, raw, read};
use crate::config::{HTTP_PORT, Served, backend_name, destination, endpoint, host, rule};
use crate::proxy::Proxy;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Frame;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_snapshot::{Action, Direct, HeaderOps, Headers, Match, Redirect, Rewrite, RewritePath, StringMatch, Upgrade};

async fn reviews() -> (App, Proxy) {
    let app = App::saying("reviews").await;
    let proxy = Proxy::start(Served::http("reviews", vec![endpoint(app.address)]).alone());
    (app, proxy)
}

#[tokio::test]
async fn every_form_reaches_the_service() {
    let (app, proxy) = reviews().await;
    let absolute = Client::http1(proxy.outbound).await.get("http://reviews:9080/a?q=1").await;
    assert_eq!((absolute.status, absolute.text.as_str()), (StatusCode::OK, "reviews"));
    assert_eq!((app.last().uri.as_str(), app.last().header("host")), ("/a?q=1", Some("reviews:9080")));

    let origin_form = Request::get("/b").header("host", "Reviews.:9080").body(whole("")).unwrap();
    for address in [proxy.outbound, proxy.listen] {
        assert_eq!(Client::http1(address).await.send(origin_form.clone_for_test()).await.status, StatusCode::OK);
        assert_eq!((app.last().uri.as_str(), app.last().version), ("/b", Version::HTTP_11));
    }

    let http2 = Client::http2(proxy.outbound).await.get("http://reviews:9080/c").await;
    assert_eq!(http2.status, StatusCode::OK);
    assert_eq!((app.last().version, app.last().uri.as_str()), (Version::HTTP_2, "http://reviews:9080/c"));
}

trait CloneForTest {
    fn clone_for_test(&self) -> Self;
}

impl CloneForTest for Request<Body> {
    fn clone_for_test(&self) -> Self {
        let mut request = Request::new(whole(""));
        *request.method_mut() = self.method().clone();
        *request.uri_mut() = self.uri().clone();
        *request.headers_mut() = self.headers().clone();
        request
    }
}

#[tokio::test]
async fn headers_up_and_down() {
    let app = App::start(|_| async {
        Response::builder()
            .header("connection", "x-private")
            .header("x-private", "1")
            .header("keep-alive", "timeout=5")
            .header("x-own", "kept")
            .body(whole("ok"))
            .unwrap()
    })
    .await;
    let proxy = Proxy::start(Served::http("reviews", vec![endpoint(app.address)]).alone());
    let request = Request::get("http://reviews:9080/")
        .header("connection", "x-secret")
        .header("x-secret", "1")
        .header("proxy-authorization", "Basic x")
        .header("te", "trailers, deflate")
        .header("x-forwarded-for", "10.0.0.1")
        .header("x-forwarded-client-cert", "By=spiffe://forged")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .body(whole(""))
        .unwrap();
    let answer = Client::http1(proxy.outbound).await.send(request).await;
    let seen = app.last();
    for name in ["x-secret", "proxy-authorization", "x-forwarded-client-cert", "connection", "keep-alive"] {
        assert_eq!(seen.header(name), None, "request header {name}");
    }
    assert_eq!(seen.header("te"), Some("trailers"));
    assert_eq!(seen.header("x-forwarded-for"), Some("10.0.0.1"), "a sidecar is no edge");
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-envoy-attempt-count"), Some("1"));
    assert_eq!(seen.header("x-request-id").map(str::len), Some(36));
    assert!(seen.header("traceparent").is_some());
    assert_eq!((answer.header("x-private"), answer.header("keep-alive")), (None, None));
    assert_eq!(answer.header("x-own"), Some("kept"));
    assert!(answer.header("x-envoy-upstream-service-time").is_some());
}

#[tokio::test]
async fn a_request_id_is_kept_and_an_edge_notes_the_client() {
    let (app, proxy) = reviews().await;
    let request = Request::get("/")
        .header("host", "reviews:9080")
        .header("x-request-id", "mine")
        .header("x-forwarded-for", "10.0.0.1")
        .body(whole(""))
        .unwrap();
    Client::http1(proxy.listen).await.send(request).await;
    assert_eq!(app.last().header("x-request-id"), Some("mine"));
    assert_eq!(app.last().header("x-forwarded-for"), Some("10.0.0.1,127.0.0.1"));
    let line = proxy.logged("the request", |line| line["request_id"] == "mine").await;
    assert_eq!((line["response_code"].as_u64(), line["response_flags"].as_str()), (Some(200), Some("-")));
    assert_eq!(line["upstream_cluster"], "outbound|9080||reviews");
}

#[tokio::test]
async fn responses_without_a_body_stay_so_and_the_connection_lives_on() {
    let app = App::start(|request| async move {
        let path = request.uri().path().to_owned();
        let builder = Response::builder();
        match path.as_str() {
            "/204" => builder.status(204).body(whole("")).unwrap(),
            "/304" => builder.status(304).header("etag", "x").body(whole("")).unwrap(),
            _ => builder.header("x-path", path).body(whole("12345")).unwrap(),
        }
    })
    .await;
    let proxy = Proxy::start(Served::http("reviews", vec![endpoint(app.address)]).alone());
    let mut client = Client::http1(proxy.outbound).await;
    let cases = [
        (Method::HEAD, "/head", 200, "", Some("5")),
        (Method::GET, "/204", 204, "", None),
        (Method::GET, "/304", 304, "", None),
        (Method::GET, "/get", 200, "12345", Some("5")),
    ];
    for (method, path, status, text, length) in cases {
        let request = Request::builder().method(&method).uri(format!("http://reviews:9080{path}"));
        let answer = client.send(request.body(whole("")).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (status, text), "{method} {path}");
        assert_eq!(answer.header("content-length"), length, "{method} {path}");
    }
    assert_eq!(app.connections(), 1, "all four on one upstream connection");
}

#[tokio::test]
async fn heads_that_are_none() {
    let (app, proxy) = reviews().await;
    let long = format!("GET http://reviews:9080/ HTTP/1.1\r\nhost: reviews\r\nx: {}\r\n\r\n", "a".repeat(70_000));
    let many = format!("GET http://reviews:9080/ HTTP/1.1\r\nhost: reviews\r\n{}\r\n", "x: y\r\n".repeat(120));
    let cases = [
        ("no host", "GET / HTTP/1.1\r\nconnection: close\r\n\r\n", "HTTP/1.1 400"),
        ("two hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n", "HTTP/1.1 400"),
        ("a host that is none", "GET / HTTP/1.1\r\nhost: a b\r\nconnection: close\r\n\r\n", "HTTP/1.1 400"),
        ("too long", long.as_str(), "HTTP/1.1 431"),
        ("too many headers", many.as_str(), "HTTP/1.1 431"),
        (
            "two lengths",
            "POST / HTTP/1.1\r\nhost: reviews:9080\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            "HTTP/1.1 400",
        ),
    ];
    let mut logged = std::collections::HashMap::new();
    for (name, request, want) in cases {
        let answer = raw(proxy.outbound, request.as_bytes()).await;
        assert!(answer.starts_with(want), "{name}: {answer}");
        let status: u16 = want.rsplit(' ').next().unwrap().parse().unwrap();
        let refused = |line: &serde_json::Value| line["response_flags"] == "DPE" && line["response_code"] == status;
        logged.entry(status).and_modify(|count| *count += 1).or_insert(1);
        let all = || proxy.log().iter().filter(|line| refused(line)).count() == logged[&status];
        crate::eventually(&format!("{name} is logged"), async || all().then_some(())).await;
    }
    assert!(app.seen().is_empty());
}

#[tokio::test]
async fn the_target_beats_a_host_that_disagrees() {
    let (app, proxy) = reviews().await;
    let request = "GET http://reviews:9080/ HTTP/1.1\r\nhost: ratings:9080\r\nconnection: close\r\n\r\n";
    assert!(raw(proxy.outbound, request.as_bytes()).await.starts_with("HTTP/1.1 200"));
    assert_eq!(app.last().header("host"), Some("reviews:9080"));
}

#[tokio::test]
async fn a_client_that_waits_for_100_gets_it() {
    let app = App::start(|request| async move {
        use http_body_util::BodyExt;
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(whole(body))
    })
    .await;
    let proxy = Proxy::start(Served::http("reviews", vec![endpoint(app.address)]).alone());
    let mut tcp = tokio::net::TcpStream::connect(proxy.outbound).await.unwrap();
    let head = "POST http://reviews:9080/ HTTP/1.1\r\nhost: reviews:9080\r\nexpect: 100-continue\r\n\
                content-length: 5\r\nconnection: close\r\n\r\n";
    tcp.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    tcp.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    tcp.write_all(b"hello").await.unwrap();
    let mut rest = String::new();
    tcp.read_to_string(&mut rest).await.unwrap();
    assert!(rest.starts_with("HTTP/1.1 200") && rest.ends_with("hello"), "{rest}");
}

#[tokio::test]
async fn grpc_with_trailers_both_ways() {
    let app = App::start(|request| async move {
        use http_body_util::BodyExt;
        let asked = request.into_body().collect().await.unwrap();
        let echoed = asked.trailers().and_then(|trailers| trailers.get("x-up")).cloned();
        let (sender, body) = fed();
        tokio::spawn(async move {
            sender.send(Frame::data(asked.to_bytes())).await.unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("5"));
            trailers.insert("x-echo", echoed.unwrap());
            sender.send(Frame::trailers(trailers)).await.unwrap();
        });
        Response::builder().header("content-type", "application/grpc").body(body).unwrap()
    })
    .await;
    let proxy = Proxy::start(Served::http("ratings", vec![endpoint(app.address)]).alone());
    let (sender, body) = fed();
    let request = Request::post("http://ratings:9080/Ratings/Get")
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
        .header("x-request-id", "grpc-1")
        .body(body)
        .unwrap();
    let feeding = async {
        sender.send(Frame::data("\0\0\0\0\x02hi".into())).await.unwrap();
        sender
            .send(Frame::trailers(HeaderMap::from_iter([("x-up".parse().unwrap(), "up".parse().unwrap())])))
            .await
            .unwrap();
        drop(sender);
    };
    let mut client = Client::http2(proxy.outbound).await;
    let (answer, ()) = tokio::join!(client.send(request), feeding);
    let trailers = answer.trailers.unwrap();
    assert_eq!(
        (&trailers["grpc-status"], &trailers["x-echo"]),
        (&HeaderValue::from_static("5"), &HeaderValue::from_static("up"))
    );
    assert_eq!(answer.text, "\0\0\0\0\x02hi");
    assert_eq!(app.last().header("te"), Some("trailers"));
    let line = proxy.logged("the call", |line| line["request_id"] == "grpc-1").await;
    assert_eq!((line["bytes_received"].as_u64(), line["bytes_sent"].as_u64()), (Some(7), Some(7)));
}

#[tokio::test]
async fn a_refusal_is_said_in_grpc() {
    let proxy = Proxy::start(Served::http("ratings", vec![]).alone());
    let request = Request::post("http://ratings:9080/Ratings/Get").header("content-type", "application/grpc");
    let answer = Client::http2(proxy.outbound).await.send(request.body(whole("")).unwrap()).await;
    assert_eq!((answer.status, answer.header("grpc-status")), (StatusCode::OK, Some("14")));
    assert!(answer.header("grpc-message").unwrap().contains("no endpoint"));
}

#[tokio::test]
async fn websocket_upgrades() {
    let app = App::start(|mut request| async move {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
            let mut buffer = [0; 4];
            while io.read_exact(&mut buffer).await.is_ok() {
                io.write_all(&buffer).await.unwrap();
            }
            io.write_all(b"bye.").await.unwrap();
        });
        let builder = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
        builder.body(whole("")).unwrap()
    })
    .await;
    let proxy = Proxy::start(Served::http("chat", vec![endpoint(app.address)]).alone());
    let mut tcp = tokio::net::TcpStream::connect(proxy.outbound).await.unwrap();
    // The first message comes with the head: nothing of it may be lost.
    let head = "GET http://chat:9080/ws HTTP/1.1\r\nhost: chat:9080\r\nconnection: keep-alive, Upgrade\r\n\
                upgrade: websocket\r\nx-request-id: ws\r\n\r\nping";
    tcp.write_all(head.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\nping") {
        seen.push(tcp.read_u8().await.unwrap());
    }
    assert!(seen.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&seen));
    tcp.write_all(b"pong").await.unwrap();
    tcp.shutdown().await.unwrap();
    let mut rest = String::new();
    tcp.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "pongbye.", "what the app says after the client has ended still comes");
    let line = proxy.logged("the tunnel", |line| line["request_id"] == "ws").await;
    assert_eq!((line["response_code"].as_u64(), line["bytes_received"].as_u64()), (Some(101), Some(8)));
}

#[tokio::test]
async fn a_route_rewrites_redirects_answers_and_edits() {
    let app = App::saying("v1").await;
    let mut served = Served::http("reviews", vec![endpoint(app.address)]);
    served.forward.rewrite = Some(Rewrite {
        path: Some(RewritePath::Replace("/inner".to_owned())),
        authority: Some("inner.example".to_owned()),
    });
    let mut snapshot = served.alone();
    let prefix = |text: &str| Match { uri: Some(StringMatch::Prefix(text.to_owned())), ..Match::default() };
    let redirect =
        Redirect { status: 302, scheme: None, authority: Some("elsewhere.example".to_owned()), port: None, path: None };
    let mut service = snapshot.services().next().unwrap().clone();
    let headers = Headers {
        request: HeaderOps { set: vec![("x-set".into(), "1".into())], ..HeaderOps::default() },
        response: HeaderOps { add: vec![("x-added".into(), "2".into())], ..HeaderOps::default() },
    };
    service.rules[0].headers = headers;
    service.rules[0].matches = vec![prefix("/outer")];
    let direct = Direct { status: 418, body: b"teapot".to_vec() };
    service
        .rules
        .insert(0, weft_snapshot::Rule { matches: vec![prefix("/moved")], ..rule(Action::Redirect(redirect)) });
    service.rules.insert(0, weft_snapshot::Rule { matches: vec![prefix("/tea")], ..rule(Action::Direct(direct)) });
    snapshot.add_service(service);
    let proxy = Proxy::start(snapshot);
    let mut client = Client::http1(proxy.outbound).await;

    let answer = client.get("http://reviews:9080/outer/x?q").await;
    assert_eq!((answer.status, answer.header("x-added")), (StatusCode::OK, Some("2")));
    let seen = app.last();
    assert_eq!((seen.uri.as_str(), seen.header("host")), ("/inner/x?q", Some("inner.example")));
    assert_eq!(seen.header("x-set"), Some("1"));

    let moved = client.get("http://reviews:9080/moved").await;
    assert_eq!((moved.status, moved.header("location")), (StatusCode::FOUND, Some("http://elsewhere.example/moved")));
    let tea = client.get("http://reviews:9080/tea").await;
    assert_eq!((tea.status.as_u16(), tea.text.as_str()), (418, "teapot"));
    let none = client.get("http://reviews:9080/nowhere").await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
    proxy.logged("the refusal", |line| line["response_flags"] == "NR").await;
}

#[tokio::test]
async fn weights_divide_and_a_missing_subset_is_503() {
    let (v1, v2) = (App::saying("v1").await, App::saying("v2").await);
    let mut served = Served::http("reviews", vec![]);
    let of = |subset| backend_name("reviews", HTTP_PORT, subset);
    let weighted = |subset, weight| weft_snapshot::Destination { weight, ..destination(of(subset)) };
    served.forward.destinations = vec![weighted("v1", 3), weighted("v2", 1)];
    let mut snapshot = served.alone();
    for (subset, app) in [("v1", &v1), ("v2", &v2)] {
        snapshot.add_backend(crate::config::backend(of(subset)));
        snapshot.set_endpoints(of(subset), vec![endpoint(app.address)]);
    }
    let proxy = Proxy::start(snapshot.clone());
    let mut client = Client::http1(proxy.outbound).await;
    for _ in 0..400 {
        assert_eq!(client.get("http://reviews:9080/").await.status, StatusCode::OK);
    }
    let share = v2.seen().len();
    assert!((60..=140).contains(&share), "v2 got {share} of 400, want about 100");

    let mut service = snapshot.services().next().unwrap().clone();
    let Action::Forward(forward) = &mut service.rules[0].action else { panic!("it forwards") };
    forward.destinations = vec![destination(of("v9"))];
    snapshot.add_service(service);
    proxy.publish(&snapshot);
    let answer = client.get("http://reviews:9080/").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    proxy.logged("the refusal", |line| line["response_flags"] == "NC").await;
    assert_eq!(host("reviews").as_str(), "reviews");
}

#[tokio::test]
async fn the_upgrade_policy_speaks_http2_to_the_upstream() {
    let app = App::saying("ok").await;
    let mut served = Served::http("reviews", vec![endpoint(app.address)]);
    served.backend.upgrade = Upgrade::Http2;
    let proxy = Proxy::start(served.alone());
    let answer = Client::http1(proxy.outbound).await.send(post("http://reviews:9080/x", "body")).await;
    assert_eq!((answer.status, app.last().version), (StatusCode::OK, Version::HTTP_2));
}

#[tokio::test]
async fn http_1_0_clients_are_served_and_closed() {
    let (_app, proxy) = reviews().await;
    let answer = raw(proxy.outbound, b"GET http://reviews:9080/ HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200") && answer.ends_with("reviews"), "{answer}");
}

#[tokio::test]
async fn many_streams_on_one_connection() {
    let app = App::start(|request| async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Response::new(whole(request.uri().path().to_owned()))
    })
    .await;
    let proxy = Proxy::start(Served::http("reviews", vec![endpoint(app.address)]).alone());
    let Client::Http2(sender) = Client::http2(proxy.outbound).await else { panic!("HTTP/2") };
    let calls = (0..150).map(|n| {
        let mut sender = sender.clone();
        async move {
            let response = sender.send_request(get(&format!("http://reviews:9080/{n}"))).await.unwrap();
            assert_eq!(read(response).await.text, format!("/{n}"));
        }
    });
    futures_util::future::join_all(calls).await;
    assert!(app.connections() <= 3, "{} upstream connections for 150 streams", app.connections());
}
