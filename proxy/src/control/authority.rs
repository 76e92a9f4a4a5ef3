//! Which control plane to believe at first contact: the one whose chain ends in a root that the proxy was given.
//!
//! After joining the roots are pinned, and `tls` verifies the control plane like any peer.

use super::first::Introduction;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use weft_snapshot::{InvalidName, SpiffeId};

/// The id that a control plane must show.
pub fn controlplane_id(trust_domain: &str) -> Result<SpiffeId, InvalidName> {
    SpiffeId::new(trust_domain, NAMESPACE, SERVICE_ACCOUNT)
}

/// For joining: no certificate of our own yet.
pub(super) fn join_config(
    provider: Arc<CryptoProvider>,
    introduction: &Introduction,
    controlplane: SpiffeId,
) -> Result<Arc<ClientConfig>, Error> {
    let verifier = ByRootDigest {
        provider: Arc::clone(&provider),
        roots: introduction.roots.clone(),
        roots_from: introduction.roots_from.clone(),
        controlplane,
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct ByRootDigest {
    provider: Arc<CryptoProvider>,
    roots: Vec<[u8; 32]>,
    roots_from: String,
    controlplane: SpiffeId,
}

impl ByRootDigest {
    fn named<'a>(&self, chain: &'a [CertificateDer<'a>]) -> Option<&'a CertificateDer<'a>> {
        chain.iter().find(|certificate| self.roots.contains(&Sha256::digest(certificate).into()))
    }
}

impl ServerCertVerifier for ByRootDigest {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _sni: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let root = self.named(intermediates).ok_or_else(|| {
            let from = &self.roots_from;
            Error::General(format!("it does not have a root that {from} names; {from} is another mesh's"))
        })?;
        let anchor = anchor_from_trusted_cert(root).map_err(|_| Error::from(CertificateError::BadEncoding))?;
        let certificate = EndEntityCert::try_from(leaf).map_err(|_| Error::from(CertificateError::BadEncoding))?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        let usage = KeyUsage::server_auth();
        certificate
            .verify_for_usage(algorithms, &[anchor], intermediates, now, usage, None, None)
            .map_err(|error| Error::General(format!("its certificate is not acceptable: {error}")))?;
        let mut names = certificate.valid_uri_names();
        match (names.next(), names.next()) {
            (Some(name), None) if name == self.controlplane.as_str() => Ok(ServerCertVerified::assertion()),
            (name, _) => {
                let found = name.unwrap_or("nobody");
                Err(Error::General(format!("it is {found}, expected {}", self.controlplane)))
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

const NAMESPACE: &str = "weft-system";
const SERVICE_ACCOUNT: &str = "weft-controlplane";
