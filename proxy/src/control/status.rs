//! How this proxy stands with its control plane: facts for the admin port, metrics and readiness.
//!
//! Written by the control thread alone, read by anyone at any time.

use arc_swap::ArcSwap;
use prost::Message;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;
use weft_snapshot::SpiffeId;
use weft_wire::proto;

#[derive(Clone, Debug)]
pub struct Facts {
    pub link: Link,
    /// Of the snapshot that is served; empty before the first.
    pub revision: String,
    /// The last update that was refused, until one is applied.
    pub nack: Option<Nacked>,
    pub identity: Option<SpiffeId>,
    pub svid_expires: Option<SystemTime>,
    /// Why the last join or renewal failed, until one succeeds.
    pub identity_problem: Option<String>,
    /// Hosts that the control plane watches for this proxy.
    pub subscriptions: usize,
    pub updates_applied: u64,
    pub updates_refused: u64,
}

#[derive(Clone, Debug)]
pub enum Link {
    Away {
        since: SystemTime,
        reason: String,
    },
    Connected {
        address: String,
        since: SystemTime,
        /// True once the control plane has answered with an update.
        current: bool,
    },
}

#[derive(Clone, Debug)]
pub struct Nacked {
    pub at: SystemTime,
    pub revision: String,
    pub problems: Vec<String>,
}

/// The facts as they are now.
#[derive(Debug)]
pub struct StatusCell {
    facts: ArcSwap<Facts>,
    traffic: Traffic,
}

/// Bytes of the stream's messages since the proxy started; artifacts and identities are not among them.
#[derive(Debug, Default)]
pub struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Traffic {
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn receive(&self, message: &proto::FromControlPlane) {
        self.received.fetch_add(message.encoded_len() as u64, Ordering::Relaxed);
    }

    pub(super) fn send(&self, message: &proto::FromProxy) {
        self.sent.fetch_add(message.encoded_len() as u64, Ordering::Relaxed);
    }
}

impl StatusCell {
    pub(crate) fn new(now: SystemTime) -> Arc<Self> {
        let link = Link::Away { since: now, reason: "not connected yet".to_owned() };
        let facts = ArcSwap::from_pointee(Facts {
            link,
            revision: String::new(),
            nack: None,
            identity: None,
            svid_expires: None,
            identity_problem: None,
            subscriptions: 0,
            updates_applied: 0,
            updates_refused: 0,
        });
        Arc::new(Self { facts, traffic: Traffic::default() })
    }

    pub fn load(&self) -> Arc<Facts> {
        self.facts.load_full()
    }

    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Facts)) {
        let mut facts = Facts::clone(&self.facts.load());
        change(&mut facts);
        self.facts.store(Arc::new(facts));
    }
}
