//! How pods with a sidecar live: probes, the order in which containers start and end, Jobs, and what the sidecar may.
//!
//! Everything is under STRICT, so that whatever the kubelet or a stranger asked of an app by itself would be refused.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::time::Duration;
use weft_cluster_tests::{Namespace, image, install, node, own_node, within};

const STRICT: &str = "apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
";

fn strict(name: &str) -> Namespace {
    install();
    let namespace = Namespace::new(&format!("sidecars-{name}"), &["istio-injection=enabled"]);
    namespace.apply(STRICT);
    namespace.app("server", "v1");
    namespace
}

/// A container of the suite's image.
fn container(name: &str, arguments: &[&str], more: Value) -> Value {
    let mut container = json!({"name": name, "image": image("weft-cluster-app"), "args": arguments});
    container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    container
}

fn pod(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec})
}

/// A probe that says at once what it finds.
fn probe(action: Value) -> Value {
    let mut probe = json!({"periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 1});
    probe.as_object_mut().unwrap().extend(action.as_object().unwrap().clone());
    probe
}

/// Where the app listens.
fn ports() -> Value {
    json!([{"name": "http", "containerPort": 8080}, {"name": "tcp", "containerPort": 9000}, {"name": "tls", "containerPort": 8443}])
}

#[track_caller]
fn ready(namespace: &Namespace, pod: &str) {
    namespace.kubectl(["wait", &format!("pod/{pod}"), "--for=condition=Ready", "--timeout=90s"]);
}

#[test]
fn probes_of_all_kinds_are_answered() {
    let shop = strict("probes");
    let with = |action: Value| json!({"readinessProbe": probe(action)});
    let own = json!({
        "ports": ports(),
        "startupProbe": {"tcpSocket": {"port": "tcp"}, "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": probe(json!({"httpGet": {"path": "/status/299", "port": "http", "httpHeaders": [{"name": "host", "value": "shop.example"}]}})),
        "livenessProbe": probe(json!({"httpGet": {"path": "/live", "port": "tls", "scheme": "HTTPS"}})),
    });
    let asks = ["/weft-cluster-app", "get", "http://127.0.0.1:8080/", "--want", "200"];
    let mut containers = vec![container("app", &["serve"], own)];
    // The ports are the pod's, whichever container asks.
    for (name, action) in [
        ("http", json!({"httpGet": {"port": 8080}})),
        ("grpc", json!({"grpc": {"port": 8080}})),
        ("tcp", json!({"tcpSocket": {"port": 9000}})),
        ("https", json!({"httpGet": {"port": 8443, "scheme": "HTTPS"}})),
        ("exec", json!({"exec": {"command": asks}})),
    ] {
        containers.push(container(name, &["idle"], with(action)));
    }
    shop.try_create(&pod("asked", json!({"containers": containers}))).unwrap();
    ready(&shop, "asked");
    let asked = shop.get(["pod", "asked"]);
    let address = asked["status"]["podIP"].as_str().unwrap();
    // What passes is passed on, and nothing else: the same path by a stranger is plain text to the app.
    let outside = Namespace::new("sidecars-outside", &[]);
    let stranger = outside.caller("stranger");
    let said = stranger.get(&format!("http://{address}:8080/live"));
    assert_eq!(said.status, 403, "{said:?}");
    let said = stranger.get(&format!("http://{address}:15020/app-health/app/readyz"));
    assert_eq!((said.status, said.body.as_str()), (200, "passed\n"), "{said:?}");
}

#[test]
fn probes_that_fail_are_failures() {
    let shop = strict("failures");
    let cases = [
        ("http", json!({"httpGet": {"path": "/status/500", "port": 8080}}), "statuscode: 500"),
        ("grpc", json!({"grpc": {"port": 8080, "service": "other"}}), "statuscode: 503"),
        ("tcp", json!({"tcpSocket": {"port": 9}}), "statuscode: 503"),
        ("https", json!({"httpGet": {"port": 8080, "scheme": "HTTPS"}}), "statuscode: 503"),
        (
            "exec",
            json!({"exec": {"command": ["/weft-cluster-app", "get", "http://127.0.0.1:8080/", "--want", "500"]}}),
            "Readiness probe failed",
        ),
    ];
    let dies = json!({"livenessProbe": probe(json!({"httpGet": {"path": "/status/500", "port": 8080}}))});
    let mut containers = vec![container("app", &["serve"], json!({})), container("dies", &["idle"], dies)];
    containers.extend(
        cases
            .iter()
            .map(|(name, action, _)| container(name, &["idle"], json!({"readinessProbe": probe(action.clone())}))),
    );
    shop.try_create(&pod("wrong", json!({"containers": containers, "terminationGracePeriodSeconds": 1}))).unwrap();
    for (name, _, want) in &cases {
        within(Duration::from_secs(60), &format!("the kubelet says that {name} fails"), || {
            let events = shop.get(["events", "--field-selector", "involvedObject.name=wrong,reason=Unhealthy"]);
            let told = events["items"].as_array().unwrap().iter().any(|event| {
                event["involvedObject"]["fieldPath"] == format!("spec.containers{{{name}}}")
                    && event["message"].as_str().is_some_and(|message| message.contains(want))
            });
            if told { Ok(()) } else { Err(events["items"].to_string()) }
        });
    }
    let statuses = || {
        let pod = shop.get(["pod", "wrong"]);
        let all = ["initContainerStatuses", "containerStatuses"].map(|list| pod["status"][list].as_array().cloned());
        all.into_iter().flatten().flatten().collect::<Vec<_>>()
    };
    within(Duration::from_secs(60), "the container that does not live is started again", || {
        let of = statuses().into_iter().find(|status| status["name"] == "dies").unwrap();
        if of["restartCount"].as_u64() > Some(0) { Ok(()) } else { Err(of) }
    });
    for status in statuses() {
        let name = status["name"].as_str().unwrap();
        // One that is started again and again is ready in between.
        let fails = cases.iter().any(|(failing, ..)| *failing == name);
        assert!(name == "dies" || status["ready"] != fails, "{status}");
        assert!(name == "dies" || status["restartCount"] == 0, "{status}");
    }
}

/// When each container began or ended, by its name.
fn moment(pod: &Value, name: &str, field: &str) -> String {
    let lists = ["initContainerStatuses", "containerStatuses"];
    let all = lists.into_iter().filter_map(|list| pod["status"][list].as_array()).flatten();
    let status = all.into_iter().find(|status| status["name"] == name).unwrap();
    let states = status["state"].as_object().unwrap().values();
    states
        .into_iter()
        .find_map(|state| state[field].as_str())
        .unwrap_or_else(|| panic!("{field} of {status}"))
        .to_owned()
}

#[test]
fn init_containers_are_in_the_mesh_and_the_app_comes_last() {
    let shop = strict("order");
    let asks = ["get", "http://server/", "--want", "200"];
    let spec = json!({
        "initContainers": [container("asks-first", &asks, json!({}))],
        "containers": [container("app", &["serve"], json!({"readinessProbe": probe(json!({"httpGet": {"port": 8080}}))}))],
        // As strict as it can be written: injection is not to loosen it for the app, nor to break on it.
        "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
    });
    shop.try_create(&pod("ordered", spec)).unwrap();
    ready(&shop, "ordered");
    let pod = shop.get(["pod", "ordered"]);
    let order = [
        moment(&pod, "weft-init", "finishedAt"),
        moment(&pod, "weft-proxy", "startedAt"),
        moment(&pod, "asks-first", "startedAt"),
        moment(&pod, "asks-first", "finishedAt"),
        moment(&pod, "app", "startedAt"),
    ];
    let mut sorted = order.clone();
    sorted.sort();
    assert_eq!(order, sorted, "{:#}", pod["status"]);
}

#[test]
fn jobs_end_with_their_sidecars() {
    let shop = strict("jobs");
    let job = |name: &str, want: &str| {
        let asks = ["get", "http://server/", "--want", want];
        json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name},
            "spec": {"backoffLimit": 0, "template": {"spec": {
                "restartPolicy": "Never",
                "containers": [container("app", &asks, json!({}))],
            }}},
        })
    };
    shop.try_create(&job("works", "200")).unwrap();
    shop.try_create(&job("fails", "500")).unwrap();
    shop.kubectl(["wait", "job/works", "--for=condition=Complete", "--timeout=90s"]);
    shop.kubectl(["wait", "job/fails", "--for=condition=Failed", "--timeout=90s"]);
    for (name, want) in [("works", "Succeeded"), ("fails", "Failed")] {
        let pods = shop.pods(&format!("batch.kubernetes.io/job-name={name}"));
        assert_eq!(pods.len(), 1, "{pods:?}");
        assert_eq!(pods[0]["status"]["phase"], want, "{:#}", pods[0]);
        let proxy = &pods[0]["status"]["initContainerStatuses"][1];
        assert_eq!(proxy["state"]["terminated"]["exitCode"], 0, "{proxy}");
    }
}

