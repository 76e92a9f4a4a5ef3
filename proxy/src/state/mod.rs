//! What a proxy keeps on disk, so that it starts and serves while its control plane is away.
//!
//! The folder belongs to this user alone. It does not know what is signed by whom: `control` verifies what it loads.

mod artifacts;
mod folder;
mod identity;
mod pem;
mod writer;

pub use artifacts::{ArtifactError, ArtifactFolder, Spool};
pub use folder::{StateError, StateFolder};
pub use identity::{StoredIdentity, StoredTrust};
pub use writer::SnapshotWriter;

#[cfg(test)]
mod tests;
