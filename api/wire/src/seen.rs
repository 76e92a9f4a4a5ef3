//! How far the objects of a cluster had come of which a proxy was told: by kind, the highest resourceVersion.
//!
//! It travels beside updates and back in hellos, so that a replica that is behind can tell that it is.

use crate::proto;
use std::collections::BTreeMap;

/// Empty where configuration comes from a folder.
pub type Seen = BTreeMap<String, u64>;

pub fn encode_seen(seen: &Seen) -> Vec<proto::Seen> {
    seen.iter().map(|(kind, version)| proto::Seen { kind: kind.clone(), version: *version }).collect()
}

/// Of a kind that is said twice the highest counts.
pub fn decode_seen(said: &[proto::Seen]) -> Seen {
    let mut seen = Seen::new();
    for proto::Seen { kind, version } in said {
        let held = seen.entry(kind.clone()).or_default();
        *held = (*held).max(*version);
    }
    seen
}
