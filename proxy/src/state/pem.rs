//! Keys and certificates as PEM, which openssl reads too.
//!
//! It knows the frame only: what is inside is DER, read elsewhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;

pub(super) fn encode(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

/// All objects of one kind, in their order.
pub(super) fn decode<T: PemObject>(pem: &[u8], what: &str) -> Result<Vec<T>, String> {
    T::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| format!("a {what} in it cannot be read: {error}"))
}

pub(super) fn private_key(pem: &[u8]) -> Result<PrivatePkcs8KeyDer<'static>, String> {
    decode(pem, "private key")?.pop().ok_or_else(|| "there is no private key in it".to_owned())
}

/// RFC 7468.
const LINE: usize = 64;
