//! Keeps the house in order: headers, sizes, who may import whom, and an ARCHITECTURE.md that is true.
//!
//! It reads the tree that git tracks and what `cargo tree` says of each crate with the features that it ships with.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a file before its tests.
const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// Flat tables and the like, each with its reason.
const FUNCTION_EXCEPTIONS: &[(&str, &str)] = &[];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn stdout(command: &mut Command) -> String {
    let output = command.current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn sources() -> Vec<(String, String)> {
    let listed = stdout(Command::new("git").args(["ls-files", "-co", "--exclude-standard", "*.rs"]));
    let files: Vec<_> = listed
        .lines()
        .filter(|path| root().join(path).exists())
        .map(|path| (path.to_owned(), std::fs::read_to_string(root().join(path)).unwrap()))
        .collect();
    assert!(files.len() > 50, "git lists only {} Rust files", files.len());
    files
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("tests.rs") || path.contains("/benches/")
}

#[test]
fn each_file_says_what_it_answers() {
    let without: Vec<_> = sources()
        .into_iter()
        .filter(|(path, text)| !text.starts_with("//!") && !path.ends_with("/tests.rs"))
        .map(|(path, _)| path)
        .collect();
    assert!(without.is_empty(), "these do not open with `//!`: {without:#?}");
}

#[test]
fn files_are_one_story_long() {
    let long: Vec<_> = sources()
        .into_iter()
        .filter(|(path, _)| !is_test(path))
        .map(|(path, text)| (path, text.lines().take_while(|line| *line != "#[cfg(test)]").count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .collect();
    assert!(long.is_empty(), "over {FILE_LINES_MAX} lines before the tests: {long:#?}");
}

#[test]
fn functions_are_one_page_long() {
    let mut long = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| !is_test(path)) {
        let lines: Vec<&str> = text.lines().take_while(|line| *line != "#[cfg(test)]").collect();
        for (start, line) in lines.iter().enumerate() {
            let Some((indent, name)) = function_start(line) else { continue };
            let end = format!("{}}}", " ".repeat(indent));
            let Some(length) = lines[start..].iter().position(|line| *line == end) else { continue };
            let place = format!("{path}:{name}");
            if length + 1 > FUNCTION_LINES_MAX && !FUNCTION_EXCEPTIONS.iter().any(|(known, _)| place.ends_with(known)) {
                long.push(format!("{place} at line {} has {}", start + 1, length + 1));
            }
        }
    }
    assert!(long.is_empty(), "over {FUNCTION_LINES_MAX} lines: {long:#?}");
}

/// The indentation and the name, for a line on which a function begins (rustfmt has laid the file out).
fn function_start(line: &str) -> Option<(usize, &str)> {
    let trimmed = line.trim_start();
    let mut words = trimmed.split(' ');
    let qualifiers = ["pub", "pub(crate)", "pub(super)", "async", "const", "unsafe", "extern", "\"C\""];
    words.by_ref().find(|word| !qualifiers.contains(word)).filter(|word| *word == "fn")?;
    let name = words.next()?;
    Some((line.len() - trimmed.len(), name.split(['(', '<']).next()?))
}

/// Names of all crates in the normal dependency tree of one of ours, with the features that it ships with.
fn tree(package: &str) -> BTreeSet<String> {
    let listed = stdout(
        Command::new(env!("CARGO"))
            .args(["tree", "--offline", "-e", "normal,no-proc-macro", "--prefix", "none"])
            .args(["-f", "{p}", "-p", package]),
    );
    listed
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The table of ARCHITECTURE.md: a crate, and what it must never see, however far down.
const NEVER_SEES: &[(&str, &[&str])] = &[
    ("weft-wire", &["tokio", "kube", "granit-parser", "weft-config"]),
    ("weft-config", &["tokio", "kube", "weft-wire"]),
    ("weft-filter-host", &["hyper", "weft-oci", "weft-config"]),
    ("weft-oci", &["wasmtime", "kube"]),
    (
        "weft-proxy",
        &[
            "weft-oci",
            "reqwest",
            "granit-parser",
            "granit-parser",
            "weft-config",
            "kube",
            "weft-controlplane",
            "cranelift-codegen",
            "wasmtime-internal-cranelift",
        ],
    ),
    ("weft-init", &["tokio", "kube", "weft-proxy", "weft-snapshot"]),
    ("weft-controlplane", &["weft-proxy"]),
];

#[test]
fn the_import_table_holds() {
    assert_eq!(tree("weft-snapshot"), BTreeSet::from(["weft-snapshot".to_owned()]), "weft-snapshot imports only std");
    for (package, banned) in NEVER_SEES {
        let tree = tree(package);
        assert!(tree.contains(*package), "cargo tree does not list {package} itself: {tree:?}");
        let seen: Vec<_> = banned.iter().filter(|name| tree.contains(**name)).collect();
        assert!(seen.is_empty(), "{package} sees {seen:?}");
    }
}

/// The positive control of the table's row for weft-proxy.
#[test]
fn weft_holds_what_weft_proxy_must_not() {
    let tree = tree("weft");
    for name in ["weft-oci", "granit-parser", "cranelift-codegen", "weft-controlplane", "kube"] {
        assert!(tree.contains(name), "{name} is not in the tree of weft: is the ban on weft-proxy still by this name?");
    }
}

#[test]
fn only_the_right_files_name_the_guarded_crates() {
    let rules = [
        ("wasmtime::", "runtime/host/"),
        ("granit_parser", "api/config/"),
        ("reqwest::", "runtime/oci/"),
        ("wit_component", "filters/build/"),
    ];
    for (name, home) in rules {
        let uses: Vec<_> = sources()
            .into_iter()
            .filter(|(path, text)| !path.starts_with(home) && path != "tests/tests/tidy.rs" && text.contains(name))
            .map(|(path, _)| path)
            .collect();
        assert!(uses.is_empty(), "{name} belongs in {home}, not in {uses:?}");
        assert!(
            sources().iter().any(|(path, text)| path.starts_with(home) && text.contains(name)),
            "{home} uses {name}"
        );
    }
}

#[test]
fn architecture_names_paths_that_exist() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let paths: Vec<&str> = text.split('`').skip(1).step_by(2).filter(|quoted| is_path(quoted)).collect();
    assert!(paths.len() > 20, "ARCHITECTURE.md names only {paths:?}");
    let missing: Vec<_> = paths.iter().filter(|path| !root().join(path.trim_end_matches('/')).exists()).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names {missing:?}");
}

fn is_path(quoted: &str) -> bool {
    let plain = quoted.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
    plain && (quoted.contains('/') || quoted.ends_with(".md") || quoted.ends_with(".toml")) && !quoted.starts_with('/')
}
