//! A guard holds whatever becomes of the object that attaches it, and nobody puts a filter into another's sidecars: tried in
//! a cluster, through the webhook and past it.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use weft_cluster_tests::{
    Answer, Caller, ControlPlane, Filters, Namespace, control_planes, eventually, get, install_checked,
    istio_definitions, kubectl, kubectl_with, manifests, try_kubectl, weft, within,
};

/// A change is everywhere long before.
const SETTLED: Duration = Duration::from_secs(30);

/// Istio's own definitions over ours, which know no field `filters`; ours come back in the end, and what came with Istio's
/// goes.
struct Pruning {
    before: BTreeSet<String>,
}

impl Pruning {
    fn begin() -> Self {
        let this = Self { before: definitions() };
        kubectl(["apply", "--server-side", "--force-conflicts", "--field-manager=istio", "-f", &istio_definitions()]);
        this
    }
}

impl Drop for Pruning {
    fn drop(&mut self) {
        let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/crds");
        let _ =
            try_kubectl(["apply", "--server-side", "--force-conflicts", "--field-manager=weft-install", "-f", ours]);
        let more: Vec<String> = definitions().difference(&self.before).cloned().collect();
        let _ = try_kubectl(["delete", "--wait=false"].map(str::to_owned).into_iter().chain(more));
    }
}

/// Each as `customresourcedefinition.apiextensions.k8s.io/NAME`.
fn definitions() -> BTreeSet<String> {
    kubectl(["get", "crd", "-o", "name"]).lines().map(str::to_owned).collect()
}

/// The four ways to attach a guard, under the name of the app that it guards.
const WAYS: &[&str] = &["applied", "created", "annotated", "targeted"];

/// `applied` and `created` hold the field, which Istio's schema drops; the others hold nothing of which it knows.
fn guards(shop: &Namespace, image: &str) {
    let config = json!({"allow": [{"principals": ["cluster.local/ns/none/sa/none"]}]});
    shop.apply(&manifests::object("Filter", "guard", &json!({"image": image, "config": config})));
    shop.apply(&manifests::object(
        "Filter",
        "targeted",
        &json!({"image": image, "config": config, "targetRefs": [{"kind": "Service", "name": "targeted"}]}),
    ));
    let guarded = |name: &str| {
        manifests::object(
            "VirtualService",
            name,
            &json!({"hosts": [name], "filters": guard(), "http": manifests::to(name)}),
        )
    };
    shop.apply(&guarded("applied"));
    shop.try_create(&serde_json::from_str(&guarded("created")).unwrap()).unwrap();
    let mut annotated: Value = serde_json::from_str(&manifests::object(
        "VirtualService",
        "annotated",
        &json!({"hosts": ["annotated"], "http": manifests::to("annotated")}),
    ))
    .unwrap();
    annotated["metadata"]["annotations"] = json!({"weft.dev/filters": "{filters: [{name: guard, at: Destination}]}"});
    shop.apply(&annotated.to_string());
}

fn guard() -> Value {
    json!([{"name": "guard", "at": "Destination"}])
}

#[test]
fn a_guard_holds_when_its_field_is_pruned() {
    install_checked();
    let filters = Filters::start();
    kubectl_with(["apply", "-f", "-"], &filters.mesh()).unwrap();
    let (shop, inside) = Namespace::shop("guard-pruned", WAYS);
    guards(&shop, &filters.push("filters/authz", "1"));
    for way in WAYS {
        inside.until(&shop.url(way), &[], |answer| answer.status == 403);
    }
    let stop = AtomicBool::new(false);
    let pruning = std::thread::scope(|scope| {
        let watch = scope.spawn(|| watch(&inside, &shop, &stop));
        let disturbed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pruned(&shop)));
        stop.store(true, Ordering::Relaxed);
        let seen = watch.join().unwrap();
        let pruning = disturbed.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        for way in WAYS {
            let statuses = &seen[way];
            // 0 is no answer: a pod is replaced meanwhile, and the machine may be busy. What the guarded app says is a breach.
            assert!(statuses.keys().all(|status| [0, 403, 503].contains(status)), "{way}: {statuses:?}");
            assert!(statuses.values().sum::<usize>() > 20, "{way}: {statuses:?}");
        }
        pruning
    });
    without_last_good(&shop, &inside);
    // The remedy, while the schema lacks the field.
    let attached = "weft.dev/filters={filters: [{name: guard, at: Destination}]}";
    shop.kubectl(["annotate", "virtualservice", "created", attached]);
    shop.condition("virtualservice/created", "Accepted", "True", "Accepted");
    inside.until(&shop.url("created"), &[], |answer| answer.status == 403);
    drop(pruning);
    // With our schema back what is written counts again, and nothing is left of the version that had to be kept.
    shop.apply(&manifests::object(
        "VirtualService",
        "applied",
        &json!({"hosts": ["applied"], "filters": guard(), "http": manifests::to("applied")}),
    ));
    shop.condition("virtualservice/applied", "Accepted", "True", "Accepted");
    within(SETTLED, "nothing is kept for good objects", || {
        let left = kept(&shop);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

/// How often each guarded app answered with which status.
fn watch(inside: &Caller, shop: &Namespace, stop: &AtomicBool) -> BTreeMap<&'static str, BTreeMap<u64, usize>> {
    let mut seen: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        for way in WAYS {
            for Answer { status, .. } in inside.ask(&shop.url(way), &["--times", "10"]) {
                *seen.entry(*way).or_default().entry(status).or_default() += 1;
            }
        }
    }
    seen
}

