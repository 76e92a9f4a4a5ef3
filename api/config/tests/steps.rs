//! A world that was made from the one before is the world that is made from everything: same revision, problems,
//! policies, and the same views for everyone.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use weft_config::{FilterFacts, Hosts, Making, Peer, Peers, SourceFile, Subject, Viewpoint, World};
use weft_snapshot::{Digest, Trust};

const SERVICES: usize = 4;
const PODS: usize = 2;

type Files = BTreeMap<String, Value>;

fn object(api: &str, kind: &str, name: &str, mut rest: Value) -> (String, Value) {
    rest["apiVersion"] = json!(api);
    rest["kind"] = json!(kind);
    rest["metadata"]["name"] = json!(name);
    rest["metadata"]["namespace"] = json!("shop");
    (format!("{kind}/shop/{name}"), rest)
}

fn pod(n: usize, which: usize) -> (String, Value) {
    let name = format!("s{n}-{which}");
    let metadata = json!({
        "uid": name, "labels": {"app": format!("s{n}"), "version": format!("v{which}")},
        "annotations": {"sidecar.weft.dev/status": ""},
    });
    let spec =
        json!({"serviceAccountName": "shop", "containers": [{"name": "app", "ports": [{"containerPort": 8080}]}]});
    let status =
        json!({"podIPs": [{"ip": format!("10.0.{n}.{which}")}], "conditions": [{"type": "Ready", "status": "True"}]});
    object("v1", "Pod", &name, json!({"metadata": metadata, "spec": spec, "status": status}))
}

fn slice(n: usize) -> (String, Value) {
    let endpoint = |which: usize| {
        let target = json!({"kind": "Pod", "namespace": "shop", "name": format!("s{n}-{which}")});
        json!({"addresses": [format!("10.0.{n}.{which}")], "conditions": {"ready": true}, "targetRef": target})
    };
    let endpoints: Vec<Value> = (0..PODS).map(endpoint).collect();
    let metadata = json!({"labels": {"kubernetes.io/service-name": format!("s{n}")}});
    let ports = json!([{"name": "http", "port": 8080}]);
    let rest = json!({"metadata": metadata, "addressType": "IPv4", "ports": ports, "endpoints": endpoints});
    object("discovery.k8s.io/v1", "EndpointSlice", &format!("s{n}-x"), rest)
}

/// The last service is headless, and the first has no selector.
fn service(n: usize) -> (String, Value) {
    let ip = if n + 1 == SERVICES { "None".to_owned() } else { format!("10.96.0.{n}") };
    let mut spec =
        json!({"clusterIP": ip, "clusterIPs": [ip], "ports": [{"name": "http", "port": 80, "targetPort": 8080}]});
    if n > 0 {
        spec["selector"] = json!({"app": format!("s{n}")});
    }
    object("v1", "Service", &format!("s{n}"), json!({"spec": spec}))
}

fn route(n: usize) -> (String, Value) {
    let destination = json!({"host": format!("s{n}"), "subset": "v1"});
    let http = json!([{"name": "first", "filters": [{"name": "guard"}], "route": [{"destination": destination}]}]);
    let spec = json!({"hosts": [format!("s{n}")], "http": http});
    object("networking.istio.io/v1", "VirtualService", &format!("s{n}"), json!({"spec": spec}))
}

