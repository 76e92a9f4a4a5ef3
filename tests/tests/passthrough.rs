//! What a pod says that is none of the mesh's business, through real redirects and sidecars: TLS of the app's own, and
//! what an app asks of a forward proxy. Needs root (network namespaces); without it the test says that it was skipped.
#![allow(clippy::unwrap_used, unsafe_code)]

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use weft_tests::yaml::STRICT;
use weft_tests::{Namespace, Pods, eventually};

const MESH: &str = "apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: client}
spec: {address: 10.9.0.11, labels: {app: client}, serviceAccount: client}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: db}
spec: {address: 10.9.0.12, labels: {app: db}, serviceAccount: db}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIPs: [10.96.0.12], selector: {app: db}, ports: [{name: any, port: 443, targetPort: 8443}]}
---
";
const NAME: &str = "db.example";
const OTHER_PROXY: &str = "203.0.113.7:3128";

#[test]
fn tls_of_the_apps_own_and_connect_go_through_untouched() {
    // SAFETY: it only reads.
    if unsafe { libc::geteuid() } != 0 {
        let _ = writeln!(std::io::stderr(), "SKIPPED passthrough: network namespaces need root");
        return;
    }
    let mut pods = Pods::new(MESH);
    let (client, db, plain) = (pods.pod("client", &[]), pods.pod("db", &[]), pods.plain("plain"));
    let certificate = serve_tls(&db.namespace);
    let shaken = |from: &Namespace, to: &str| from.wait(async || echoed(to, &certificate).await);
    let own = db.at(8443).to_string();
    for (what, from, to) in [
        ("from outside the mesh", &plain.namespace, own.as_str()),
        ("from a pod of the mesh, by the service", &client.namespace, "10.96.0.12:443"),
        ("from a pod of the mesh, by the address", &client.namespace, own.as_str()),
    ] {
        assert_eq!(shaken(from, to), Ok(()), "{what}");
    }
    pods.write("strict.yaml", STRICT);
    eventually("STRICT: from outside the mesh it is refused", || match shaken(&plain.namespace, &own) {
        Err(_) => Ok(()),
        Ok(()) => Err("let in"),
    });
    assert_eq!(shaken(&client.namespace, "10.96.0.12:443"), Ok(()), "STRICT: inside the mesh's own TLS");

    pods.node.keep(async || forward_proxy().await);
    let tunnelled = client.namespace.wait(async || tunnel().await);
    assert_eq!(tunnelled, "CONNECT db:443 HTTP/1.1", "the app's own proxy is asked, for a name of the mesh too");
}

/// An echo behind TLS with a certificate of its own, which is returned.
fn serve_tls(namespace: &Namespace) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![NAME.to_owned()]).unwrap().self_signed(&key).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    namespace.keep(async move || {
        let listener = TcpListener::bind("[::]:8443").await.unwrap();
        drop(tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let (mut from, mut to) = tokio::io::split(tls);
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        }));
    });
    certificate.der().clone()
}

/// A handshake with the holder of just this certificate, and a word there and back.
async fn echoed(to: &str, certificate: &CertificateDer<'static>) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let talk = async {
        let tcp = TcpStream::connect(to.parse::<SocketAddr>().unwrap()).await?;
        let name = ServerName::try_from(NAME).unwrap();
        let mut tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        tls.write_all(b"ping").await?;
        let mut word = [0; 4];
        tls.read_exact(&mut word).await?;
        assert_eq!(&word, b"ping");
        Ok::<_, std::io::Error>(())
    };
    match tokio::time::timeout(PATIENCE, talk).await {
        Ok(talked) => talked.map_err(|error| error.to_string()),
        Err(_) => Err("no answer".to_owned()),
    }
}

/// Says what it was asked for, inside the tunnel.
async fn forward_proxy() {
    let listener = TcpListener::bind(OTHER_PROXY).await.unwrap();
    drop(tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut head = [0; 1024];
        let read = tcp.read(&mut head).await.unwrap();
        let line = String::from_utf8_lossy(&head[..read]).lines().next().unwrap_or_default().to_owned();
        tcp.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{line}").as_bytes()).await.unwrap();
    }));
}

/// What comes through the tunnel to a name that is a service of the mesh.
async fn tunnel() -> String {
    let mut tcp = TcpStream::connect(OTHER_PROXY).await.unwrap();
    tcp.write_all(b"CONNECT db:443 HTTP/1.1\r\nhost: db:443\r\n\r\n").await.unwrap();
    let mut all = String::new();
    tokio::time::timeout(PATIENCE, tcp.read_to_string(&mut all)).await.expect("it ends").unwrap();
    all.rsplit("\r\n").next().unwrap_or_default().to_owned()
}

const PATIENCE: Duration = Duration::from_secs(10);
