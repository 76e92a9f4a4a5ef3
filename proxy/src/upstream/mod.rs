//! Where requests go: backends and endpoints as one worker sees them, their pooled connections, and when a try is
//! repeated.
//!
//! It does not route: a request comes here with its backend.

mod backend;
mod connect;
mod endpoint;
pub mod limits;
mod pool;
mod resolve;
mod retry;
mod send;
mod wakes;

pub use backend::{Backend, Upstreams, passthrough_source};
pub use connect::{ConnectError, Dialled, connect_from, dial};
pub use endpoint::{Endpoint, InFlight};
pub use pool::Lease;
pub use send::{Answer, Attempts, Call, Protocol, send};
