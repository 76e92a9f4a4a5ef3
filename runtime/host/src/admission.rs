//! Whether a component with a config may enter the mesh: what the control plane asks before it publishes a filter.
//!
//! It does not know registries or where the config was written.

use crate::{Component, Engine, LoadError, Manifest, Policy, PolicySettings, PrepareError};
use std::path::Path;

/// Why a component or its config is not taken. The text is for the author of the Filter object.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Prepare(#[from] PrepareError),
}

/// Runs `configure` of a compiled component, as a proxy will, and answers its manifest.
pub fn admit(engine: &Engine, artifact: &Path, settings: PolicySettings) -> Result<Manifest, AdmissionError> {
    let component = Component::load(engine, artifact)?;
    let policy = Policy::prepare(engine, &component, settings, 1)?;
    Ok(policy.manifest().clone())
}
