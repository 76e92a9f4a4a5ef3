//! One that speaks to the control plane's port as a proxy does, and says of itself what it likes: gRPC by hand over real
//! TLS.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use weft_tests::believing;
use weft_wire::proto::{self, from_proxy};

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
        let csr = asked.serialize_request(&key).unwrap().der().to_vec();
        let request = proto::SignRequest { csr, token: token.to_owned(), workload: workload.to_owned() };
        let answer = self.call("/weft.v1.Identity/Sign", None, &request)?;
        let signed = proto::SignResponse::decode(answer.as_slice()).map_err(|error| error.to_string())?;
        Ok(Svid { key, chain: signed.chain })
    }

    /// Opens a stream as this workload: the refusal, where there is one.
    pub fn hello(&self, svid: &Svid, workload: &str) -> Result<(), String> {
        let hello = proto::Hello {
            level: 1,
            version: "0.1.0".to_owned(),
            workload: workload.to_owned(),
            // One that is reached where its app is.
            inbound_address: "0.0.0.0:0".to_owned(),
            ..proto::Hello::default()
        };
        let message = proto::FromProxy { message: Some(from_proxy::Message::Hello(hello)) };
        self.call("/weft.v1.Discovery/Stream", Some(svid), &message).map(drop)
    }

    /// The first message of the answer, or the status in its own words.
    fn call(&self, path: &str, svid: Option<&Svid>, message: &impl Message) -> Result<Vec<u8>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime
            .block_on(async { tokio::time::timeout(ANSWER_MAX, self.ask(path, svid, &message.encode_to_vec())).await })
            .map_err(|_| format!("{path}: no answer within {ANSWER_MAX:?}"))?
    }

    async fn ask(&self, path: &str, svid: Option<&Svid>, message: &[u8]) -> Result<Vec<u8>, String> {
        let connection = TcpStream::connect(&self.stream).await.map_err(|error| error.to_string())?;
        let name = ServerName::try_from("controlplane").unwrap();
        let config = believing(svid.map(|svid| (&svid.chain[..], &svid.key)));
        let tls = TlsConnector::from(config).connect(name, connection).await;
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

const ANSWER_MAX: std::time::Duration = std::time::Duration::from_secs(20);
