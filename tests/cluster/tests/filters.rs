//! Filters in a cluster, from a registry that wants a password and shows a certificate of its own CA: refused with reasons,
//! swapped, compiled once for all replicas, and served on when the registry is gone and every replica is new; and sidecars
//! that load other artifacts than this release's.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use serde_json::{Value, json};
use std::sync::OnceLock;
use std::time::Duration;
use weft_cluster_tests::{
    Answer, Caller, ControlPlane, Guarded, Namespace, Pushed, image_prefix, install, kubectl_with, manifests,
    older_tag, own_node, reinstall, within,
};
use weft_tests::{filter_component, variant};

/// A change is everywhere long before.
const SETTLED: Duration = Duration::from_secs(40);
const NAMES_FILTERS: &str = "{weft.dev/filter-header: 'true'}";

fn passes_over() -> bool {
    let over = own_node().is_none();
    if over {
        println!("passed over: the pods of this cluster do not reach a registry that is started here");
    }
    over
}

fn apply(object: &Value) {
    kubectl_with(["apply", "-f", "-"], &object.to_string()).unwrap();
}

/// Built once for all tests.
fn headers() -> &'static [u8] {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    COMPONENT.get_or_init(|| filter_component("filters/headers"))
}

/// As many versions as there are numbers, and others in each run: replicas keep for a while what they have compiled.
fn version(number: u8) -> Vec<u8> {
    let [low, high, ..] = std::process::id().to_le_bytes();
    variant(&variant(&variant(headers(), low), high), number)
}

/// Lets the control plane read the pull secrets of a namespace, by the command that a status names.
fn let_read_secrets(namespace: &Namespace) {
    reinstall(&["--pull-secrets", &namespace.name]);
}

/// The Filter `headers`, whose tag is followed.
fn filter(image: &str, secret: &str) -> Value {
    json!({
        "apiVersion": "weft.dev/v1alpha1",
        "kind": "Filter",
        "metadata": {"name": "headers"},
        "spec": {
            "image": image,
            "imagePullSecret": secret,
            "refresh": "1s",
            "limits": {"deadline": "50ms"},
            "config": {"response": {"set": {"x-filtered": "yes"}}},
            "selector": {"matchLabels": {"app": "nobody"}},
        },
    })
}

fn status(namespace: &Namespace) -> Value {
    namespace.get(["filter", "headers"])["status"].clone()
}

/// Waits until status gives this reason for an image that does not come, with these words in its message.
fn unresolved(namespace: &Namespace, reason: &str, words: &[&str]) {
    within(SETTLED, &format!("the filter is unresolved: {reason}, {words:?}"), || {
        let status = status(namespace);
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let resolved = conditions.into_iter().find(|on| on["type"] == "Resolved").unwrap_or_default();
        let message = resolved["message"].as_str().unwrap_or_default();
        let says = words.iter().all(|word| message.contains(word));
        if resolved["status"] == "False" && resolved["reason"] == reason && says { Ok(()) } else { Err(status) }
    });
    within(SETTLED, "an Event says so too", || {
        let of_filter = format!("involvedObject.kind=Filter,involvedObject.name=headers,reason={reason}");
        let events = namespace.get(["events", "--field-selector", &of_filter]);
        if events["items"].as_array().is_some_and(|items| !items.is_empty()) { Ok(()) } else { Err(events) }
    });
}

fn resolved(namespace: &Namespace, pushed: &Pushed) {
    within(SETTLED, &format!("status names {}", pushed.digest), || {
        let status = status(namespace);
        if status["digest"] == pushed.digest.as_str() { Ok(()) } else { Err(status) }
    });
}