/// Istio's definitions arrive, objects are written, and replicas and sidecars that never saw the field take over.
fn pruned(shop: &Namespace) -> Pruning {
    let pruning = Pruning::begin();
    let spec = |way: &str| shop.get([&*format!("virtualservice/{way}")])["spec"].clone();
    eventually("reads have lost the field", || {
        if spec("created").get("filters").is_none() { Ok(()) } else { Err("it is there") }
    });
    let generation = |way: &str| shop.get([&*format!("virtualservice/{way}")])["metadata"]["generation"].clone();
    let before = WAYS[..3].iter().map(|way| generation(way)).collect::<Vec<_>>();
    // A write that means something else makes the loss permanent.
    for way in &WAYS[..3] {
        shop.kubectl(["annotate", "virtualservice", way, "example.com/note=written"]);
    }
    assert_eq!(
        WAYS[..3].iter().map(|way| generation(way)).collect::<Vec<_>>(),
        before,
        "nobody can see it by the generation"
    );
    for way in ["applied", "created"] {
        let object = shop.condition(&format!("virtualservice/{way}"), "Accepted", "False", "FieldPruned");
        assert!(object["status"]["problems"].to_string().contains("weft.dev/filters"), "{object}");
        shop.event("VirtualService", way, "FieldPruned");
    }
    assert_eq!(kept(shop).len(), 2, "both are kept for replicas that never saw them");
    let said = weft(["status", "--at", &format!("{}:15014", control_planes()[0])]).unwrap();
    assert!(said.contains("SchemaLacksFilters"), "{said}");
    // Replicas that never saw the field, and sidecars that had no configuration before.
    kubectl(["-n", "weft-system", "rollout", "restart", "deployment/weft-controlplane"]);
    kubectl(["-n", "weft-system", "rollout", "status", "deployment/weft-controlplane", "--timeout=120s"]);
    for way in ["applied", "created"] {
        shop.kubectl([
            "patch",
            "virtualservice",
            way,
            "--type=merge",
            "-p",
            r#"{"metadata":{"annotations":{"example.com/note":"again"}}}"#,
        ]);
        shop.kubectl(["rollout", "restart", &format!("deployment/{way}-v1")]);
    }
    for way in ["applied", "created"] {
        shop.ready(&[&format!("{way}-v1")]);
        shop.condition(&format!("virtualservice/{way}"), "Accepted", "False", "FieldPruned");
    }
    pruning
}

/// The defence off: without what was kept, a guard that nothing else remembers is gone. So the case before can fail.
fn without_last_good(shop: &Namespace, inside: &Caller) {
    ControlPlane::stopped();
    for (name, _) in kept(shop) {
        kubectl(["-n", "weft-system", "delete", "configmap", &name]);
    }
    ControlPlane::started();
    inside.until(&shop.url("created"), &[], |answer| answer.status == 200);
    // Of this one kubectl's own annotation still says what was meant.
    inside.until(&shop.url("applied"), &[], |answer| answer.status == 503);
    for way in ["annotated", "targeted"] {
        let answer = inside.get(&shop.url(way));
        assert_eq!(answer.status, 403, "{way}: {answer:?}");
    }
}

