//! What objects say of themselves in the cluster, who writes it, and what of it outlives the writer.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::time::Duration;
use weft_cluster_tests::{Namespace, Replica, get, kubectl, kubectl_with, try_kubectl, within, without_weft};

const SOON: Duration = Duration::from_secs(10);
/// The Lease's length, and a turn of the other replica.
const TURN: Duration = Duration::from_secs(25);

fn weft_system() {
    without_weft();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "weft-system"}});
    kubectl_with(["apply", "-f", "-"], &namespace.to_string()).unwrap();
    let crds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
    kubectl(["apply", "--server-side", "--force-conflicts", "-f", &crds.display().to_string()]);
}

fn virtual_service(spec: Value) -> String {
    let metadata = json!({"name": "reviews"});
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata, "spec": spec})
        .to_string()
}

fn good(uri: &str) -> String {
    virtual_service(
        json!({"hosts": ["reviews"], "http": [{"rewrite": {"uri": uri}, "route": [{"destination": {"host": "reviews"}}]}]}),
    )
}

fn broken() -> String {
    virtual_service(json!({"hosts": ["reviews"], "http": [{"rout": []}]}))
}

fn accepted(namespace: &Namespace, status: &str, reason: &str) -> Value {
    namespace.condition("virtualservice/reviews", "Accepted", status, reason)
}

/// Namespaces of tests before this one go while it runs, and each that goes is another revision.
fn others_are_gone() {
    within(Duration::from_secs(60), "what other tests left is gone", || {
        let namespaces = get(["namespaces"]);
        let ending = |item: &&Value| item["status"]["phase"] == "Terminating";
        match namespaces["items"].as_array().unwrap().iter().find(ending) {
            Some(one) => Err(one["metadata"]["name"].to_string()),
            None => Ok(()),
        }
    });
}

#[test]
fn an_object_says_whether_it_counts_and_why_not() {
    weft_system();
    let namespace = Namespace::new("status", &[]);
    let replica = Replica::start("a", None);
    namespace.apply(&good("/a"));
    namespace.kubectl(["wait", "--for=condition=Accepted", "virtualservice/reviews", "--timeout=20s"]);
    others_are_gone();
    let before = replica.revision().unwrap();
    namespace.apply(&broken());
    let object = accepted(&namespace, "False", "UnknownField");
    let problem = &object["status"]["problems"][0];
    assert_eq!(
        (problem["field"].as_str(), problem["code"].as_str()),
        (Some("spec.http[0].rout"), Some("UnknownField")),
        "{problem}"
    );
    assert!(problem["remedy"].as_str().unwrap().contains("route"), "{problem}");
    assert_eq!(replica.revision().unwrap(), before, "the earlier version counts, and a status compiles nothing");
    namespace.event("VirtualService", "reviews", "UnknownField");
    namespace.apply(&good("/b"));
    let object = accepted(&namespace, "True", "Accepted");
    assert_eq!(object["status"]["proxies"]["summary"], "0/0");
}

#[test]
fn a_filter_says_what_becomes_of_its_image() {
    weft_system();
    let namespace = Namespace::new("status-filter", &[]);
    let _replica = Replica::start("a", None);
    let filter = json!({
        "apiVersion": "weft.dev/v1alpha1", "kind": "Filter", "metadata": {"name": "audit"},
        // Nobody listens there.
        "spec": {"image": "oci://127.0.0.1:1/audit:1", "selector": {"matchLabels": {"app": "reviews"}}},
    });
    namespace.apply(&filter.to_string());
    namespace.condition("filter/audit", "Resolved", "False", "ImageUnavailable");
    namespace.event("Filter", "audit", "ImageUnavailable");
}

#[test]
fn another_replica_leads_on_and_last_good_outlives_them_all() {
    weft_system();
    let namespace = Namespace::new("status-two", &[]);
    let holder = || {
        get(["lease", "weft-controlplane", "-n", "weft-system"])["spec"]["holderIdentity"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let kept = || {
        let maps = get(["configmaps", "-n", "weft-system", "-l", "weft.dev/last-good"]);
        let path = format!("VirtualService/{}/reviews", namespace.name);
        maps["items"].as_array().cloned().unwrap_or_default().iter().any(|map| map["data"]["path"] == path)
    };
    let first = Replica::start("first", None);
    within(TURN, "the first replica leads", || if holder() == "first" { Ok(()) } else { Err(holder()) });
    let second = Replica::start("second", None);
    namespace.apply(&good("/a"));
    accepted(&namespace, "True", "Accepted");
    namespace.apply(&broken());
    accepted(&namespace, "False", "UnknownField");
    assert!(kept(), "before status says that an earlier version counts, it is kept");
    within(SOON, "both say the same", || {
        let (a, b) = (first.revision()?, second.revision()?);
        if a == b { Ok(()) } else { Err(format!("{a} and {b}")) }
    });
    // With grace period 0.
    drop(first);
    within(TURN, "the second replica leads", || if holder() == "second" { Ok(()) } else { Err(holder()) });
    second.catches_up(SOON, "a replica that never saw the good version");
    drop(second);
    let third = Replica::start("third", None);
    within(TURN, "the third replica leads", || if holder() == "third" { Ok(()) } else { Err(holder()) });
    let report = third.report().unwrap();
    let objects = report["configuration"]["objects"].as_array().unwrap();
    let name = format!("{}/reviews", namespace.name);
    let object = objects.iter().find(|object| object["name"] == name.as_str()).expect("its last good version counts");
    assert_eq!(object["state"], "last-good");
    namespace.apply(&good("/b"));
    accepted(&namespace, "True", "Accepted");
    within(SOON, "nothing is kept for a good object", || if kept() { Err("kept") } else { Ok(()) });
    third.catches_up(SOON, "at the end");
    let _ = try_kubectl(["delete", "lease", "weft-controlplane", "-n", "weft-system"]);
}
