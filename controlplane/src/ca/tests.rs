//! The authority with real keys and certificates, with time passed in.
#![allow(clippy::unwrap_used)]

use super::*;
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use weft_snapshot::{Labels, SpiffeId, svid};

const NOW: Seconds = 1_800_000_000;

fn folder() -> (tempfile::TempDir, StateFolder) {
    let scratch = tempfile::tempdir().unwrap();
    let folder = StateFolder::open(&scratch.path().join("state")).unwrap();
    (scratch, folder)
}

fn options() -> AuthorityOptions {
    AuthorityOptions { svid_life: Duration::from_secs(20), ..AuthorityOptions::default() }
}

fn csr() -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    CertificateParams::new(["evil.example".to_owned()]).unwrap().serialize_request(&key).unwrap().der().to_vec()
}

fn svid_from(issuing: &Issuing, now: Seconds) -> Vec<Vec<u8>> {
    let identity: SpiffeId = "spiffe://cluster.local/ns/default/sa/reviews".parse().unwrap();
    let labels = Labels { workload: "reviews-v1".to_owned(), ..Labels::default() };
    issuing.svid(&SvidRequest { csr: &csr(), identity: &identity, labels: &labels, pod: None }, now).unwrap().chain
}

/// Verifies as a peer would: a client certificate that leads to one of these roots.
fn verify(chain: &[Vec<u8>], roots: &[Vec<u8>], now: Seconds) -> Result<(), webpki::Error> {
    let ders: Vec<CertificateDer<'_>> = chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let roots: Vec<CertificateDer<'_>> = roots.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let anchors: Vec<TrustAnchor<'_>> = roots.iter().map(|der| anchor_from_trusted_cert(der).unwrap()).collect();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(now));
    let leaf = EndEntityCert::try_from(&ders[0]).unwrap();
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &ders[1..], at, KeyUsage::client_auth(), None, None)
        .map(|_| ())
}

#[test]
fn an_svid_carries_identity_and_labels_from_our_records_only() {
    let (_scratch, folder) = folder();
    let authority = Authority::open(&folder, options(), NOW).unwrap();
    let chain = svid_from(&authority.issuing(), NOW);
    verify(&chain, &authority.issuing().trust().roots, NOW).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
    let names = &parsed.subject_alternative_name().unwrap().unwrap().value.general_names;
    let [x509_parser::extensions::GeneralName::URI(uri)] = names[..] else { panic!("{names:?}") };
    assert_eq!(uri, "spiffe://cluster.local/ns/default/sa/reviews");
    let oid = svid::labels_oid_der();
    let extension = parsed.extensions().iter().find(|e| e.oid.as_bytes() == &oid[..]).unwrap();
    assert_eq!(svid::decode_labels(extension.value).unwrap().workload, "reviews-v1");
    assert!(!extension.critical);
    let validity = parsed.validity();
    assert_eq!(validity.not_before.timestamp(), NOW as i64 - 2, "backdated by a tenth of its life");
    assert_eq!(validity.not_after.timestamp(), NOW as i64 + 20);
}

#[test]
fn a_request_whose_signature_is_wrong_is_refused() {
    let mut csr = csr();
    *csr.last_mut().unwrap() ^= 1;
    assert!(matches!(Issuing::requested_key(&csr), Err(CaError::Request(_))));
    assert!(matches!(Issuing::requested_key(b"no request"), Err(CaError::Request(_))));
    assert!(matches!(Issuing::requested_key(&[0; 100_000]), Err(CaError::Request(_))));
}

#[test]
fn a_restart_finds_the_same_keys() {
    let (_scratch, folder) = folder();
    let first = Authority::open(&folder, options(), NOW).unwrap();
    let again = Authority::open(&folder, options(), NOW + 5).unwrap();
    assert_eq!(first.issuing().trust(), again.issuing().trust());
    assert_eq!(first.refresh(NOW + 5).unwrap(), Refreshed::Same);
}

