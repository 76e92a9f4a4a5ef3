//! Makes `x-request-id`: a UUID (version 4) for each request that has none.
//!
//! One generator per worker; ids are to be unique, not secret, so a fast generator seeded by the system is enough.

use http::HeaderValue;
use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

/// xoshiro256++ (Blackman and Vigna), seeded by the operating system.
#[derive(Debug)]
pub struct RequestIds {
    state: Cell<[u64; 4]>,
}

impl RequestIds {
    /// By the keys that std draws from the operating system. A cryptographic generator would keep the worker from
    /// starting for a tenth of a second while it gathers entropy of its own.
    pub fn seeded() -> Self {
        let system = RandomState::new();
        let mut seed = [0; 32];
        for (number, bytes) in seed.chunks_exact_mut(8).enumerate() {
            bytes.copy_from_slice(&system.hash_one(number).to_le_bytes());
        }
        Self::from_seed(seed)
    }

    pub fn from_seed(seed: [u8; 32]) -> Self {
        let mut state = [0; 4];
        for (word, bytes) in state.iter_mut().zip(seed.chunks_exact(8)) {
            *word = bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        }
        // The all-zero state would stay zero.
        state[0] |= 1;
        Self { state: Cell::new(state) }
    }

    /// Also for draws by weight, jitter and the like.
    pub fn next_u64(&self) -> u64 {
        let [mut a, mut b, mut c, mut d] = self.state.get();
        let drawn = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let shifted = b << 17;
        c ^= a;
        d ^= b;
        b ^= c;
        a ^= d;
        c ^= shifted;
        d = d.rotate_left(45);
        self.state.set([a, b, c, d]);
        drawn
    }

    /// Uniform in `0..bound`; 0 for a bound of 0.
    pub fn below(&self, bound: u32) -> u32 {
        // Multiply-shift: the bias is below 2^-32.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u32
    }

    pub fn request_id(&self) -> HeaderValue {
        let (high, low) = (self.next_u64(), self.next_u64());
        let high = high & 0xffff_ffff_ffff_0fff | 0x4000;
        let low = low & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000;
        let mut text = [0; 36];
        let mut nibbles = (0..16).rev().map(|n| high >> (n * 4)).chain((0..16).rev().map(|n| low >> (n * 4)));
        for (at, byte) in text.iter_mut().enumerate() {
            *byte = match at {
                8 | 13 | 18 | 23 => b'-',
                _ => b"0123456789abcdef"[(nibbles.next().unwrap_or_default() & 0xf) as usize],
            };
        }
        HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("0"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_version_4_and_differ() {
        let ids = RequestIds::from_seed([7; 32]);
        let seen: HashSet<String> = (0..10_000).map(|_| ids.request_id().to_str().expect("ascii").to_owned()).collect();
        assert_eq!(seen.len(), 10_000);
        for id in seen {
            let parts: Vec<&str> = id.split('-').collect();
            assert_eq!(parts.iter().map(|p| p.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{id}");
            assert!(parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']), "{id}");
        }
    }

    #[test]
    fn draws_stay_below_their_bound_and_reach_all_of_it() {
        let ids = RequestIds::from_seed([3; 32]);
        let seen: HashSet<u32> = (0..1000).map(|_| ids.below(10)).collect();
        assert_eq!(seen, (0..10).collect());
        assert_eq!(ids.below(0), 0);
    }
}
