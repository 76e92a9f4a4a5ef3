//! What other replicas can do for this one while all of them run: compile once for all, and hand over what a registry
//! does not give any more.
//!
//! It does not know how they are found or asked.

use super::good::Good;
use super::stock::Stock;
use std::collections::BTreeMap;
use weft_snapshot::Digest;

/// Whoever can ask them.
#[tonic::async_trait]
pub trait Peers: Send + Sync {
    /// Native code of a component, made by the one replica that makes it for all.
    async fn make(&self, component: Digest, key: &str, stock: &Stock) -> Made;

    /// What was last good elsewhere: of the first replica that has something for this Filter. Its component and what
    /// was compiled of it are in `stock` then.
    async fn last_good(&self, filter: &str, stock: &Stock) -> Option<LastGood>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It is in the stock now.
    There,
    /// It is for this replica to make.
    Here,
}

/// What one replica says was last good, by Filter; opaque to those who carry it.
#[derive(Clone, Debug, Default)]
pub struct LastGood(pub(super) BTreeMap<String, Good>);

impl LastGood {
    pub fn component(&self, filter: &str) -> Option<Digest> {
        Some(self.0.get(filter)?.version.component)
    }
}

/// Of a control plane that is alone.
pub struct NoPeers;

#[tonic::async_trait]
impl Peers for NoPeers {
    async fn make(&self, _: Digest, _: &str, _: &Stock) -> Made {
        Made::Here
    }

    async fn last_good(&self, _: &str, _: &Stock) -> Option<LastGood> {
        None
    }
}
