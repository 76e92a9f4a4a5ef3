//! The CRDs on a real API server: nothing that the readers know is lost, and what cannot be meant is refused.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use weft_cluster_tests::{Namespace, kubectl, try_kubectl};
use weft_config::schema::{self, Outcome};

const KINDS: &[(&str, &[&str], &str)] = &[
    ("networking.istio.io", &["v1", "v1beta1", "v1alpha3"], "VirtualService"),
    ("networking.istio.io", &["v1", "v1beta1", "v1alpha3"], "DestinationRule"),
    ("networking.istio.io", &["v1", "v1beta1", "v1alpha3"], "ServiceEntry"),
    ("networking.istio.io", &["v1", "v1beta1", "v1alpha3"], "WorkloadEntry"),
    ("security.istio.io", &["v1", "v1beta1"], "PeerAuthentication"),
    ("weft.dev", &["v1alpha1"], "Filter"),
    ("weft.dev", &["v1alpha1"], "Mesh"),
];

/// This suite is about the API server alone: it runs before Weft is installed.
fn crds() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/crds");
    kubectl(["apply", "--server-side", "--force-conflicts", "-f", folder]);
    kubectl(["wait", "--for=condition=Established", "crd", "-l", "app.kubernetes.io/part-of=weft"]);
}

#[test]
fn every_field_survives_in_every_version() {
    crds();
    for (group, versions, kind) in KINDS {
        let examples = schema::spec(kind).unwrap().examples();
        for (number, version) in versions.iter().enumerate() {
            let namespace = Namespace::new("crds", &[]);
            // Every field in the stored version, and in the others each third: they have one schema.
            let kept = |(index, example): (usize, &schema::Example)| {
                let chosen = number == 0 || index % 3 == number;
                (chosen && example.outcome != Outcome::Refused)
                    .then(|| (format!("example-{index}"), example.spec.clone()))
            };
            let wanted: Vec<_> = examples.iter().enumerate().filter_map(kept).collect();
            assert!(!wanted.is_empty(), "{kind} {version}");
            let object = |(name, spec): &(String, Value)| json!({"apiVersion": format!("{group}/{version}"), "kind": kind, "metadata": {"name": name}, "spec": spec});
            let items: Vec<_> = wanted.iter().map(object).collect();
            let said = namespace.try_create(&json!({"apiVersion": "v1", "kind": "List", "items": items}));
            said.unwrap_or_else(|error| panic!("{kind} {version}: {error}"));
            let list = namespace.get([&*format!("{kind}.{}.{group}", versions[0])]);
            let spec =
                |name: &str| list["items"].as_array().unwrap().iter().find(|item| item["metadata"]["name"] == name);
            for (name, wrote) in &wanted {
                let read = spec(name).unwrap_or_else(|| panic!("{kind} {version} {name} is not there"));
                assert_eq!(&read["spec"], wrote, "{kind} {version}");
            }
        }
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_a_reason() {
    crds();
    let namespace = Namespace::new("crds-refused", &[]);
    let filter = |more: Value| {
        let mut spec = json!({"image": "oci://registry.example/a:1"});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let route = json!({"route": [{"destination": {"host": "a"}}], "redirect": {"uri": "/b"}});
    let registry = |more: Value| json!({"registries": [more]});
    let cases = [
        ("weft.dev/v1alpha1", "Filter", json!({}), "spec.image: Required value"),
        ("weft.dev/v1alpha1", "Filter", filter(json!({"image": "registry.example/a:1"})), "write oci://HOST"),
        ("weft.dev/v1alpha1", "Filter", filter(json!({"digest": "sha256:12"})), "64 hexadecimal digits"),
        ("weft.dev/v1alpha1", "Filter", filter(json!({"limits": {"deadline": "2s"}})), "write 100us to 1s"),
        ("weft.dev/v1alpha1", "Filter", filter(json!({"limits": {"memory": 1}})), "from 64Ki to 1Gi"),
        (
            "weft.dev/v1alpha1",
            "Filter",
            filter(json!({"failurePolicy": "open"})),
            "supported values: \"Closed\", \"Open\"",
        ),
        (
            "weft.dev/v1alpha1",
            "Filter",
            filter(json!({"targetRefs": [{"kind": "Service", "name": "a", "sectionName": "b"}]})),
            "a Service is protected as a whole",
        ),
        (
            "weft.dev/v1alpha1",
            "Mesh",
            registry(json!({"host": "a", "credentials": {"password": "b"}})),
            "never write a password here",
        ),
        (
            "weft.dev/v1alpha1",
            "Mesh",
            registry(json!({"host": "a", "plainHttp": true, "ca": "b"})),
            "exclude each other",
        ),
        ("security.istio.io/v1", "PeerAuthentication", json!({"portLevelMtls": {"http": {}}}), "a key must be a port"),
        (
            "networking.istio.io/v1alpha3",
            "VirtualService",
            json!({"hosts": ["a"], "http": [route]}),
            "exclude each other",
        ),
        (
            "networking.istio.io/v1",
            "VirtualService",
            json!({"hosts": ["a"], "http": [{"timeout": "3x"}]}),
            "spec.http[0].timeout",
        ),
        ("networking.istio.io/v1", "DestinationRule", json!({"subsets": [{"name": "a"}]}), "spec.host: Required value"),
        (
            "networking.istio.io/v1",
            "ServiceEntry",
            json!({"hosts": ["a.example"], "endpoints": [], "workloadSelector": {}}),
            "exclude each other",
        ),
    ];
    for (api_version, kind, spec, why) in cases {
        let object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "example"}, "spec": spec});
        let said = namespace.try_create(&object).expect_err(&format!("{object} is taken"));
        assert!(said.contains(why), "{object}: {said}");
    }
}

