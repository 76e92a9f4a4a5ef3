//! What the API server is told to believe: the roots of our CA, in PEM.
//!
//! Several replicas write it, and one may know of a root before another does; none may take away what another serves
//! with. It writes nothing itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Ours, and of what is there already each root that is younger than all of ours: a replica that is ahead wrote it.
pub(super) fn merged(there: &str, ours: &[Vec<u8>]) -> String {
    let youngest = ours.iter().filter_map(|der| made(der)).max();
    let mut roots = ours.to_vec();
    for der in ders(there) {
        if !roots.contains(&der) && made(&der) > youngest {
            roots.push(der);
        }
    }
    roots.iter().map(|der| pem(der)).collect()
}

pub(super) fn holds(bundle: &str, root: &[u8]) -> bool {
    ders(bundle).iter().any(|der| der == root)
}

/// As the API server hands it out: base64 around PEM. Empty where it is none.
pub(super) fn decoded(field: &str) -> String {
    STANDARD.decode(field).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

pub(super) fn encoded(bundle: &str) -> String {
    STANDARD.encode(bundle)
}

fn ders(bundle: &str) -> Vec<Vec<u8>> {
    CertificateDer::pem_slice_iter(bundle.as_bytes()).filter_map(|der| Some(der.ok()?.to_vec())).collect()
}

/// `None` for what is no certificate: it is older than any.
fn made(der: &[u8]) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    Some(certificate.validity().not_before.timestamp())
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};
    use time::OffsetDateTime;

    fn root(year: i32) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(year, 1, 1);
        params.not_after = OffsetDateTime::now_utc();
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("signed").der().to_vec()
    }

    #[test]
    fn a_bundle_keeps_what_younger_replicas_wrote_and_drops_what_is_over() {
        let (old, present, next) = (root(2019), root(2020), root(2021));
        let bundle = |roots: &[&Vec<u8>]| roots.iter().map(|der| pem(der)).collect::<String>();
        type Roots<'a> = &'a [&'a Vec<u8>];
        let cases: &[(&str, String, Roots<'_>, Roots<'_>)] = &[
            ("empty", String::new(), &[&present], &[&present]),
            ("nonsense", "x".to_owned(), &[&present], &[&present]),
            ("the same", bundle(&[&present]), &[&present], &[&present]),
            ("we are ahead", bundle(&[&present]), &[&present, &next], &[&present, &next]),
            ("we are behind", bundle(&[&present, &next]), &[&present], &[&present, &next]),
            ("the old one is over", bundle(&[&old, &present]), &[&present], &[&present]),
            ("another mesh was here", bundle(&[&old]), &[&present], &[&present]),
        ];
        for (what, there, ours, want) in cases {
            let ours: Vec<Vec<u8>> = ours.iter().map(|der| (*der).clone()).collect();
            let got = merged(there, &ours);
            assert_eq!(got, bundle(want), "{what}");
            for root in *want {
                assert!(holds(&decoded(&encoded(&got)), root), "{what}");
            }
        }
        assert!(!holds(&bundle(&[&old]), &present));
    }
}
