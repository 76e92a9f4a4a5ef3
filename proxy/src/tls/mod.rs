//! TLS between sidecars: 1.3 only, both sides verified, the peer's SPIFFE id and labels read once per connection.
//!
//! It does not know where an identity comes from (`control` replaces it in the cell) and opens no connection itself.

mod identity;
mod peer;
mod verify;

pub use identity::{Identity, IdentityCell, IdentityError, Material};
pub use peer::{Peer, PeerError};

use std::sync::Arc;

/// What two sidecars agreed to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alpn {
    H2,
    Http1,
    /// Opaque bytes.
    Tcp,
}

impl Alpn {
    pub const ALL: [Self; 3] = [Self::H2, Self::Http1, Self::Tcp];

    pub fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::H2 => b"h2",
            Self::Http1 => b"http/1.1",
            Self::Tcp => b"weft-tcp",
        }
    }

    pub fn from_bytes(protocol: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|alpn| alpn.as_bytes() == protocol)
    }
}

/// The one cryptography of the proxy; always passed on, never installed for the whole process.
pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
