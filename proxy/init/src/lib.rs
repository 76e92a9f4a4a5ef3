//! Puts a pod's TCP connections into the hands of its sidecar: nf_tables rules over netlink, and the proof that they
//! work.
//!
//! Modules are listed in the order in which a run meets them. It calls no other program, and knows neither Kubernetes
//! nor the proxy.

pub mod address;
pub mod capture;
pub mod kernel;
pub mod nftables;
pub mod proof;
pub mod rules;
pub mod wire;

pub use capture::{Capture, Cidr, Interface, Wanted};
