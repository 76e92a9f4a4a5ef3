//! What the cluster says of configuration that is wrong, waits, or works: Weft is installed, and asked as a user asks it,
//! by kubectl.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use weft_cluster_tests::{
    Filters, Namespace, control_planes, eventually, get, image, image_prefix, image_tag, install_checked, kubectl,
    kubectl_with, manifests, weft, within,
};

/// A change is everywhere long before.
const SETTLED: Duration = Duration::from_secs(30);

#[test]
fn the_webhook_refuses_what_check_refuses() {
    install_checked();
    let namespace = Namespace::new("truth-webhook", &[]);
    let image = "oci://registry.example/a:1";
    let matching =
        |regex: &str| json!([{"match": [{"uri": {"regex": regex}}], "route": [{"destination": {"host": "a"}}]}]);
    let rows = [
        ("VirtualService", json!({"hosts": ["a"], "http": [{"rout": []}]})),
        ("VirtualService", json!({"hosts": ["a"], "http": matching("(")})),
        ("VirtualService", json!({"hosts": ["a"], "filtres": [{"name": "guard"}]})),
        (
            "VirtualService",
            json!({"hosts": ["a"], "http": [{"filters": [{"name": "b", "at": "Destination"}], "route": manifests::to("a")[0]["route"]}]}),
        ),
        ("DestinationRule", json!({"host": "a", "trafficPolicy": {"outlierDetektion": {}}})),
        ("ServiceEntry", json!({"hosts": ["a.example"], "prots": []})),
        ("WorkloadEntry", json!({"address": "10.1.2.3", "lables": {}})),
        ("PeerAuthentication", json!({"mtl": {"mode": "STRICT"}})),
        ("Filter", json!({"image": image, "limits": {"deadlin": "2ms"}})),
        ("Mesh", json!({"registry": []})),
    ];
    for (kind, spec) in rows {
        let text = manifests::object(kind, "wrong", &spec);
        let problems = checked(
            &text.replace("\"name\":\"wrong\"", &format!("\"name\":\"wrong\",\"namespace\":\"{}\"", namespace.name)),
        );
        let said = namespace.try_apply(&text).expect_err(&format!("{text} is stored"));
        assert!(said.contains("validate.weft.dev"), "{text}: {said}");
        assert!(!problems.is_empty(), "weft check finds nothing in {text}");
        for problem in problems {
            for part in ["object", "field", "reason", "remedy"] {
                let words = problem[part].as_str().unwrap();
                assert!(!words.is_empty() && said.contains(words), "{part} {words:?} of {text} is not said: {said}");
            }
        }
    }
    // What another object's arrival cures is a warning: objects come in any order.
    let early = manifests::object(
        "VirtualService",
        "early",
        &json!({"hosts": ["later"], "filters": [{"name": "none"}], "http": manifests::to("later")}),
    );
    let warned = kubectl_with(["-n", &namespace.name, "apply", "--warnings-as-errors", "-f", "-"], &early)
        .expect_err("nothing is said of it");
    assert!(warned.contains("Warning") && warned.contains("none") && !warned.contains("denied"), "{warned}");
    namespace.kubectl(["get", "virtualservice", "early"]);
}

/// What `weft check` calls an error.
fn checked(text: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mesh.yaml");
    std::fs::write(&file, text).unwrap();
    let output =
        std::process::Command::new(weft_tests::weft()).args(["check", "-o", "json"]).arg(&file).output().unwrap();
    let problems: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    problems.into_iter().filter(|problem| problem["severity"] == "error").collect()
}