#[test]
fn while_the_root_changes_every_svid_can_be_verified() {
    let (_scratch, folder) = folder();
    let authority = Authority::open(&folder, options(), NOW).unwrap();
    let old_trust = authority.issuing().trust().clone();
    let old_svid = svid_from(&authority.issuing(), NOW + 9);
    let signs_from = rotate(&folder, NOW + 10).unwrap();
    assert_eq!(signs_from, NOW + 30);
    assert_eq!(authority.refresh(NOW + 10).unwrap(), Refreshed::Changed);
    assert_eq!(authority.refresh(NOW + 11).unwrap(), Refreshed::Same);
    let both = authority.issuing().trust().clone();
    assert_eq!((both.roots.len(), both.signers.len()), (2, 2));
    // Told, not yet used: proxies that have not heard of it verify everything.
    verify(&svid_from(&authority.issuing(), NOW + 11), &old_trust.roots, NOW + 11).unwrap();
    assert_eq!(authority.refresh(signs_from).unwrap(), Refreshed::Changed);
    let new_svid = svid_from(&authority.issuing(), signs_from);
    assert!(verify(&new_svid, &old_trust.roots, signs_from).is_err());
    verify(&new_svid, &both.roots, signs_from).unwrap();
    verify(&old_svid, &authority.issuing().trust().roots, NOW + 28).unwrap();
    assert_eq!(authority.refresh(signs_from + 22).unwrap(), Refreshed::Changed);
    assert_eq!(authority.issuing().trust().roots, both.roots[1..]);
}

#[test]
fn a_root_that_nears_its_end_is_replaced_by_itself() {
    let (_scratch, folder) = folder();
    let options = AuthorityOptions { root_life: Duration::from_secs(1000), ..options() };
    let authority = Authority::open(&folder, options, NOW).unwrap();
    assert_eq!(authority.refresh(NOW + 799).unwrap(), Refreshed::Same);
    assert_eq!(authority.refresh(NOW + 801).unwrap(), Refreshed::Changed);
    assert_eq!(authority.issuing().trust().roots.len(), 2);
    assert_eq!(authority.refresh(NOW + 802).unwrap(), Refreshed::Same);
}

mod given {
    use super::*;
    use rcgen::{BasicConstraints, CertifiedIssuer, IsCa, KeyUsagePurpose};
    use std::fs;
    use std::path::Path;

    fn ca(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
    }

    /// root.pem, ca.pem, ca.key, and other.key that belongs to nothing.
    fn write(dir: &Path) -> GivenCa {
        let root = CertifiedIssuer::self_signed(ca("the root"), KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let intermediate = ca("the intermediate").signed_by(&key, &root).unwrap();
        fs::write(dir.join("root.pem"), root.pem()).unwrap();
        fs::write(dir.join("ca.pem"), intermediate.pem()).unwrap();
        fs::write(dir.join("ca.key"), key.serialize_pem()).unwrap();
        fs::write(dir.join("other.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
        GivenCa { certificate: dir.join("ca.pem"), key: dir.join("ca.key"), root: Some(dir.join("root.pem")) }
    }

    #[test]
    fn an_intermediate_signs_and_its_root_is_believed() {
        let (scratch, folder) = folder();
        let options = AuthorityOptions { given: Some(write(scratch.path())), ..options() };
        let authority = Authority::open(&folder, options.clone(), NOW).unwrap();
        let issuing = authority.issuing();
        let chain = svid_from(&issuing, NOW);
        assert_eq!(chain.len(), 2, "the intermediate goes along, the root does not");
        verify(&chain, &issuing.trust().roots, NOW).unwrap();
        let serving = issuing.serving(NOW).unwrap();
        assert_eq!((serving.chain.len(), serving.chain.last()), (3, issuing.trust().roots.first()));
        assert!(matches!(rotate(&folder, NOW), Err(CaError::NotOurs)));
    }

    #[test]
    fn a_ca_given_later_overlaps_with_our_own() {
        let (scratch, folder) = folder();
        Authority::open(&folder, options(), NOW).unwrap();
        let options = AuthorityOptions { given: Some(write(scratch.path())), ..options() };
        let authority = Authority::open(&folder, options.clone(), NOW + 1).unwrap();
        assert_eq!(authority.issuing().trust().roots.len(), 2);
        assert_eq!(svid_from(&authority.issuing(), NOW + 1).len(), 1, "our own root still signs");
        authority.refresh(NOW + 21).unwrap();
        assert_eq!(svid_from(&authority.issuing(), NOW + 21).len(), 2);
        Authority::open(&folder, options, NOW + 22).unwrap();
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let (scratch, folder) = folder();
        let dir = scratch.path();
        let good = write(dir);
        let cases = [
            ("key", GivenCa { key: dir.join("other.key"), ..good.clone() }, "it is not the key of"),
            ("no root", GivenCa { root: None, ..good.clone() }, "is no root"),
            ("missing file", GivenCa { key: dir.join("absent"), ..good.clone() }, "No such file"),
            ("no certificate", GivenCa { certificate: dir.join("ca.key"), root: None, ..good }, "no certificate"),
        ];
        for (row, given, want) in cases {
            let refused = Authority::open(&folder, AuthorityOptions { given: Some(given), ..options() }, NOW);
            let text = refused.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(text.contains(want), "{row}: {text}");
        }
    }
}
