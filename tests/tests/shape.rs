//! What the lean sidecar is made of: size of the binary and what is in it. Each absence has its positive control.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use weft_tests::{weft, weft_proxy};

/// Texts that only a binary with that part has.
const PARTS: &[(&str, &str)] = &[
    ("a Wasm compiler", "cranelift-codegen"),
    ("a registry client", "application/vnd.wasm.config.v0+json"),
    ("a YAML parser", "granit"),
];

#[test]
fn weft_proxy_holds_no_compiler_no_registry_client_and_no_yaml_parser() {
    for (what, text) in PARTS {
        assert!(!holds(weft_proxy(), text), "weft-proxy holds {what} ({text:?})");
        assert!(holds(weft(), text), "weft holds no {text:?}: is {what} still to be known by it?");
    }
}

fn holds(binary: &Path, text: &str) -> bool {
    let bytes = std::fs::read(binary).unwrap();
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
