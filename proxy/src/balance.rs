//! Which endpoint of a backend gets the next request.
//!
//! Pure rules over weights and loads: chance is passed in, and connections are not known here.

use std::cell::{Cell, RefCell};
use weft_snapshot::LoadBalancer;

/// The rule of one backend on one worker, with what it remembers from pick to pick.
#[derive(Debug)]
pub struct Balancer {
    rule: Rule,
    weights: Weights,
}

#[derive(Debug)]
enum Rule {
    LeastRequest,
    Random,
    /// The next position; with unequal weights, the credit of each endpoint (nginx's smooth weighted round robin).
    RoundRobin {
        next: Cell<usize>,
        credits: RefCell<Vec<i64>>,
    },
}

#[derive(Debug)]
enum Weights {
    Equal(usize),
    /// Sums of all weights up to and with each endpoint's.
    Sums(Box<[u64]>),
}

impl Weights {
    fn new(weights: &[u32]) -> Self {
        if weights.windows(2).all(|pair| pair[0] == pair[1]) {
            return Self::Equal(weights.len());
        }
        let mut sum = 0;
        Self::Sums(weights.iter().map(|weight| (sum += u64::from((*weight).max(1)), sum).1).collect())
    }

    fn len(&self) -> usize {
        match self {
            Self::Equal(count) => *count,
            Self::Sums(sums) => sums.len(),
        }
    }

    fn of(&self, index: usize) -> u64 {
        match self {
            Self::Equal(_) => 1,
            Self::Sums(sums) => sums[index] - if index == 0 { 0 } else { sums[index - 1] },
        }
    }

    fn total(&self) -> u64 {
        match self {
            Self::Equal(count) => *count as u64,
            Self::Sums(sums) => sums.last().copied().unwrap_or(0),
        }
    }

    /// One endpoint by weight. `draw(n)` gives a number below `n`.
    fn draw(&self, draw: &mut impl FnMut(u64) -> u64) -> usize {
        let point = draw(self.total());
        match self {
            Self::Equal(_) => point as usize,
            Self::Sums(sums) => sums.partition_point(|sum| *sum <= point),
        }
    }
}

impl Balancer {
    pub fn new(balancer: LoadBalancer, weights: &[u32]) -> Self {
        let rule = match balancer {
            LoadBalancer::LeastRequest | LoadBalancer::Original => Rule::LeastRequest,
            LoadBalancer::Random => Rule::Random,
            LoadBalancer::RoundRobin => {
                Rule::RoundRobin { next: Cell::new(0), credits: RefCell::new(vec![0; weights.len()]) }
            }
        };
        Self { rule, weights: Weights::new(weights) }
    }

    /// `None` where there is no endpoint. `load` tells how many requests an endpoint has in flight; `draw(n)` gives a
    /// number below `n`.
    pub fn pick(&self, load: impl Fn(usize) -> u32, mut draw: impl FnMut(u64) -> u64) -> Option<usize> {
        match self.weights.len() {
            0 => None,
            1 => Some(0),
            _ => Some(match &self.rule {
                Rule::LeastRequest => self.less_loaded_of_two(load, &mut draw),
                Rule::Random => self.weights.draw(&mut draw),
                Rule::RoundRobin { next, credits } => self.next_in_turn(next, credits),
            }),
        }
    }

    /// Like `pick`, but avoids those of which `met` is true, as long as there is another.
    pub fn pick_other(
        &self,
        met: impl Fn(usize) -> bool,
        load: impl Fn(usize) -> u32,
        mut draw: impl FnMut(u64) -> u64,
    ) -> Option<usize> {
        for _ in 0..RESELECTS_MAX {
            let picked = self.pick(&load, &mut draw)?;
            if !met(picked) {
                return Some(picked);
            }
        }
        let other = (0..self.weights.len()).find(|index| !met(*index));
        other.or_else(|| self.pick(load, draw))
    }

    /// The power of two choices: two different ones are drawn by weight, and the one with less load for its weight wins.
    fn less_loaded_of_two(&self, load: impl Fn(usize) -> u32, draw: &mut impl FnMut(u64) -> u64) -> usize {
        let first = self.weights.draw(draw);
        let second = match &self.weights {
            Weights::Equal(count) => (first + 1 + draw(*count as u64 - 1) as usize) % count,
            Weights::Sums(_) => self.weights.draw(draw),
        };
        let burden = |index| u64::from(load(index)) + 1;
        // a/wa <= b/wb without a division.
        if burden(first) * self.weights.of(second) <= burden(second) * self.weights.of(first) { first } else { second }
    }