fn cluster() -> Files {
    let of = |n| [service(n), slice(n), route(n)].into_iter().chain((0..PODS).map(move |which| pod(n, which)));
    let mut files: Files = (0..SERVICES).flat_map(of).collect();
    let subsets = json!([{"name": "v1", "labels": {"version": "v1"}}, {"name": "v0", "labels": {"version": "v0"}}]);
    let istio = "networking.istio.io/v1";
    files.extend((1..3).map(|n| {
        let spec = json!({"spec": {"host": format!("s{n}"), "subsets": subsets}});
        object(istio, "DestinationRule", &format!("s{n}"), spec)
    }));
    // Another name for a Service, with a rule of its own.
    let alias = json!({"type": "ExternalName", "externalName": "s1.shop.svc.cluster.local"});
    files.extend([
        object("v1", "Service", "alias", json!({"spec": alias})),
        object(istio, "DestinationRule", "alias", json!({"spec": {"host": "alias", "subsets": subsets}})),
    ]);
    // Another word for a Service, by another object.
    let entry = json!({
        "hosts": ["s2.shop.svc.cluster.local"], "ports": [{"number": 81, "name": "http", "protocol": "HTTP"}],
        "resolution": "STATIC", "workloadSelector": {"labels": {"app": "s2", "version": "v0"}},
    });
    files.extend([
        object(istio, "ServiceEntry", "s2", json!({"spec": entry})),
        object("weft.dev/v1alpha1", "Filter", "guard", json!({"spec": {"image": "oci://registry.example/guard:1"}})),
        object("security.istio.io/v1", "PeerAuthentication", "all", json!({"spec": {"mtls": {"mode": "STRICT"}}})),
    ]);
    files
}

