//! What is not let in, and the words in which it is said.

use crate::guest::{Bench, artifact, component, settings};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use weft_filter_host::{Component, PolicySettings, admission, artifact_key, compile};

fn compiler() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_weft-filter-compile"))
}

#[test]
fn configs_are_admitted_or_refused_with_a_reason() {
    let bench = Bench::new();
    let cases = [
        (r#"{"configure": "pass"}"#, None),
        (r#"{"configure": "refuse", "note": "subsets: weights add up to 0"}"#, Some("subsets: weights add up to 0")),
        (r#"{"unknown": 1}"#, Some("unknown field `unknown`")),
        (r#"{"configure": "differ"}"#, Some("deterministic")),
        (r#"{"configure": "loop"}"#, Some("ran past its deadline")),
        (r#"{"configure": "trap"}"#, Some("panicked or aborted")),
        (r#"{"configure": "recursion"}"#, Some("used up its stack")),
        (r#"{"configure": "memory"}"#, Some("more than its 16777216 bytes")),
        (r#"{"configure": "count"}"#, Some("its manifest declares 0")),
        (r#"{"configure": "lazy"}"#, Some("outside of a handler")),
        (r#"{"configure": "callouts"}"#, Some("callouts, which is not supported yet")),
        (r#"{"configure": "bodies"}"#, Some("request bodies, which is not supported yet")),
        (r#"{"configure": "attribute"}"#, Some("\"X-Upper\", which is no attribute")),
    ];
    for (config, refusal) in cases {
        let admitted = admission::admit(&bench.engine, artifact(), settings(config));
        match (admitted, refusal) {
            (Ok(manifest), None) => assert_eq!(manifest.request.len(), 3, "{config}"),
            (Err(error), Some(want)) => {
                let text = error.to_string();
                assert!(text.contains(want) && text.contains("default/hostile"), "{config}: {text}");
            }
            (answer, _) => panic!("{config}: {answer:?}"),
        }
    }
}

#[test]
fn settings_have_bounds() {
    let bench = Bench::new();
    let cases = [
        (PolicySettings { deadline: Duration::from_secs(2), ..settings("") }, "limits.deadline is 2s"),
        (PolicySettings { deadline: Duration::ZERO, ..settings("") }, "limits.deadline is 0ns"),
        (PolicySettings { memory_max: 1 << 30, ..settings("") }, "limits.memory is 1073741824 bytes"),
        (PolicySettings { memory_max: 1, ..settings("") }, "limits.memory is 1 bytes"),
        (PolicySettings { config: " ".repeat(1 << 20), ..settings("") }, "config is 1048576 bytes"),
    ];
    for (settings, want) in cases {
        let error = bench.prepare(settings).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(want), "{want}: {error}");
    }
}

#[test]
fn what_is_no_filter_is_not_loaded() {
    let bench = Bench::new();
    let dir = TempDir::new().unwrap();
    let empty: &[u8] = b"\0asm\x0d\0\x01\0";
    // (component (import "wasi:cli/environment@0.2.0" (instance)))
    let wasi: &[u8] = b"\0asm\x0d\0\x01\0\x07\x03\x01\x42\0\x0a\x1f\x01\0\x1awasi:cli/environment@0.2.0\x05\0";
    let cases: [(&str, Vec<u8>, &str); 4] = [
        ("text", b"hello".to_vec(), "no compiled component"),
        ("a component that is not compiled", component().to_vec(), "no compiled component"),
        ("no exports", compile::compile(empty).unwrap(), "does not export weft:filter/policy@0.1.0"),
        ("WASI", compile::compile(wasi).unwrap(), "imports wasi:cli/environment@0.2.0"),
    ];
    for (row, bytes, want) in cases {
        let path = dir.path().join("artifact");
        std::fs::write(&path, bytes).unwrap();
        let error = Component::load(&bench.engine, &path).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(want), "{row}: {error}");
    }
    let absent = Component::load(&bench.engine, &dir.path().join("absent")).err().unwrap().to_string();
    assert!(absent.starts_with("reading "), "{absent}");
}

#[test]
fn an_artifact_for_another_engine_is_refused_clearly() {
    let bench = Bench::new();
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("artifact");
    // The key stands in the artifact; another wasmtime or other settings would have written another one.
    let mut bytes = std::fs::read(artifact()).unwrap();
    let key = artifact_key();
    let at = bytes.windows(key.len()).position(|window| window == key.as_bytes()).expect("the key is in the artifact");
    bytes[at + key.len() - 1] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = Component::load(&bench.engine, &path).err().unwrap().to_string();
    assert!(error.contains(&key) && error.contains("incompatible version"), "{error}");
}

#[test]
fn the_subprocess_compiles_what_can_be_compiled() {
    let bench = Bench::new();
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("artifact");
    std::fs::write(&path, compile::in_subprocess(compiler(), component()).unwrap()).unwrap();
    assert!(admission::admit(&bench.engine, &path, settings("")).is_ok());

    let broken = [component(), &[1, 4, 0, 0, 0, 0]].concat();
    let module: &[u8] = b"\0asm\x01\0\0\0";
    let cases = [
        ("core module", module.to_vec(), "core module, not a component"),
        ("text", b"(component)".to_vec(), "no WebAssembly component"),
        ("broken", broken, "cannot be compiled"),
    ];
    for (row, bytes, want) in cases {
        let error = compile::in_subprocess(compiler(), &bytes).unwrap_err().to_string();
        assert!(error.contains(want), "{row}: {error}");
    }
    let other = compile::in_subprocess_for(compiler(), "another-key", component()).unwrap_err().to_string();
    assert!(other.contains(&artifact_key()) && other.contains("another-key"), "{other}");
    assert_eq!(compile::keys_of(compiler()).unwrap(), compile::keys().into_iter().collect());
    let absent = compile::in_subprocess(Path::new("/does/not/exist"), component()).unwrap_err().to_string();
    assert!(absent.contains("/does/not/exist"), "{absent}");
}

/// A control plane on one processor has sidecars on both.
#[test]
#[cfg(target_os = "linux")]
fn the_subprocess_compiles_for_the_other_processor_too() {
    // `e_machine` of an ELF file.
    let machine = |artifact: &[u8]| u16::from_le_bytes([artifact[18], artifact[19]]);
    let bench = Bench::new();
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("artifact");
    let keys = compile::keys();
    let made = keys.iter().map(|key| compile::in_subprocess_for(compiler(), key, component()).unwrap());
    let made: Vec<Vec<u8>> = made.collect();
    assert_eq!(keys[0], artifact_key());
    let mut machines: Vec<u16> = made.iter().map(|artifact| machine(artifact)).collect();
    assert_eq!(machines[0], machine(&std::fs::read(artifact()).unwrap()));
    machines.sort_unstable();
    assert_eq!(machines, [62, 183], "x86-64 and AArch64");
    std::fs::write(&path, &made[1]).unwrap();
    let error = Component::load(&bench.engine, &path).err().unwrap().to_string();
    assert!(error.contains(&artifact_key()), "{error}");
}