/// A field that nobody knows is kept, so that the control plane can name it: kubectl must not refuse or drop it.
#[test]
fn a_misspelt_field_stays_to_be_reported() {
    crds();
    let namespace = Namespace::new("crds-unknown", &[]);
    let spec = json!({"hosts": ["a"], "filtres": [{"name": "guard"}], "http": [{"wat": {"a": 1}}]});
    let object = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "a"}, "spec": spec,
    });
    namespace.apply(&object.to_string());
    assert_eq!(namespace.get(["vs", "a"])["spec"], spec);
}

#[test]
fn kubectl_shows_what_status_says() {
    crds();
    let namespace = Namespace::new("crds-columns", &[]);
    namespace.apply(
        "{apiVersion: networking.istio.io/v1alpha3, kind: VirtualService, metadata: {name: reviews}, spec: {hosts: [reviews]}}",
    );
    namespace.apply(
        "{apiVersion: weft.dev/v1alpha1, kind: Filter, metadata: {name: canary}, spec: {image: 'oci://registry.example/a:1'}}",
    );
    let status = json!({"status": {
        "conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted"}],
        "proxies": {"acknowledged": 2, "affected": 3, "summary": "2/3"},
        "digest": "sha256:abc",
    }});
    for object in ["vs/reviews", "filter/canary"] {
        namespace.kubectl(["patch", object, "--subresource=status", "--type=merge", "-p", &status.to_string()]);
        namespace.kubectl(["wait", "--for=condition=Accepted", "--timeout=5s", object]);
    }
    let shown = namespace.kubectl(["get", "vs,filter"]);
    let row =
        |name: &str| shown.lines().find(|line| line.contains(name)).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(row("/reviews")[1..4], ["[\"reviews\"]", "True", "2/3"], "{shown}");
    assert_eq!(row("/canary")[1..5], ["oci://registry.example/a:1", "True", "sha256:abc", "2/3"], "{shown}");
    // Status is written by itself: a client that sends it along changes nothing.
    assert!(try_kubectl(["explain", "filter.spec.limits.deadline"]).unwrap().contains("2ms by default"));
}
