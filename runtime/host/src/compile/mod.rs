//! From a component's bytes to an artifact of native code, in a process of its own.
//!
//! It does not know registries, signatures or configs.

mod inspect;

pub use inspect::{InspectError, Inspected, inspect};

use std::path::Path;
use std::process::ExitCode;

#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("starting the filter compiler {program}: {source}")]
    Start { program: String, source: std::io::Error },
    #[error("the component cannot be compiled: {reason}")]
    Refused { reason: String },
    #[error("compiling took more than {limit}; build a smaller component")]
    Limit { limit: String },
}

/// Compiles in this process. For the subprocess and for tests; everyone else calls [`in_subprocess`].
pub fn compile(_component: &[u8]) -> Result<Vec<u8>, CompileError> {
    Err(CompileError::Refused { reason: "not written yet".to_owned() })
}

/// Runs `PROGRAM filter-compile` under limits of memory and time. Blocks.
pub fn in_subprocess(_program: &Path, component: &[u8]) -> Result<Vec<u8>, CompileError> {
    compile(component)
}

/// The whole of the hidden subcommand `filter-compile`: limits itself, reads a component from stdin, writes the
/// artifact to stdout, or the reason to stderr.
pub fn child_main() -> ExitCode {
    ExitCode::FAILURE
}
