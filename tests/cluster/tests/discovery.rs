//! What the control plane knows of the cluster, and how it comes back to the truth after each kind of disturbance: its
//! revision is then that of a control plane which has just read everything.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use weft_cluster_tests::{Namespace, Relay, Replica, get, kubectl, kubectl_with, node, own_node, within, without_weft};

const SOON: Duration = Duration::from_secs(15);
/// After the API server is back, or reachable again.
const RECOVERY: Duration = Duration::from_secs(35);

fn after(time: Duration) -> Instant {
    Instant::now() + time
}

fn weft_system() {
    without_weft();
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
    let shown =
        within(
            SOON,
            "it is listed as not supported",
            || {
                if listed()? { Ok(true) } else { Err("not listed".to_owned()) }
            },
        );
    assert!(shown);
    kubectl(["delete", "crd", "wasmplugins.extensions.istio.io"]);
    within(SOON, "it is gone with its kind", || if listed()? { Err("still listed".to_owned()) } else { Ok(()) });
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
    replica.catches_up_by(after(RECOVERY), "after 410 Gone");
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

/// An address of the API server that nobody else uses.
const LOOPBACK: &str = "127.0.0.9";

/// Both waits are one: a replica to which no packet comes, and one whose API server does not run.
#[test]
fn a_minute_without_packets_and_without_an_api_server() {
    if own_node().is_none() {
        return;
    }
    weft_system();
    let namespace = Namespace::new("discovery-away", &[]);
    namespace.apply(&(endpoints("db", &["192.0.2.1"]) + "---\n" + &endpoints("old", &["192.0.2.9"])));
    let without_packets = Replica::start("a", Some(&elsewhere("cut", LOOPBACK, None)));
    let without_server = Replica::start("b", None);
    let before = without_server.revision().unwrap();
    let cut = node::cut_address(LOOPBACK);
    namespace.apply(&endpoints("db", &["192.0.2.2"]));
    namespace.kubectl(["delete", "service/old", "endpointslice/old-x"]);
    within(SOON, "the other one is told", || match without_server.revision() {
        Ok(revision) if revision != before => Ok(()),
        other => Err(other),
    });
    // What came before the cut is taken in by now.
    let known = without_packets.revision().unwrap();
    let frozen = node::freeze("apiserver");
    std::thread::sleep(Duration::from_secs(60));
    assert_eq!(without_packets.revision().unwrap(), known, "it cannot know");
    assert_ne!(without_server.revision().unwrap(), before, "what is known counts on");
    drop(frozen);
    let back = after(RECOVERY);
    within(RECOVERY, "the API server answers", || namespace.try_apply(&endpoints("db", &["192.0.2.3"])));
    without_server.catches_up_by(back, "after SIGSTOP of the API server");
    assert_eq!(without_packets.revision().unwrap(), known, "no packet came yet");
    drop(cut);
    without_packets.catches_up_by(after(RECOVERY), "after a minute without packets");
    the_node_is_ready();
}

/// The kubelet could not say so for a minute.
fn the_node_is_ready() {
    kubectl(["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s"]);
}

/// The suite's kubeconfig with the server at another address, perhaps another port, and perhaps with another token.
fn elsewhere(name: &str, address: &str, token: Option<&str>) -> PathBuf {
    let mut config = config();
    let cluster = &mut config["clusters"][0]["cluster"];
    let (host, port) = server(cluster);
    let at = if address.contains(':') { address.to_owned() } else { format!("{address}:{port}") };
    cluster["server"] = json!(format!("https://{at}"));
    cluster["tls-server-name"] = json!(host);
    if let Some(token) = token {
        config["users"][0]["user"] = json!({ "token": token });
    }
    let path = std::env::temp_dir().join(format!("weft-kubeconfig-{}-{name}", std::process::id()));
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

fn config() -> Value {
    let config = kubectl(["config", "view", "--raw", "--flatten", "-o", "json"]);
    serde_json::from_str(&config).unwrap()
}

/// Host and port of the API server.
fn server(cluster: &Value) -> (String, String) {
    let (host, port) = cluster["server"].as_str().unwrap().strip_prefix("https://").unwrap().rsplit_once(':').unwrap();
    (host.to_owned(), port.to_owned())
}

#[test]
fn requests_are_refused_with_429() {
    if own_node().is_none() {
        return;
    }
    weft_system();
    let namespace = Namespace::new("discovery-429", &[]);
    let name = format!("weft-test-{}", namespace.name);
    let account = format!("--serviceaccount={}:default", namespace.name);
    kubectl(["create", "clusterrolebinding", &name, "--clusterrole=cluster-admin", &account]);
    let token = within(SOON, "a token", || namespace.try_kubectl(["create", "token", "default"]));
    namespace.apply(&endpoints("db", &["192.0.2.1"]));
    let (host, port) = server(&config()["clusters"][0]["cluster"]);
    let relay = Relay::start(&format!("{host}:{port}"));
    let replica = Replica::start("a", Some(&elsewhere("429", &relay.address, Some(token.trim()))));
    let wall = Wall::build(&name, &namespace, token.trim());
    // Each watch has to be asked for again, and is refused.
    relay.cut();
    within(SOON, "every watch is refused", || {
        let log = replica.log();
        let refused = |kind: &str| log.lines().any(|line| line.contains(&format!("{kind:?}")) && line.contains("429"));
        if ["Pod", "Service", "EndpointSlice", "VirtualService"].into_iter().all(refused) { Ok(()) } else { Err(log) }
    });
    let known = replica.revision().unwrap();
    namespace.apply(&endpoints("db", &["192.0.2.2"]));
    assert_eq!(replica.revision().unwrap(), known, "it cannot know");
    drop(wall);
    replica.catches_up_by(after(RECOVERY), "after 429s");
    kubectl(["delete", "clusterrolebinding", &name]);
}

/// A priority level without a seat for the namespace's account. The server always gives one, which a request keeps that
/// never comes to its end.
struct Wall {
    objects: String,
    sitting: Child,
}

impl Wall {
    fn build(name: &str, namespace: &Namespace, token: &str) -> Self {
        let objects = Self::objects(name, &namespace.name);
        kubectl_with(["apply", "-f", "-"], &objects).unwrap();
        let level = get(["prioritylevelconfiguration", name]);
        let level = level["metadata"]["uid"].as_str().unwrap().to_owned();
        let server = config()["clusters"][0]["cluster"]["server"].as_str().unwrap().to_owned();
        let bearer = format!("Authorization: Bearer {token}");
        let asked = || {
            let url = format!("{server}/api/v1/services");
            let asked = Command::new("curl").args(["-sk", "-D", "-", "-o", "/dev/null", "-H", &bearer, &url]).output();
            String::from_utf8(asked.unwrap().stdout).unwrap()
        };
        within(SOON, "the wall stands", || {
            let answer = asked();
            if answer.contains(&level) { Ok(()) } else { Err(answer) }
        });
        let sit = || {
            // Chunks of which none is ever sent. Refused, it would not notice.
            Command::new("curl")
                .args(["-sk", "--http1.1", "-H", "Expect:", "-H", &bearer, "-H", "Content-Type: application/json"])
                .args(["-X", "POST", "-T", "-"])
                .arg(format!("{server}/api/v1/namespaces/{}/configmaps", namespace.name))
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        };
        let mut wall = Self { objects, sitting: sit() };
        let mut asked_times = 0;
        within(SOON, "the account is refused", || {
            asked_times += 1;
            if asked_times % 10 == 0 {
                // Somebody else had the seat.
                wall.stand_up();
                wall.sitting = sit();
            }
            let answer = asked();
            if answer.contains(" 429 ") { Ok(()) } else { Err(answer) }
        });
        wall
    }

    fn stand_up(&mut self) {
        // It may have ended by itself.
        let _ = self.sitting.kill();
        let _ = self.sitting.wait();
    }

    fn objects(name: &str, namespace: &str) -> String {
        let limited = json!({"nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}});
        let account = json!({"name": "default", "namespace": namespace});
        let everything =
            json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true});
        let rule =
            json!({"subjects": [{"kind": "ServiceAccount", "serviceAccount": account}], "resourceRules": [everything]});
        let api = "flowcontrol.apiserver.k8s.io/v1";
        let objects = json!([
            {"apiVersion": api, "kind": "PriorityLevelConfiguration", "metadata": {"name": name},
             "spec": {"type": "Limited", "limited": limited}},
            {"apiVersion": api, "kind": "FlowSchema", "metadata": {"name": name},
             "spec": {"priorityLevelConfiguration": {"name": name}, "matchingPrecedence": 50, "rules": [rule]}},
        ]);
        json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
    }
}

impl Drop for Wall {
    fn drop(&mut self) {
        self.stand_up();
        kubectl_with(["delete", "-f", "-"], &self.objects).unwrap();
    }
}
