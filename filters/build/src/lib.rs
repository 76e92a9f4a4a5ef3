//! How a filter's source becomes a component: cargo, then the component encoding, then a look at what came out.
//!
//! It does not know the filter host (nothing runs here), registries, or the folder of YAML that will name the filter.

mod cargo;
mod component;
mod problem;
mod section;

use std::path::{Path, PathBuf};

pub use component::{Inspection, encode, inspect};
pub use problem::BuildError;
pub use section::{CONFIG_SCHEMA, DOC, section};

/// The one target that a filter is built for: no operating system, so nothing can be imported from one.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// How a filter is built. The default suits a person at a terminal.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// Where cargo puts its files; by default where it does anyway (`CARGO_TARGET_DIR`, or the workspace's `target`).
    pub target_dir: Option<PathBuf>,
    pub missing_target: MissingTarget,
    pub cargo_output: CargoOutput,
    /// Set for the guest's compiler, which may compile them in by `env!` and `option_env!`; cargo notices a change.
    pub env: Vec<(String, String)>,
}

/// What to do where the Rust toolchain lacks [`TARGET`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MissingTarget {
    /// Let rustup download it, where rustup is there.
    #[default]
    Install,
    /// Answer [`BuildError::TargetMissing`].
    Report,
}

/// Where cargo's progress and the compiler's messages go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CargoOutput {
    /// To this process's stderr, while it happens.
    #[default]
    Shown,
    /// Into the error, if there is one.
    Kept,
}

/// A finished filter.
#[derive(Debug, Clone)]
pub struct Built {
    /// The crate's name.
    pub name: String,
    /// The crate's version.
    pub version: String,
    pub component: Vec<u8>,
    /// The core module from which the component was encoded; cargo's file.
    pub module: PathBuf,
    pub inspection: Inspection,
}

/// Builds the filter crate in `manifest_dir`.
///
/// In a workspace that has a profile `guest`, that profile is used; elsewhere the same profile is passed to cargo on
/// the command line: `release` made for guests (opt-level 2, LTO, one codegen unit, abort on panic, stripped).
///
/// It may be called from a program or test that cargo itself started: cargo locks a folder for each profile and
/// releases it before it runs anything, and `guest` is a profile that nothing else builds. A build script must not
/// call it.
pub fn build(manifest_dir: &Path, options: &BuildOptions) -> Result<Built, BuildError> {
    let guest = cargo::find(manifest_dir)?;
    cargo::ensure_target(&guest, options.missing_target)?;
    let module = cargo::compile(&guest, options)?;
    let bytes = std::fs::read(&module).map_err(|source| BuildError::Unreadable { path: module.clone(), source })?;
    let component = encode(&bytes)?;
    let inspection = inspect(&component)?;
    Ok(Built { name: guest.name, version: guest.version, component, module, inspection })
}
