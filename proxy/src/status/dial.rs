//! One request to the app, from an address whose connections are not redirected: what the kubelet would do.
//!
//! It keeps no connection: probes come seconds apart.

use crate::upstream::{connect_from, passthrough_source};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    /// As the kubelet does: a probe asks whether the app answers, not who it is.
    HttpsUnverified,
}

/// A GET of path and query; one that is no URI is sent as `/`.
pub(super) fn get(path: &str) -> Request<Empty<Bytes>> {
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
    request
}

pub(super) async fn tcp(to: SocketAddr) -> io::Result<TcpStream> {
    connect_from(passthrough_source(to), to).await
}

/// Status and body, or why there is none.
pub(super) async fn http(
    (to, scheme): (SocketAddr, Scheme),
    mut request: Request<Empty<Bytes>>,
    limit: Duration,
) -> Result<(StatusCode, Bytes), String> {
    if !request.headers().contains_key(header::HOST) {
        let host = HeaderValue::from_str(&to.to_string()).map_err(|error| error.to_string())?;
        request.headers_mut().insert(header::HOST, host);
    }
    let answered = async {
        let tcp = tcp(to).await.map_err(|error| error.to_string())?;
        match scheme {
            Scheme::Http => exchange(tcp, request).await,
            Scheme::HttpsUnverified => exchange(handshake(tcp, to).await?, request).await,
        }
    };
    tokio::time::timeout(limit, answered).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
}

async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<(StatusCode, Bytes), String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let said = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    let answered = async {
        let answer = sender.send_request(request).await.map_err(said)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), BODY_BYTES_MAX).collect().await;
        Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
    };
    let mut answered = std::pin::pin!(answered);
    tokio::select! {
        answered = &mut answered => answered,
        ended = connection => match ended {
            // The answer may be complete all the same.
            Ok(()) => answered.await,
            Err(error) => Err(error.to_string()),
        },
    }
}

async fn handshake(tcp: TcpStream, to: SocketAddr) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    let provider = crate::tls::provider();
    let verifier = Arc::new(Anybody(provider.signature_verification_algorithms));
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    let name = ServerName::IpAddress(to.ip().into());
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(|error| error.to_string())
}

/// Believes every certificate whose holder has its key.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.supported_schemes()
    }
}

const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
