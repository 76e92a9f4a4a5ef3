//! The mesh's root in a cluster: its keys in one Secret for all replicas, its certificate where pods can mount it.
//!
//! It does not know how keys turn (ca); it keeps what `ca` writes and shows what `ca` believes.

mod configmaps;
mod secret;

pub(crate) use configmaps::keep;
pub(crate) use secret::SecretVault;

/// Also the field manager of what is written here.
const MANAGER: &str = "weft-controlplane";
