//! `weft` as a person types it, on the cluster under test.

use crate::{image_prefix, image_tag};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What a command ended with, and what it said on both its outputs.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub output: String,
    pub progress: String,
}

impl Said {
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }
}

/// Runs `weft`, which `tests/cluster/run` has built.
#[track_caller]
pub fn weft(arguments: &[&str]) -> Said {
    weft_as(None, arguments)
}

/// The same as somebody else: with this kubeconfig.
#[track_caller]
pub fn weft_as(kubeconfig: Option<&str>, arguments: &[&str]) -> Said {
    let mut command = Command::new(program());
    command.args(arguments).stdin(Stdio::null());
    if let Some(path) = kubeconfig {
        command.env("KUBECONFIG", path);
    }
    let output = command.output().unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), output: text(&output.stdout), progress: text(&output.stderr) }
}

/// Test programs lie in `TARGET/debug/deps`, `weft` in `TARGET/debug`.
fn program() -> PathBuf {
    let this = std::env::current_exe().expect("a test program knows where it lies");
    this.ancestors().nth(2).expect("it lies in TARGET/debug/deps").join("weft")
}

/// Weft of this build, installed and serving; what is there already stays.
#[track_caller]
pub fn install(more: &[&str]) -> Said {
    let (prefix, tag) = (image_prefix(), image_tag());
    weft(&[&["install", "--image-prefix", &prefix, "--tag", &tag, "--timeout", "3m"], more].concat()).ok()
}
