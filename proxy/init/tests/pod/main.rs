//! The program itself, in network namespaces of the tests' own: what the kernel holds afterwards, and where real
//! connections arrive. Needs root, and `ip` and `nft`; without root each test says that it was skipped.
#![allow(clippy::unwrap_used, unsafe_code, unreachable_pub)]

mod arrivals;
mod lives;
mod namespace;
mod ruleset;
mod sockets;

use namespace::Namespace;
use std::process::{Command, Output};

/// True, and says so, where the kernel would not let the tests do anything.
fn skipped() -> bool {
    // SAFETY: it only reads.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        use std::io::Write;
        // Past the harness, which keeps what passing tests print.
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        let _ = writeln!(std::io::stderr(), "SKIPPED {name}: network namespaces need root");
    }
    !root
}

fn init(within: &Namespace, arguments: &[&str]) -> Output {
    within.inside(|| Command::new(env!("CARGO_BIN_EXE_weft-init")).args(arguments).output().unwrap())
}

/// Runs it, which must succeed; what it said.
fn initialized(within: &Namespace, arguments: &[&str]) -> String {
    let output = init(within, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "weft-init {arguments:?}: {said}");
    said
}
