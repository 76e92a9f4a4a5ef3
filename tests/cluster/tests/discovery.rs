//! What the control plane knows of the cluster, and how it comes back to the truth after each kind of disturbance: its
//! revision is then that of a control plane which has just read everything.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use weft_cluster_tests::{Namespace, Replica, get, kubectl, kubectl_with, node, own_node, within};

const SOON: Duration = Duration::from_secs(5);
/// After the API server is back, or reachable again.
const RECOVERY: Duration = Duration::from_secs(35);

fn weft_system() {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "weft-system"}});
    kubectl_with(["apply", "-f", "-"], &namespace.to_string()).unwrap();
    kubectl(["apply", "--server-side", "--force-conflicts", "-f", &crds()]);
}

fn crds() -> String {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds").display().to_string()
}

/// A Service without a selector and its EndpointSlice: endpoints that change only when the test says so.
fn endpoints(name: &str, addresses: &[&str]) -> String {
    let endpoints: Vec<Value> =
        addresses.iter().map(|a| json!({"addresses": [a], "conditions": {"ready": true}})).collect();
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"name": "http", "port": 80}]},
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": format!("{name}-x"), "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": endpoints,
    });
    format!("{service}\n---\n{slice}\n")
}

#[test]
fn changes_of_every_kind_arrive() {
    weft_system();
    let namespace = Namespace::new("discovery", &[]);
    let replica = Replica::start("a", None);
    let mut before = replica.revision().unwrap();
    let mut changed = |what: &str, change: &dyn Fn()| {
        change();
        let revision = within(SOON, what, || {
            let revision = replica.revision()?;
            if revision == before { Err(revision) } else { Ok(revision) }
        });
        before = revision;
    };
    let apply = |yaml: String| namespace.apply(&yaml);
    changed("a service and its endpoints", &|| apply(endpoints("db", &["192.0.2.1"])));
    changed("another endpoint", &|| apply(endpoints("db", &["192.0.2.1", "192.0.2.2"])));
    changed("a VirtualService", &|| apply(virtual_service("/a")));
    changed("its change", &|| apply(virtual_service("/b")));
    changed("its deletion", &|| drop(namespace.kubectl(["delete", "virtualservice", "db"])));
    changed("pods", &|| namespace.app("server", "v1"));
    // Controllers go on for a while.
    replica.catches_up(SOON, "at rest");
    changed("a pod less", &|| drop(namespace.kubectl(["scale", "deployment", "server-v1", "--replicas=0"])));
    replica.catches_up(Duration::from_secs(60), "the pod is gone");
}

fn virtual_service(uri: &str) -> String {
    let route = json!([{"rewrite": {"uri": uri}, "route": [{"destination": {"host": "db"}}]}]);
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "db"},
        "spec": {"hosts": ["db"], "http": route},
    })
    .to_string()
}

#[test]
fn a_kind_whose_definition_comes_later_is_waited_for() {
    weft_system();
    let namespace = Namespace::new("discovery-late", &[]);
    let replica = Replica::start("a", None);
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "wasmplugins.extensions.istio.io"},
        "spec": {
            "group": "extensions.istio.io", "scope": "Namespaced",
            "names": {"kind": "WasmPlugin", "listKind": "WasmPluginList", "plural": "wasmplugins", "singular": "wasmplugin"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    });
    let listed = || {
        let report = replica.report()?;
        let object = format!("WasmPlugin {}/late", namespace.name);
        let problems = report["problems"].as_array().cloned().unwrap_or_default();
        Ok::<bool, String>(problems.iter().any(|p| p["object"] == object && p["code"] == "NotSupported"))
    };
    kubectl_with(["apply", "-f", "-"], &definition.to_string()).unwrap();
    kubectl(["wait", "--for=condition=Established", "crd/wasmplugins.extensions.istio.io"]);
    let plugin =
        json!({"apiVersion": "extensions.istio.io/v1alpha1", "kind": "WasmPlugin", "metadata": {"name": "late"}});
    within(SOON, "the kind is served", || namespace.try_apply(&plugin.to_string()));
    let shown = within(SOON * 2, "it is listed as not supported", || {
        if listed()? { Ok(true) } else { Err("not listed".to_owned()) }
    });
    assert!(shown);
    kubectl(["delete", "crd", "wasmplugins.extensions.istio.io"]);
    within(SOON * 2, "it is gone with its kind", || if listed()? { Err("still listed".to_owned()) } else { Ok(()) });
}

#[test]
fn the_api_server_is_killed_and_history_compacted() {
    if own_node().is_none() {
        return; // Only our own node may be harmed.
    }
    weft_system();
    let namespace = Namespace::new("discovery-killed", &[]);
    namespace.apply(&(endpoints("db", &["192.0.2.1"]) + "---\n" + &endpoints("old", &["192.0.2.9"])));
    let replica = Replica::start("a", None);
    // While it cannot see: some goes, some comes, and the history between is thrown away.
    let stopped = node::Stopped::process(replica.pid());
    namespace.kubectl(["delete", "service,endpointslice", "--all"]);
    namespace.apply(&endpoints("db", &["192.0.2.2", "192.0.2.3"]));
    compact();
    node::kill("apiserver");
    within(RECOVERY, "the API server is back", || weft_cluster_tests::try_kubectl(["get", "--raw", "/readyz"]));
    drop(stopped);
    replica.catches_up(RECOVERY, "after 410 Gone");
    let old = format!("{}/old", namespace.name);
    let report = replica.report().unwrap();
    assert!(!report.to_string().contains(&format!("\"{old}\"")), "{old} was deleted meanwhile");
}

