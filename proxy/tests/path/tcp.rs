//! Opaque bytes: through CONNECT, through one sidecar and through two.

use crate::app::{App, tcp};
use crate::authority::Authority;
use crate::client::tunnel;
use crate::config::{HTTP_PORT, Served, endpoint, inbound_port, server, sidecar_endpoint};
use crate::proxy::{Proxy, Setup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weft_snapshot::{MtlsMode, OutboundPolicy, Protocol, Snapshot};

const PORT: u16 = 5432;

/// Greets first, echoes until the client ends, then says goodbye: needs a half-closed connection.
async fn greeter() -> std::net::SocketAddr {
    tcp(|mut tcp| async move {
        tcp.write_all(b"hello\n").await.unwrap();
        let mut all = Vec::new();
        tcp.read_to_end(&mut all).await.unwrap();
        tcp.write_all(&all).await.unwrap();
        tcp.write_all(b"bye\n").await.unwrap();
    })
    .await
}

async fn converse(mut client: TcpStream) {
    let mut greeting = [0; 6];
    client.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"hello\n", "the server speaks first");
    let long = vec![b'x'; 300_000];
    client.write_all(&long).await.unwrap();
    client.shutdown().await.unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest.len(), long.len() + 4);
    assert!(rest.ends_with(b"bye\n"));
}

#[tokio::test]
async fn a_tcp_port_is_carried_and_never_sniffed() {
    let snapshot = Served::on("db", PORT, Protocol::Tcp, vec![endpoint(greeter().await)]).alone();
    let proxy = Proxy::start(snapshot);
    converse(tunnel(proxy.outbound, "db:5432").await.unwrap()).await;
    let line = proxy.logged("the connection", |line| line["bytes_received"] == 300_000).await;
    assert_eq!(
        (line["bytes_sent"].as_u64(), line["upstream_cluster"].as_str()),
        (Some(300_010), Some("outbound|5432||db"))
    );
}

#[tokio::test]
async fn bytes_cross_two_sidecars() {
    let mesh = Authority::new();
    let port = inbound_port(PORT, greeter().await, Protocol::Tcp, MtlsMode::Strict);
    let callee = Proxy::start(Setup { identity: Some(mesh.identity("db")), ..server("db", vec![port]).into() });
    let endpoint = sidecar_endpoint(callee.inbound, "db", "db", PORT);
    let snapshot = Served::on("db", PORT, Protocol::Tcp, vec![endpoint]).alone();
    let caller = Proxy::start(Setup { identity: Some(mesh.identity("client")), ..snapshot.into() });
    converse(tunnel(caller.outbound, "db:5432").await.unwrap()).await;
    callee.logged("the connection", |line| line["bytes_received"] == 300_000).await;
}

#[tokio::test]
async fn bytes_to_a_port_that_speaks_http_are_refused() {
    let mesh = Authority::new();
    let app = App::saying("hello").await;
    let port = inbound_port(PORT, app.address, Protocol::Http, MtlsMode::Strict);
    let callee = Proxy::start(Setup { identity: Some(mesh.identity("db")), ..server("db", vec![port]).into() });
    let endpoint = sidecar_endpoint(callee.inbound, "db", "db", PORT);
    // The caller believes that the port is TCP.
    let snapshot = Served::on("db", PORT, Protocol::Tcp, vec![endpoint]).alone();
    let caller = Proxy::start(Setup { identity: Some(mesh.identity("client")), ..snapshot.into() });
    let mut client = tunnel(caller.outbound, "db:5432").await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: db\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer).await;
    assert!(answer.is_empty() && app.seen().is_empty());
}

#[tokio::test]
async fn http_inside_a_tunnel_is_http() {
    let app = App::saying("hello").await;
    for protocol in [Protocol::Http, Protocol::Detect] {
        let proxy = Proxy::start(Served::on("reviews", HTTP_PORT, protocol, vec![endpoint(app.address)]).alone());
        let mut client = tunnel(proxy.outbound, "reviews:9080").await.unwrap();
        client.write_all(b"GET /in HTTP/1.1\r\nhost: other\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{protocol:?}: {answer}");
        assert_eq!((app.last().uri.as_str(), app.last().header("host")), ("/in", Some("other")));
        let line = proxy.logged("the request", |line| line["path"] == "/in").await;
        assert_eq!(line["upstream_cluster"], "outbound|9080||reviews");
        assert!(proxy.log().iter().all(|line| line["method"] != "CONNECT"), "the tunnel is not an exchange of its own");
    }
}

#[tokio::test]
async fn a_silent_client_of_an_unknown_port_gets_bytes() {
    let mut setup: Setup = Served::on("db", PORT, Protocol::Detect, vec![endpoint(greeter().await)]).alone().into();
    setup.settings.detect_timeout = std::time::Duration::from_millis(100);
    let proxy = Proxy::start(setup);
    converse(tunnel(proxy.outbound, "db:5432").await.unwrap()).await;
}

#[tokio::test]
async fn hosts_outside_the_mesh() {
    let server = greeter().await;
    let empty = || {
        let mut snapshot = Snapshot::default();
        snapshot.set_workload(crate::config::workload("client", vec![]));
        snapshot
    };
    let proxy = Proxy::start(empty());
    converse(tunnel(proxy.outbound, &format!("localhost:{}", server.port())).await.unwrap()).await;
    proxy.logged("passthrough", |line| line["upstream_cluster"] == "PassthroughCluster").await;
    // Its own address, and an address at which nobody answers.
    assert!(tunnel(proxy.outbound, &proxy.outbound.to_string()).await.unwrap_err().contains("503"));
    assert!(tunnel(proxy.outbound, &crate::app::nobody().await.to_string()).await.unwrap_err().contains("503"));

    let mut closed = empty();
    let mut workload = closed.workload().unwrap().clone();
    workload.outbound = OutboundPolicy::RegistryOnly;
    closed.set_workload(workload);
    proxy.publish(&closed);
    assert!(tunnel(proxy.outbound, &server.to_string()).await.unwrap_err().contains("502"));
    proxy.logged("black hole", |line| line["upstream_cluster"] == "BlackHoleCluster").await;
}

#[tokio::test]
async fn connect_is_refused_where_it_leads_nowhere() {
    let proxy = Proxy::start(Served::on("db", PORT, Protocol::Tcp, vec![]).alone());
    assert!(tunnel(proxy.outbound, "db:5432").await.unwrap_err().contains("503"), "no endpoint");
    assert!(tunnel(proxy.outbound, "db:1").await.unwrap_err().contains("404"), "no such port");
    assert!(tunnel(proxy.outbound, "db").await.unwrap_err().contains("400"), "no port at all");
    assert!(tunnel(proxy.listen, "db:5432").await.unwrap_err().contains("400"), "not an outbound listener");
}

#[tokio::test]
async fn silence_ends_a_connection() {
    let server = tcp(|mut tcp| async move {
        let _ = tcp.read(&mut [0; 1]).await;
    })
    .await;
    let mut setup: Setup = Served::on("db", PORT, Protocol::Tcp, vec![endpoint(server)]).alone().into();
    setup.settings.tcp_idle_timeout = std::time::Duration::from_millis(200);
    let proxy = Proxy::start(setup);
    let mut client = tunnel(proxy.outbound, "db:5432").await.unwrap();
    assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0);
}
