//! What a VirtualService says is what the caller's sidecar does: on real sidecars, joined to a control plane, over mTLS.
#![allow(clippy::unwrap_used)]

use http::Request;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weft_tests::yaml::{STRICT, caller, service, subsets, virtual_service, workload};
use weft_tests::{App, Client, Mesh, MeshOptions, Version};

/// `echo` in two versions and a client, all with sidecars, STRICT.
async fn echo_mesh(http: &str) -> (Mesh, App, App) {
    let (v1, v2) = (App::http("v1").await, App::http("v2").await);
    let yaml = [
        STRICT.to_owned(),
        caller("client"),
        service("echo", "http"),
        workload("echo", "v1", "http", v1.address),
        workload("echo", "v2", "http", v2.address),
        subsets("echo", &["v1", "v2"]),
        virtual_service("echo", http),
    ];
    let mut mesh = Mesh::start(&yaml.concat(), MeshOptions::default());
    for name in ["echo-v1", "echo-v2", "client"] {
        mesh.join(name).await;
    }
    (mesh, v1, v2)
}

type Headers<'a> = &'a [(&'a str, &'a str)];

const ROUTES: &str = "
  - match: [{uri: {exact: /exact}}]
    route: [{destination: {host: echo, subset: v2}}]
  - match: [{uri: {prefix: /prefix}, method: {exact: POST}}]
    route: [{destination: {host: echo, subset: v2}}]
  - match: [{uri: {regex: '/re/[0-9]+'}}]
    route: [{destination: {host: echo, subset: v2}}]
  - match: [{headers: {x-user: {exact: ada}}}, {queryParams: {user: {prefix: ad}}}]
    route: [{destination: {host: echo, subset: v2}}]
  - match: [{withoutHeaders: {x-needed: {}}, uri: {exact: /without}}]
    route: [{destination: {host: echo, subset: v2}}]
  - match: [{uri: {prefix: /old}}]
    rewrite: {uri: /new, authority: other.example}
    headers:
      request: {set: {x-set: one}, add: {x-add: two}, remove: [x-gone]}
      response: {set: {x-answer: yes}, remove: [x-app]}
    route: [{destination: {host: echo, subset: v1}}]
  - match: [{uri: {exact: /moved}}]
    redirect: {uri: /there, authority: elsewhere.example, redirectCode: 308}
  - match: [{uri: {exact: /teapot}}]
    directResponse: {status: 418, body: {string: short and stout}}
  - match: [{uri: {prefix: /known}}]
    route: [{destination: {host: echo, subset: v1}}]";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_goes_where_the_first_matching_rule_says() {
    let (mesh, v1, _v2) = echo_mesh(ROUTES).await;
    let request = |method: &str, path: &str, headers: &[(&str, &str)]| {
        let request = Request::builder().method(method).uri(format!("http://echo:8080{path}"));
        headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value))
            .body(Default::default())
            .unwrap()
    };
    for version in [Version::Http1, Version::Http2] {
        let mut client = Client::new(mesh.sidecar("client").outbound, version);
        let cases: [(&str, &str, Headers, u16, &str); 12] = [
            ("GET", "/exact", &[], 200, "v2"),
            ("GET", "/exact?query=stays", &[], 200, "v2"),
            ("POST", "/prefixed", &[], 200, "v2"),
            ("GET", "/re/12", &[], 200, "v2"),
            ("GET", "/re/12x", &[], 404, ""),
            ("GET", "/any", &[("x-user", "ada")], 200, "v2"),
            ("GET", "/any?user=adam", &[], 200, "v2"),
            ("GET", "/without", &[], 200, "v2"),
            ("GET", "/without", &[("x-needed", "here")], 404, ""),
            ("GET", "/known", &[], 200, "v1"),
            ("GET", "/prefixed", &[], 404, ""),
            ("GET", "/teapot", &[], 418, "short and stout"),
        ];
        for (method, path, headers, status, body) in cases {
            let answer = client.send(request(method, path, headers)).await.unwrap();
            assert_eq!(answer.status, status, "{version:?} {method} {path} {headers:?}: {}", answer.text());
            if !body.is_empty() {
                assert_eq!(answer.text(), body, "{version:?} {method} {path} {headers:?}");
            }
        }
        let moved = client.send(request("GET", "/moved", &[])).await.unwrap();
        assert_eq!(
            (moved.status.as_u16(), moved.header("location")),
            (308, "http://elsewhere.example/there"),
            "{version:?}"
        );

        let answer = client.send(request("GET", "/old/page?q=1", &[("x-gone", "1"), ("x-add", "one")])).await.unwrap();
        assert_eq!((answer.header("x-answer"), answer.header("x-app")), ("yes", ""), "{version:?}");
        let seen = v1.last_seen();
        assert_eq!(seen.path, "/new/page?q=1", "{version:?}");
        assert_eq!(seen.headers["x-set"], "one");
        assert!(!seen.headers.contains_key("x-gone"));
        let added: Vec<_> = seen.headers.get_all("x-add").iter().collect();
        assert_eq!(added, ["one", "two"], "{version:?}");
        let id = seen.headers["x-request-id"].to_str().unwrap();
        assert_eq!((id.len(), id.as_bytes()[14]), (36, b'4'), "x-request-id {id} is a UUIDv4");
        if version == Version::Http1 {
            assert_eq!(seen.headers["host"], "other.example");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_share_the_requests() {
    let route = "
  - route:
    - {destination: {host: echo, subset: v1}, weight: 75}
    - {destination: {host: echo, subset: v2}, weight: 25}";
    let (mesh, _v1, _v2) = echo_mesh(route).await;
    let mut client = Client::new(mesh.sidecar("client").outbound, Version::Http1);
    let mut second = 0;
    for _ in 0..400 {
        second += u32::from(client.get("http://echo:8080/").await.unwrap().text() == "v2");
    }
    // Binomial with p = 1/4: five standard deviations are 43.
    assert!((57..=143).contains(&second), "{second} of 400 went to v2, which has a quarter of the weight");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_and_timeouts() {
    let attempts = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = std::sync::Arc::clone(&attempts);
    // Fails twice, then answers; /slow never answers.
    let app = App::raw(move |mut stream, head| {
        let count = std::sync::Arc::clone(&count);
        async move {
            if head.starts_with("GET /slow") {
                std::future::pending::<()>().await;
            }
            let n = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let status = if n % 3 == 2 { "200 OK" } else { "503 Service Unavailable" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await;
    let routes = "
  - match: [{uri: {exact: /retried}}]
    retries: {attempts: 2, retryOn: 5xx}
    route: [{destination: {host: flaky}}]
  - match: [{uri: {exact: /once}}]
    retries: {attempts: 0}
    route: [{destination: {host: flaky}}]
  - match: [{uri: {exact: /slow}}]
    timeout: 0.2s
    retries: {attempts: 0}
    route: [{destination: {host: flaky}}]";
    let yaml = [
        caller("client"),
        service("flaky", "http"),
        workload("flaky", "v1", "http", app.address),
        virtual_service("flaky", routes),
    ];
    let mut mesh = Mesh::start(&yaml.concat(), MeshOptions::default());
    mesh.join("client").await;
    let mut client = Client::new(mesh.sidecar("client").outbound, Version::Http1);
    let answer = client.get("http://flaky:8080/retried").await.unwrap();
    assert_eq!((answer.status.as_u16(), attempts.load(std::sync::atomic::Ordering::SeqCst)), (200, 3), "two retries");
    let answer = client.get("http://flaky:8080/once").await.unwrap();
    assert_eq!((answer.status.as_u16(), attempts.load(std::sync::atomic::Ordering::SeqCst)), (503, 4), "no retry");
    let answer = client.get("http://flaky:8080/slow").await.unwrap();
    assert_eq!(answer.status, 504, "{}", answer.text());
    let metric = ["istio_requests_total", "response_flags=\"UT\"", "response_code=\"504\"", "reporter=\"source\""];
    mesh.sidecar("client").counted(&metric, 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_goes_through_connect_and_both_sides_close() {
    let app = App::tcp("hello ").await;
    let yaml = [STRICT.to_owned(), caller("client"), service("db", "tcp"), workload("db", "v1", "tcp", app.address)];
    let mut mesh = Mesh::start(&yaml.concat(), MeshOptions::default());
    mesh.join("db-v1").await;
    mesh.join("client").await;
    let mut stream = connect(&mesh, "db:8080").await;
    stream.write_all(b"world").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut all = String::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut all)).await.unwrap().unwrap();
    assert_eq!(all, "hello world", "the server speaks first, then echoes, then closes");
    let closed =
        ["istio_tcp_connections_closed_total", "reporter=\"destination\"", "connection_security_policy=\"mutual_tls\""];
    mesh.sidecar("db-v1").counted(&closed, 1.0).await;
}

/// A CONNECT tunnel through the client's sidecar.
async fn connect(mesh: &Mesh, target: &str) -> TcpStream {
    let mut stream = TcpStream::connect(mesh.sidecar("client").outbound).await.unwrap();
    stream.write_all(format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "CONNECT {target}: {head}");
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_is_upgraded_end_to_end() {
    let app = App::raw(|mut stream, head| async move {
        assert!(head.to_ascii_lowercase().contains("upgrade: websocket"), "{head}");
        let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    let yaml =
        [STRICT.to_owned(), caller("client"), service("chat", "http"), workload("chat", "v1", "http", app.address)];
    let mut mesh = Mesh::start(&yaml.concat(), MeshOptions::default());
    mesh.join("chat-v1").await;
    mesh.join("client").await;
    let mut stream = TcpStream::connect(mesh.sidecar("client").outbound).await.unwrap();
    let request =
        "GET http://chat:8080/ws HTTP/1.1\r\nhost: chat:8080\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    stream.write_all(b"frames").await.unwrap();
    let mut echo = [0; 6];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"frames");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_keeps_its_trailers_through_two_sidecars() {
    let app = App::grpc().await;
    let yaml = [
        STRICT.to_owned(),
        caller("client"),
        service("greeter", "grpc"),
        workload("greeter", "v1", "grpc", app.address),
    ];
    let mut mesh = Mesh::start(&yaml.concat(), MeshOptions::default());
    mesh.join("greeter-v1").await;
    mesh.join("client").await;
    let request = Request::post("http://greeter:8080/demo.Greeter/Hello")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(http_body_util::Full::new(bytes::Bytes::from_static(b"\0\0\0\0\x05hello")))
        .unwrap();
    let answer = Client::new(mesh.sidecar("client").outbound, Version::Http2).send(request).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.text()), (200, "\0\0\0\0\x05hello"));
    assert_eq!(answer.trailers.get("grpc-status").map(|value| value.as_bytes()), Some(b"5".as_slice()), "{answer:?}");
    let metric = ["istio_requests_total", "request_protocol=\"grpc\"", "grpc_response_status=\"5\""];
    for name in ["client", "greeter-v1"] {
        mesh.sidecar(name).counted(&metric, 1.0).await;
    }
}