/// All of etcd's history but its newest revision.
fn compact() {
    let etcd = |path: &str, body: String| -> Value {
        let url = format!("http://127.0.0.1:2379/v3/kv/{path}");
        let output = Command::new("curl").args(["-s", "-X", "POST", &url, "-d", &body]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let newest = etcd("range", json!({"key": "YQ=="}).to_string());
    let revision = newest["header"]["revision"].as_str().unwrap().to_owned();
    let answer = etcd("compaction", json!({"revision": revision, "physical": true}).to_string());
    assert!(answer["header"]["revision"].is_string(), "{answer}");
}

#[test]
fn the_api_server_is_stopped_for_a_minute() {
    if own_node().is_none() {
        return;
    }
    weft_system();
    let namespace = Namespace::new("discovery-frozen", &[]);
    namespace.apply(&endpoints("db", &["192.0.2.1"]));
    let replica = Replica::start("a", None);
    let before = replica.revision().unwrap();
    let frozen = node::freeze("apiserver");
    std::thread::sleep(Duration::from_secs(60));
    assert_eq!(replica.revision().unwrap(), before, "what is known counts on");
    drop(frozen);
    let back = Instant::now();
    within(RECOVERY, "the API server answers", || namespace.try_apply(&endpoints("db", &["192.0.2.2"])));
    replica.catches_up(RECOVERY.saturating_sub(back.elapsed()), "after SIGSTOP of the API server");
}

#[test]
fn packets_are_dropped_for_a_minute() {
    if own_node().is_none() {
        return;
    }
    weft_system();
    let namespace = Namespace::new("discovery-cut", &[]);
    namespace.apply(&(endpoints("db", &["192.0.2.1"]) + "---\n" + &endpoints("old", &["192.0.2.9"])));
    let replica = Replica::start("a", Some(&elsewhere("cut", LOOPBACK, None)));
    let before = replica.revision().unwrap();
    let cut = node::cut_address(LOOPBACK);
    namespace.apply(&endpoints("db", &["192.0.2.2"]));
    namespace.kubectl(["delete", "service/old", "endpointslice/old-x"]);
    std::thread::sleep(Duration::from_secs(60));
    assert_eq!(replica.revision().unwrap(), before, "it cannot know");
    drop(cut);
    replica.catches_up(RECOVERY, "after a minute without packets");
}

/// An address of the API server that nobody else uses.
const LOOPBACK: &str = "127.0.0.9";

/// The suite's kubeconfig with the server at another address, and perhaps with another token.
fn elsewhere(name: &str, address: &str, token: Option<&str>) -> PathBuf {
    let config = kubectl(["config", "view", "--raw", "--flatten", "-o", "json"]);
    let mut config: Value = serde_json::from_str(&config).unwrap();
    let cluster = &mut config["clusters"][0]["cluster"];
    let server = cluster["server"].as_str().unwrap().to_owned();
    let authority = server.strip_prefix("https://").unwrap();
    let (host, port) = authority.rsplit_once(':').unwrap();
    let (host, port) = (host.to_owned(), port.to_owned());
    cluster["server"] = json!(format!("https://{address}:{port}"));
    cluster["tls-server-name"] = json!(host);
    if let Some(token) = token {
        config["users"][0]["user"] = json!({ "token": token });
    }
    let path = std::env::temp_dir().join(format!("weft-kubeconfig-{}-{name}", std::process::id()));
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

#[test]
fn requests_are_refused_with_429() {
    if own_node().is_none() {
        return;
    }
    weft_system();
    let namespace = Namespace::new("discovery-429", &[]);
    let account = format!("system:serviceaccount:{}:default", namespace.name);
    let binding = format!("weft-test-{}", namespace.name);
    kubectl([
        "create",
        "clusterrolebinding",
        &binding,
        "--clusterrole=cluster-admin",
        &format!("--serviceaccount={}:default", namespace.name),
    ]);
    let token = within(SOON, "a token", || namespace.try_kubectl(["create", "token", "default"]));
    namespace.apply(&endpoints("db", &["192.0.2.1"]));
    let replica = Replica::start("a", Some(&elsewhere("429", LOOPBACK, Some(token.trim()))));
    let before = replica.revision().unwrap();
    let wall = json!([
        {"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration", "metadata": {"name": binding},
         "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}}}},
        {"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": binding},
         "spec": {"priorityLevelConfiguration": {"name": binding}, "matchingPrecedence": 50,
                  "rules": [{"subjects": [{"kind": "ServiceAccount", "serviceAccount": {"name": "default", "namespace": namespace.name}}],
                             "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}]}]}},
    ]);
    let wall = json!({"apiVersion": "v1", "kind": "List", "items": wall}).to_string();
    kubectl_with(["apply", "-f", "-"], &wall).unwrap();
    within(SOON * 2, "the account is refused", || {
        match weft_cluster_tests::try_kubectl(["get", "services", "--as", &account]) {
            Err(error) if error.contains("429") || error.to_lowercase().contains("too many") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    // Longer than a watch lives: each has to be asked for again, and is refused.
    std::thread::sleep(Duration::from_secs(35));
    namespace.apply(&endpoints("db", &["192.0.2.2"]));
    assert_eq!(replica.revision().unwrap(), before, "it cannot know");
    kubectl_with(["delete", "-f", "-"], &wall).unwrap();
    replica.catches_up(RECOVERY, "after 429s");
    kubectl(["delete", "clusterrolebinding", &binding]);
    assert!(get(["services", "-n", &namespace.name])["items"].is_array());
}
