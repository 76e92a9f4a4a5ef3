//! All that can happen to the control thread.
//!
//! One enum, so that one loop sees everything in its order.

use super::fetch::FetchError;
use super::session::Session;
use super::svid::{SignError, Signed};
use weft_snapshot::{Digest, Host};
use weft_wire::proto;

#[derive(Debug)]
pub(super) enum Event {
    /// From workers, as many as had gathered.
    Asked(Vec<Ask>),
    Leave,
    Signed(Result<Signed, SignError>),
    /// The control plane said welcome.
    Connected(Session),
    Update {
        session: u64,
        update: proto::Update,
    },
    Closed {
        session: u64,
        reason: String,
    },
    Fetched {
        session: u64,
        outcome: Result<Vec<Digest>, FetchError>,
    },
    /// Something is due by the clock.
    Due,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Wanted(Host),
    Used(Host),
}
