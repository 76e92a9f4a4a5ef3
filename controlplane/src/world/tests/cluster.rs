//! The loop on a cluster's objects: who is told of an endpoint that changes, and for what that does not wait.

use super::*;
use serde_json::{Value, json};
use std::net::TcpListener;

pub(super) fn object(kind: &str, name: &str, mut value: Value) -> SourceFile {
    value["kind"] = json!(kind);
    value["metadata"]["name"] = json!(name);
    value["metadata"]["namespace"] = json!("default");
    let path = format!("{kind}/default/{name}");
    SourceFile::of_cluster(path, value.to_string(), "2026-01-01T00:00:00Z")
}

fn pod(name: &str) -> SourceFile {
    let metadata = json!({"uid": name, "labels": {"app": name}, "annotations": {"sidecar.weft.dev/status": ""}});
    let spec = json!({"serviceAccountName": name, "containers": []});
    let status = json!({"podIPs": [{"ip": "10.0.0.1"}], "conditions": [{"type": "Ready", "status": "True"}]});
    object("Pod", name, json!({"apiVersion": "v1", "metadata": metadata, "spec": spec, "status": status}))
}

fn service(name: &str) -> SourceFile {
    let spec = json!({"ports": [{"name": "http", "port": 80}]});
    object("Service", name, json!({"apiVersion": "v1", "spec": spec}))
}

fn slice(name: &str, address: &str) -> SourceFile {
    let metadata = json!({"labels": {"kubernetes.io/service-name": name}});
    let endpoints = json!([{"addresses": [address], "conditions": {"ready": true}}]);
    let ports = json!([{"name": "http", "port": 8080}]);
    let api = "discovery.k8s.io/v1";
    let value =
        json!({"apiVersion": api, "metadata": metadata, "addressType": "IPv4", "ports": ports, "endpoints": endpoints});
    object("EndpointSlice", name, value)
}

/// A Filter whose registry takes connections and says nothing, and a VirtualService that attaches it to `web`.
fn guarded(registry: &TcpListener) -> [SourceFile; 2] {
    let image = format!("oci://{}/filters/guard:1", registry.local_addr().unwrap());
    let filter = json!({"apiVersion": "weft.dev/v1alpha1", "spec": {"image": image}});
    let spec = json!({"hosts": ["web"], "filters": [{"name": "guard"}]});
    let routes = json!({"apiVersion": "networking.istio.io/v1", "spec": spec});
    [object("Filter", "guard", filter), object("VirtualService", "web", routes)]
}

/// The pod of this name, which calls one service.
fn calling(index: u64, name: &str, calls: &str) -> (Joining, Inbox) {
    let (mut joining, inbox) = joining(0);
    joining.stream = StreamId(index);
    joining.workload = format!("default/{name}").parse().unwrap();
    joining.identity = format!("spiffe://cluster.local/ns/default/sa/{name}").parse().unwrap();
    joining.inbound = None;
    joining.asked = [calls.parse().unwrap()].into();
    (joining, inbox)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_concerns_its_callers_and_waits_for_no_filter() {
    let scratch = tempfile::tempdir().unwrap();
    let mut files =
        vec![pod("a"), pod("b"), service("db"), service("web"), slice("db", "10.0.1.1"), slice("web", "10.0.2.1")];
    let mut world = Loop::new(surroundings(scratch.path()), set(&files)).unwrap();
    world.settle();
    let mut inboxes = Vec::new();
    for (index, name, calls) in [(0, "a", "web"), (1, "b", "db")] {
        let (joining, inbox) = calling(index, name, calls);
        world.take(Event::Hello(Box::new(joining)));
        inboxes.push(inbox);
    }
    world.settle();
    assert_eq!(receive(&mut world, &mut inboxes).0, 2, "both join");
    let told = |world: &mut Loop, inboxes: &mut [Inbox], files: &[SourceFile]| {
        world.take(Event::Files(set(files)));
        world.settle();
        let each: Vec<usize> = (0..2).map(|index| inboxes[index].len()).collect();
        receive(world, inboxes);
        each
    };
    files[5] = slice("web", "10.0.2.2");
    assert_eq!(told(&mut world, &mut inboxes, &files), [1, 0], "an endpoint of web");

    // A rule is held back until its filter has been tried, which takes its time.
    let registry = TcpListener::bind("127.0.0.1:0").unwrap();
    files.extend(guarded(&registry));
    assert_eq!(told(&mut world, &mut inboxes, &files), [0, 0], "the rule waits");
    files[5] = slice("web", "10.0.2.3");
    assert_eq!(told(&mut world, &mut inboxes, &files), [1, 0], "an endpoint of web does not");
    assert_eq!(told(&mut world, &mut inboxes, &files), [0, 0], "nothing is new");
    files[4] = slice("db", "10.0.1.2");
    assert_eq!(told(&mut world, &mut inboxes, &files), [0, 1], "nor does one of db");
    assert!(!world.adoption.untried(&world.facts).is_empty(), "it waits still");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_changes_nothing_for_a_proxy_counts_as_run_there() {
    let scratch = tempfile::tempdir().unwrap();
    let mut own = slice("a", "10.0.0.1");
    let mut text: Value = serde_json::from_slice(&own.bytes).unwrap();
    text["endpoints"][0]["targetRef"] = json!({"kind": "Pod", "namespace": "default", "name": "a"});
    own.bytes = text.to_string().into_bytes().into();
    let mut files = vec![own, pod("a"), pod("b"), service("a")];
    let mut world = Loop::new(surroundings(scratch.path()), set(&files)).unwrap();
    world.settle();
    let mut inboxes = Vec::new();
    // The one that answers for it does not call it.
    for (index, name, calls) in [(0, "a", "nobody"), (1, "b", "a")] {
        let (joining, inbox) = calling(index, name, calls);
        world.take(Event::Hello(Box::new(joining)));
        inboxes.push(inbox);
    }
    world.settle();
    receive(&mut world, &mut inboxes);
    let route = json!([{"rewrite": {"uri": "/x"}, "route": [{"destination": {"host": "a"}}]}]);
    let routes = json!({"apiVersion": "networking.istio.io/v1", "spec": {"hosts": ["a"], "http": route}});
    files.push(object("VirtualService", "a", routes));
    world.take(Event::Files(set(&files)));
    world.settle();
    let counted = |world: &Loop| world.tallies().get("VirtualService/default/a").map(|tally| tally.count);
    assert_eq!(counted(&world), Some(Count { affected: 2, acknowledged: 1 }), "a is told nothing");
    assert_eq!(receive(&mut world, &mut inboxes).0, 1);
    assert_eq!(counted(&world), Some(Count { affected: 2, acknowledged: 2 }));
}
