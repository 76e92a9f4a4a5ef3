//! Components of these tests: each is built and compiled once for the whole run.

use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};
use tempfile::TempDir;
use weft_filter_build::{BuildOptions, CargoOutput};
use weft_proxy::plan::Artifacts;
use weft_snapshot::Digest;

/// A component as a control plane would ship it.
#[derive(Clone, Debug)]
pub struct Shipped {
    pub component: Digest,
    pub artifact: Digest,
    pub path: PathBuf,
}

/// `folder` is relative to the repository.
pub fn shipped(folder: &str) -> Shipped {
    static ALL: OnceLock<(TempDir, Mutex<HashMap<String, Shipped>>)> = OnceLock::new();
    let (dir, all) = ALL.get_or_init(|| (TempDir::new().unwrap(), Mutex::default()));
    let mut all = all.lock().unwrap();
    all.entry(folder.to_owned()).or_insert_with(|| ship(folder, dir.path())).clone()
}

fn ship(folder: &str, dir: &Path) -> Shipped {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let options = BuildOptions { cargo_output: CargoOutput::Kept, ..BuildOptions::default() };
    let built = weft_filter_build::build(&source, &options).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let artifact = compile(&built.component);
    let path = dir.join(folder.replace('/', "-"));
    std::fs::write(&path, &artifact).unwrap();
    Shipped { component: digest(&built.component), artifact: digest(&artifact), path }
}

/// By the control plane's program: the proxy has no compiler, and neither has its test.
fn compile(component: &[u8]) -> Vec<u8> {
    let mut child = Command::new(compiler())
        .args(["filter-compile", &weft_filter_host::artifact_key()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(component).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "the compiler failed: {}", output.status);
    output.stdout
}

/// `WEFT_FILTER_COMPILER`, or `weft-controlplane`, built for the purpose.
fn compiler() -> PathBuf {
    if let Some(program) = std::env::var_os("WEFT_FILTER_COMPILER") {
        return program.into();
    }
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "-p", "weft-controlplane", "--bin", "weft-controlplane", "--manifest-path"])
        .arg(manifest)
        .status()
        .unwrap();
    assert!(built.success(), "weft-controlplane, which compiles filters, cannot be built");
    // This test lies in TARGET/debug/deps.
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("weft-controlplane")
}

pub fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// All that was shipped so far.
#[derive(Clone, Default)]
pub struct Folder(pub HashMap<Digest, PathBuf>);

impl Folder {
    pub fn add(&mut self, shipped: &Shipped) {
        self.0.insert(shipped.artifact, shipped.path.clone());
    }
}

impl Artifacts for Folder {
    fn path(&self, artifact: &Digest) -> Option<PathBuf> {
        self.0.get(artifact).cloned()
    }
}