#[test]
fn what_a_registry_wants_is_asked_for_by_name() {
    if passes_over() {
        return;
    }
    install();
    let registry = Guarded::start();
    let namespace = Namespace::new("filters-locked", &[]);
    let pushed = registry.push(headers(), "1");
    let use_secret = |name: &str| namespace.apply(&filter(&pushed.image, name).to_string());

    apply(&registry.mesh(None));
    use_secret("regcred");
    let command = format!("weft install --pull-secrets {}", namespace.name);
    unresolved(&namespace, "CredentialsUnavailable", &["may not get secrets", &namespace.name, &command]);

    let_read_secrets(&namespace);
    use_secret("absent");
    unresolved(&namespace, "CredentialsUnavailable", &["absent does not exist"]);

    namespace.apply(&registry.pull_secret("wrong", Some("guessed")).to_string());
    use_secret("wrong");
    unresolved(&namespace, "ImageUnavailable", &["its certificate is not trusted", "caRef"]);

    // By a name that nobody has used.
    let ca = format!("{}-ca", namespace.name);
    apply(&registry.mesh(Some(&ca)));
    let absent = format!("ConfigMap weft-system/{ca} does not exist");
    unresolved(&namespace, "CredentialsUnavailable", &[&absent]);

    apply(&registry.ca(&ca));
    unresolved(&namespace, "ImageUnavailable", &["refuses access", "imagePullSecret"]);

    namespace.apply(&registry.pull_secret("right", None).to_string());
    use_secret("right");
    resolved(&namespace, &pushed);
}

/// A server, and a VirtualService that attaches the filter in all callers.
fn shop(name: &str, registry: &Guarded) -> Namespace {
    install();
    let shop = Namespace::new(name, &["istio-injection=enabled"]);
    let_read_secrets(&shop);
    apply(&registry.ca("registry-ca"));
    apply(&registry.mesh(Some("registry-ca")));
    shop.apply(&registry.pull_secret("right", None).to_string());
    shop.apply(&(manifests::service("server") + &manifests::app("server", "v1") + &manifests::app("server", "v2")));
    shop.ready(&["server-v1", "server-v2"]);
    shop.apply(
        "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: server}
spec:
  host: server
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
",
    );
    send(&shop, 100);
    shop
}

/// Before the right to read its pull secret goes with the namespace: the control plane would go on asking for it.
fn forget(shop: &Namespace) {
    shop.kubectl(["delete", "filter", "headers"]);
}

/// So many of a hundred requests to v1.
fn send(shop: &Namespace, to_v1: u8) {
    shop.apply(&format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: server}}
spec:
  hosts: [server]
  http:
  - filters: [{{name: headers}}]
    retries: {{attempts: 0}}
    route:
    - {{destination: {{host: server, subset: v1}}, weight: {to_v1}}}
    - {{destination: {{host: server, subset: v2}}, weight: {}}}
",
        100 - to_v1
    ));
}

/// An answer of this version of the server, filtered by this component.
fn is(answer: &Answer, app: &str, pushed: &Pushed) -> bool {
    let filtered = answer.header("x-filtered") == "yes" && answer.header("x-weft-filters").contains(&pushed.component);
    answer.status == 200 && answer.app() == app && filtered
}

fn answers(caller: &Caller, who: &str, app: &str, pushed: &Pushed) {
    within(SETTLED, &format!("{who} is answered by {app} through {}", pushed.component), || {
        let answer = caller.get("http://server/");
        if is(&answer, app, pushed) { Ok(()) } else { Err(answer) }
    });
}

/// Every replica has it, so that it does not matter which one a sidecar asks.
fn everywhere(pushed: &Pushed) {
    for pod in ControlPlane::settled() {
        within(SETTLED, &format!("{} runs {}", pod.name, pushed.digest), || {
            let report = pod.report()?;
            let filters = report["filters"].as_array().cloned().unwrap_or_default();
            let runs = filters.iter().any(|filter| filter["running"]["image"] == pushed.digest.as_str());
            if runs { Ok(()) } else { Err(report["filters"].to_string()) }
        });
    }
}

/// What all replicas together have compiled since they started.
fn compilations() -> u64 {
    ControlPlane::settled().iter().map(|pod| pod.metric("weft_filter_compilations_total")).sum()
}

