//! What choosing a rule costs in instructions, with 10, 1,000 and 10,000 rules of which the last one matches.
//!
//! `cargo bench -p weft-proxy --bench routing` runs itself under callgrind, with and without the lookups, and prints
//! the difference for each: a figure that other programs on the machine do not change.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use http::{HeaderMap, HeaderValue, Method};
use std::path::PathBuf;
use std::process::Command;
use weft_filter_host::{Engine, EngineOptions};
use weft_proxy::headers::{Authority, Head, Scheme};
use weft_proxy::plan::{Artifacts, Discovery, Lookup, Next, PlanCell, Publisher};
use weft_snapshot::{Action, Digest, Direct, Headers, Host, Match, Rule, Service, Snapshot, StringMatch};

const LOOKUPS: u64 = 2_000;

struct NoArtifacts;

impl Artifacts for NoArtifacts {
    fn path(&self, _artifact: &Digest) -> Option<PathBuf> {
        None
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().filter(|argument| !argument.starts_with("--")).collect();
    if let [_, kind, rules, lookups] = &arguments[..] {
        return run(kind, rules.parse().unwrap(), lookups.parse().unwrap());
    }
    println!("{:<10}{:>8}{:>24}", "matched by", "rules", "instructions per lookup");
    for kind in ["exact", "prefix", "pattern", "header"] {
        for rules in [10, 1_000, 10_000] {
            let count = |lookups| instructions(kind, rules, lookups);
            println!("{kind:<10}{rules:>8}{:>24}", (count(LOOKUPS) - count(0)) / LOOKUPS);
        }
    }
}

fn instructions(kind: &str, rules: u64, lookups: u64) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args([kind.to_owned(), rules.to_string(), lookups.to_string()])
        .output()
        .expect("valgrind is installed");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = text.lines().find(|line| line.contains("Collected :")).unwrap_or_else(|| panic!("{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn run(kind: &str, rules: u64, lookups: u64) {
    let engine = Engine::new(EngineOptions { workers: 1, policies_max: 1, ..EngineOptions::default() }).unwrap();
    let cell = PlanCell::new(Discovery::Complete);
    let mut publisher = Publisher::new(engine, 1, Discovery::Complete, cell.clone());
    let snapshot = snapshot(kind, rules);
    publisher.publish(&Next { snapshot: &snapshot, update: None, revision: "bench" }, &NoArtifacts).unwrap();
    let plan = cell.reader().pin();
    let mut headers = HeaderMap::new();
    headers.insert("user-agent", HeaderValue::from_static("bench"));
    headers.insert("x-user", HeaderValue::try_from(format!("user-{}", rules - 1)).unwrap());
    let head = Head {
        method: Method::GET,
        scheme: Scheme::Http,
        authority: Authority::from_header(HeaderValue::from_static("a")).unwrap(),
        path: format!("/service-{}/items/1", rules - 1).parse().unwrap(),
        headers,
    };
    let last = format!("rule-{}", rules - 1);
    for _ in 0..lookups {
        let Lookup::Found(service) = plan.lookup("a") else { panic!("a is not found") };
        let chosen = service.route(&head, 80).unwrap();
        assert_eq!(*chosen.route.name, *last);
    }
}

fn snapshot(kind: &str, rules: u64) -> Snapshot {
    let host: Host = "a".parse().unwrap();
    let matching = |number: u64| match kind {
        "exact" => uri(StringMatch::Exact(format!("/service-{number}/items/1"))),
        "prefix" => uri(StringMatch::Prefix(format!("/service-{number}/"))),
        "pattern" => uri(StringMatch::Regex(format!("/service-{number}/items/[0-9]+"))),
        _ => {
            let header = ("x-user".to_owned(), StringMatch::Exact(format!("user-{number}")));
            Match { headers: vec![header], ..Match::default() }
        }
    };
    let rule = |number: u64| Rule {
        name: format!("rule-{number}"),
        origin: String::new(),
        matches: vec![matching(number)],
        headers: Headers::default(),
        action: Action::Direct(Direct { status: 200, body: Vec::new() }),
        filters: Vec::new(),
    };
    let mut snapshot = Snapshot::default();
    snapshot.add_service(Service {
        name: host.clone(),
        namespace: "default".to_owned(),
        domains: vec![host],
        ports: Vec::new(),
        rules: (0..rules).map(rule).collect(),
    });
    snapshot
}

fn uri(wanted: StringMatch) -> Match {
    Match { uri: Some(wanted), ..Match::default() }
}
