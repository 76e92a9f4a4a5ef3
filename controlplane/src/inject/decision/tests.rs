use super::*;
use serde_json::json;

fn namespace(labels: &str) -> Namespace {
    let pairs = labels.split_whitespace().filter_map(|pair| pair.split_once('='));
    Namespace {
        name: "shop".to_owned(),
        labels: pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
    }
}

fn words(text: &str) -> Value {
    let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
    Value::Object(pairs.map(|(key, value)| (key.to_owned(), value.into())).collect())
}

fn pod(labels: &str, annotations: &str) -> Value {
    json!({
        "metadata": {"name": "web", "labels": words(labels), "annotations": words(annotations)},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
    })
}

/// `inject`, or the sentence.
fn answer(decision: Decision) -> String {
    match decision {
        Decision::Inject => "inject".to_owned(),
        Decision::Skip(skip) => format!("skip: {skip}"),
        Decision::Refuse(refused) => format!("refuse: {refused}"),
    }
}

#[test]
fn labels_of_namespace_and_pod_decide() {
    let cases = [
        // Istio's labels.
        ("istio-injection=enabled", "", "", "inject"),
        ("istio-injection=disabled", "", "", "skip: namespace shop has label istio-injection=disabled"),
        ("istio-injection=disabled", "sidecar.istio.io/inject=true", "", "skip: namespace shop has label"),
        ("istio-injection=enabled", "sidecar.istio.io/inject=false", "", "skip: it has sidecar.istio.io/inject=false"),
        ("istio-injection=enabled", "sidecar.istio.io/inject=no", "", "skip: it has sidecar.istio.io/inject=no"),
        ("istio-injection=enabled", "", "sidecar.istio.io/inject=false", "skip: it has"),
        ("istio-injection=enabled", "sidecar.istio.io/inject=true", "sidecar.istio.io/inject=false", "inject"),
        ("istio-injection=enabled", "sidecar.istio.io/inject=false", "sidecar.istio.io/inject=true", "skip: it has"),
        ("istio-injection=enabled", "istio.io/rev=canary", "", "inject"),
        ("", "", "", "skip: namespace shop has no label that asks for a sidecar"),
        ("", "sidecar.istio.io/inject=true", "", "inject"),
        ("", "sidecar.istio.io/inject=TRUE", "", "inject"),
        ("", "", "sidecar.istio.io/inject=true", "skip: namespace shop has no label"),
        ("", "istio.io/rev=default", "", "inject"),
        ("", "istio.io/rev=default sidecar.istio.io/inject=false", "", "skip: it has"),
        ("", "istio.io/rev=canary", "", "skip: istio.io/rev=canary asks for another revision"),
        ("", "istio.io/rev=canary sidecar.istio.io/inject=true", "", "skip: istio.io/rev=canary asks"),
        ("istio.io/rev=default", "", "", "inject"),
        ("istio.io/rev=canary", "", "", "skip: istio.io/rev=canary asks for another revision"),
        ("istio.io/rev=canary istio-injection=enabled", "", "", "inject"),
        // Weft's twins, which are stronger.
        ("weft.dev/inject=enabled", "", "", "inject"),
        ("weft.dev/inject=true", "", "", "inject"),
        ("weft.dev/inject=disabled istio-injection=enabled", "", "", "skip: namespace shop has label weft.dev/inject"),
        ("weft.dev/inject=enabled istio-injection=disabled", "", "", "inject"),
        ("weft.dev/inject=enabled", "weft.dev/inject=false", "", "skip: it has weft.dev/inject=false"),
        ("istio-injection=enabled", "weft.dev/inject=false", "", "skip: it has weft.dev/inject=false"),
        ("weft.dev/inject=enabled", "", "weft.dev/inject=false", "skip: it has"),
        ("", "weft.dev/inject=true", "", "inject"),
        ("", "weft.dev/rev=default", "", "inject"),
        ("weft.dev/rev=default", "", "", "inject"),
        ("weft.dev/rev=next", "weft.dev/inject=true", "", "skip: weft.dev/rev=next asks for another revision"),
        // Sidecars of others.
        ("istio-injection=enabled", "", "sidecar.istio.io/status={}", "skip: it has a sidecar of Istio's already (ann"),
        // Pod Security.
        (
            "istio-injection=enabled pod-security.kubernetes.io/enforce=baseline",
            "",
            "",
            "refuse: namespace shop enforces Pod Security level baseline, which refuses capability NET_ADMIN",
        ),
        ("istio-injection=enabled pod-security.kubernetes.io/enforce=restricted", "", "", "refuse: "),
        ("istio-injection=enabled pod-security.kubernetes.io/enforce=privileged", "", "", "inject"),
        ("istio-injection=enabled pod-security.kubernetes.io/warn=restricted", "", "", "inject"),
        ("pod-security.kubernetes.io/enforce=restricted", "", "", "skip: "),
    ];
    for (labels, pod_labels, annotations, want) in cases {
        let got = answer(decide(&pod(pod_labels, annotations), &namespace(labels), Neighbour::None));
        let row = format!("namespace {labels:?}, labels {pod_labels:?}, annotations {annotations:?}");
        assert!(got.starts_with(want), "{row}: {got}");
        if want == "inject" {
            assert_eq!(got, want, "{row}");
        }
    }
}

