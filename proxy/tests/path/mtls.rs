//! Between sidecars: who is let in, who is called, and what both learn of each other.

use crate::app::{App, whole};
use crate::authority::{Authority, TRUST_DOMAIN, id};
use crate::client::{Client, get, raw};
use crate::config::{HTTP_PORT, Served, inbound_port, server, sidecar_endpoint};
use crate::proxy::{Proxy, Setup};
use http::{Request, StatusCode, Version};
use rustls_pki_types::ServerName;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_proxy::tls::{Alpn, Identity, IdentityCell, provider};
use weft_snapshot::{MtlsMode, Protocol, SpiffeId};

/// A caller's sidecar, the service's own, and the app behind it.
struct Pair {
    app: App,
    caller: Proxy,
    callee: Proxy,
}

async fn pair(caller: Identity, callee: Identity, expected: &str) -> Pair {
    let app = App::saying("hello").await;
    let port = inbound_port(HTTP_PORT, app.address, Protocol::Http, MtlsMode::Strict);
    let callee = Proxy::start(Setup { identity: Some(callee), ..server("reviews", vec![port]).into() });
    let endpoint = sidecar_endpoint(callee.inbound, expected, "reviews", HTTP_PORT);
    let snapshot = Served::http("reviews", vec![endpoint]).alone();
    let caller = Proxy::start(Setup { identity: Some(caller), ..snapshot.into() });
    Pair { app, caller, callee }
}

#[tokio::test]
async fn requests_cross_two_sidecars() {
    let mesh = Authority::new();
    let pair = pair(mesh.identity("productpage"), mesh.identity("reviews"), "reviews").await;
    for (mut client, version) in [
        (Client::http1(pair.caller.outbound).await, Version::HTTP_11),
        (Client::http2(pair.caller.outbound).await, Version::HTTP_2),
    ] {
        let request = Request::get("http://reviews:9080/x").header("x-forwarded-client-cert", "forged");
        let answer = client.send(request.body(whole("")).unwrap()).await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, "hello"));
        let seen = pair.app.last();
        assert_eq!(seen.version, version, "the version that the app spoke is kept");
        let note = seen.header("x-forwarded-client-cert").unwrap();
        assert!(note.starts_with("By=spiffe://cluster.local/ns/default/sa/reviews;Hash="), "{note}");
        assert!(note.ends_with(";Subject=\"\";URI=spiffe://cluster.local/ns/default/sa/productpage"), "{note}");
    }
    let line = pair.callee.logged("the request", |line| line["requested_server_name"].is_string()).await;
    assert_eq!(line["requested_server_name"], "outbound_.9080_._.reviews");
    assert_eq!(line["upstream_cluster"], "inbound|9080||");
}

#[tokio::test]
async fn who_is_not_believed_is_not_spoken_to() {
    let (mesh, other) = (Authority::new(), Authority::new());
    let past = SystemTime::now() - Duration::from_secs(60);
    let foreign: SpiffeId = "spiffe://elsewhere/ns/default/sa/productpage".parse().unwrap();
    let cases: Vec<(&str, Identity, Identity, &str, &str)> = vec![
        ("the callee has another id", mesh.identity("productpage"), mesh.identity("ratings"), "reviews", "UF"),
        ("the callee's CA is another", mesh.identity("productpage"), other.identity("reviews"), "reviews", "UF"),
        ("the caller's CA is another", other.identity("productpage"), mesh.identity("reviews"), "reviews", "UF"),
        (
            "the callee has expired",
            mesh.identity("productpage"),
            mesh.identity_until(&id("reviews"), past),
            "reviews",
            "UF",
        ),
        (
            "the caller has expired",
            mesh.identity_until(&id("productpage"), past),
            mesh.identity("reviews"),
            "reviews",
            "UF,SX",
        ),
    ];
    for (name, caller, callee, expected, flag) in cases {
        let pair = pair(caller, callee, expected).await;
        let answer = Client::http1(pair.caller.outbound).await.get("http://reviews:9080/").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{name}");
        assert!(pair.app.seen().is_empty(), "{name}");
        pair.caller.logged(name, |line| line["response_flags"] == flag).await;
    }
    let pair = pair(
        mesh.identity_until(&foreign, SystemTime::now() + Duration::from_secs(60)),
        mesh.identity("reviews"),
        "reviews",
    )
    .await;
    let answer = Client::http1(pair.caller.outbound).await.get("http://reviews:9080/").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "another trust domain under the same root");
    assert!(pair.app.seen().is_empty());
}

