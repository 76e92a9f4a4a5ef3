//! How much of a backend one proxy may use at once: connections, requests, waiting requests, retries.
//!
//! A limit holds for the proxy and not for a worker, so it is an atomic that all workers share; a backend at Istio's
//! defaults has none. It does not know what happens to a request that finds no room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use weft_snapshot::PoolLimits;

/// Of one backend; shared by the workers, and carried over from plan to plan while the limits stay the same.
#[derive(Debug)]
pub struct Limits {
    policy: PoolLimits,
    gauges: [Gauge; 4],
}

/// On a cache line of its own: workers write it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Gauge(AtomicU32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Connections,
    PendingRequests,
    Requests,
    Retries,
}

impl Resource {
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::PendingRequests => "pending requests",
            Self::Requests => "requests",
            Self::Retries => "retries",
        }
    }
}

/// Room taken; given back when dropped. `None` inside where there is no limit.
#[derive(Debug, Default)]
pub struct Taken(Option<(Arc<Limits>, Resource)>);

/// All of it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    pub resource: Resource,
    pub max: u32,
}

impl Limits {
    /// `None` where nothing is limited.
    pub fn new(policy: &PoolLimits) -> Option<Arc<Self>> {
        let PoolLimits { connections_max, pending_requests_max, requests_max, retries_max, .. } = policy;
        let any = [connections_max, pending_requests_max, requests_max, retries_max].into_iter().any(Option::is_some);
        any.then(|| Arc::new(Self { policy: policy.clone(), gauges: Default::default() }))
    }

    pub fn policy(&self) -> &PoolLimits {
        &self.policy
    }

    fn max(&self, resource: Resource) -> Option<u32> {
        match resource {
            Resource::Connections => self.policy.connections_max,
            Resource::PendingRequests => self.policy.pending_requests_max,
            Resource::Requests => self.policy.requests_max,
            Resource::Retries => self.policy.retries_max,
        }
    }

    fn take(self: &Arc<Self>, resource: Resource) -> Result<Taken, Full> {
        let Some(max) = self.max(resource) else { return Ok(Taken(None)) };
        let gauge = &self.gauges[resource as usize].0;
        // Add first, so that two workers never both get the last place; the loser gives it back.
        if gauge.fetch_add(1, Ordering::Relaxed) < max {
            return Ok(Taken(Some((Arc::clone(self), resource))));
        }
        gauge.fetch_sub(1, Ordering::Relaxed);
        Err(Full { resource, max })
    }

    pub fn used(&self, resource: Resource) -> u32 {
        self.gauges[resource as usize].0.load(Ordering::Relaxed)
    }
}

impl Taken {
    /// Takes room for one, where `limits` are any.
    pub fn of(limits: Option<&Arc<Limits>>, resource: Resource) -> Result<Self, Full> {
        limits.map_or(Ok(Self(None)), |limits| limits.take(resource))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some((limits, resource)) = &self.0 {
            limits.gauges[*resource as usize].0.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_and_given_back() {
        let policy = PoolLimits { connections_max: Some(2), ..PoolLimits::default() };
        let limits = Limits::new(&policy).expect("one limit is set");
        let take = || Taken::of(Some(&limits), Resource::Connections);
        let (first, _second) = (take().expect("room"), take().expect("room"));
        assert_eq!(take().err(), Some(Full { resource: Resource::Connections, max: 2 }));
        assert_eq!(limits.used(Resource::Connections), 2, "who was refused holds nothing");
        drop(first);
        assert!(take().is_ok());
        assert!(Taken::of(Some(&limits), Resource::Retries).is_ok(), "what has no limit is never full");
    }

    #[test]
    fn defaults_cost_nothing() {
        let only_per_connection = PoolLimits { requests_per_connection_max: Some(1), ..PoolLimits::default() };
        assert!(Limits::new(&PoolLimits::default()).is_none());
        assert!(Limits::new(&only_per_connection).is_none());
        assert!(Taken::of(None, Resource::Requests).is_ok());
    }
}
