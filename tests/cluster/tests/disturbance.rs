//! What a mesh must not lose: load from a pod with and one without a sidecar through each disturbance and past it. Nothing is
//! retried, and nothing may fail; without the defence against it, each disturbance is felt.
//!
//! `WEFT_CLUSTER_STRICT=1` is for the figures: 400 requests a second, 30 s past each disturbance, and an answer after more
//! than 1 s is wrong.
#![allow(clippy::unwrap_used)]

use std::sync::OnceLock;
use weft_cluster_tests::{
    Caller, ControlPlane, Filters, Shop, eventually, get, image, image_prefix, image_tag, install, kubectl,
    kubectl_with, node, older_tag, own_node, reinstall, say, try_kubectl, weft,
};
use weft_tests::{filter_component, variant};

/// The caller's own sidecar puts `x-route` into each answer.
const ROUTE: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: server}
spec:
  hosts: [server]
  http:
  - retries: {attempts: 0}
    headers: {response: {set: {x-route: right}}}
    route: [{destination: {host: server}}]
---
";

/// The same with filter `headers` in the caller's sidecar, which puts `x-filtered` there.
fn route_with_filter() -> String {
    ROUTE.replace("  - retries", "  - filters: [{name: headers}]\n    retries")
}

/// Two Filters of one image: `headers` for the route, and `guard` in the server's own sidecar, which all callers meet.
fn filters(image: &str, value: &str) -> String {
    let filter = |name: &str, header: &str, more: &str| {
        format!(
            "apiVersion: weft.dev/v1alpha1
kind: Filter
metadata: {{name: {name}}}
spec:
  image: {image}
  refresh: 1s
  config: {{response: {{set: {{{header}: '{value}'}}}}}}
{more}---
"
        )
    };
    filter("headers", "x-filtered", "") + &filter("guard", "x-guarded", "  selector: {matchLabels: {app: server}}\n")
}

/// The standard filter that changes headers.
fn component() -> &'static [u8] {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    BUILT.get_or_init(|| filter_component("filters/headers"))
}

/// Waits until ten answers in a row, so from all replicas, have the header with this value.
fn see(caller: &Caller, shop: &Shop, header: &str, value: &str) {
    eventually(&format!("{header} is {value:?}"), || {
        let answers = caller.ask(&shop.url("/"), &["--times", "10"]);
        let other = answers.into_iter().find(|answer| answer.status != 200 || answer.header(header) != value);
        other.map_or(Ok(()), Err)
    });
}

fn control_plane_is_ready() {
    kubectl(["-n", "weft-system", "rollout", "status", "deployment/weft-controlplane", "--timeout=120s"]);
}

#[test]
fn a_filter_is_swapped() {
    install();
    let registry = Filters::start();
    kubectl_with(["apply", "-f", "-"], &registry.mesh()).unwrap();
    let image = registry.push_component(component(), "filters/headers", "1");
    let shop = Shop::new("swap", &(route_with_filter() + &filters(&image, "one")));
    let digest = || shop.namespace.kubectl(["get", "filter/guard", "-o", "jsonpath={.status.digest}"]);
    let sees = |value| {
        see(&shop.inside, &shop, "x-filtered", value);
        see(&shop.stranger, &shop, "x-guarded", value);
    };
    sees("one");
    let first = digest();

    // The tag moves, then the configuration changes: two swaps, in both sidecars of a request.
    let load = shop.under_load(&["x-route=right", "x-filtered=one|two"], &["x-guarded=one|two"]);
    registry.push_component(&variant(component(), 1), "filters/headers", "1");
    eventually("the filter's status names the new digest", || {
        let now = digest();
        if now.starts_with("sha256:") && now != first { Ok(()) } else { Err(now) }
    });
    shop.namespace.apply(&filters(&image, "two"));
    sees("two");
    load.settle("a filter swapped").assert_clean();

    // By hand instead: detached, and attached again.
    let load = shop.under_load(&["x-filtered=two"], &[]);
    shop.namespace.apply(ROUTE);
    see(&shop.inside, &shop, "x-filtered", "");
    shop.namespace.apply(&route_with_filter());
    see(&shop.inside, &shop, "x-filtered", "two");
    load.stop("a filter swapped by taking the old one off first").assert_felt();
}

#[test]
fn every_deployment_is_restarted() {
    install();
    let shop = Shop::new("restart", ROUTE);
    see(&shop.inside, &shop, "x-route", "right");
    let load = shop.under_load(&["x-route=right"], &[]);
    shop.namespace.kubectl(["rollout", "restart", "deployment/server-v1"]);
    kubectl(["-n", "weft-system", "rollout", "restart", "deployment/weft-controlplane"]);
    shop.namespace.ready(&["server-v1"]);
    control_plane_is_ready();
    load.settle("every deployment restarted").assert_clean();

    if own_node().is_none() {
        say("not shown without a drain: the cluster's processes are out of reach");
        return;
    }
    // Kubernetes kills nothing without a SIGTERM and some time before, and so a drain.
    let load = shop.under_load(&["x-route=right"], &[]);
    let sidecars = node::sidecars();
    sidecars.iter().find(|sidecar| sidecar.pod.starts_with("server-v1-")).unwrap().kill();
    load.settle("one sidecar of two restarted without a drain").assert_felt();
}

