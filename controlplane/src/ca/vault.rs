//! Where the keys of the mesh lie, and how several writers change them without losing a change: by compare-and-swap.
//!
//! It knows bytes and versions; what is in the record is `ca`'s.

use crate::state::{StateError, StateFolder};
use std::fmt;

/// A place for one record. Calls may block; they are made from threads that may wait.
pub trait Vault: Send + Sync {
    /// `None` before anything was written.
    fn read(&self) -> Result<Option<Record>, VaultError>;

    /// That of the record that `read` would give; cheap.
    fn version(&self) -> Option<Version>;

    /// Puts bytes in the place of the record of version `over` (`None`: of nothing). `None`: another is there by now.
    fn write(&self, bytes: &[u8], over: Option<&Version>) -> Result<Option<Version>, VaultError>;

    /// For messages.
    fn name(&self) -> String;
}

#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    pub bytes: Vec<u8>,
    pub version: Version,
}

/// Another one after each write, by whichever process. Opaque.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub String);

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error(transparent)]
    State(#[from] StateError),
    /// The cluster's; the text says who, what and the remedy.
    #[error("{0}")]
    Cluster(String),
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({:?})", self.version)
    }
}

/// A file of the state folder, which the CLI changes beside a running control plane.
#[derive(Clone, Debug)]
pub(super) struct FolderVault(pub(super) StateFolder);

impl Vault for FolderVault {
    fn read(&self) -> Result<Option<Record>, VaultError> {
        let _lock = self.0.lock_changes()?;
        let Some(version) = self.version() else { return Ok(None) };
        Ok(self.0.read(FILE)?.map(|bytes| Record { bytes, version }))
    }

    fn version(&self) -> Option<Version> {
        self.0.stamp(FILE).map(|stamp| Version(format!("{stamp:?}")))
    }

    fn write(&self, bytes: &[u8], over: Option<&Version>) -> Result<Option<Version>, VaultError> {
        let _lock = self.0.lock_changes()?;
        if self.version().as_ref() != over {
            return Ok(None);
        }
        self.0.write(FILE, bytes)?;
        Ok(self.version())
    }

    fn name(&self) -> String {
        self.0.path().join(FILE).display().to_string()
    }
}

const FILE: &str = "authority.json";
