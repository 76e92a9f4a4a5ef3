//! kubectl, as a person types it.

use serde_json::Value;
use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};

/// What it prints; panics with what it says where it fails.
#[track_caller]
pub fn kubectl<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> String {
    try_kubectl(arguments).unwrap_or_else(|error| panic!("{error}"))
}

pub fn try_kubectl<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Result<String, String> {
    kubectl_with(arguments, "")
}

/// The same with something on its standard input: `kubectl apply -f -`.
pub fn kubectl_with<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>, input: &str) -> Result<String, String> {
    let mut command = Command::new("kubectl");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("starting kubectl: {error}"));
    // It may end without reading.
    let _ = child.stdin.take().expect("standard input is piped").write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{command:?} ended with {}: {}", output.status, said.trim()))
    }
}

/// Objects as JSON: `get(["pods", "-A"])`.
#[track_caller]
pub fn get<'a>(what: impl IntoIterator<Item = &'a str>) -> Value {
    let arguments = ["get", "-o", "json"].into_iter().chain(what);
    serde_json::from_str(&kubectl(arguments)).expect("kubectl writes JSON")
}
