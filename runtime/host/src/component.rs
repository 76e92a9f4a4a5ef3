//! A compiled component, mapped from its artifact.
//!
//! It does not know configs: one component serves many policies.

use crate::Engine;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("reading {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is no compiled component", path.display())]
    NotAnArtifact { path: PathBuf },
    #[error("{} was compiled for another engine than this one ({key}): {reason}", path.display())]
    WrongKey { path: PathBuf, key: String, reason: String },
    #[error("the component imports {imports}, which filters may not have; link it without WASI or stub it out")]
    Imports { imports: String },
    #[error("the component does not export {interface}; build it for a world of weft:filter")]
    Exports { interface: &'static str },
    #[error("the component does not fit the contract: {reason}")]
    Contract { reason: String },
}

/// A clone is another handle.
#[derive(Clone)]
pub struct Component {}

impl Component {
    /// Maps an artifact. It is native code: the caller has verified its digest and the control plane's signature, and
    /// nobody may write to the file while it is mapped.
    pub fn load(_engine: &Engine, path: &Path) -> Result<Self, LoadError> {
        Err(LoadError::NotAnArtifact { path: path.to_owned() })
    }

    /// True if it exports `response-phase`.
    pub fn has_response_phase(&self) -> bool {
        false
    }
}