/// The kubelet tells of hooks that fail: so an app says that it could not call out while it was ending.
#[test]
fn outbound_works_until_the_app_has_gone_and_inbound_ends_in_order() {
    let shop = strict("drain");
    let caller = shop.caller("caller");
    let leaves = |want: &str| {
        let asks = ["/weft-cluster-app", "get", "http://server/delay/500", "--times", "4", "--want", want];
        let hook = json!({"lifecycle": {"preStop": {"exec": {"command": asks}}}});
        json!({"containers": [container("app", &["serve"], hook)], "terminationGracePeriodSeconds": 30})
    };
    for (name, want) in [("leaves", "200"), ("cannot", "500")] {
        shop.try_create(&pod(name, leaves(want))).unwrap();
    }
    ready(&shop, "leaves");
    ready(&shop, "cannot");
    // At each moment ten requests are at the server, whose pod is replaced.
    shop.kubectl(["scale", "deployment/server-v1", "--replicas=2"]);
    shop.ready(&["server-v1"]);
    let load = caller.load("http://server/delay/500", &["--rate", "20", "--expect", "x-app=server-v1"]);
    shop.kubectl(["rollout", "restart", "deployment/server-v1"]);
    shop.ready(&["server-v1"]);
    shop.kubectl(["delete", "pod", "leaves", "cannot", "--timeout=90s"]);
    load.stop().assert_clean(40);
    let failed = |name: &str| {
        let of = format!("involvedObject.name={name},reason=FailedPreStopHook");
        shop.get(["events", "--field-selector", &of])["items"].as_array().unwrap().len()
    };
    within(Duration::from_secs(20), "a hook that fails is told of", || {
        if failed("cannot") > 0 { Ok(()) } else { Err(shop.kubectl(["get", "events"])) }
    });
    assert_eq!(failed("leaves"), 0, "{}", shop.kubectl(["get", "events"]));
}

#[test]
fn the_sidecar_has_no_root_and_no_capability() {
    let _shop = strict("rights");
    if own_node().is_none() {
        println!("passed over: the processes of this cluster are out of reach");
        return;
    }
    let sidecars = node::processes("weft-proxy");
    assert!(!sidecars.is_empty(), "no process weft-proxy on the node");
    for status in sidecars {
        // Seccomp 2 is a filter: the container runtime's own.
        for (field, want) in [
            ("Uid", "1337"),
            ("Gid", "1337"),
            ("CapInh", NONE),
            ("CapPrm", NONE),
            ("CapEff", NONE),
            ("CapBnd", NONE),
            ("CapAmb", NONE),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
        ] {
            assert_eq!(status.get(field).map(String::as_str), Some(want), "{field} of {status:?}");
        }
    }
}

/// Of capabilities.
const NONE: &str = "0000000000000000";