#[test]
fn beside_istio_only_own_labels_count() {
    let cases = [
        ("istio-injection=enabled", "", "skip: namespace shop has no label"),
        ("", "sidecar.istio.io/inject=true", "skip: namespace shop has no label"),
        ("weft.dev/inject=enabled istio-injection=enabled", "sidecar.istio.io/inject=false", "inject"),
        ("istio-injection=disabled", "weft.dev/inject=true", "inject"),
    ];
    for (labels, pod_labels, want) in cases {
        let got = answer(decide(&pod(pod_labels, ""), &namespace(labels), Neighbour::Istio));
        assert!(got.starts_with(want), "namespace {labels:?}, labels {pod_labels:?}: {got}");
    }
}

#[test]
fn what_a_pod_is_decides_too() {
    let cases = [
        (json!({"hostNetwork": true}), "skip: it uses the node's network"),
        (json!({"hostNetwork": false}), "inject"),
        (json!({"os": {"name": "windows"}}), "skip: it runs Windows"),
        (json!({"nodeSelector": {"kubernetes.io/os": "windows"}}), "skip: it runs Windows"),
        (json!({"nodeSelector": {"kubernetes.io/os": "linux"}}), "inject"),
        (json!({"containers": [{"name": "istio-proxy"}]}), "skip: it has a sidecar of Istio's already (container"),
        (json!({"initContainers": [{"name": "istio-proxy"}]}), "skip: it has a sidecar of Istio's already"),
        (json!({"containers": [{"name": "weft-proxy"}]}), "refuse: the container name weft-proxy is Weft's own"),
        (json!({"securityContext": {"runAsUser": 1337}}), "refuse: the pod has runAsUser 1337"),
        (json!({"securityContext": {"runAsGroup": 1337}}), "refuse: the pod has runAsGroup 1337"),
        (json!({"securityContext": {"fsGroup": 1337, "supplementalGroups": [1337]}}), "inject"),
        (
            json!({"containers": [{"name": "web", "securityContext": {"runAsUser": 1337}}]}),
            "refuse: container web has runAsUser 1337, the sidecar's own",
        ),
        (
            json!({"initContainers": [{"name": "setup", "securityContext": {"runAsGroup": 1337}}]}),
            "refuse: container setup has runAsGroup 1337",
        ),
    ];
    for (fields, want) in cases {
        let mut pod = pod("", "");
        for (key, value) in fields.as_object().expect("a mapping") {
            pod["spec"][key] = value.clone();
        }
        let got = answer(decide(&pod, &namespace("istio-injection=enabled"), Neighbour::None));
        assert!(got.starts_with(want), "{fields}: {got}");
    }
    for name in NEVER {
        let never = Namespace { name: (*name).to_owned(), ..namespace("weft.dev/inject=enabled") };
        let got = decide(&pod("weft.dev/inject=true", ""), &never, Neighbour::None);
        assert_eq!(got, Decision::Skip(Skip::NeverNamespace((*name).to_owned())), "namespace {name}");
    }
}
