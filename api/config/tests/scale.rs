//! Thousands of services: which views a change touches, and what a view costs.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Instant;
use weft_config::{FilterFacts, Hosts, Peer, Peers, SourceFile, Subject, View, Viewpoint, World, compile};
use weft_snapshot::{Digest, Host, Trust};

const SERVICES: usize = 2_000;

fn service(n: usize, header: &str) -> SourceFile {
    let mut text = String::new();
    write!(
        text,
        "apiVersion: v1
kind: Service
metadata: {{name: s{n}}}
spec: {{selector: {{app: s{n}}}, ports: [{{name: http, port: 80}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: s{n}}}
spec:
  hosts: [s{n}]
  http:
  - headers: {{request: {{set: {{x-header: \"{header}\"}}}}}}
    route: [{{destination: {{host: s{n}, subset: v1}}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: s{n}}}
spec: {{host: s{n}, subsets: [{{name: v1, labels: {{version: v1}}}}]}}
"
    )
    .unwrap();
    for version in ["v1", "v2"] {
        write!(
            text,
            "---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: s{n}-{version}}}
spec: {{address: 10.0.0.1, labels: {{app: s{n}, version: {version}}}}}
"
        )
        .unwrap();
    }
    SourceFile::new(format!("s{n:05}.yaml"), text)
}

struct Calls {
    asked: BTreeSet<Host>,
    peers: Peers,
    facts: FilterFacts,
    trust: Trust,
}

impl Calls {
    fn view(&self, world: &World, caller: usize) -> View {
        let subject = Subject::Workload(format!("default/s{caller}-v1").parse().unwrap());
        let hosts = Hosts::Asked(&self.asked);
        let at = Viewpoint { subject: &subject, hosts, peers: &self.peers, filters: &self.facts, trust: &self.trust };
        world.view(&at).unwrap()
    }

    fn hash(&self, world: &World, caller: usize) -> Digest {
        self.view(world, caller).hash()
    }
}

fn calls(hosts: impl Iterator<Item = usize>) -> Calls {
    Calls {
        asked: hosts.map(|n| format!("s{n}").parse().unwrap()).collect(),
        peers: BTreeMap::new(),
        facts: FilterFacts::new(),
        trust: Trust { trust_domain: "cluster.local".into(), roots: Vec::new(), signers: Vec::new() },
    }
}

#[test]
fn a_change_touches_only_the_views_that_use_it() {
    let mut files: Vec<_> = (0..SERVICES).map(|n| service(n, "old")).collect();
    let started = Instant::now();
    let old = World::build(&files, &World::default());
    let built = started.elapsed();
    assert_eq!(old.problems(), []);
    files[7] = service(7, "new");
    let started = Instant::now();
    let new = World::build(&files, &old);
    let rebuilt = started.elapsed();
    assert_ne!(old.revision(), new.revision());

    let (with, without) = (calls(5..15), calls(100..110));
    assert_ne!(with.hash(&old, 1), with.hash(&new, 1), "s7 was asked for");
    assert_eq!(without.hash(&old, 1), without.hash(&new, 1), "s7 was not asked for");
    let changes: Vec<_> = compile(&with.view(&old, 1)).diff(&compile(&with.view(&new, 1))).set;
    assert_eq!(changes.len(), 1, "the one service: {changes:?}");

    let mut joined = calls(100..110);
    joined.peers.insert("default/s50-v1".parse().unwrap(), Peer { inbound: None });
    assert_eq!(without.hash(&new, 1), joined.hash(&new, 1), "a sidecar behind no asked service");
    joined.peers.insert("default/s105-v1".parse().unwrap(), Peer { inbound: None });
    assert_ne!(without.hash(&new, 1), joined.hash(&new, 1), "a sidecar behind an asked service");

    let started = Instant::now();
    for caller in 0..100 {
        with.hash(&new, caller);
    }
    let each = started.elapsed() / 100;
    println!(
        "{SERVICES} services: built in {built:?}, rebuilt in {rebuilt:?}; a view of 10 hosts and its hash {each:?}"
    );
}

#[test]
fn a_world_without_changes_has_the_same_revision_and_views() {
    let files: Vec<_> = (0..20).map(|n| service(n, "x")).collect();
    let mut shuffled = files.clone();
    shuffled.reverse();
    let (a, b) = (World::build(&files, &World::default()), World::build(&shuffled, &World::default()));
    assert_eq!(a.revision(), b.revision());
    let calls = calls(0..20);
    assert_eq!(calls.hash(&a, 3), calls.hash(&b, 3));
    assert_eq!(a.revision(), World::build(&files, &a).revision());
}
