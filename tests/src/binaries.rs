//! The binaries under test, each built by itself, so that `weft-proxy` is the lean one that users get.
//!
//! WEFT and WEFT_PROXY name binaries that are taken instead of building them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The one binary that people type.
pub fn weft() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build("weft", "dev"))
}

/// The lean sidecar.
pub fn weft_proxy() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build("weft-proxy", "dev"))
}

/// What redirects a pod's connections.
pub fn weft_init() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build("weft-init", "dev"))
}

/// The lean sidecar as it is shipped.
pub fn weft_proxy_dist() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build("weft-proxy", "dist"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn build(package: &str, profile: &str) -> PathBuf {
    if let Some(given) = std::env::var_os(package.to_uppercase().replace('-', "_")) {
        return given.into();
    }
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "-p", package, "--bin", package, "--profile", profile])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "building {package}: {}", String::from_utf8_lossy(&output.stderr));
    // A later build of the whole workspace replaces the file in the target folder by one with other features; a link
    // under another name stays what was built here.
    let (folder, kept) = if profile == "dev" { ("debug", "under-test") } else { (profile, "measured") };
    let built = target().join(folder).join(package);
    let kept = target().join(kept).join(package);
    std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
    // Another run of the suites may be at this place too: it is at all times a whole binary.
    let draft = kept.with_extension(std::process::id().to_string());
    if std::fs::hard_link(&built, &draft).is_err() {
        copy_program(&built, &draft);
    }
    std::fs::rename(&draft, &kept).unwrap();
    // What is renamed over another name of itself stays.
    let _ = std::fs::remove_file(&draft);
    kept
}

/// By a program of its own: what this process has open for writing, a child that another thread starts just then has
/// too, and a file that is open for writing cannot be run.
pub(crate) fn copy_program(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg(from).arg(to).status().unwrap();
    assert!(copied.success(), "cp {} {}: {copied}", from.display(), to.display());
}

/// The target folder of the build that runs this test: test binaries lie in `TARGET/debug/deps`.
fn target() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    this.ancestors().nth(3).unwrap().to_owned()
}

/// A standard filter or a guest of the tests, as a component: `filters/canary`, `tests/guests/hostile`.
pub fn filter_component(folder: &str) -> Vec<u8> {
    filter_component_with(folder, &[])
}

/// The same, built with these environment variables.
pub fn filter_component_with(folder: &str, env: &[(&str, &str)]) -> Vec<u8> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let options = weft_filter_build::BuildOptions { env, ..Default::default() };
    weft_filter_build::build(&root().join(folder), &options)
        .unwrap_or_else(|error| panic!("{folder}: {error}"))
        .component
}