/// What somebody may do to a cluster of those objects.
#[derive(Clone, Debug)]
enum Edit {
    Header(usize, u8),
    Subset(usize, &'static str),
    Host(usize, usize),
    Unfiltered(usize),
    Endpoint(usize, usize, bool),
    Moved(usize, u8),
    Ready(usize, usize, bool),
    Labelled(usize, usize, &'static str),
    Gone(usize),
    Broken(usize),
    Back,
}

fn edit() -> impl Strategy<Value = Edit> {
    let (n, which) = (0..SERVICES, 0..PODS);
    let subset = prop::sample::select(vec!["v0", "v1", "v9", ""]);
    let version = prop::sample::select(vec!["v0", "v1", "v2"]);
    prop_oneof![
        4 => (n.clone(), any::<u8>()).prop_map(|(n, value)| Edit::Header(n, value)),
        2 => (n.clone(), subset).prop_map(|(n, subset)| Edit::Subset(n, subset)),
        1 => (n.clone(), n.clone()).prop_map(|(n, other)| Edit::Host(n, other)),
        1 => n.clone().prop_map(Edit::Unfiltered),
        4 => (n.clone(), which.clone(), any::<bool>()).prop_map(|(n, which, ready)| Edit::Endpoint(n, which, ready)),
        2 => (n.clone(), any::<u8>()).prop_map(|(n, at)| Edit::Moved(n, at)),
        4 => (n.clone(), which.clone(), any::<bool>()).prop_map(|(n, which, ready)| Edit::Ready(n, which, ready)),
        1 => (n, which, version).prop_map(|(n, which, version)| Edit::Labelled(n, which, version)),
        1 => (0usize..64).prop_map(Edit::Gone),
        1 => (0..SERVICES).prop_map(Edit::Broken),
        1 => Just(Edit::Back),
    ]
}

fn apply(edit: &Edit, files: &mut Files) {
    let word = |ready: &bool| if *ready { "True" } else { "False" };
    let mut change = |path: String, change: &dyn Fn(&mut Value)| files.get_mut(&path).into_iter().for_each(change);
    match edit {
        Edit::Header(n, value) => change(format!("VirtualService/shop/s{n}"), &|file| {
            file["spec"]["http"][0]["headers"] = json!({"request": {"set": {"x": value.to_string()}}});
        }),
        Edit::Subset(n, subset) => change(format!("VirtualService/shop/s{n}"), &|file| {
            file["spec"]["http"][0]["route"][0]["destination"]["subset"] = json!(subset);
        }),
        Edit::Host(n, other) => change(format!("VirtualService/shop/s{n}"), &|file| {
            file["spec"]["hosts"] = json!([format!("s{other}")]);
        }),
        Edit::Unfiltered(n) => change(format!("VirtualService/shop/s{n}"), &|file| {
            file["spec"]["http"][0]["filters"] = json!([]);
        }),
        Edit::Endpoint(n, which, ready) => change(format!("EndpointSlice/shop/s{n}-x"), &|file| {
            file["endpoints"][which]["conditions"]["ready"] = json!(ready);
        }),
        Edit::Moved(n, at) => change(format!("EndpointSlice/shop/s{n}-x"), &|file| {
            file["endpoints"][0]["addresses"] = json!([format!("10.1.0.{at}")]);
            file["endpoints"][0]["targetRef"]["name"] = json!(format!("s{}-0", at % 4));
        }),
        Edit::Ready(n, which, ready) => change(format!("Pod/shop/s{n}-{which}"), &|file| {
            file["status"]["conditions"][0]["status"] = json!(word(ready));
        }),
        Edit::Labelled(n, which, version) => change(format!("Pod/shop/s{n}-{which}"), &|file| {
            file["metadata"]["labels"]["version"] = json!(version);
        }),
        Edit::Gone(n) => {
            let path = files.keys().nth(n % files.len()).cloned();
            path.into_iter().for_each(|path| drop(files.remove(&path)));
        }
        Edit::Broken(n) => change(format!("VirtualService/shop/s{n}"), &|file| file["spec"]["hosts"] = json!("?")),
        Edit::Back => *files = cluster(),
    }
}

fn sources(files: &Files) -> Vec<SourceFile> {
    let one = |(path, value): (&String, &Value)| {
        SourceFile::of_cluster(path.as_str(), value.to_string(), "2026-01-01T00:00:00Z")
    };
    files.iter().map(one).collect()
}

/// Of every workload, and of a proxy without one.
fn views(world: &World) -> Vec<Digest> {
    let trust = Trust { trust_domain: "cluster.local".into(), roots: Vec::new(), signers: Vec::new() };
    let inbound: Option<SocketAddr> = "10.0.0.1:15006".parse().ok();
    let peers = Peers::from([("shop/s1-0".parse().unwrap(), Peer { inbound })]);
    let filters = FilterFacts::new();
    let subjects = world.members().map(|member| Subject::Workload(member.name)).chain([Subject::Listener]);
    let view = |subject: Subject| {
        let at = Viewpoint { subject: &subject, hosts: Hosts::All, peers: &peers, filters: &filters, trust: &trust };
        world.view(&at).unwrap().hash()
    };
    subjects.map(view).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn step_by_step_is_as_good_as_at_once(edits in prop::collection::vec(edit(), 1..12)) {
        let mut files = cluster();
        let mut stepped = World::build(&sources(&files), &World::default());
        for edit in &edits {
            apply(edit, &mut files);
            let now = sources(&files);
            stepped = World::build(&now, &stepped);
            // What is broken counts as it was, which only the one with a past knows.
            if stepped.last_good().next().is_some() {
                continue;
            }
            let whole = World::build(&now, &World::default());
            prop_assert_eq!(stepped.problems(), whole.problems(), "{:?}", edit);
            prop_assert_eq!(stepped.revision(), whole.revision(), "{:?}", edit);
            prop_assert_eq!(stepped.policies(), whole.policies(), "{:?}", edit);
            prop_assert_eq!(views(&stepped), views(&whole), "{:?}", edit);
        }
    }
}

/// What happens all day is done by steps, and what decides for whom a rule is, is not.
#[test]
fn which_changes_are_steps() {
    let rows = [
        ("a header", Edit::Header(1, 1), Making::Step),
        ("a subset", Edit::Subset(1, "v0"), Making::Step),
        ("a subset that does not exist", Edit::Subset(1, "v9"), Making::Step),
        ("a host", Edit::Host(1, 2), Making::Whole),
        ("filters", Edit::Unfiltered(1), Making::Whole),
        ("an endpoint", Edit::Endpoint(2, 0, false), Making::Step),
        ("an endpoint that is asked for by its address", Edit::Endpoint(3, 0, false), Making::Whole),
        ("readiness", Edit::Ready(2, 1, false), Making::Step),
        ("readiness of a pod of a headless service", Edit::Ready(3, 1, false), Making::Step),
        ("a label", Edit::Labelled(2, 1, "v2"), Making::Whole),
        ("something goes", Edit::Gone(0), Making::Whole),
        ("something breaks", Edit::Broken(1), Making::Whole),
    ];
    for (what, edit, want) in rows {
        let mut files = cluster();
        let before = World::build(&sources(&files), &World::default());
        apply(&edit, &mut files);
        let after = World::build(&sources(&files), &before);
        assert_eq!(after.making(), want, "{what}");
    }
}