/// The ConfigMaps in which versions of the namespace's objects are kept, each with the object's path.
fn kept(shop: &Namespace) -> Vec<(String, String)> {
    let maps = get(["configmaps", "-n", "weft-system", "-l", "weft.dev/last-good"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = maps["items"].as_array().into_iter().flatten();
    let all = all.map(|map| (text(&map["metadata"]["name"]), text(&map["data"]["path"])));
    all.filter(|(_, path)| path.contains(&format!("/{}/", shop.name))).collect()
}

/// A Filter that leaves its namespace's mark on each answer.
fn mark(namespace: &Namespace, image: &str, more: Value) -> String {
    let mut spec = json!({"image": image, "config": {"response": {"set": {"x-mark": namespace.name}}}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    manifests::object("Filter", "mark", &spec)
}

#[test]
fn nobody_puts_code_into_the_sidecars_of_others() {
    install_checked();
    let filters = Filters::start();
    kubectl_with(["apply", "-f", "-"], &filters.mesh()).unwrap();
    let image = filters.push("filters/headers", "1");
    let (ours, inside) = Namespace::shop("guard-ours", &["server"]);
    let theirs = Namespace::new("guard-theirs", &["istio-injection=enabled"]);
    let foreign = theirs.caller("caller");
    let marked = |caller: &Caller| caller.get(&ours.url("server")).header("x-mark").to_owned();
    let nobody_is_marked = |what: &str| {
        for caller in [&inside, &foreign] {
            assert_eq!(marked(caller), "", "{what}");
        }
    };
    let host = format!("server.{}.svc.cluster.local", ours.name);
    let late = format!("late.{}.svc.cluster.local", ours.name);
    let attach = |host: &str, filters: Value| {
        manifests::object(
            "VirtualService",
            "reach",
            &json!({"hosts": [host], "filters": filters, "http": manifests::to(host)}),
        )
    };
    let at_destination = json!([{"name": "mark", "at": "Destination"}]);
    theirs.apply(&mark(&theirs, &image, json!({})));

    // At the destination: by the webhook, and past it, where the service comes after the rule.
    let said =
        theirs.try_apply(&attach(&host, at_destination.clone())).expect_err("a foreign namespace guards a service");
    assert!(said.contains("may not put filters into its sidecars") && said.contains("spec.filters[0]"), "{said}");
    theirs.apply(&attach(&late, at_destination));
    ours.apply(&manifests::service("late").replace("selector: {app: late}", "selector: {app: server}"));
    theirs.condition("virtualservice/reach", "Accepted", "False", "NotAllowed");
    theirs.event("VirtualService", "reach", "NotAllowed");
    let late_url = format!("http://{late}/");
    let passed = inside.until(&late_url, &[], |answer| answer.status == 200);
    assert_eq!(passed.header("x-mark"), "", "{passed:?}");

    // A selector selects in its own namespace, and says so where it selects nothing.
    theirs.apply(&mark(&theirs, &image, json!({"selector": {"matchLabels": {"app": "server"}}})));
    let filter = theirs.condition("filter/mark", "Accepted", "True", "Accepted");
    assert!(filter["status"]["problems"].to_string().contains("NoWorkload"), "{filter}");
    nobody_is_marked("a selector of another namespace");

    // A target lies in the Filter's own namespace: another cannot even be written.
    let target = |more: Value| {
        let mut target = json!({"kind": "Service", "name": "server"});
        target.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        mark(&theirs, &image, json!({"targetRefs": [target]}))
    };
    let said = theirs.try_apply(&target(json!({"namespace": ours.name}))).expect_err("a target in another namespace");
    assert!(said.contains("spec.targetRefs[0].namespace"), "{said}");
    theirs.apply(&target(json!({})));
    theirs.condition("filter/mark", "Accepted", "True", "UnknownTarget");
    nobody_is_marked("a target of that name in another namespace");

    // A name resolves in its own namespace and the root's: a filter of ours is none of theirs, and who names it is closed.
    ours.apply(&manifests::object("Filter", "ours", &json!({"image": image})));
    theirs.apply(&attach(&host, json!([{"name": "ours"}])));
    theirs.condition("virtualservice/reach", "Accepted", "True", "UnknownFilter");
    foreign.until(&ours.url("server"), &[], |answer| answer.status == 503);
    assert_eq!(inside.get(&ours.url("server")).status, 200);

    // At the caller: in callers of their own namespace, and no other.
    theirs.apply(&mark(&theirs, &image, json!({})));
    theirs.apply(&attach(&host, json!([{"name": "mark"}])));
    foreign.until(&ours.url("server"), &[], |answer| answer.header("x-mark") == theirs.name);
    assert_eq!(marked(&inside), "", "a caller of another namespace");
    within(SETTLED, "status says where it counts", || {
        let problems = theirs.get(["virtualservice", "reach"])["status"]["problems"].clone();
        if problems.to_string().contains("NotAllowed") { Ok(()) } else { Err(problems) }
    });
    theirs.kubectl(["delete", "virtualservice", "reach"]);

    // The owner may, and so may the root namespace, with a filter of its own.
    ours.apply(&mark(&ours, &image, json!({"targetRefs": [{"kind": "Service", "name": "server"}]})));
    for caller in [&inside, &foreign] {
        caller.until(&ours.url("server"), &[], |answer| answer.header("x-mark") == ours.name);
    }
    ours.kubectl(["delete", "filter", "mark"]);
    let root = Root;
    root.apply(&mark(&theirs, &image, json!({})));
    root.apply(&attach(&host, json!([{"name": "mark", "at": "Destination"}])));
    for caller in [&inside, &foreign] {
        caller.until(&ours.url("server"), &[], |answer| answer.header("x-mark") == theirs.name);
    }
}

/// Objects in weft-system, which must not outlive their test.
struct Root;

impl Root {
    fn apply(&self, text: &str) {
        kubectl_with(["-n", "weft-system", "apply", "-f", "-"], text).unwrap();
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = try_kubectl(["-n", "weft-system", "delete", "virtualservice/reach", "filter/mark"]);
    }
}