#[test]
fn the_control_plane_is_killed() {
    install();
    let shop = Shop::new("kill", ROUTE);
    see(&shop.inside, &shop, "x-route", "right");
    // What is written now is broken, so that new replicas need what was good. The webhook would refuse it.
    kubectl(["delete", "validatingwebhookconfiguration", "weft-validator"]);
    shop.namespace.apply(&ROUTE.replace("  - retries", "  - match: [{uri: {regex: '('}}]\n    retries"));
    let last_good = eventually("the last good version is kept", || {
        let name = try_kubectl(["-n", "weft-system", "get", "configmap", "-l", "weft.dev/last-good", "-o", "name"])?;
        if name.is_empty() { Err("no ConfigMap".to_owned()) } else { Ok(name) }
    });
    reinstall(&[]);

    let load = shop.under_load(&["x-route=right"], &[]);
    kubectl(["-n", "weft-system", "delete", "pods", "--all", "--grace-period=0", "--force"]);
    control_plane_is_ready();
    load.settle("both control planes killed").assert_clean();

    let load = shop.under_load(&["x-route=right"], &[]);
    ControlPlane::stopped();
    let kept = kubectl(["-n", "weft-system", "get", last_good.trim(), "-o", "json"]);
    kubectl_with(["replace", "-f", "-"], &kept.replace("right", "wrong")).unwrap();
    ControlPlane::started();
    see(&shop.inside, &shop, "x-route", "wrong");
    load.settle("both control planes replaced, and what was kept for them is not what was good").assert_felt();
}

/// The control plane first, the sidecars after; until then older ones are served by the new one.
#[test]
fn an_older_release_is_upgraded() {
    let (prefix, older) = (image_prefix(), older_tag());
    weft(["install", "--image-prefix", &prefix, "--tag", &older]).unwrap();
    let registry = Filters::start();
    kubectl_with(["apply", "-f", "-"], &registry.mesh()).unwrap();
    let image_of_filter = registry.push_component(component(), "filters/headers", "1");
    let shop = Shop::new("upgrade", &(ROUTE.to_owned() + &filters(&image_of_filter, "yes")));
    see(&shop.stranger, &shop, "x-guarded", "yes");

    let load = shop.under_load(&["x-route=right|newer"], &["x-guarded=yes"]);
    let said = weft(["upgrade", "--image-prefix", &prefix, "--tag", &image_tag()]).unwrap();
    let old_sidecar = format!("{prefix}/weft-proxy:{older}");
    for pod in ["caller-", "server-v1-"] {
        let named = said
            .lines()
            .any(|line| line.starts_with(&format!("{}/{pod}", shop.namespace.name)) && line.ends_with(&old_sidecar));
        assert!(named, "{pod} is not named with {old_sidecar}: {said}");
    }
    // What changes from now on reaches older sidecars too.
    shop.namespace.apply(&ROUTE.replace("right", "newer"));
    see(&shop.inside, &shop, "x-route", "newer");
    shop.namespace.kubectl(["rollout", "restart", "deployment/server-v1"]);
    shop.namespace.ready(&["server-v1"]);
    load.settle("an older release upgraded").assert_clean();

    for (pods, sidecar) in [("app=caller", old_sidecar), ("app=server", image("weft-proxy"))] {
        // One that ends is of before.
        let stays = |pod: &serde_json::Value| pod["metadata"]["deletionTimestamp"].is_null();
        for pod in shop.namespace.pods(pods).into_iter().filter(stays) {
            let images = pod["spec"]["initContainers"].to_string();
            assert!(images.contains(&sidecar), "{pods} run {images}, not {sidecar}");
        }
    }
    let control_plane = get(["-n", "weft-system", "deployment", "weft-controlplane"]).to_string();
    assert!(!control_plane.contains(&older), "{control_plane}");
}

/// A control plane three minor releases on tells sidecars of this one nothing, and they keep what they have.
#[test]
fn a_sidecar_that_is_too_old_keeps_what_it_was_told() {
    if own_node().is_none() {
        say("passed over: the newer release's images are in our own node only");
        return;
    }
    install();
    let shop = Shop::new("too-old", ROUTE);
    see(&shop.inside, &shop, "x-route", "right");
    let newer = format!("{}-newer", older_tag());
    ControlPlane::run_image(&newer);
    let its_own = format!("{{sidecar.istio.io/proxyImage: '{}/weft-proxy:{newer}'}}", image_prefix());
    let successor = shop.namespace.caller_with("successor", &its_own);
    shop.namespace.apply(&ROUTE.replace("right", "newer"));
    see(&successor, &shop, "x-route", "newer");
    see(&shop.inside, &shop, "x-route", "right");

    let pod = shop.namespace.pods("app=caller")[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let workload = format!("{}/{pod}", shop.namespace.name);
    eventually("status names it, why, and what to do", || {
        let reports: Vec<_> = ControlPlane::settled().iter().filter_map(|pod| pod.report().ok()).collect();
        let has = |list: &str, field: &str, words: &[&str]| {
            let lines = reports.iter().filter_map(|report| report[list].as_array()).flatten();
            let mut lines = lines.filter(|line| line[field].as_str().is_some_and(|text| text.ends_with(&workload)));
            lines.any(|line| words.iter().all(|word| line.to_string().contains(word)))
        };
        let told = has("problems", "object", &["\"Unsupported\"", "two minor releases", &format!("delete pod {pod}")]);
        if told && has("proxies", "workload", &["\"unsupported\""]) { Ok(()) } else { Err(reports) }
    });
    let counted: u64 = ControlPlane::settled().iter().map(|pod| pod.metric("weft_unsupported_proxies")).sum();
    assert!(counted >= 2, "the caller and the server: {counted}");

    reinstall(&[]);
    see(&shop.inside, &shop, "x-route", "newer");
}
