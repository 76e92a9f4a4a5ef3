//! Instances that serve one call: `Isolation::Request`.
//!
//! The keeper makes some ahead, so that a call of a policy that is not busy waits for none; where they are used up a call
//! makes its own. It does not know what the calls are.

use super::{Inner, Isolation};
use crate::instance::Instance;
use crate::{Failure, FailureKind, Place};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

impl Inner {
    /// An instance that has served nothing.
    pub(super) fn fresh(self: &Arc<Self>, slot: usize, place: Place) -> Result<Box<Instance>, Failure> {
        if let Some(spare) = self.spares.pop() {
            self.alive.fetch_sub(1, Ordering::Relaxed);
            self.ask_refill();
            return Ok(spare);
        }
        self.make(slot).map_err(|unfit| {
            if unfit.kind == FailureKind::Deadline {
                self.missed(place);
            }
            self.ledger.failure(unfit.kind, unfit.reason)
        })
    }

    /// Ends an instance that has served its call: here, where the keeper does not keep up, or what waits for it would hold
    /// the memory and the address space of a thousand.
    pub(super) fn spend(&self, instance: Box<Instance>) {
        if !self.engine().keeper.is_behind() {
            self.bury(instance);
        }
    }

    /// A policy of which each call needs an instance that takes longer to make than a call may run has its calls in the
    /// pool from the beginning, so that no worker waits for it.
    pub(super) fn settle(&self, quickest: Duration) {
        if self.settings.isolation == Isolation::Request && quickest > self.settings.deadline {
            let filter = self.settings.key.as_str();
            tracing::info!(
                filter,
                ?quickest,
                "its instances take longer to make than its deadline: it runs in the pool"
            );
            self.conduct.lock().unwrap_or_else(PoisonError::into_inner).start_in_pool();
            self.ledger.move_to(Place::Pool);
        }
    }
}
