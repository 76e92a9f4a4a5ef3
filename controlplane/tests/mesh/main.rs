//! The control plane from outside: real folders, sockets and TLS; the sidecars are played by real gRPC clients.
#![allow(clippy::unwrap_used)]

mod difference;
mod filters;
mod fleet;
mod join;
mod replicas;
mod stream;
mod support;
