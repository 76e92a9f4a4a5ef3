//! One that speaks to the control plane's port as a proxy does, and says of itself what it likes: gRPC by hand over real
//! TLS, written from `weft.proto` alone.
//!
//! It believes any server: what a proxy verifies is the proxy's own test.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// At one control plane.
pub struct Impostor {
    stream: String,
}

/// What it was given.
pub struct Svid {
    key: KeyPair,
    /// Leaf first, DER.
    chain: Vec<Vec<u8>>,
}

impl Svid {
    /// Whether these bytes are in the certificate: all that it names is text in it.
    pub fn says(&self, text: &str) -> bool {
        self.chain[0].windows(text.len()).any(|window| window == text.as_bytes())
    }
}

impl Impostor {
    pub fn at(stream: &str) -> Self {
        Self { stream: stream.to_owned() }
    }

    /// First contact with a request that says this, or the refusal.
    pub fn sign(&self, asked: CertificateParams, token: &str, workload: &str) -> Result<Svid, String> {
        let key = KeyPair::generate().unwrap();
        let csr = asked.serialize_request(&key).unwrap();
        let request = [field(1, csr.der()), field(2, token.as_bytes()), field(3, workload.as_bytes())].concat();
        let answer = self.call("/weft.v1.Identity/Sign", None, &request)?;
        let chain = fields(&answer).into_iter().filter(|(number, _)| *number == 1).map(|(_, der)| der.to_vec());
        Ok(Svid { key, chain: chain.collect() })
    }

    /// Opens a stream as this workload: the refusal, where there is one.
    pub fn hello(&self, svid: &Svid, workload: &str) -> Result<(), String> {
        // Level 1, a varint, and the address of one that is reached where its app is.
        let hello = [vec![8, 1], field(2, b"0.1.0"), field(4, workload.as_bytes()), field(5, b"0.0.0.0:0")].concat();
        self.call("/weft.v1.Discovery/Stream", Some(svid), &field(1, &hello)).map(drop)
    }

    /// The first message of the answer, or the status in its own words.
    fn call(&self, path: &str, svid: Option<&Svid>, message: &[u8]) -> Result<Vec<u8>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime
            .block_on(async { tokio::time::timeout(ANSWER_MAX, self.ask(path, svid, message)).await })
            .map_err(|_| format!("{path}: no answer within {ANSWER_MAX:?}"))?
    }

    async fn ask(&self, path: &str, svid: Option<&Svid>, message: &[u8]) -> Result<Vec<u8>, String> {
        let connection = TcpStream::connect(&self.stream).await.map_err(|error| error.to_string())?;
        let name = ServerName::try_from("controlplane").unwrap();
        let tls = TlsConnector::from(Arc::new(tls(svid))).connect(name, connection).await;
        let tls = TokioIo::new(tls.map_err(|error| error.to_string())?);
        let (mut sender, driver) = hyper::client::conn::http2::handshake(TokioExecutor::new(), tls)
            .await
            .map_err(|error| error.to_string())?;
        tokio::spawn(driver);
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let body = [&[0][..], &length, message].concat();
        let request = http::Request::post(format!("https://controlplane{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::<Bytes>::from(body))
            .unwrap();
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        refused(answer.headers())?;
        let mut body = answer.into_body();
        let mut read = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| error.to_string())?;
            if let Some(trailers) = frame.trailers_ref() {
                refused(trailers)?;
            } else if let Ok(data) = frame.into_data() {
                read.extend(data);
            }
            if let Some((head, message)) = read.split_at_checked(5) {
                let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
                if message.len() >= length {
                    return Ok(message[..length].to_vec());
                }
            }
        }
        Err(format!("{path}: no message in the answer"))
    }
}

fn refused(headers: &http::HeaderMap) -> Result<(), String> {
    let text = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    match text("grpc-status").as_deref() {
        None | Some("0") => Ok(()),
        Some(status) => Err(format!("{status}: {}", plain(&text("grpc-message").unwrap_or_default()))),
    }
}

/// Without its percent signs.
fn plain(encoded: &str) -> String {
    let mut parts = encoded.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(code, 16).unwrap());
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn tls(svid: Option<&Svid>) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone));
    let mut config = match svid {
        None => builder.with_no_client_auth(),
        Some(svid) => {
            let chain = svid.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(svid.key.serialize_der()));
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// A field of protobuf that has a length: a text, bytes, or a message.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = content.len();
    while length > 0x7f {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend(content);
    out
}

/// Those of a message that has no others.
fn fields(mut message: &[u8]) -> Vec<(u8, &[u8])> {
    let mut all = Vec::new();
    while let Some((tag, rest)) = message.split_first() {
        assert_eq!(tag & 7, 2, "a field without a length");
        let bytes = rest.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let length = rest[..bytes].iter().rev().fold(0, |length, byte| length << 7 | usize::from(byte & 0x7f));
        let (content, after) = rest[bytes..].split_at(length);
        all.push((tag >> 3, content));
        message = after;
    }
    all
}

#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

const ANSWER_MAX: std::time::Duration = std::time::Duration::from_secs(20);
