//! Weft's Helm chart, as Helm itself takes it.

use std::process::Command;

/// The chart's folder.
pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/chart");

/// `helm ARGUMENTS…`: what it prints; panics with what it says where it fails.
#[track_caller]
pub fn helm<'a>(arguments: impl IntoIterator<Item = &'a &'a str>) -> String {
    let program = std::env::var("WEFT_HELM").unwrap_or_else(|_| "helm".to_owned());
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
