//! Whether a certificate chain may be believed: signed by a root of the mesh, in its time, with the right SPIFFE id.
//!
//! Names are SPIFFE ids; the DNS names of a certificate play no part.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use std::sync::Arc;
use webpki::{EndEntityCert, KeyUsage};
use weft_snapshot::SpiffeId;

/// Whom this proxy believes; shared by all verifiers of one identity.
#[derive(Debug)]
pub(super) struct Roots {
    pub(super) anchors: Vec<TrustAnchor<'static>>,
    pub(super) trust_domain: String,
    pub(super) provider: Arc<CryptoProvider>,
}

impl Roots {
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<SpiffeId, Error> {
        let certificate = EndEntityCert::try_from(leaf).map_err(|_| Error::from(CertificateError::BadEncoding))?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        certificate
            .verify_for_usage(algorithms, &self.anchors, intermediates, now, usage, None, None)
            .map_err(certificate_error)?;
        let id = spiffe_id(&certificate).ok_or(CertificateError::ApplicationVerificationFailure)?;
        if id.trust_domain() != self.trust_domain {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(id)
    }

    fn verify_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }
}

/// The one URI name of the certificate: SPIFFE allows exactly one.
fn spiffe_id(certificate: &EndEntityCert<'_>) -> Option<SpiffeId> {
    let mut names = certificate.valid_uri_names();
    let id = names.next()?.parse().ok()?;
    names.next().is_none().then_some(id)
}

fn certificate_error(error: webpki::Error) -> Error {
    match error {
        webpki::Error::CertExpired { .. } => CertificateError::Expired.into(),
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet.into(),
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer.into(),
        webpki::Error::InvalidSignatureForPublicKey => CertificateError::BadSignature.into(),
        other => Error::General(format!("the peer's certificate is not acceptable: {other}")),
    }
}

/// TLS 1.2 is not compiled into any configuration of the proxy; its signatures are refused all the same.
fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
}

/// For the inbound side: any workload of the trust domain, always with a certificate.
#[derive(Debug)]
pub(super) struct AnyOfTheMesh(pub(super) Arc<Roots>);

impl ClientCertVerifier for AnyOfTheMesh {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.verify(leaf, intermediates, now, KeyUsage::client_auth())?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// For the outbound side: the id of the endpoint that is dialled, and no other.
#[derive(Debug)]
pub(super) struct Exactly {
    pub(super) roots: Arc<Roots>,
    pub(super) identity: SpiffeId,
}

impl ServerCertVerifier for Exactly {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _sni: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let id = self.roots.verify(leaf, intermediates, now, KeyUsage::server_auth())?;
        if id != self.identity {
            return Err(Error::General(format!("the peer is {id}, expected {}", self.identity)));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.roots.verify_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.roots.provider.signature_verification_algorithms.supported_schemes()
    }
}
