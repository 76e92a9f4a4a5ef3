//! From a component's bytes to an artifact of native code, in a process of its own.
//!
//! The compiler is large and reads what strangers wrote, so it runs in a child with limits of memory and time, whose
//! death is an error message. It does not know registries, signatures or configs.

mod child;
mod inspect;

pub use child::child_main;
pub use inspect::{COMPONENT_BYTES_MAX, CONFIG_SCHEMA_SECTION, InspectError, Inspected, inspect};

use crate::target::Target;
use crate::{artifact_key, settings};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Of a program that only says its keys.
const KEY_TIME_MAX: Duration = Duration::from_secs(10);
const KEY_BYTES_MAX: u64 = 4096;

/// The hidden subcommand of every binary that can compile.
pub const SUBCOMMAND: &str = "filter-compile";

/// Of one compilation, by the clock. A component of 12 MB takes 10 s of one core.
const TIME_MAX: Duration = Duration::from_secs(120);
const ARTIFACT_BYTES_MAX: u64 = 512 << 20;
/// Bytes of the child's last words that are passed on.
const REASON_BYTES_MAX: u64 = 4 << 10;

#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error(transparent)]
    Inspect(#[from] InspectError),
    #[error("starting the filter compiler {}: {source}", program.display())]
    Start { program: PathBuf, source: std::io::Error },
    #[error("the component cannot be compiled: {reason}")]
    Refused { reason: String },
    #[error("compiling the component needed more than {limit}; build a smaller one")]
    Limit { limit: String },
    #[error("{} does not say for which artifacts it compiles; is it a filter compiler?", program.display())]
    NoKey { program: PathBuf },
    #[error("the filter compiler {} makes artifacts for {found}, not for {wanted}", program.display())]
    WrongKey { program: PathBuf, found: String, wanted: String },
}

/// Compiles for this build's own artifact key, in this process: tests that need no isolation.
pub fn compile(component: &[u8]) -> Result<Vec<u8>, CompileError> {
    compile_for(Target::OWN, component)
}

/// Compiles in this process: what the child does.
fn compile_for(target: Target, component: &[u8]) -> Result<Vec<u8>, CompileError> {
    inspect(component)?;
    let refused = |error: wasmtime::Error| CompileError::Refused { reason: format!("{error:#}") };
    let engine = settings::to_compile(target).and_then(|config| wasmtime::Engine::new(&config)).map_err(refused)?;
    engine.precompile_component(component).map_err(refused)
}

/// The artifact keys for which this build can compile, its own first: sidecars of the same release may run on another
/// processor.
pub fn keys() -> Vec<String> {
    Target::compiled().into_iter().map(settings::key_for).collect()
}

/// Runs `PROGRAM filter-compile` for this build's own artifact key. Blocks.
pub fn in_subprocess(program: &Path, component: &[u8]) -> Result<Vec<u8>, CompileError> {
    in_subprocess_for(program, &artifact_key(), component)
}

/// The artifact keys for which a program compiles, as it says itself: one a line. Blocks.
pub fn keys_of(program: &Path) -> Result<BTreeSet<String>, CompileError> {
    let start = |source| CompileError::Start { program: program.to_owned(), source };
    let silent = || CompileError::NoKey { program: program.to_owned() };
    let mut child = Command::new(program)
        .args([SUBCOMMAND, child::ASK_KEYS])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(start)?;
    let stdout = child.stdout.take();
    let status = wait(&mut child, Instant::now() + KEY_TIME_MAX).map_err(start)?;
    let said = stdout.map(|stdout| read_at_most(stdout, KEY_BYTES_MAX)).unwrap_or_default();
    let said = String::from_utf8(said).map_err(|_| silent())?;
    let keys: BTreeSet<String> = said.lines().map(|line| line.trim().to_owned()).collect();
    let plausible = |key: &String| {
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b'@')
    };
    let ended_well = status.is_some_and(|status| status.success());
    if ended_well && !keys.is_empty() && keys.iter().all(plausible) { Ok(keys) } else { Err(silent()) }
}

/// Runs `PROGRAM filter-compile` for sidecars with another key than this build's: those on another processor, and during
/// an upgrade those of the previous version, for which its program still compiles. Blocks.
pub fn in_subprocess_for(program: &Path, key: &str, component: &[u8]) -> Result<Vec<u8>, CompileError> {
    inspect(component)?;
    let start = |source| CompileError::Start { program: program.to_owned(), source };
    let mut child = Command::new(program)
        .args([SUBCOMMAND, key])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    let ended = converse(&mut child, component);
    let (status, artifact, last_words) = match ended {
        Ok(ended) => ended,
        Err(source) => {
            // Whatever became of it, it must not stay.
            let _ = child.kill();
            let _ = child.wait();
            return Err(start(source));
        }
    };
    match status {
        Some(status) if status.success() => Ok(artifact),
        Some(status) if status.code() == Some(child::WRONG_KEY) => {
            Err(CompileError::WrongKey { program: program.to_owned(), found: last_words, wanted: key.to_owned() })
        }
        Some(status) if status.code().is_some() => Err(CompileError::Refused { reason: last_words }),
        Some(status) => Err(CompileError::Limit { limit: limit_of(status) }),
        None => Err(CompileError::Limit { limit: format!("{TIME_MAX:?}") }),
    }
}

/// How it ended (none where it was killed for its time), what it made and what it said.
type Ended = (Option<ExitStatus>, Vec<u8>, String);

/// Writes the component while the artifact and the last words are read, so that no pipe fills up.
fn converse(child: &mut Child, component: &[u8]) -> std::io::Result<Ended> {
    let missing = || std::io::Error::other("the child has no pipes");
    let mut stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let stderr = child.stderr.take().ok_or_else(missing)?;
    std::thread::scope(|scope| {
        // A child that ends early closes its end; that is told by its status.
        scope.spawn(move || drop(stdin.write_all(component)));
        let words = scope.spawn(move || read_at_most(stderr, REASON_BYTES_MAX));
        let (said_all, ending) = mpsc::channel::<()>();
        let artifact = scope.spawn(move || {
            let _said_all = said_all;
            read_at_most(stdout, ARTIFACT_BYTES_MAX)
        });
        let deadline = Instant::now() + TIME_MAX;
        // It closes its output as it ends: until then there is nothing to ask.
        let _ = ending.recv_timeout(TIME_MAX);
        let status = wait(child, deadline)?;
        let artifact = artifact.join().unwrap_or_default();
        let words = words.join().unwrap_or_default();
        Ok((status, artifact, String::from_utf8_lossy(&words).trim_end().to_owned()))
    })
}

fn read_at_most(from: impl Read, bytes_max: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut from = from.take(bytes_max);
    // What could be read is enough: a truncated artifact is refused when it is loaded.
    let _ = from.read_to_end(&mut bytes);
    bytes
}

/// Kills the child at the deadline; then there is no status.
fn wait(child: &mut Child, deadline: Instant) -> std::io::Result<Option<ExitStatus>> {
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn limit_of(status: ExitStatus) -> String {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        if status.signal() == Some(libc::SIGXCPU) {
            return format!("{} s of CPU time", child::CPU_SECONDS_MAX);
        }
    }
    format!("{} MiB of memory, or crashed the compiler ({status})", child::MEMORY_BYTES_MAX >> 20)
}