#[test]
fn status_and_events_tell_what_becomes_of_each_object() {
    install_checked();
    let filters = Filters::start();
    kubectl_with(["apply", "-f", "-"], &filters.mesh()).unwrap();
    let (shop, inside) = Namespace::shop("truth-status", &["server"]);
    let image = filters.push("filters/headers", "1");
    let mark = |image: &str| {
        manifests::object(
            "Filter",
            "mark",
            &json!({"image": image, "config": {"response": {"set": {"x-mark": "yes"}}}}),
        )
    };
    shop.apply(&mark(&image));
    shop.apply(&manifests::object(
        "DestinationRule",
        "server",
        &json!({"host": "server", "subsets": [{"name": "v1", "labels": {"version": "v1"}}]}),
    ));
    let route = json!([{"route": [{"destination": {"host": "server", "subset": "v1"}}]}]);
    shop.apply(&manifests::object(
        "VirtualService",
        "server",
        &json!({"hosts": ["server"], "filters": [{"name": "mark"}], "http": route}),
    ));
    inside.until(&shop.url("server"), &[], |answer| answer.header("x-mark") == "yes");
    for kind in ["virtualservice/server", "destinationrule/server", "filter/mark"] {
        shop.kubectl(["wait", kind, "--for=condition=Accepted", "--timeout=30s"]);
        shop.kubectl(["wait", kind, "--for=condition=Programmed", "--timeout=30s"]);
        let proxies = shop.get([kind])["status"]["proxies"].clone();
        // The caller's at least; over both replicas, and each counted once.
        assert!((1..=2).contains(&proxies["affected"].as_u64().unwrap()), "{kind}: {proxies}");
        assert_eq!(proxies["acknowledged"], proxies["affected"], "{kind}: {proxies}");
    }
    let resolved = shop.condition("filter/mark", "Resolved", "True", "Running");
    assert!(resolved["status"]["digest"].as_str().unwrap().starts_with("sha256:"), "{resolved}");

    // An image that is nowhere: the one before runs on, and twice wrong is one Event that counts.
    for tag in ["not-there", "neither"] {
        shop.apply(&mark(&image.replace(":1", &format!(":{tag}"))));
        let filter = shop.condition("filter/mark", "Resolved", "False", "ImageUnavailable");
        assert!(filter["status"]["problems"].to_string().contains("spec.image"), "{filter}");
        within(SETTLED, "an Event names the tag", || {
            let said = shop.event("Filter", "mark", "ImageUnavailable");
            if tag == "neither" || said.contains(tag) { Ok(()) } else { Err(said) }
        });
        assert_eq!(inside.get(&shop.url("server")).header("x-mark"), "yes");
    }

    // Stored and of no use: an Event and a problem on each of these kinds.
    shop.apply(&manifests::object("ServiceEntry", "out", &json!({"hosts": ["out.example"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}], "resolution": "STATIC", "endpoints": [{"address": "192.0.2.1"}]})));
    shop.apply(&manifests::object("WorkloadEntry", "vm", &json!({"address": "192.0.2.2", "labels": {"app": "vm"}})));
    for kind in ["serviceentry/out", "workloadentry/vm"] {
        shop.condition(kind, "Accepted", "True", "Accepted");
    }
}

#[test]
fn a_pod_that_is_not_injected_says_why() {
    install_checked();
    let plain = Namespace::new("truth-injected", &[]);
    plain.apply(&manifests::caller("early"));
    plain.ready(&["early"]);
    kubectl(["label", "namespace", &plain.name, "istio-injection=enabled"]);
    let pod = |name: &str, spec: &Value| {
        let mut spec = spec.clone();
        spec["containers"] = json!([{"name": "app", "image": image("weft-cluster-app"), "args": ["idle"]}]);
        spec["terminationGracePeriodSeconds"] = json!(1);
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
    };
    plain.try_create(&pod("on-the-node", &json!({"hostNetwork": true}))).unwrap();
    let note = plain.event("Pod", "on-the-node", "NotInjected");
    assert!(note.contains("hostNetwork"), "{note}");
    let early = plain.pods("app=early")[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let note = plain.event("Pod", &early, "NotInjected");
    assert!(note.contains("restart its workload"), "{note}");
    let said = plain
        .try_create(&pod("taken", &json!({"securityContext": {"runAsUser": 1337}})))
        .expect_err("uid 1337 is taken");
    assert!(said.contains("1337") && said.contains("weft.dev/inject=false"), "{said}");
}

/// Kinds of Istio's on which nobody acts: group, version, kind, plural.
type Kinds = &'static [(&'static str, &'static str, &'static str, &'static str)];

/// A hole where somebody relies on one.
const REFUSED: Kinds = &[
    ("security.istio.io", "v1", "AuthorizationPolicy", "authorizationpolicies"),
    ("security.istio.io", "v1", "RequestAuthentication", "requestauthentications"),
    ("networking.istio.io", "v1", "Gateway", "gateways"),
    ("networking.istio.io", "v1", "Sidecar", "sidecars"),
    ("networking.istio.io", "v1alpha3", "EnvoyFilter", "envoyfilters"),
    ("extensions.istio.io", "v1alpha1", "WasmPlugin", "wasmplugins"),
    ("extensions.istio.io", "v1alpha1", "TrafficExtension", "trafficextensions"),
];
/// No harm, and listed also in the mesh.
const LISTED: Kinds = &[
    ("networking.istio.io", "v1", "WorkloadGroup", "workloadgroups"),
    ("networking.istio.io", "v1beta1", "ProxyConfig", "proxyconfigs"),
    ("telemetry.istio.io", "v1", "Telemetry", "telemetries"),
];

/// Definitions that are not ours, removed in the end.
struct Definitions;

impl Definitions {
    fn apply() -> Self {
        let definition = |(group, version, kind, plural): &(&str, &str, &str, &str)| {
            let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
            let names = json!({"kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": kind.to_lowercase()});
            let version = json!({"name": version, "served": true, "storage": true, "schema": schema});
            json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": format!("{plural}.{group}")},
                "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
            })
        };
        let items: Vec<Value> = REFUSED.iter().chain(LISTED).map(definition).collect();
        kubectl_with(["apply", "-f", "-"], &json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())
            .unwrap();
        for name in Self::names() {
            kubectl(["wait", "--for=condition=Established", &format!("crd/{name}"), "--timeout=30s"]);
        }
        Self
    }

    fn names() -> Vec<String> {
        REFUSED.iter().chain(LISTED).map(|(group, _, _, plural)| format!("{plural}.{group}")).collect()
    }
}