#[test]
fn a_moved_tag_is_compiled_once_and_outlives_registry_and_replicas() {
    if passes_over() {
        return;
    }
    let mut registry = Guarded::start();
    let shop = shop("filters", &registry);
    let first = registry.push(&version(0), "1");
    shop.apply(&filter(&first.image, "right").to_string());
    let reader = shop.caller_with("reader", NAMES_FILTERS);
    answers(&reader, "a running pod", "server-v1", &first);
    resolved(&shop, &first);
    everywhere(&first);

    // The tag moves under load: no request is lost, and the answers name the new component.
    let before = compilations();
    let load = reader.load("http://server/", LOAD);
    let next = registry.push(&version(1), "1");
    resolved(&shop, &next);
    everywhere(&next);
    answers(&reader, "a running pod", "server-v1", &next);
    load.stop().assert_clean(20);
    assert_eq!(compilations() - before, 1, "one component, one artifact key, whatever the number of replicas");

    // The registry goes, and then both replicas.
    registry.down();
    unresolved(&shop, "ImageUnavailable", &["cannot be reached"]);
    let load = reader.load("http://server/", LOAD);
    ControlPlane::replace_one_by_one();
    assert_eq!(compilations(), 0, "new replicas copy from those that are there");
    everywhere(&next);
    let newcomer = shop.caller_with("newcomer", NAMES_FILTERS);
    answers(&newcomer, "a new pod", "server-v1", &next);
    answers(&reader, "a running pod", "server-v1", &next);
    load.stop().assert_clean(100);
    forget(&shop);
}

/// What a busy machine keeps up with; how fast it is is another suite's question.
const LOAD: &[&str] = &["--rate", "50", "--limit", "5000", "--expect", "x-filtered=yes"];

#[test]
fn sidecars_of_an_older_release_get_what_is_new_and_keep_what_nobody_compiles() {
    if passes_over() {
        return;
    }
    let registry = Guarded::start();
    let shop = shop("filters-older", &registry);
    ControlPlane::run_image(&format!("{}-carrying", older_tag()));
    let first = registry.push(&version(2), "1");
    shop.apply(&filter(&first.image, "right").to_string());
    let older_image = format!("sidecar.istio.io/proxyImage: '{}/weft-proxy:{}'", image_prefix(), older_tag());
    let older = shop.caller_with("older", &format!("{{weft.dev/filter-header: 'true', {older_image}}}"));
    let newer = shop.caller_with("newer", NAMES_FILTERS);
    let both = |app: &str, pushed: &Pushed| {
        answers(&older, "the older sidecar", app, pushed);
        answers(&newer, "the newer sidecar", app, pushed);
    };
    both("server-v1", &first);

    // A filter that is published reaches both, compiled once for each key.
    let before = compilations();
    let next = registry.push(&version(3), "1");
    everywhere(&next);
    both("server-v1", &next);
    assert_eq!(compilations() - before, 2, "one component, two artifact keys");

    // With the older compiler gone, everything but a new component reaches the older sidecar.
    // By the installer, so that nobody else has a say in the Deployment afterwards.
    reinstall(&[]);
    ControlPlane::settled();
    send(&shop, 0);
    both("server-v2", &next);
    let last = registry.push(&version(4), "1");
    answers(&newer, "the newer sidecar", "server-v2", &last);
    send(&shop, 100);
    answers(&newer, "the newer sidecar", "server-v1", &last);
    answers(&older, "the older sidecar", "server-v1", &next);
    let pod = shop.pods("app=older")[0]["metadata"]["name"].as_str().unwrap().to_owned();
    within(SETTLED, "status names the pod and what to do", || {
        let reports: Vec<Value> = ControlPlane::settled().iter().filter_map(|pod| pod.report().ok()).collect();
        let problems = reports.iter().flat_map(|report| report["problems"].as_array().cloned().unwrap_or_default());
        let mut of_pod =
            problems.filter(|problem| problem["code"] == "NoCompiler" && problem.to_string().contains(&pod));
        let remedy = of_pod.any(|problem| problem["remedy"].as_str().is_some_and(|text| text.contains("delete pod")));
        if remedy { Ok(()) } else { Err(reports) }
    });
    forget(&shop);
}
