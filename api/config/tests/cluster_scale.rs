//! A cluster of 1,000 services and 3,000 pods: what one change of an endpoint or of a rule costs, and whom it touches.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use weft_config::{FilterFacts, Hosts, Peers, SourceFile, Subject, Touched, Viewpoint, World, compile};
use weft_snapshot::{Digest, Host, Snapshot, Trust};

const SERVICES: usize = 1_000;
const PODS: usize = 3;

fn object(path: String, value: &Value) -> SourceFile {
    SourceFile::of_cluster(path, value.to_string(), "2026-01-01T00:00:00Z")
}

fn slice(n: usize, ready: usize) -> SourceFile {
    let endpoint = |pod: usize| {
        json!({
            "addresses": [address(n, pod)], "conditions": {"ready": pod < ready},
            "targetRef": {"kind": "Pod", "namespace": "shop", "name": format!("s{n}-{pod}")},
        })
    };
    let endpoints: Vec<Value> = (0..PODS).map(endpoint).collect();
    let value = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": format!("s{n}-x"), "namespace": "shop", "labels": {"kubernetes.io/service-name": format!("s{n}")}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": endpoints,
    });
    object(format!("EndpointSlice/shop/s{n}-x"), &value)
}

fn route(n: usize, header: &str) -> SourceFile {
    let route = json!([{"headers": {"request": {"set": {"x-h": header}}}, "route": [{"destination": {"host": format!("s{n}")}}]}]);
    let value = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": format!("s{n}"), "namespace": "shop"}, "spec": {"hosts": [format!("s{n}")], "http": route},
    });
    object(format!("VirtualService/shop/s{n}"), &value)
}

fn address(n: usize, pod: usize) -> String {
    let index = n * PODS + pod;
    format!("10.{}.{}.{}", 1 + index / 65_536, index / 256 % 256, index % 256)
}

fn pod(n: usize, pod: usize) -> SourceFile {
    let name = format!("s{n}-{pod}");
    let value = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "shop", "uid": name,
            "labels": {"app": format!("s{n}"), "version": "v1", "pod-template-hash": "abc", "security.istio.io/tlsMode": "istio"},
            "annotations": {"sidecar.weft.dev/status": ""},
            "ownerReferences": [{"kind": "ReplicaSet", "name": format!("s{n}-abc"), "controller": true}],
        },
        "spec": {"serviceAccountName": format!("s{n}"), "containers": [{"name": "app", "ports": [{"containerPort": 8080}]}]},
        "status": {"podIPs": [{"ip": address(n, pod)}], "conditions": [{"type": "Ready", "status": "True"}]},
    });
    object(format!("Pod/shop/{name}"), &value)
}

fn service(n: usize) -> SourceFile {
    let ip = format!("10.96.{}.{}", n / 250, n % 250 + 1);
    let value = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("s{n}"), "namespace": "shop"},
        "spec": {"clusterIP": ip, "clusterIPs": [ip], "selector": {"app": format!("s{n}")}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    });
    object(format!("Service/shop/s{n}"), &value)
}

fn cluster() -> Vec<SourceFile> {
    let mut files: Vec<SourceFile> = (0..SERVICES)
        .flat_map(|n| {
            [slice(n, PODS), service(n), route(n, "old")].into_iter().chain((0..PODS).map(move |p| pod(n, p)))
        })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// Of a pod of s0 that calls s5 to s14.
fn told(world: &World) -> (Digest, Snapshot) {
    let subject = Subject::Workload("shop/s0-0".parse().unwrap());
    let asked: BTreeSet<Host> = (5..15).map(|n| format!("s{n}").parse().unwrap()).collect();
    let trust = Trust { trust_domain: "cluster.local".into(), roots: Vec::new(), signers: Vec::new() };
    let (peers, filters) = (Peers::new(), FilterFacts::new());
    let at =
        Viewpoint { subject: &subject, hosts: Hosts::Asked(&asked), peers: &peers, filters: &filters, trust: &trust };
    let view = world.view(&at).unwrap();
    (view.hash(), compile(&view))
}

#[test]
fn one_change_among_a_thousand_services() {
    let mut files = cluster();
    let started = Instant::now();
    let mut world = World::build(&files, &World::default());
    let built = started.elapsed();
    assert_eq!(world.problems(), []);
    let place = |files: &[SourceFile], path: &str| files.iter().position(|file| *file.path == *path).unwrap();
    let mut rebuilt: Vec<(&str, Duration)> = Vec::new();
    let changes = [
        ("an endpoint goes", slice(7, PODS - 1), 1),
        ("an endpoint of another service goes", slice(700, PODS - 1), 0),
        ("a rule changes", route(7, "new"), 1),
        ("a rule of another service changes", route(700, "new"), 0),
    ];
    for (what, file, touched) in changes {
        let index = place(&files, &file.path);
        files[index] = file;
        let (hash, before) = told(&world);
        let started = Instant::now();
        world = World::build(&files, &world);
        rebuilt.push((what, started.elapsed()));
        let (new_hash, after) = told(&world);
        assert_eq!(hash != new_hash, touched > 0, "{what}");
        assert_eq!(before.diff(&after).set.len(), touched, "{what}");
        let Touched::Some { hosts, .. } = world.touched() else { panic!("{what} concerns not everyone") };
        assert_eq!(hosts.len(), 1, "{what}: {hosts:?}");
    }
    let started = Instant::now();
    for _ in 0..100 {
        told(&world);
    }
    let view = started.elapsed() / 100;
    println!(
        "{SERVICES} services, {} pods: built in {built:?}; a view of 10 hosts, hashed and compiled {view:?}",
        SERVICES * PODS
    );
    for (what, took) in rebuilt {
        println!("{what}: {took:?}");
    }
}
