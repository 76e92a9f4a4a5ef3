//! How long to wait before the next try: exponentially longer, spread by chance.
//!
//! It reads no clock and draws nothing: `chance` is a number in 0..1 that the caller drew.

use std::time::Duration;

#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    max: Duration,
    tries: u32,
}

impl Backoff {
    pub(super) fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, tries: 0 }
    }

    pub(super) fn reset(&mut self) {
        self.tries = 0;
    }

    /// Between half of and the whole pause, so that proxies do not come back all at once.
    pub(super) fn next(&mut self, chance: f64) -> Duration {
        let pause = self.first.saturating_mul(1 << self.tries.min(16)).min(self.max);
        self.tries += 1;
        pause.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let pauses: Vec<u128> = [1.0, 1.0, 0.0, 1.0, 1.0, 0.5].map(|chance| backoff.next(chance).as_millis()).into();
        assert_eq!(pauses, [100, 200, 200, 800, 1000, 750]);
        for _ in 0..100 {
            assert!(backoff.next(1.0) <= Duration::from_secs(1));
        }
        backoff.reset();
        assert_eq!(backoff.next(1.0), Duration::from_millis(100));
    }
}
