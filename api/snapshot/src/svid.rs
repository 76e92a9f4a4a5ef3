//! What an SVID says beyond its SPIFFE id, in non-critical X.509 extensions: the labels of its workload, and on
//! Kubernetes the pod for which it was written.
//!
//! The control plane writes both; a proxy reads the labels of its peer, the control plane the pod of who calls it.
//! Certificates themselves are not known here.

use crate::{Labels, WorkloadName};

/// The extension's object identifier, as arcs. Under 2.25 anyone may number without asking.
pub const LABELS_OID: &[u64] = &[2, 25, 4_123_377_562_190_418_273];

/// Of the extension that names the pod.
pub const POD_OID: &[u64] = &[2, 25, 4_123_377_562_190_418_274];

/// [`LABELS_OID`] as the content bytes of a DER OBJECT IDENTIFIER.
pub fn labels_oid_der() -> Vec<u8> {
    oid_der(LABELS_OID)
}

/// [`POD_OID`] as the content bytes of a DER OBJECT IDENTIFIER.
pub fn pod_oid_der() -> Vec<u8> {
    oid_der(POD_OID)
}

fn oid_der(arcs: &[u64]) -> Vec<u8> {
    let mut der = vec![(arcs[0] * 40 + arcs[1]) as u8];
    for arc in &arcs[2..] {
        let digits = (64 - arc.leading_zeros()).max(1).div_ceil(7);
        der.extend((0..digits).rev().map(|i| (arc >> (7 * i)) as u8 & 0x7f | if i == 0 { 0 } else { 0x80 }));
    }
    der
}

/// The extension's value: a DER SEQUENCE of seven UTF8String, in the order of the fields of [`Labels`].
/// A label is cut at 255 bytes, so that a certificate stays small.
pub fn encode_labels(labels: &Labels) -> Vec<u8> {
    let mut content = Vec::new();
    for label in fields(labels) {
        let mut end = label.len().min(LABEL_BYTES_MAX);
        while !label.is_char_boundary(end) {
            end -= 1;
        }
        element(&mut content, UTF8_STRING, &label.as_bytes()[..end]);
    }
    let mut der = Vec::new();
    element(&mut der, SEQUENCE, &content);
    der
}

/// `None` where the bytes are not what [`encode_labels`] writes; more strings than seven are ignored, so that a later
/// version may append some.
pub fn decode_labels(der: &[u8]) -> Option<Labels> {
    let (content, rest) = take(der, SEQUENCE)?;
    if !rest.is_empty() {
        return None;
    }
    let mut rest = content;
    let mut next = || {
        let (bytes, after) = take(rest, UTF8_STRING)?;
        rest = after;
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    };
    Some(Labels {
        workload: next()?,
        namespace: next()?,
        canonical_service: next()?,
        canonical_revision: next()?,
        app: next()?,
        version: next()?,
        cluster: next()?,
    })
}

/// The one pod for which an SVID was written: another one of the same name is another pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub name: WorkloadName,
    /// As Kubernetes gives it.
    pub uid: String,
}

/// The extension's value: a DER SEQUENCE of two UTF8String, `NAMESPACE/NAME` and the uid.
pub fn encode_pod(pod: &Pod) -> Vec<u8> {
    let mut content = Vec::new();
    element(&mut content, UTF8_STRING, pod.name.to_string().as_bytes());
    element(&mut content, UTF8_STRING, pod.uid.as_bytes());
    let mut der = Vec::new();
    element(&mut der, SEQUENCE, &content);
    der
}

/// `None` where the bytes are not what [`encode_pod`] writes.
pub fn decode_pod(der: &[u8]) -> Option<Pod> {
    let (content, []) = take(der, SEQUENCE)? else { return None };
    let (name, rest) = take(content, UTF8_STRING)?;
    let (uid, []) = take(rest, UTF8_STRING)? else { return None };
    let text = |bytes| std::str::from_utf8(bytes).ok();
    Some(Pod { name: text(name)?.parse().ok()?, uid: text(uid)?.to_owned() })
}

fn fields(labels: &Labels) -> [&str; 7] {
    let Labels { workload, namespace, canonical_service, canonical_revision, app, version, cluster } = labels;
    [workload, namespace, canonical_service, canonical_revision, app, version, cluster]
}

/// Appends one DER element of less than 64 KiB.
fn element(der: &mut Vec<u8>, tag: u8, content: &[u8]) {
    der.push(tag);
    match content.len() {
        short @ 0..=0x7f => der.push(short as u8),
        byte @ 0x80..=0xff => der.extend([0x81, byte as u8]),
        long => der.extend([0x82, (long >> 8) as u8, long as u8]),
    }
    der.extend(content);
}

/// The content of the first element, and what follows it.
fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => {
            let (bytes, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*bytes)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

const LABEL_BYTES_MAX: usize = 255;
const SEQUENCE: u8 = 0x30;
const UTF8_STRING: u8 = 0x0c;

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(workload: &str) -> Labels {
        Labels { workload: workload.to_owned(), namespace: "default".to_owned(), ..Labels::default() }
    }

    #[test]
    fn labels_round_trip() {
        for workload in ["reviews-v1", "", "größe", &"x".repeat(255)] {
            let labels = labels(workload);
            assert_eq!(decode_labels(&encode_labels(&labels)), Some(labels), "workload {workload:?}");
        }
    }

    #[test]
    fn a_long_label_is_cut_between_characters() {
        let read = decode_labels(&encode_labels(&labels(&"ö".repeat(200)))).map(|l| l.workload);
        assert_eq!(read, Some("ö".repeat(127)));
    }

    #[test]
    fn broken_bytes_are_none() {
        let good = encode_labels(&labels("reviews"));
        for cut in 0..good.len() {
            assert_eq!(decode_labels(&good[..cut]), None, "cut at {cut}");
        }
        assert_eq!(decode_labels(&[good.as_slice(), &[0]].concat()), None);
    }

    #[test]
    fn a_pod_round_trips_and_broken_bytes_are_none() {
        let name = format!("{}/{}", "n".repeat(63), "p".repeat(200));
        let pod = Pod { name: name.parse().expect("a name"), uid: "5d0a".to_owned() };
        let good = encode_pod(&pod);
        assert_eq!(decode_pod(&good), Some(pod));
        for cut in 0..good.len() {
            assert_eq!(decode_pod(&good[..cut]), None, "cut at {cut}");
        }
        assert_eq!(decode_pod(&[good.as_slice(), &[0]].concat()), None);
    }

    #[test]
    fn the_object_identifiers_read_back() {
        for (der, arcs) in [(labels_oid_der(), LABELS_OID), (pod_oid_der(), POD_OID)] {
            assert_eq!(der[0], 105);
            let read = der[1..].iter().fold(0u64, |n, b| n << 7 | u64::from(b & 0x7f));
            assert_eq!(read, arcs[2]);
            assert!(der[1..der.len() - 1].iter().all(|b| b & 0x80 != 0) && der[der.len() - 1] & 0x80 == 0);
            assert_ne!(der[1], 0x80, "no leading zero digit");
        }
    }
}
