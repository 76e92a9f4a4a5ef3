//! The compiling child: limits itself, reads a component, writes an artifact.
//!
//! It does not know why it is asked. Its exit status and its last words on stderr are its whole answer.

use super::{COMPONENT_BYTES_MAX, CompileError, compile_for, keys};
use crate::settings;
use crate::target::Target;
use std::io::{Read, Write};
use std::process::ExitCode;

/// Instead of a key: what it says then on stdout are the keys for which it compiles, one a line.
pub(super) const ASK_KEYS: &str = "--artifact-key";
/// Exit status: it makes artifacts for other keys; stderr names them.
pub(super) const WRONG_KEY: i32 = 3;

pub(super) const CPU_SECONDS_MAX: u64 = 100;
/// Address space, so more than the memory that it uses: a component of 12 MB peaks at 364 MiB.
pub(super) const MEMORY_BYTES_MAX: u64 = 4 << 30;

/// The whole of the hidden subcommand `filter-compile [KEY|--artifact-key]`: says its keys; or limits itself, reads a
/// component from stdin, and writes the artifact to stdout or the reason to stderr. `arguments` are those after the
/// subcommand; without one it compiles for its own key.
pub fn child_main(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let answer = |code: u8, words: &str| {
        // Nobody to tell if stderr is gone.
        let _ = writeln!(std::io::stderr(), "{words}");
        ExitCode::from(code)
    };
    let target = match arguments.next() {
        Some(wanted) if wanted == ASK_KEYS => {
            let said = writeln!(std::io::stdout(), "{}", keys().join("\n"));
            return if said.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        Some(wanted) => Target::compiled().into_iter().find(|target| settings::key_for(*target) == wanted),
        None => Some(Target::OWN),
    };
    let Some(target) = target else { return answer(WRONG_KEY as u8, &keys().join(" and ")) };
    limit();
    match converse(target) {
        Ok(()) => ExitCode::SUCCESS,
        Err(CompileError::Refused { reason }) => answer(1, &reason),
        Err(error) => answer(1, &error.to_string()),
    }
}

fn converse(target: Target) -> Result<(), CompileError> {
    let failed = |error: std::io::Error| CompileError::Refused { reason: error.to_string() };
    let mut component = Vec::new();
    // One byte more than is allowed, so that `inspect` sees that it is too large.
    std::io::stdin().lock().take(COMPONENT_BYTES_MAX as u64 + 1).read_to_end(&mut component).map_err(failed)?;
    let artifact = compile_for(target, &component)?;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&artifact).and_then(|()| stdout.flush()).map_err(failed)
}

/// Where a limit cannot be set, the parent's own limit of time remains.
fn limit() {
    set(libc::RLIMIT_CORE, 0);
    set(libc::RLIMIT_FSIZE, 0);
    set(libc::RLIMIT_CPU, CPU_SECONDS_MAX);
    set(libc::RLIMIT_AS, MEMORY_BYTES_MAX);
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
type Resource = libc::c_int;

#[allow(unsafe_code)]
fn set(resource: Resource, max: u64) {
    let limit = libc::rlimit { rlim_cur: max, rlim_max: max };
    // SAFETY: the limit is a live local; lowering one's own limits harms nobody else.
    unsafe { libc::setrlimit(resource, &limit) };
}
