//! One connection to another replica: both show the control plane's own certificate.
//!
//! It does not know what is said over it.

use crate::ca::{CaError, Issuing, seconds};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use weft_snapshot::SpiffeId;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the replica at {address} cannot be reached: {reason}")]
    Unreachable { address: SocketAddr, reason: String },
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error("the replica at {address} did not answer within {CONNECT_MAX:?}")]
    Slow { address: SocketAddr },
}

pub(super) async fn connect(address: SocketAddr, issuing: &Issuing) -> Result<Channel, ConnectError> {
    let unreachable =
        |reason: &dyn std::fmt::Display| ConnectError::Unreachable { address, reason: reason.to_string() };
    let config = config(issuing)?.map_err(|error| unreachable(&error))?;
    let open = async {
        let tcp = TcpStream::connect(address).await.map_err(|error| unreachable(&error))?;
        let name = ServerName::IpAddress(address.ip().into());
        let stream = TlsConnector::from(config).connect(name, tcp).await.map_err(|error| unreachable(&error))?;
        let endpoint = Endpoint::from_static("http://weft-controlplane")
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE);
        endpoint.connect_with_connector(Once(Some(stream))).await.map_err(|error| unreachable(&error))
    };
    tokio::time::timeout(CONNECT_MAX, open).await.map_err(|_| ConnectError::Slow { address })?
}

fn config(issuing: &Issuing) -> Result<Result<Arc<ClientConfig>, Error>, CaError> {
    let own = issuing.serving(seconds(SystemTime::now()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = issuing.trust().roots.iter().map(|root| CertificateDer::from(root.clone())).collect();
    let verifier = Replica { provider: Arc::clone(&provider), roots, identity: issuing.control_plane()? };
    let chain = own.chain.into_iter().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.key));
    let built = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_client_auth_cert(chain, key)
        });
    Ok(built.map(|mut config| {
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }))
}

/// Believes a root of the mesh and the control plane's own id; addresses say nothing.
#[derive(Debug)]
struct Replica {
    provider: Arc<CryptoProvider>,
    roots: Vec<CertificateDer<'static>>,
    identity: SpiffeId,
}

impl ServerCertVerifier for Replica {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let bad = |_| Error::from(CertificateError::BadEncoding);
        let anchors = self.roots.iter().map(anchor_from_trusted_cert).collect::<Result<Vec<_>, _>>().map_err(bad)?;
        let certificate = EndEntityCert::try_from(leaf).map_err(bad)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        certificate
            .verify_for_usage(algorithms, &anchors, intermediates, now, KeyUsage::server_auth(), None, None)
            .map_err(|error| Error::General(format!("its certificate is not acceptable: {error}")))?;
        let mut names = certificate.valid_uri_names();
        match (names.next(), names.next()) {
            (Some(name), None) if name == self.identity.as_str() => Ok(ServerCertVerified::assertion()),
            (name, _) => {
                let found = name.unwrap_or("nobody");
                Err(Error::General(format!("it is {found}, expected {}", self.identity)))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Hands out the one connection.
struct Once(Option<TlsStream<TcpStream>>);

impl tower_service::Service<http::Uri> for Once {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Ready<Result<Self::Response, io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        ready(self.0.take().map(TokioIo::new).ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }
}

const CONNECT_MAX: Duration = Duration::from_secs(5);
/// A replica that died is noticed within twice this.
const KEEPALIVE: Duration = Duration::from_secs(5);