/// A client of our own, to see what the inbound side does with those who do not behave.
async fn handshake(mesh: Option<Identity>, callee: &Proxy, sni: &str) -> Result<String, String> {
    let cell = IdentityCell::new(provider());
    cell.replace(mesh.unwrap()).unwrap();
    let config = cell.load().unwrap().client(&id("reviews"), Alpn::Http1).unwrap();
    let tcp = tokio::net::TcpStream::connect(callee.inbound).await.unwrap();
    let name = ServerName::try_from(sni.to_owned()).unwrap();
    let mut tls = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await.map_err(|e| e.to_string())?;
    let request = b"GET / HTTP/1.1\r\nhost: reviews:9080\r\nconnection: close\r\n\r\n";
    tls.write_all(request).await.map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    let _ = tls.read_to_end(&mut answer).await;
    match String::from_utf8(answer).unwrap() {
        nothing if nothing.is_empty() => Err("closed".to_owned()),
        answer => Ok(answer),
    }
}

#[tokio::test]
async fn the_sni_says_which_port_and_a_certificate_is_required() {
    let mesh = Authority::new();
    let pair = pair(mesh.identity("productpage"), mesh.identity("reviews"), "reviews").await;
    let good = handshake(Some(mesh.identity("productpage")), &pair.callee, "outbound_.9080_.v1_.reviews").await;
    assert!(good.unwrap().starts_with("HTTP/1.1 200"));
    let unknown = handshake(Some(mesh.identity("productpage")), &pair.callee, "outbound_.1_._.reviews").await;
    assert!(unknown.unwrap().starts_with("HTTP/1.1 404"));
    let nothing = handshake(Some(mesh.identity("productpage")), &pair.callee, "reviews").await;
    assert!(nothing.is_err(), "{nothing:?}");

    let mut nobody = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    nobody.dangerous().set_certificate_verifier(Arc::new(Anyone));
    let tcp = tokio::net::TcpStream::connect(pair.callee.inbound).await.unwrap();
    let name = ServerName::try_from("outbound_.9080_._.reviews").unwrap();
    let connected = tokio_rustls::TlsConnector::from(Arc::new(nobody)).connect(name, tcp).await;
    let refused = match connected {
        // In TLS 1.3 a client hears of it with its first read.
        Ok(mut tls) => tls.read(&mut [0; 1]).await.is_err(),
        Err(_) => true,
    };
    assert!(refused, "a client without a certificate was let in");
}

