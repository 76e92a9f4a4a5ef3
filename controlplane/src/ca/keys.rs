//! The keys of the mesh and their turns: which root and which signer sign now, and whom proxies believe now.
//!
//! Pure rules over a record and a time. It does not know where the record lies, nor what is signed.
//!
//! A new key is believed before it signs (`signs_from`), and believed on after another signs (`dropped_at`), so that
//! at no moment a proxy meets a signature that it cannot check.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Seconds since 1970.
pub type Seconds = u64;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Keys {
    pub(super) trust_domain: String,
    /// Of the SVIDs that are given out: how long a new root is believed before it signs.
    pub(super) svid_life: Seconds,
    /// In the order in which they were added.
    pub(super) roots: Vec<Turn<Root>>,
    pub(super) signers: Vec<Turn<Signer>>,
}

/// When a key is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Turn<K> {
    pub(super) signs_from: Seconds,
    /// No longer believed from then on; `None` while it is the newest.
    pub(super) dropped_at: Option<Seconds>,
    #[serde(flatten)]
    pub(super) key: K,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Root {
    /// PEM: what signs SVIDs, then what leads from it to the root, the root last. One certificate for an own root.
    pub(super) chain: String,
    /// PKCS#8, PEM.
    pub(super) key: String,
    pub(super) expires: Seconds,
    /// Given with --ca-cert; never replaced by a root of our own.
    pub(super) given: bool,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Signer {
    /// PKCS#8 of an Ed25519 key, base64.
    pub(super) key: String,
}

impl std::fmt::Debug for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Root").field("expires", &self.expires).field("given", &self.given).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl Keys {
    /// The next root and signer: believed from now on, signing after the life of an SVID, when every one that was given out
    /// before, without the new root, has expired. The old ones are believed until all they signed has expired.
    pub(super) fn rotate(&mut self, root: Root, signer: Signer, now: Seconds) {
        let overlap = self.svid_life.max(1);
        let signs_from = now + overlap;
        let dropped_at = signs_from + overlap + GRACE;
        add(&mut self.roots, root, signs_from, dropped_at);
        add(&mut self.signers, signer, signs_from, dropped_at);
    }

    /// Forgets what is no longer believed.
    pub(super) fn expire(&mut self, now: Seconds) {
        self.roots.retain(|turn| turn.believed(now));
        self.signers.retain(|turn| turn.believed(now));
    }

    pub(super) fn rotating(&self, now: Seconds) -> bool {
        self.roots.iter().any(|turn| turn.signs_from > now)
    }

    /// True where the newest own root has less than a fifth of `life` before it; a given one is its owner's to replace.
    pub(super) fn due(&self, now: Seconds, life: Duration) -> bool {
        let newest = self.roots.last().map(|turn| &turn.key);
        newest.is_some_and(|root| !root.given && root.expires < now + life.as_secs() / 5)
    }

    /// The next moment at which [`signing`] or what is believed changes by time alone.
    pub(super) fn next_change(&self, now: Seconds) -> Option<Seconds> {
        let of = |signs_from, dropped_at: Option<Seconds>| [Some(signs_from), dropped_at].into_iter().flatten();
        let roots = self.roots.iter().flat_map(|turn| of(turn.signs_from, turn.dropped_at));
        let signers = self.signers.iter().flat_map(|turn| of(turn.signs_from, turn.dropped_at));
        roots.chain(signers).filter(|at| *at > now).min()
    }
}

impl<K> Turn<K> {
    pub(super) fn believed(&self, now: Seconds) -> bool {
        self.dropped_at.is_none_or(|at| at > now)
    }
}

/// The key whose turn it is: the newest that may sign already. `None` only for an empty list.
pub(super) fn signing<K>(turns: &[Turn<K>], now: Seconds) -> Option<&K> {
    let begun = turns.iter().filter(|turn| turn.signs_from <= now).max_by_key(|turn| turn.signs_from);
    // A clock that went back may find none begun: then the oldest.
    begun.or(turns.first()).map(|turn| &turn.key)
}

fn add<K>(turns: &mut Vec<Turn<K>>, key: K, signs_from: Seconds, dropped_at: Seconds) {
    for turn in turns.iter_mut() {
        turn.dropped_at.get_or_insert(dropped_at);
    }
    turns.push(Turn { signs_from, dropped_at: None, key });
}

/// Clocks differ a little.
const GRACE: Seconds = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn root(name: &str, expires: Seconds) -> Root {
        Root { chain: name.to_owned(), key: String::new(), expires, given: false }
    }

    fn signer(name: &str) -> Signer {
        Signer { key: name.to_owned() }
    }

    #[test]
    fn a_new_root_is_believed_before_it_signs_and_the_old_one_after() {
        let first = |key| Turn { signs_from: 100, dropped_at: None, key };
        let mut keys = Keys {
            trust_domain: "cluster.local".to_owned(),
            svid_life: 20,
            roots: vec![first(root("a", 10_000))],
            signers: vec![Turn { signs_from: 100, dropped_at: None, key: signer("a") }],
        };
        keys.rotate(root("b", 20_000), signer("b"), 1000);
        let cases = [
            (999, "a", vec!["a", "b"]),
            (1019, "a", vec!["a", "b"]),
            (1020, "b", vec!["a", "b"]),
            (1041, "b", vec!["a", "b"]),
            (1042, "b", vec!["b"]),
        ];
        for (now, signs, believed) in cases {
            assert_eq!(signing(&keys.roots, now).map(|root| root.chain.as_str()), Some(signs), "root at {now}");
            assert_eq!(signing(&keys.signers, now).map(|s| s.key.as_str()), Some(signs), "signer at {now}");
            let names: Vec<&str> =
                keys.roots.iter().filter(|t| t.believed(now)).map(|t| t.key.chain.as_str()).collect();
            assert_eq!(names, believed, "believed at {now}");
        }
        assert_eq!(keys.next_change(1000), Some(1020));
        assert_eq!(keys.next_change(1020), Some(1042));
        assert!(keys.rotating(1019) && !keys.rotating(1020));
        keys.expire(1042);
        assert_eq!((keys.roots.len(), keys.signers.len(), keys.next_change(1042)), (1, 1, None));
    }

    #[test]
    fn an_own_root_is_due_before_it_expires_and_a_given_one_never() {
        let turn = |given| Turn { signs_from: 0, dropped_at: None, key: Root { given, ..root("a", 1000) } };
        for (given, now, due) in [(false, 799, false), (false, 801, true), (true, 999, false)] {
            let keys = Keys { trust_domain: String::new(), svid_life: 20, roots: vec![turn(given)], signers: vec![] };
            assert_eq!(keys.due(now, Duration::from_secs(1000)), due, "given {given}, at {now}");
        }
    }
}
