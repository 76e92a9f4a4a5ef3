//! Whether a control plane that this proxy trusts signed it.
//!
//! It knows the pinned keys, not how they came here.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use weft_snapshot::{Digest, WorkloadName};
use weft_wire::{artifact_payload, snapshot_payload};

/// The pinned Ed25519 keys; several while they rotate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Signers(pub(super) Vec<[u8; 32]>);

impl Signers {
    pub(super) fn signed_snapshot(&self, workload: &WorkloadName, revision: &str, signature: &[u8]) -> bool {
        self.signed(&snapshot_payload(workload, revision), signature)
    }

    pub(super) fn signed_artifact(&self, artifact_key: &str, digest: &Digest, signature: &[u8]) -> bool {
        self.signed(&artifact_payload(artifact_key, digest), signature)
    }

    fn signed(&self, payload: &[u8], signature: &[u8]) -> bool {
        self.0.iter().any(|key| UnparsedPublicKey::new(&ED25519, key).verify(payload, signature).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    #[test]
    fn only_pinned_keys_count() {
        let pair = Ed25519KeyPair::generate().expect("random bytes");
        let public: [u8; 32] = pair.public_key().as_ref().try_into().expect("32 bytes");
        let (workload, other) = ("a/b".parse().expect("valid"), "a/c".parse().expect("valid"));
        let signature = pair.sign(&snapshot_payload(&workload, "r1"));
        let pinned = Signers(vec![[7; 32], public]);
        let cases = [
            ("the snapshot", pinned.signed_snapshot(&workload, "r1", signature.as_ref()), true),
            ("another revision", pinned.signed_snapshot(&workload, "r2", signature.as_ref()), false),
            ("another workload's", pinned.signed_snapshot(&other, "r1", signature.as_ref()), false),
            ("no signature", pinned.signed_snapshot(&workload, "r1", b""), false),
            ("as an artifact", pinned.signed_artifact("r1", &Digest([0; 32]), signature.as_ref()), false),
            ("no pins", Signers::default().signed_snapshot(&workload, "r1", signature.as_ref()), false),
        ];
        for (row, got, want) in cases {
            assert_eq!(got, want, "{row}");
        }
    }
}
