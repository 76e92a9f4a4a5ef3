//! What a control plane signs: the exact bytes, so that both sides agree on them.
//!
//! It knows no keys: signing is the control plane's, verifying the proxy's.

use weft_snapshot::{Digest, WorkloadName};

/// Bytes of an Ed25519 signature.
pub const SIGNATURE_LEN: usize = 64;

/// `revision` covers every resource by its hash; `workload` keeps one proxy's snapshot from being given to another.
pub fn snapshot_payload(workload: &WorkloadName, revision: &str) -> Vec<u8> {
    format!("weft snapshot 1\n{workload}\n{revision}\n").into_bytes()
}

/// An artifact is native code: the key says for which engine and machine it was compiled.
pub fn artifact_payload(artifact_key: &str, artifact: &Digest) -> Vec<u8> {
    format!("weft artifact 1\n{artifact_key}\n{artifact}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_fixed() {
        let workload = "default/reviews".parse().expect("valid");
        assert_eq!(snapshot_payload(&workload, "ab12"), b"weft snapshot 1\ndefault/reviews\nab12\n");
        let want = format!("weft artifact 1\n48.0.8-x\nsha256:{}\n", "07".repeat(32));
        assert_eq!(artifact_payload("48.0.8-x", &Digest([7; 32])), want.into_bytes());
    }
}
