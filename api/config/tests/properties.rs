//! Whatever is written: nothing panics, problems lie inside their files, and a view's hash tells its snapshot.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;
use weft_config::{FilterFacts, Hosts, Peers, SourceFile, Subject, Viewpoint, World, check, compile, render};
use weft_snapshot::{Digest, Host, Resource, Snapshot, Trust};

/// Every input of the golden folders: a text with all that the language has.
static CORPUS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files = Vec::new();
    for case in std::fs::read_dir(golden).unwrap() {
        for file in std::fs::read_dir(case.unwrap().path().join("input")).unwrap() {
            files.push(std::fs::read(file.unwrap().path()).unwrap());
        }
    }
    files.sort();
    files
});

/// Cuts, doubles or overwrites a piece of a text.
#[derive(Clone, Debug)]
struct Edit {
    file: usize,
    at: usize,
    cut: usize,
    with: String,
}

fn edit() -> impl Strategy<Value = Edit> {
    let words = prop_oneof![
        Just(String::new()),
        "[ -~\n\t]{0,12}",
        prop::sample::select(vec![
            "---\n", "\n  ", "{}", "[]", ": ", "- ", "&a ", "*a", "<<: ", "null", "\"", "'", "|\n", "a: 1\n",
            "spec:\n", "0", "*", "%",
        ])
        .prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
    ];
    (any::<usize>(), any::<usize>(), 0usize..40, words).prop_map(|(file, at, cut, with)| Edit { file, at, cut, with })
}

fn edited(edits: &[Edit]) -> Vec<u8> {
    let mut text = CORPUS[edits[0].file % CORPUS.len()].clone();
    for edit in edits {
        let start = edit.at % (text.len() + 1);
        let end = (start + edit.cut).min(text.len());
        text.splice(start..end, edit.with.bytes());
    }
    text
}

fn inside(file: &SourceFile) {
    let text = String::from_utf8_lossy(&file.bytes);
    // YAML's line breaks.
    let text = text.replace("\r\n", "\n");
    let lines: Vec<&str> = text.split(['\n', '\r']).collect();
    for problem in check(std::slice::from_ref(file)) {
        let (line, column) = (problem.line as usize, problem.column as usize);
        assert!(line >= 1 && column >= 1, "{problem}");
        assert!(line <= lines.len() + 1, "{problem}: {} lines", lines.len());
        let width = lines.get(line - 1).map_or(0, |line| line.chars().count());
        assert!(column <= width + 1, "{problem}: the line has {width} characters");
        assert!(!problem.reason.is_empty() && !problem.remedy.is_empty(), "{problem}");
    }
}

fn trust() -> Trust {
    Trust { trust_domain: "cluster.local".into(), roots: Vec::new(), signers: Vec::new() }
}

fn snapshots(world: &World) -> Vec<(Digest, Snapshot)> {
    let members = world.members().map(|member| Subject::Workload(member.name)).take(6);
    let trust = trust();
    let mut snapshots = Vec::new();
    for subject in members.chain([Subject::Listener]) {
        let (peers, facts) = (Peers::new(), FilterFacts::new());
        let at = Viewpoint { subject: &subject, hosts: Hosts::All, peers: &peers, filters: &facts, trust: &trust };
        let view = world.view(&at).unwrap();
        let snapshot = compile(&view);
        assert_eq!(snapshot, compile(&view), "compile is deterministic");
        render(&snapshot);
        snapshots.push((view.hash(), snapshot));
    }
    snapshots
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        inside(&SourceFile::new("x.yaml", bytes));
    }

    #[test]
    fn arbitrary_texts_are_survived(text in "(?s).{0,300}") {
        inside(&SourceFile::new("x.yaml", text));
    }

    #[test]
    fn damaged_configuration_is_survived(edits in prop::collection::vec(edit(), 1..6)) {
        let file = SourceFile::new("x.yaml", edited(&edits));
        inside(&file);
        snapshots(&World::build(&[file], &World::default()));
    }

    /// The cache key of the control plane.
    #[test]
    fn equal_hashes_mean_equal_snapshots(edits in prop::collection::vec(edit(), 1..3)) {
        let before = CORPUS[edits[0].file % CORPUS.len()].clone();
        let old = World::build(&[SourceFile::new("x.yaml", before)], &World::default());
        let new = World::build(&[SourceFile::new("x.yaml", edited(&edits))], &old);
        let known: BTreeMap<Digest, Snapshot> = snapshots(&old).into_iter().collect();
        for (hash, snapshot) in snapshots(&new) {
            if let Some(same) = known.get(&hash) {
                prop_assert_eq!(same, &snapshot);
            }
        }
    }

    /// Asking for one host tells of it just what the complete snapshot does.
    #[test]
    fn on_demand_agrees_with_complete(pick in any::<usize>()) {
        let file = SourceFile::new("x.yaml", CORPUS[pick % CORPUS.len()].clone());
        let world = World::build(&[file], &World::default());
        let (subject, peers, facts, trust) = (Subject::Listener, Peers::new(), FilterFacts::new(), trust());
        let view = |hosts: Hosts<'_>| {
            world.view(&Viewpoint { subject: &subject, hosts, peers: &peers, filters: &facts, trust: &trust }).unwrap()
        };
        let complete = compile(&view(Hosts::All));
        for service in complete.services().filter(|service| !service.name.is_wildcard()) {
            let asked: BTreeSet<Host> = [service.name.clone()].into();
            let alone = compile(&view(Hosts::Asked(&asked)));
            for (key, resource) in alone.iter().filter(|(_, resource)| !matches!(resource, Resource::Answer(_) | Resource::Service(_))) {
                prop_assert_eq!(complete.get(key), Some(resource));
            }
            let told = alone.services().find(|one| one.name == service.name).unwrap();
            prop_assert_eq!(&told.rules, &service.rules);
            prop_assert_eq!(alone.answers().next().unwrap().service.as_ref(), Some(&service.name));
        }
    }
}
