//! Who may speak to whom, and who may join: everything else is refused, and says why.
#![allow(clippy::unwrap_used)]

use rcgen::{CertificateParams, IsCa, KeyPair, SanType};
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weft_tests::yaml::{STRICT, caller, service, workload};
use weft_tests::{App, Client, Mesh, MeshOptions, Process, Version, eventually, eventually_async};

async fn echo_mesh() -> (Mesh, App) {
    let app = App::http("echo").await;
    let other = App::http("mallory").await;
    let yaml = [
        STRICT.to_owned(),
        caller("client"),
        service("echo", "http"),
        workload("echo", "v1", "http", app.address),
        service("mallory", "http"),
        workload("mallory", "v1", "http", other.address),
    ];
    let mut mesh = Mesh::start(&yaml.concat(), MeshOptions::default());
    mesh.join("echo-v1").await;
    mesh.join("client").await;
    (mesh, app)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_app_behind_a_strict_sidecar_sees_only_mutual_tls() {
    let (mesh, app) = echo_mesh().await;
    let mut client = Client::new(mesh.sidecar("client").outbound, Version::Http1);
    assert_eq!(client.get("http://echo:8080/").await.unwrap().text(), "echo");
    let count = app.seen.lock().unwrap().len();
    let metric = ["istio_requests_total", "reporter=\"destination\"", "connection_security_policy=\"mutual_tls\""];
    let principal = "source_principal=\"spiffe://cluster.local/ns/default/sa/client\"";
    mesh.sidecar("echo-v1").counted(&[metric.as_slice(), &[principal]].concat(), 1.0).await;

    let inbound = mesh.sidecar("echo-v1").inbound;
    // Plain text: refused, whether as an answer or by closing.
    let mut plain = Client::new(inbound, Version::Http1);
    if let Ok(answer) = plain.get("http://echo:8080/").await {
        assert_eq!(answer.status, 403, "{}", answer.text());
    }
    // A certificate with the right name from another CA, and none at all.
    for certificate in [Some("spiffe://cluster.local/ns/default/sa/client"), None] {
        let answer = tls_get(inbound, certificate).await;
        assert!(answer.is_err(), "a caller with {certificate:?} of another CA got {answer:?}");
    }
    assert_eq!(app.seen.lock().unwrap().len(), count, "no refused request reached the app");
}

/// GET / over TLS with a certificate of a CA of our own, believing whatever the server shows.
async fn tls_get(address: SocketAddr, spiffe_id: Option<&str>) -> Result<String, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)));
    let mut config = match spiffe_id {
        Some(id) => {
            let (chain, key) = foreign_certificate(id);
            builder.with_client_auth_cert(chain, key.into()).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let name = ServerName::try_from("outbound_.8080_._.echo.default.svc.cluster.local").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut tls = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
    tls.write_all(b"GET / HTTP/1.1\r\nhost: echo:8080\r\nconnection: close\r\n\r\n")
        .await
        .map_err(|e| e.to_string())?;
    let mut answer = Vec::new();
    tls.read_to_end(&mut answer).await.map_err(|error| error.to_string())?;
    if answer.is_empty() { Err("closed without an answer".into()) } else { Ok(String::from_utf8_lossy(&answer).into()) }
}

fn foreign_certificate(id: &str) -> (Vec<rustls::pki_types::CertificateDer<'static>>, PrivatePkcs8KeyDer<'static>) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(ca, &ca_key);
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::default();
    leaf.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
    let certificate = leaf.signed_by(&key, &issuer).unwrap();
    (vec![certificate.der().clone(), ca_certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()))
}

#[derive(Debug)]
struct Anyone(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Somebody else of the same mesh answers at the address of echo: the caller must notice by the id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_workload_at_the_address_of_the_endpoint_is_refused() {
    let (mut mesh, _app) = echo_mesh().await;
    let mut client = Client::new(mesh.sidecar("client").outbound, Version::Http1);
    assert_eq!(client.get("http://echo:8080/").await.unwrap().status, 200);
    let inbound = mesh.sidecar("echo-v1").inbound;
    mesh.take_sidecar("echo-v1").kill();
    let token = mesh.token("default/mallory-v1", &[]);
    let mut command = mesh.sidecar_command("mallory-v1", Some(&token));
    // The last of two equal flags counts for nobody: replace it.
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut replaced = std::process::Command::new(command.get_program());
    let mut skip = false;
    for argument in arguments {
        if std::mem::take(&mut skip) {
            replaced.arg(inbound.to_string());
            continue;
        }
        skip = argument == "--inbound";
        replaced.arg(argument);
    }
    replaced.env("WEFT_TOKEN", token);
    command = replaced;
    let _mallory = Process::spawn("mallory's sidecar", &mut command);
    eventually("mallory listens where echo did", || std::net::TcpStream::connect(inbound));
    let refusal = eventually_async("the caller meets mallory, and refuses her by her id", async || {
        let answer = client.get("http://echo:8080/").await?;
        assert_ne!(answer.text(), "mallory", "a request of echo's was answered by mallory");
        // Until mallory's sidecar has its certificate, it is the connection that fails.
        if answer.text().contains("/sa/mallory-v1, expected") { Ok(answer) } else { Err(answer.text().to_owned()) }
    })
    .await;
    assert_eq!(refusal.status, 503);
    let metric = ["istio_requests_total", "response_flags=\"UF", "reporter=\"source\""];
    eventually_async("it is counted as refused with flag UF", async || {
        let refused = mesh.sidecar("client").metric(&metric).await;
        if refused >= 1.0 { Ok(()) } else { Err(mesh.sidecar("client").metrics("istio_requests_total").await) }
    })
    .await;
}

/// A sidecar that may not join ends, with exit code 1 and a sentence that says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_join_is_told_why() {
    let (mut mesh, _app) = echo_mesh().await;
    let used = mesh.token("default/mallory-v1", &[]);
    mesh.start_sidecar("mallory-v1", Some(&used)).await;
    mesh.take_sidecar("mallory-v1").terminate();
    std::fs::remove_dir_all(mesh.path().join("state-mallory-v1")).unwrap();
    let other = Mesh::start(&caller("client"), MeshOptions::default());
    let expired = mesh.token("default/mallory-v1", &["--ttl", "1s"]);
    let made = std::time::Instant::now();
    eventually("the token has expired", || if made.elapsed().as_secs() >= 2 { Ok(()) } else { Err(made.elapsed()) });
    let cases = [
        ("a token for another identity", mesh.token("default/client", &[]), "mallory-v1"),
        ("a used token", used, "used"),
        ("an expired token", expired, "expired"),
        ("a token of another control plane", other.token("default/mallory-v1", &[]), "root"),
        ("no token", String::new(), "token"),
    ];
    for (what, token, word) in cases {
        let token = Some(token.as_str()).filter(|token| !token.is_empty());
        let mut sidecar = Process::spawn(what, &mut mesh.sidecar_command("mallory-v1", token));
        let status =
            eventually(&format!("a sidecar with {what} ends"), || sidecar.exited().ok_or_else(|| sidecar.output()));
        assert_eq!(status.code(), Some(1), "{what}: {}", sidecar.output());
        assert!(sidecar.output().contains(word), "{what}: no word of {word:?} in: {}", sidecar.output());
    }
}