impl Drop for Definitions {
    fn drop(&mut self) {
        let _ = weft_cluster_tests::try_kubectl(
            ["delete", "crd", "--wait=false"].into_iter().map(str::to_owned).chain(Self::names()),
        );
    }
}

#[test]
fn kinds_that_nobody_acts_on_are_refused_in_the_mesh_and_listed_elsewhere() {
    install_checked();
    let definitions = Definitions::apply();
    let meshed = Namespace::new("truth-kinds-in", &["istio-injection=enabled"]);
    let plain = Namespace::new("truth-kinds-out", &[]);
    let theirs = |(group, version, kind, _): &(&str, &str, &str, &str)| {
        json!({"apiVersion": format!("{group}/{version}"), "kind": kind, "metadata": {"name": "theirs"}, "spec": {}})
            .to_string()
    };
    for kind in REFUSED {
        let (text, words) = (theirs(kind), format!("{} is not supported by this version of Weft", kind.2));
        eventually(&format!("{} is refused in a namespace of the mesh", kind.2), || match meshed.try_apply(&text) {
            Err(said) if said.contains(&words) => Ok(()),
            other => Err(other),
        });
        plain.apply(&text);
    }
    for kind in LISTED {
        meshed.apply(&theirs(kind));
        plain.apply(&theirs(kind));
    }
    let listed = |report: &Value| -> BTreeSet<String> {
        let problems = report["problems"].as_array().cloned().unwrap_or_default();
        let unsupported = problems.iter().filter(|problem| problem["code"] == "NotSupported");
        unsupported.filter_map(|problem| problem["object"].as_str().map(str::to_owned)).collect()
    };
    let name = |kind: &str, namespace: &Namespace| format!("{kind} {}/theirs", namespace.name);
    let everywhere = LISTED.iter().map(|(_, _, kind, _)| name(kind, &meshed));
    let outside = REFUSED.iter().chain(LISTED).map(|(_, _, kind, _)| name(kind, &plain));
    let wanted: BTreeSet<String> = everywhere.chain(outside).collect();
    for address in control_planes() {
        within(SETTLED, "each is listed by weft status", || {
            let report = weft(["status", "-o", "json", "--at", &format!("{address}:15014")])?;
            let found = listed(&serde_json::from_str(&report).map_err(|error| format!("{error}: {report}"))?);
            if found.is_superset(&wanted) { Ok(()) } else { Err(format!("{found:?}")) }
        });
        let metrics = kubectl([
            "get",
            "--raw",
            &format!("/api/v1/namespaces/weft-system/pods/{}:15014/proxy/metrics", pod_at(&address)),
        ]);
        let count = metrics.lines().find_map(|line| line.strip_prefix("weft_unsupported_objects ")).unwrap_or("none");
        assert_eq!(count, wanted.len().to_string(), "{metrics}");
    }
    drop(definitions);
}

fn pod_at(address: &str) -> String {
    let pods = get(["-n", "weft-system", "pods"]);
    let pod = pods["items"].as_array().unwrap().iter().find(|pod| pod["status"]["podIP"] == address).unwrap();
    pod["metadata"]["name"].as_str().unwrap().to_owned()
}

/// By an option of the control plane, so that it need not come of age: what was there before works on, and what comes
/// after works with it. On a node that is kept the turn goes on for a day.
#[test]
fn the_root_turns_under_a_running_mesh() {
    install_checked();
    let (shop, inside) = Namespace::shop("truth-root", &["server"]);
    let certificates = || {
        let read = shop.kubectl(["get", "configmap", "weft-root", "-o", r"jsonpath={.data.root\.pem}"]);
        read.matches("BEGIN CERTIFICATE").count()
    };
    let add = json!([{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--root-life=36500d"}]);
    kubectl(["-n", "weft-system", "patch", "deployment", "weft-controlplane", "--type=json", "-p", &add.to_string()]);
    kubectl(["-n", "weft-system", "rollout", "status", "deployment/weft-controlplane", "--timeout=120s"]);
    within(SETTLED, "pods are shown the next root beside the present one", || {
        let shown = certificates();
        if shown == 2 { Ok(()) } else { Err(shown) }
    });
    let again = inside.get(&shop.url("server"));
    assert_eq!(again.status, 200, "{again:?}");
    shop.kubectl(["rollout", "restart", "deployment/server-v1"]);
    shop.ready(&["server-v1"]);
    inside.until(&shop.url("server"), &[], |answer| answer.status == 200);
    weft(["install", "--image-prefix", &image_prefix(), "--tag", &image_tag()]).unwrap();
}
