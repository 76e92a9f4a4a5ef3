//! The hosts that the control plane watches for this proxy: what its apps asked for, until unused for long.
//!
//! It reads no clock and sends nothing.

use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use weft_snapshot::Host;

#[derive(Debug)]
pub(super) struct Subscriptions {
    used: BTreeMap<Host, Instant>,
    unused_max: Duration,
}

/// What one more wish changes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Known,
    New {
        /// The one unused for longest, where there were too many.
        instead_of: Option<Host>,
    },
}

impl Subscriptions {
    pub(super) fn new(unused_max: Duration) -> Self {
        Self { used: BTreeMap::new(), unused_max }
    }

    pub(super) fn want(&mut self, host: &Host, now: Instant) -> Wish {
        if let Some(used) = self.used.get_mut(host) {
            *used = now;
            return Wish::Known;
        }
        let full = self.used.len() >= SUBSCRIPTIONS_MAX;
        let instead_of = if full { self.oldest() } else { None };
        if let Some(host) = &instead_of {
            self.used.remove(host);
        }
        self.used.insert(host.clone(), now);
        Wish::New { instead_of }
    }

    /// A host that is not subscribed stays so: it may be one of a plan that is on its way out.
    pub(super) fn used(&mut self, host: &Host, now: Instant) {
        if let Some(used) = self.used.get_mut(host) {
            *used = now;
        }
    }

    /// Forgets and tells those that were not used for `unused_max`.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Host> {
        let unused_max = self.unused_max;
        let old = |_: &Host, used: &mut Instant| now.saturating_duration_since(*used) >= unused_max;
        self.used.extract_if(.., old).map(|(host, _)| host).collect()
    }

    pub(super) fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.used.keys()
    }

    pub(super) fn len(&self) -> usize {
        self.used.len()
    }

    fn oldest(&self) -> Option<Host> {
        self.used.iter().min_by_key(|(_, used)| **used).map(|(host, _)| host.clone())
    }
}

/// An app that asks for ever new hosts must not make the control plane watch them all.
const SUBSCRIPTIONS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        text.parse().expect("valid host")
    }

    #[test]
    fn what_is_not_used_is_forgotten() {
        let start = Instant::now();
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        let mut subscriptions = Subscriptions::new(Duration::from_secs(600));
        assert_eq!(subscriptions.want(&host("a"), at(0)), Wish::New { instead_of: None });
        assert_eq!(subscriptions.want(&host("b"), at(0)), Wish::New { instead_of: None });
        assert_eq!(subscriptions.want(&host("a"), at(1)), Wish::Known);
        subscriptions.used(&host("b"), at(2));
        subscriptions.used(&host("never.asked"), at(2));
        assert_eq!(subscriptions.expire(at(10)), []);
        assert_eq!(subscriptions.expire(at(11)), [host("a")]);
        assert_eq!(subscriptions.hosts().collect::<Vec<_>>(), [&host("b")]);
    }

    #[test]
    fn there_is_a_bound() {
        let start = Instant::now();
        let mut subscriptions = Subscriptions::new(Duration::from_secs(600));
        for n in 0..SUBSCRIPTIONS_MAX {
            subscriptions.want(&host(&format!("h{n}")), start + Duration::from_millis(n as u64));
        }
        subscriptions.used(&host("h0"), start + Duration::from_secs(60));
        let wish = subscriptions.want(&host("one-more"), start + Duration::from_secs(61));
        assert_eq!(wish, Wish::New { instead_of: Some(host("h1")) });
        assert_eq!(subscriptions.len(), SUBSCRIPTIONS_MAX);
    }
}
