//! Probes of every kind against servers that speak what the probe says.
#![allow(clippy::unwrap_used)]

use super::*;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

async fn outcome(probe: &str) -> Outcome {
    let probe: Probe = serde_json::from_str(probe).unwrap();
    probe.run(Ipv4Addr::LOCALHOST.into(), &HeaderMap::new()).await
}

/// HTTPS with a certificate that nobody has signed: 204 to `/live` with the header `x-probe`, else 418.
async fn https() -> u16 {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["app".to_owned()]).unwrap().self_signed(&key).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(crate::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let (listener, acceptor) = (listener().await, TlsAcceptor::from(Arc::new(config)));
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(tls) = acceptor.accept(tcp).await else { continue };
            let answer = service_fn(|request: Request<Incoming>| async move {
                let live = request.uri().path() == "/live" && request.headers().contains_key("x-probe");
                let status = if live { StatusCode::NO_CONTENT } else { StatusCode::IM_A_TEAPOT };
                let mut answer = Response::new(Full::<Bytes>::default());
                *answer.status_mut() = status;
                Ok::<_, Infallible>(answer)
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tls), answer).await;
        }
    });
    port
}

/// grpc.health.v1.Health/Check: `good` serves, everything else does not.
async fn grpc() -> u16 {
    let listener = listener().await;
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let answer = service_fn(|request: Request<Incoming>| async move {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                let asked = http_body_util::BodyExt::collect(request.into_body()).await.unwrap().to_bytes();
                let status = if asked.ends_with(b"good") { 1 } else { 2 };
                let body = Full::new(Bytes::from(vec![0, 0, 0, 0, 2, 8, status]));
                Ok::<_, Infallible>(Response::builder().header("grpc-status", "0").body(body).unwrap())
            });
            tokio::spawn(async move {
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(tcp), answer).await;
            });
        }
    });
    port
}

async fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

#[tokio::test]
async fn https_grpc_and_tcp_are_asked_as_the_kubelet_asks() {
    let (https, grpc, silent) = (https().await, grpc().await, listener().await);
    let tcp = silent.local_addr().unwrap().port();
    let header = r#""httpHeaders": [{"name": "x-probe", "value": "yes"}]"#;
    let failed = |why: &str| Outcome::Failed(why.to_owned());
    for (probe, want) in [
        (
            format!(r#"{{"httpGet": {{"path": "/live", "port": {https}, "scheme": "HTTPS", {header}}}}}"#),
            Outcome::Passed,
        ),
        (
            format!(r#"{{"httpGet": {{"path": "/live", "port": {https}, "scheme": "HTTPS"}}}}"#),
            Outcome::Answered(StatusCode::IM_A_TEAPOT),
        ),
        (format!(r#"{{"grpc": {{"port": {grpc}, "service": "good"}}}}"#), Outcome::Passed),
        (format!(r#"{{"grpc": {{"port": {grpc}}}}}"#), failed("the service says status 2, and 1 is SERVING")),
        (format!(r#"{{"tcpSocket": {{"port": {tcp}}}}}"#), Outcome::Passed),
        (format!(r#"{{"httpGet": {{"port": {tcp}}}}}"#), failed("no answer within 1s")),
    ] {
        assert_eq!(outcome(&probe).await, want, "{probe}");
    }
    let plain = format!(r#"{{"httpGet": {{"path": "/live", "port": {https}}}}}"#);
    assert!(matches!(outcome(&plain).await, Outcome::Failed(_)), "HTTP to an HTTPS server");
}
