//! Numbers with one writer and any reader: plain loads and stores, never a locked instruction.
//!
//! It does not know what is counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

/// Goes up.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

/// Istio's buckets, for milliseconds and bytes alike.
pub(super) const BOUNDS: [f64; 19] =
    [0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 3e5, 6e5, 1.8e6, 3.6e6];

/// Counts by bucket, not cumulated, the last without bound; and the sum.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [Counter; BOUNDS.len() + 1],
    /// Bits of an `f64`.
    sum: AtomicU64,
}

/// A histogram at one moment, or the sum of several.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Distribution {
    pub(super) buckets: [u64; BOUNDS.len() + 1],
    pub(super) sum: f64,
}

impl Gauge {
    pub fn up(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_add(1), Relaxed);
    }

    pub fn down(&self) {
        self.0.store(self.0.load(Relaxed).saturating_sub(1), Relaxed);
    }

    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    pub(super) fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Histogram {
    pub(super) fn observe(&self, value: f64) {
        let bucket = BOUNDS.iter().position(|bound| value <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket].add(1);
        self.sum.store((f64::from_bits(self.sum.load(Relaxed)) + value).to_bits(), Relaxed);
    }

    pub(super) fn add_to(&self, total: &mut Distribution) {
        for (total, bucket) in total.buckets.iter_mut().zip(&self.buckets) {
            *total += bucket.value();
        }
        total.sum += f64::from_bits(self.sum.load(Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_the_bucket_whose_bound_they_do_not_pass() {
        let rows = [(0.0, 0), (0.5, 0), (0.51, 1), (1.0, 1), (99.9, 6), (3.6e6, 18), (3.7e6, 19)];
        for (value, bucket) in rows {
            let (histogram, mut seen) = (Histogram::default(), Distribution::default());
            histogram.observe(value);
            histogram.add_to(&mut seen);
            let mut want = Distribution { sum: value, ..Distribution::default() };
            want.buckets[bucket] = 1;
            assert_eq!(seen, want, "{value}");
        }
    }
}
