//! What the build with the compiler makes, the build without it loads: `weft` and `weft-proxy` are two such builds.

use crate::guest::artifact;
use std::process::Command;
use weft_filter_host::artifact_key;

#[test]
fn a_build_without_the_compiler_runs_the_artifact() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--manifest-path", manifest, "--example", "lean", "--message-format", "json"])
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let messages = String::from_utf8(built.stdout).unwrap();
    let example = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "lean")
        .find_map(|message| message["executable"].as_str().map(str::to_owned))
        .expect("cargo names the executable");
    let ran = Command::new(example).arg(artifact()).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(said.trim(), format!("without the compiler, {}: Pass", artifact_key()));
}
