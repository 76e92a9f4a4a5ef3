//! The headers by which proxies tell each other who called and how: `x-request-id`, `x-forwarded-*`.
//!
//! As Istio's sidecars do: a sidecar leaves `x-forwarded-for` as it is (the address of its own app says nothing), the
//! edge (`--listen`) appends the client's; `x-forwarded-client-cert` is never taken from an app or from plain text,
//! and the inbound side appends what it verified.

use crate::connection::Connection;
use crate::headers::{FORWARDED_CLIENT_CERT, FORWARDED_FOR, FORWARDED_PROTO, Marks, Presence, Scheme};
use crate::origin::Origin;
use crate::record::Side;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::fmt::Write;
use weft_snapshot::SpiffeId;

/// What the next hop is told of this one.
pub fn stamp(headers: &mut HeaderMap, marks: Marks, connection: &Connection, scheme: Scheme) {
    let scheme = HeaderValue::from_static(scheme.as_str());
    match marks.forwarded_proto {
        Presence::Absent => drop(headers.insert(FORWARDED_PROTO, scheme)),
        Presence::Seen => {
            headers.entry(FORWARDED_PROTO).or_insert(scheme);
        }
    }
    match (connection.side, &connection.certificate_note) {
        (Side::Inbound, Some(note)) => append(headers, FORWARDED_CLIENT_CERT, note.as_bytes()),
        (Side::Inbound, None) | (Side::Outbound, _) if marks.forwarded_client_cert == Presence::Seen => {
            headers.remove(FORWARDED_CLIENT_CERT);
        }
        (Side::Inbound, None) | (Side::Outbound, _) => {}
    }
    if matches!(connection.origin, Origin::Host) {
        append(headers, FORWARDED_FOR, connection.peer.remote.ip().to_string().as_bytes());
    }
}

/// To the end of the list that the header is; several lines become one.
fn append(headers: &mut HeaderMap, name: HeaderName, element: &[u8]) {
    let mut list = Vec::with_capacity(element.len());
    for value in headers.get_all(&name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b",");
    }
    list.extend_from_slice(element);
    // Both parts were header values before.
    if let Ok(value) = HeaderValue::from_bytes(&list) {
        headers.insert(name, value);
    }
}

/// One element of `x-forwarded-client-cert`, made once per connection.
pub fn certificate_note(own: &SpiffeId, peer: &SpiffeId, certificate: &[u8]) -> Option<HeaderValue> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    let mut note = format!("By={own};Hash=");
    for byte in digest.as_ref() {
        // Writing to a String does not fail.
        let _ = write!(note, "{byte:02x}");
    }
    let _ = write!(note, ";Subject=\"\";URI={peer}");
    HeaderValue::try_from(note).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_grow_at_their_end() {
        let mut headers = HeaderMap::new();
        append(&mut headers, FORWARDED_FOR, b"10.0.0.1");
        assert_eq!(headers[FORWARDED_FOR], "10.0.0.1");
        headers.append(FORWARDED_FOR, HeaderValue::from_static("10.0.0.2"));
        append(&mut headers, FORWARDED_FOR, b"10.0.0.3");
        let all: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
        assert_eq!(all, ["10.0.0.1,10.0.0.2,10.0.0.3"]);
    }

    #[test]
    fn certificates_are_noted_as_envoy_does() {
        let id = |account| SpiffeId::new("cluster.local", "default", account).expect("valid");
        let note = certificate_note(&id("reviews"), &id("productpage"), b"abc").expect("valid");
        assert_eq!(
            note,
            "By=spiffe://cluster.local/ns/default/sa/reviews;\
             Hash=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad;\
             Subject=\"\";URI=spiffe://cluster.local/ns/default/sa/productpage"
        );
    }
}
