//! Real filters in the proxy: the standard ones and a hostile one, built from their source, as chains and through
//! sockets.
#![allow(clippy::unwrap_used, clippy::disallowed_types, unreachable_pub)]

mod chain;
mod components;
mod mesh;
mod sockets;
