//! What one proxy is told: values only.
//!
//! Everything that a sidecar needs to serve traffic is a [`Snapshot`]: a set of named resources.
//! This crate does not know how a snapshot is made (weft-config), carried (weft-wire) or served
//! (weft-proxy), and it imports nothing but the standard library.

mod backend;
mod filter;
mod name;
mod route;
mod service;
mod snapshot;
pub mod svid;
mod workload;

pub use backend::{Backend, Dial, Endpoint, LoadBalancer, PeerTls, PoolLimits, Upgrade};
pub use filter::{FailurePolicy, Filter, FilterKey, Isolation, NonUtf8};
pub use name::{BackendName, Digest, Host, InvalidName, SpiffeId, WorkloadName};
pub use route::{
    Action, Destination, Direct, Forward, HeaderOps, Headers, Match, Redirect, RedirectPath, RedirectPort, RetryOn,
    RetryPolicy, Rewrite, RewritePath, Rule, StringMatch,
};
pub use service::{Answer, Protocol, Service, ServicePort};
pub use snapshot::{Key, Resource, Snapshot, Update};
pub use workload::{
    Inbound, InboundPort, InboundService, Labels, MtlsMode, OtherPorts, OutboundPolicy, Trust, Workload,
};