#[derive(Debug)]
struct Anyone;

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &[rustls_pki_types::CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn plain_text_by_mode() {
    let mesh = Authority::new();
    let app = App::saying("hello").await;
    let cases = [
        (MtlsMode::Strict, "HTTP/1.1 403", "NR"),
        (MtlsMode::Permissive, "HTTP/1.1 200", "-"),
        (MtlsMode::Disable, "HTTP/1.1 200", "-"),
    ];
    for (mode, want, flag) in cases {
        let port = inbound_port(HTTP_PORT, app.address, Protocol::Http, mode);
        let identity = Some(mesh.identity("reviews"));
        let callee = Proxy::start(Setup { identity, ..server("reviews", vec![port]).into() });
        let request =
            b"GET / HTTP/1.1\r\nhost: reviews:9080\r\nx-forwarded-client-cert: forged\r\nconnection: close\r\n\r\n";
        let answer = raw(callee.inbound, request).await;
        assert!(answer.starts_with(want), "{mode:?}: {answer}");
        callee.logged("the request", |line| line["response_flags"] == flag).await;
        assert!(app.seen().iter().all(|seen| seen.header("x-forwarded-client-cert").is_none()), "{mode:?}");
        let opaque = raw(callee.inbound, b"\x00\x01opaque\r\n").await;
        assert_eq!(opaque, "", "{mode:?}: nobody said where opaque bytes go");
    }
}

#[tokio::test]
async fn a_renewed_identity_drops_no_connection() {
    let mesh = Authority::new();
    let pair = pair(mesh.identity("productpage"), mesh.identity("reviews"), "reviews").await;
    let mut client = Client::http1(pair.caller.outbound).await;
    assert_eq!(client.get("http://reviews:9080/").await.status, StatusCode::OK);
    pair.caller.identity.replace(mesh.identity("productpage")).unwrap();
    pair.callee.identity.replace(mesh.identity("reviews")).unwrap();
    for _ in 0..3 {
        assert_eq!(client.get("http://reviews:9080/").await.status, StatusCode::OK);
    }
    assert_eq!(pair.app.connections(), 1);
    // A new root is believed from the next handshake on, and open connections live on.
    let next = Authority::new();
    pair.callee.identity.replace(next.identity("reviews")).unwrap();
    assert_eq!(client.get("http://reviews:9080/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_identity_that_expires_ends_no_open_connection() {
    let mesh = Authority::new();
    let pair = pair(mesh.identity("productpage"), mesh.identity("reviews"), "reviews").await;
    let mut client = Client::http1(pair.caller.outbound).await;
    // Only now: the one handshake that it is for has to come in time.
    let soon = SystemTime::now() + Duration::from_secs(4);
    pair.caller.identity.replace(mesh.identity_until(&id("productpage"), soon)).unwrap();
    assert_eq!(client.get("http://reviews:9080/").await.status, StatusCode::OK);
    crate::eventually("the identity has expired", async || {
        (SystemTime::now() > soon + Duration::from_secs(1)).then_some(())
    })
    .await;
    assert_eq!(client.get("http://reviews:9080/").await.status, StatusCode::OK, "on the open connection");
    // HTTP/2 needs a new one.
    let answer = Client::http2(pair.caller.outbound).await.send(get("http://reviews:9080/")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    pair.caller.logged("the refusal", |line| line["response_flags"] == "UF,SX").await;
    assert_eq!(TRUST_DOMAIN, "cluster.local");
}

#[tokio::test]
async fn upgrades_cross_two_sidecars() {
    let app = App::start(|mut request| async move {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
            let mut buffer = [0; 4];
            io.read_exact(&mut buffer).await.unwrap();
            io.write_all(&buffer).await.unwrap();
        });
        let builder = http::Response::builder().status(101).header("connection", "upgrade").header("upgrade", "x");
        builder.body(whole("")).unwrap()
    })
    .await;
    let mesh = Authority::new();
    let port = inbound_port(HTTP_PORT, app.address, Protocol::Http, MtlsMode::Strict);
    let callee =
        Proxy::start(Setup { identity: Some(mesh.identity("reviews")), ..server("reviews", vec![port]).into() });
    let snapshot =
        Served::http("reviews", vec![sidecar_endpoint(callee.inbound, "reviews", "reviews", HTTP_PORT)]).alone();
    let caller = Proxy::start(Setup { identity: Some(mesh.identity("client")), ..snapshot.into() });
    let request =
        "GET http://reviews:9080/ HTTP/1.1\r\nhost: reviews:9080\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nping";
    let answer = raw(caller.outbound, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 101") && answer.ends_with("\r\n\r\nping"), "{answer}");
}
