//! A CA for tests: roots, and identities good and bad.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use std::time::{Duration, SystemTime};
use weft_proxy::tls::Identity;
use weft_snapshot::{Labels, SpiffeId, svid};

pub const TRUST_DOMAIN: &str = "cluster.local";

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub root: CertificateDer<'static>,
}

pub fn id(account: &str) -> SpiffeId {
    SpiffeId::new(TRUST_DOMAIN, "default", account).unwrap()
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), root }
    }

    /// `default/ACCOUNT`, good for an hour, with the account as its workload's name.
    pub fn identity(&self, account: &str) -> Identity {
        self.identity_until(&id(account), SystemTime::now() + Duration::from_secs(3600))
    }

    pub fn identity_until(&self, id: &SpiffeId, expires: SystemTime) -> Identity {
        let labels = Labels {
            workload: id.service_account().to_owned(),
            namespace: id.namespace().to_owned(),
            ..Labels::default()
        };
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![SanType::URI(id.as_str().try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = (SystemTime::now() - Duration::from_secs(7200)).into();
        params.not_after = expires.into();
        params.custom_extensions =
            vec![CustomExtension::from_oid_content(svid::LABELS_OID, svid::encode_labels(&labels))];
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            id: id.clone(),
            chain: vec![leaf.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
            trust_domain: TRUST_DOMAIN.to_owned(),
            roots: vec![self.root.clone()],
        }
    }
}
