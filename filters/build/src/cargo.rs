//! What cargo and rustup are asked, and how their answers are read.
//!
//! It does not know what a component is: it ends at the path of a core module.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::{BuildError, BuildOptions, CargoOutput, MissingTarget, TARGET};

/// A filter's crate as cargo sees it.
pub(crate) struct Guest {
    pub(crate) name: String,
    pub(crate) version: String,
    dir: PathBuf,
    root: PathBuf,
    manifest: PathBuf,
    profile: Profile,
}

enum Profile {
    /// The workspace's own `[profile.guest]`.
    Declared,
    /// Passed on the command line.
    Given,
}

/// `[profile.guest]` for a crate whose workspace has none. Settings given so outrank the crate's own `release`.
const GIVEN_PROFILE: [&str; 6] = [
    r#"profile.guest.inherits="release""#,
    "profile.guest.opt-level=2",
    "profile.guest.lto=true",
    "profile.guest.codegen-units=1",
    r#"profile.guest.panic="abort""#,
    "profile.guest.strip=true",
];

/// Variables that are meant for the host's code: `-C target-cpu=native` does not compile for Wasm, and a wrapper that
/// instruments coverage adds imports.
const HOST_ONLY: [&str; 6] = [
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_INCREMENTAL",
];

pub(crate) fn find(dir: &Path) -> Result<Guest, BuildError> {
    let given = dir.join("Cargo.toml");
    let manifest = given.canonicalize().map_err(|_| BuildError::NoManifest { path: dir.to_owned() })?;
    let dir = manifest.parent().unwrap_or(dir).to_owned();
    let mut ask = cargo(&dir);
    ask.args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"]).arg(&manifest);
    let answer = finish(ask)?;
    if !answer.status.success() {
        return Err(BuildError::BadManifest { path: dir, stderr: text(&answer.stderr) });
    }
    let metadata: Value = serde_json::from_slice(&answer.stdout)
        .map_err(|problem| BuildError::BadManifest { path: dir.clone(), stderr: problem.to_string() })?;
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let package = packages
        .iter()
        .find(|package| package["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest))
        .ok_or_else(|| BuildError::NoPackage { path: dir.clone() })?;
    let name = package["name"].as_str().unwrap_or_default().to_owned();
    if !has_cdylib(package) {
        return Err(BuildError::NotCdylib { name });
    }
    let root = metadata["workspace_root"].as_str().map_or(dir.as_path(), Path::new);
    Ok(Guest {
        name,
        version: package["version"].as_str().unwrap_or_default().to_owned(),
        profile: profile(&std::fs::read_to_string(root.join("Cargo.toml")).unwrap_or_default()),
        root: root.to_owned(),
        dir,
        manifest,
    })
}

/// Makes sure that the toolchain has [`TARGET`].
pub(crate) fn ensure_target(guest: &Guest, missing: MissingTarget) -> Result<(), BuildError> {
    let installed = has_target(guest)?;
    if installed {
        return Ok(());
    }
    let problem = |detail: String| BuildError::TargetMissing { target: TARGET, detail };
    if missing == MissingTarget::Report {
        return Err(problem("its standard library is not installed".into()));
    }
    let mut add = Command::new("rustup");
    add.args(["target", "add", TARGET]).current_dir(&guest.dir).stdin(Stdio::null());
    let answer = add.output().map_err(|source| problem(format!("rustup cannot be run: {source}")))?;
    match answer.status.success() && has_target(guest)? {
        true => Ok(()),
        false => Err(problem(format!("rustup could not add it: {}", text(&answer.stderr).trim()))),
    }
}

/// Builds the crate and answers the path of its core module.
pub(crate) fn compile(guest: &Guest, options: &BuildOptions) -> Result<PathBuf, BuildError> {
    let mut build = cargo(&guest.dir);
    build.args(["build", "--lib", "--profile=guest", "--message-format=json-render-diagnostics"]);
    build.args(["--target", TARGET, "--manifest-path"]).arg(&guest.manifest);
    if let Profile::Given = guest.profile {
        build.args(GIVEN_PROFILE.iter().flat_map(|setting| ["--config", setting]));
    }
    build.arg("--config").arg(remapped(&guest.root));
    if let Some(dir) = &options.target_dir {
        build.arg("--target-dir").arg(dir);
    }
    build.envs(options.env.iter().map(|(name, value)| (name, value)));
    if options.cargo_output == CargoOutput::Shown {
        build.stderr(Stdio::inherit());
    }
    let answer = finish(build)?;
    if !answer.status.success() {
        return Err(BuildError::Compile { name: guest.name.clone(), stderr: text(&answer.stderr) });
    }
    module(&text(&answer.stdout), &guest.manifest).ok_or_else(|| BuildError::NoModule { name: guest.name.clone() })
}

/// Panics name source files. Without the folders of this machine in them the same source gives the same component
/// wherever it is built, and a shorter one.
fn remapped(root: &Path) -> String {
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let folders = [(Some(root.to_owned()), "src"), (cargo_home, "cargo")];
    let flags = folders.into_iter().filter_map(|(folder, name)| {
        let flag = format!("--remap-path-prefix={}={name}", folder?.display());
        Some(Value::from(flag).to_string())
    });
    format!("target.{TARGET}.rustflags=[{}]", flags.collect::<Vec<_>>().join(","))
}

/// The last `.wasm` that cargo's messages name for the crate at `manifest`.
fn module(messages: &str, manifest: &Path) -> Option<PathBuf> {
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(|message| {
        message["reason"] == "compiler-artifact"
            && message["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest)
    });
    let mut files = artifacts.flat_map(|message| match message["filenames"].as_array() {
        Some(files) => files.iter().filter_map(|file| file.as_str().map(PathBuf::from)).collect(),
        None => Vec::new(),
    });
    files.rfind(|file| file.extension().is_some_and(|extension| extension == "wasm"))
}

fn has_cdylib(package: &Value) -> bool {
    let targets = package["targets"].as_array().map_or(&[][..], Vec::as_slice);
    targets
        .iter()
        .any(|target| target["crate_types"].as_array().is_some_and(|types| types.iter().any(|one| one == "cdylib")))
}

fn profile(root_manifest: &str) -> Profile {
    match root_manifest.lines().any(|line| line.trim() == "[profile.guest]") {
        true => Profile::Declared,
        false => Profile::Given,
    }
}

fn has_target(guest: &Guest) -> Result<bool, BuildError> {
    let program = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let mut ask = Command::new(&program);
    ask.args(["--print", "target-libdir", "--target", TARGET]).current_dir(&guest.dir).stdin(Stdio::null());
    let answer = ask.output().map_err(|source| BuildError::NoToolchain { program, source })?;
    Ok(answer.status.success() && Path::new(text(&answer.stdout).trim()).is_dir())
}

/// Cargo in the guest's folder, so that its own toolchain file counts.
fn cargo(dir: &Path) -> Command {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for name in HOST_ONLY {
        command.env_remove(name);
    }
    command
}

fn finish(mut command: Command) -> Result<Output, BuildError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let child = command.spawn().map_err(|source| BuildError::NoToolchain { program: program.clone(), source })?;
    child.wait_with_output().map_err(|source| BuildError::NoToolchain { program, source })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
