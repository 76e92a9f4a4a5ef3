//! Which subset a user belongs to: a weighted draw that depends on nothing but the user, the names and the weights.
//!
//! Rendezvous hashing: each subset draws an exponential time from the user's hash at the rate of its weight, and the
//! first one wins, which happens with the odds of the weights. A subset whose weight grows only draws earlier times, so
//! it wins users and loses none; one whose weight shrinks only loses some.

/// Subsets and their weights.
pub(crate) struct Split<T> {
    shares: Vec<Share<T>>,
}

struct Share<T> {
    subset: T,
    name: u64,
    weight: f64,
}

impl<T: Copy> Split<T> {
    /// At least one weight is above 0.
    pub(crate) fn new<'a>(weights: impl Iterator<Item = (T, &'a str, u32)>) -> Self {
        let shares = weights.filter(|(_, _, weight)| *weight > 0).map(|(subset, name, weight)| Share {
            subset,
            name: hash(name.as_bytes()),
            weight: f64::from(weight),
        });
        Self { shares: shares.collect() }
    }

    /// The subset of the user whose hash this is.
    pub(crate) fn choose(&self, user: u64) -> T {
        let mut shares = self.shares.iter();
        let first = shares.next().expect("the config was checked for a weight above 0");
        let mut best = first;
        // With one subset there is no race to run.
        if self.shares.len() > 1 {
            let mut earliest = first.time(user);
            for share in shares {
                let time = share.time(user);
                if time < earliest {
                    (best, earliest) = (share, time);
                }
            }
        }
        best.subset
    }
}

impl<T> Share<T> {
    fn time(&self, user: u64) -> f64 {
        // 53 bits, moved off 0, whose logarithm is infinite.
        let uniform = ((mix(user ^ self.name) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        -uniform.ln() / self.weight
    }
}

/// FNV-1a, finished by [`mix`] because its high bits alone are not even.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)))
}

/// The name of a new user: 16 hexadecimal digits.
pub(crate) fn user_id(random: u64) -> Vec<u8> {
    let digits = (0..16).rev().map(|digit| b"0123456789abcdef"[(random >> (4 * digit)) as usize & 15]);
    digits.collect()
}

/// The finisher of splitmix64: every bit of the input moves every bit of the output.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
