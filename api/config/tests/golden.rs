//! Golden folders: `input/*.yaml` and the views of `view.json` give `problems.txt` and `snapshot.txt`.
//! `UPDATE=1` rewrites them; what changed is then read in the diff.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use weft_config::{FilterFact, FilterFacts, Hosts, ManifestFact, Peer, Peers, Subject, Viewpoint};
use weft_config::{SourceFile, World, compile, render};
use weft_snapshot::{Digest, FilterKey, Host, Trust};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Folders whose names begin with `cluster` hold objects as a cluster gives them, each file made a second after the one
/// before.
fn files(folder: &Path) -> Vec<SourceFile> {
    let case = folder.parent().and_then(Path::file_name).unwrap_or_default();
    let in_cluster = case.to_string_lossy().starts_with("cluster");
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let read = |(second, path): (usize, &PathBuf)| match in_cluster {
        true => {
            SourceFile::of_cluster(name(path), std::fs::read(path).unwrap(), format!("2026-01-01T00:00:{second:02}Z"))
        }
        false => SourceFile::new(name(path), std::fs::read(path).unwrap()),
    };
    names.iter().enumerate().map(read).collect()
}

fn json(path: &Path) -> Value {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap(),
        Err(_) => Value::Null,
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn peers(value: &Value) -> Peers {
    let one = |(name, address): (&String, &Value)| {
        (name.parse().unwrap(), Peer { inbound: address.as_str().map(|text| text.parse().unwrap()) })
    };
    value.as_object().into_iter().flatten().map(one).collect()
}

fn facts(value: &Value) -> FilterFacts {
    let digest = |value: &Value| value.as_u64().map(|byte| Digest([byte as u8; 32]));
    let one = |(key, fact): (&String, &Value)| {
        let manifest = ManifestFact {
            upstreams: texts(&fact["upstreams"]),
            callouts: texts(&fact["callouts"]),
            body_limit: 0,
            guard: fact["guard"] == true,
        };
        let (component, artifact) = (digest(&fact["component"]), digest(&fact["artifact"]));
        let config = fact["config"].as_str().map(str::to_owned);
        (FilterKey(key.clone()), FilterFact { component, artifact, config, manifest: Some(manifest) })
    };
    value.as_object().into_iter().flatten().map(one).collect()
}

/// Problems and snapshots of one folder.
fn run(folder: &Path) -> (String, String) {
    let mut world = World::default();
    // A folder `before` is the state from which last good versions come.
    if folder.join("before").exists() {
        world = World::build(&files(&folder.join("before")), &world);
    }
    world = World::build(&files(&folder.join("input")), &world);
    let view = json(&folder.join("view.json"));
    let (peers, facts) = (peers(&view["peers"]), facts(&view["filters"]));
    let trust = Trust { trust_domain: world.mesh().trust_domain.clone(), roots: vec![vec![1]], signers: vec![[2; 32]] };
    let mut problems = String::new();
    for problem in world.problems().iter().chain(&world.filter_problems(&facts)) {
        let severity = if problem.is_error() { "error" } else { "warning" };
        writeln!(problems, "{severity} {problem}").unwrap();
    }
    let default = serde_json::json!([{"hosts": "all"}]);
    let views = if view["views"].is_null() { &default } else { &view["views"] };
    let mut snapshots = String::new();
    for one in views.as_array().unwrap() {
        let subject = match one["workload"].as_str() {
            Some(name) => Subject::Workload(name.parse().unwrap()),
            None => Subject::Listener,
        };
        let asked: BTreeSet<Host> = texts(&one["hosts"]).iter().map(|host| host.parse().unwrap()).collect();
        let hosts = if one["hosts"] == "all" { Hosts::All } else { Hosts::Asked(&asked) };
        let at = Viewpoint { subject: &subject, hosts, peers: &peers, filters: &facts, trust: &trust };
        writeln!(snapshots, "# {one}").unwrap();
        match world.view(&at) {
            Ok(view) => snapshots += &render(&compile(&view)),
            Err(error) => writeln!(snapshots, "{error}").unwrap(),
        }
    }
    (problems, snapshots)
}

#[test]
fn golden_folders() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut cases: Vec<_> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 25, "{} golden folders", cases.len());
    let mut wrong = String::new();
    for case in cases {
        let (problems, snapshot) = run(&case);
        for (name, got) in [("problems.txt", problems), ("snapshot.txt", snapshot)] {
            let path = case.join(name);
            let want = std::fs::read_to_string(&path).unwrap_or_default();
            if update {
                std::fs::write(&path, &got).unwrap();
            } else if want != got {
                writeln!(wrong, "{}:\n{}", path.display(), difference(&want, &got)).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}\nUPDATE=1 rewrites the folders");
}

/// The lines that differ, from the first one on.
fn difference(want: &str, got: &str) -> String {
    let (mut want, mut got) = (want.lines(), got.lines());
    loop {
        match (want.next(), got.next()) {
            (None, None) => return String::new(),
            (a, b) if a == b => {}
            (a, b) => return format!("  want {}\n   got {}", a.unwrap_or("-"), b.unwrap_or("-")),
        }
    }
}
