//! The server name in a TLS client's first message, read without taking part in the handshake.
//!
//! rustls parses it; nothing here knows its form.

use rustls::server::Acceptor;

/// As far as the bytes that have come say it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hello {
    /// It goes on.
    Unfinished,
    /// `None`: it names no host.
    Names(Option<String>),
    /// Not TLS as anybody speaks it.
    Invalid,
}

pub(super) fn hello(prefix: &[u8]) -> Hello {
    let mut acceptor = Acceptor::default();
    let mut rest = prefix;
    while !rest.is_empty() {
        if acceptor.read_tls(&mut rest).is_err() {
            return Hello::Invalid;
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                return Hello::Names(accepted.client_hello().server_name().map(str::to_ascii_lowercase));
            }
            Err(_) => return Hello::Invalid,
        }
    }
    Hello::Unfinished
}

/// A ClientHello of one record; larger ones do not exist outside of tests.
pub(super) const HELLO_BYTES_MAX: usize = 16 * 1024 + 5;

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};
    use rustls_pki_types::ServerName;
    use std::sync::Arc;

    fn client_hello(name: &str) -> Vec<u8> {
        let config = ClientConfig::builder_with_provider(crate::tls::provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).expect("written");
        bytes
    }

    #[test]
    fn names() {
        let named = client_hello("API.example.com");
        let mut with_more = named.clone();
        with_more.extend(b"more");
        let cases = [
            ("a whole one", &named[..], Hello::Names(Some("api.example.com".to_owned()))),
            ("bytes behind it", &with_more, Hello::Names(Some("api.example.com".to_owned()))),
            ("an address has no name", &client_hello("10.0.0.1"), Hello::Names(None)),
            ("its first byte", &named[..1], Hello::Unfinished),
            ("all but its last byte", &named[..named.len() - 1], Hello::Unfinished),
            ("nothing", b"", Hello::Unfinished),
            ("another handshake message", b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", Hello::Invalid),
        ];
        for (case, bytes, want) in cases {
            assert_eq!(hello(bytes), want, "{case}");
        }
    }
}