    fn next_in_turn(&self, next: &Cell<usize>, credits: &RefCell<Vec<i64>>) -> usize {
        if let Weights::Equal(count) = self.weights {
            let index = next.get() % count;
            next.set(index + 1);
            return index;
        }
        let mut credits = credits.borrow_mut();
        let mut best = 0;
        for index in 0..credits.len() {
            credits[index] += self.weights.of(index) as i64;
            if credits[index] > credits[best] {
                best = index;
            }
        }
        credits[best] -= self.weights.total() as i64;
        best
    }
}

/// One of several by weight, where at least one weight is not 0; the draw among a route's destinations.
pub fn weighted(weights: impl Iterator<Item = u32> + Clone, mut draw: impl FnMut(u64) -> u64) -> Option<usize> {
    let total: u64 = weights.clone().map(u64::from).sum();
    if total == 0 {
        return None;
    }
    let mut point = draw(total);
    for (index, weight) in weights.enumerate() {
        match point.checked_sub(u64::from(weight)) {
            Some(rest) => point = rest,
            None => return Some(index),
        }
    }
    None
}

/// Envoy's `host_selection_retry_max_attempts` as Istio sets it.
const RESELECTS_MAX: usize = 5;

#[cfg(test)]
#[allow(clippy::type_complexity)]
mod tests {
    use super::*;

    /// A fixed sequence that covers each range evenly.
    fn even() -> impl FnMut(u64) -> u64 {
        let mut state = 0u64;
        move |n| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        }
    }

    fn shares(balancer: &Balancer, picks: usize, load: impl Fn(usize) -> u32) -> Vec<usize> {
        let mut draw = even();
        let mut counts = vec![0; balancer.weights.len()];
        for _ in 0..picks {
            counts[balancer.pick(&load, &mut draw).expect("has endpoints")] += 1;
        }
        counts
    }

    #[test]
    fn shares_follow_rule_weight_and_load() {
        use LoadBalancer::{LeastRequest, Random, RoundRobin};
        let cases: &[(LoadBalancer, &[u32], &[u32], &[usize])] = &[
            (RoundRobin, &[1, 1, 1], &[0, 0, 0], &[400, 400, 400]),
            (RoundRobin, &[5, 1], &[0, 0], &[1000, 200]),
            (Random, &[1, 1, 1], &[9, 0, 0], &[400, 400, 400]),
            (Random, &[3, 1], &[0, 0], &[900, 300]),
            (LeastRequest, &[1, 1], &[7, 3], &[0, 1200]),
            (LeastRequest, &[1, 1, 1], &[9, 0, 0], &[0, 600, 600]),
            (LeastRequest, &[2, 1], &[1, 1], &[1067, 133]),
            (Random, &[1], &[0], &[1200]),
        ];
        for (rule, weights, loads, want) in cases {
            let got = shares(&Balancer::new(*rule, weights), 1200, |index| loads[index]);
            let close = got.iter().zip(*want).all(|(got, want)| got.abs_diff(*want) <= 60);
            assert!(close, "{rule:?} weights {weights:?} loads {loads:?}: {got:?}, want about {want:?}");
        }
    }

    #[test]
    fn a_smooth_round_robin_does_not_send_bursts() {
        let balancer = Balancer::new(LoadBalancer::RoundRobin, &[3, 1]);
        let order: Vec<_> = (0..8).map(|_| balancer.pick(|_| 0, |_| 0)).collect();
        assert_eq!(order, [0, 0, 1, 0, 0, 0, 1, 0].map(Some));
    }

    #[test]
    fn a_retry_goes_elsewhere_while_there_is_an_elsewhere() {
        let rules = [LoadBalancer::LeastRequest, LoadBalancer::RoundRobin, LoadBalancer::Random];
        for rule in rules {
            let balancer = Balancer::new(rule, &[100, 1, 1]);
            assert_eq!(balancer.pick_other(|i| i < 2, |_| 0, even()), Some(2), "{rule:?}");
            assert!(balancer.pick_other(|_| true, |_| 0, even()).is_some(), "{rule:?} with all met");
            assert_eq!(Balancer::new(rule, &[]).pick(|_| 0, |_| 0), None, "{rule:?} without endpoints");
        }
    }

    #[test]
    fn destinations_by_weight() {
        let cases: &[(&[u32], u64, Option<usize>)] = &[
            (&[90, 10], 89, Some(0)),
            (&[90, 10], 90, Some(1)),
            (&[0, 5], 0, Some(1)),
            (&[5, 0], 4, Some(0)),
            (&[0, 0], 0, None),
            (&[], 0, None),
        ];
        for (weights, point, want) in cases {
            assert_eq!(weighted(weights.iter().copied(), |_| *point), *want, "{weights:?} at {point}");
        }
    }
}
