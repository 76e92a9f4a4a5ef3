//! What a user does with Weft in a cluster, in his order: install, label a namespace, Bookinfo as it is, a VirtualService,
//! a canary from the registry, mutual TLS, an authorization.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;
use weft_cluster_tests::{Answer, Caller, Filters, Namespace, install, kubectl_with, manifests, within};

/// A change is everywhere long before.
const SETTLED: Duration = Duration::from_secs(30);

#[test]
fn from_a_label_to_a_guarded_canary() {
    install();
    let filters = Filters::start();
    kubectl_with(["apply", "-f", "-"], &filters.mesh()).unwrap();
    let shop = Namespace::new("bookinfo", &["istio-injection=enabled"]);
    shop.apply(&manifests::bookinfo());
    shop.apply(include_str!("../manifests/destination-rules.yaml"));
    shop.ready(&manifests::BOOKINFO);
    let inside = shop.caller("reader");
    let outside = Namespace::new("outside", &[]);
    let stranger = outside.caller("stranger");

    pods_are_in_the_mesh(&shop);
    the_page_works(&inside);
    the_page_works_from(&stranger, &shop.name);
    the_seed_sends_all_to_v1(&shop, &inside);
    the_canary_picks(&shop, &filters, &inside);
    strict_refuses_plain_text(&shop, &inside, &stranger);
    ratings_answer_to_reviews_alone(&shop, &filters, &inside);
}

fn pods_are_in_the_mesh(shop: &Namespace) {
    let pods = shop.pods("app");
    assert_eq!(pods.len(), manifests::BOOKINFO.len() + 1, "{pods:#?}");
    for pod in &pods {
        let names = |kind: &str| -> Vec<String> {
            let statuses = pod["status"][kind].as_array().into_iter().flatten();
            statuses.map(|status| format!("{} ready={}", status["name"], status["ready"])).collect()
        };
        let want = ["\"weft-init\" ready=true", "\"weft-proxy\" ready=true"];
        assert_eq!(names("initContainerStatuses"), want, "{pod:#}");
        assert_eq!(names("containerStatuses").len(), 1, "{pod:#}");
    }
}

fn the_page_works(inside: &Caller) {
    inside.until("http://productpage:9080/productpage", &[], |page| {
        page.status == 200 && page.body.contains("The Comedy of Errors")
    });
}

fn the_page_works_from(stranger: &Caller, namespace: &str) {
    stranger.until(&format!("http://productpage.{namespace}:9080/productpage"), &[], |page| page.status == 200);
}

fn the_seed_sends_all_to_v1(shop: &Namespace, inside: &Caller) {
    shop.apply(include_str!("../manifests/seed.yaml"));
    shop.kubectl(["wait", "virtualservice/reviews", "--for=condition=Accepted", "--timeout=30s"]);
    within(SETTLED, "all reviews come from v1", || {
        let versions = versions(&inside.ask("http://reviews:9080/reviews/0", &["--times", "30"]));
        if versions == BTreeMap::from([("reviews-v1".to_owned(), 30)]) { Ok(()) } else { Err(versions) }
    });
    let shown = shop.kubectl(["get", "virtualservices"]);
    assert!(shown.contains("True"), "{shown}");
}

fn the_canary_picks(shop: &Namespace, filters: &Filters, inside: &Caller) {
    let image = filters.push("filters/canary", "1");
    shop.apply(&format!(
        "apiVersion: weft.dev/v1alpha1
kind: Filter
metadata: {{name: canary}}
spec:
  image: {image}
  config:
    subsets: {{v1: 50, v3: 50}}
    matches: [{{header: x-reviews, exact: v3, subset: v3}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews}}
spec:
  hosts: [reviews]
  http:
  - filters: [{{name: canary}}]
    route: [{{destination: {{host: reviews, subset: v1}}, weight: 100}}, {{destination: {{host: reviews, subset: v3}}, weight: 0}}]
"
    ));
    shop.kubectl(["wait", "filter/canary", "virtualservice/reviews", "--for=condition=Accepted", "--timeout=60s"]);
    within(SETTLED, "the canary picks v1 and v3", || {
        let versions = versions(&inside.ask("http://reviews:9080/reviews/0", &["--times", "40"]));
        let names: Vec<_> = versions.keys().map(String::as_str).collect();
        if names == ["reviews-v1", "reviews-v3"] { Ok(()) } else { Err(versions) }
    });
    let chosen = inside.ask("http://reviews:9080/reviews/0", &["--times", "10", "--header", "x-reviews: v3"]);
    assert_eq!(versions(&chosen), BTreeMap::from([("reviews-v3".to_owned(), 10)]), "{chosen:?}");
    // The sidecars may run it before its status says so.
    within(SETTLED, "kubectl shows the digest", || {
        let shown = shop.kubectl(["get", "filters", "-o", "wide"]);
        if shown.contains("sha256:") { Ok(()) } else { Err(shown) }
    });
}

fn strict_refuses_plain_text(shop: &Namespace, inside: &Caller, stranger: &Caller) {
    shop.apply(
        "apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
",
    );
    let url = format!("http://productpage.{}:9080/productpage", shop.name);
    within(SETTLED, "plain text from outside the mesh is refused", || {
        let answer = stranger.get(&url);
        if answer.status == 403 { Ok(()) } else { Err(answer.status) }
    });
    the_page_works(inside);
    // The kubelet's probes and rollouts go on: it asks the sidecar, not the app.
    shop.kubectl(["rollout", "restart", "deployment/productpage-v1"]);
    shop.ready(&["productpage-v1"]);
    the_page_works(inside);
}

fn ratings_answer_to_reviews_alone(shop: &Namespace, filters: &Filters, inside: &Caller) {
    inside.until("http://ratings:9080/ratings/0", &[], |before| before.status == 200);
    let (image, namespace) = (filters.push("filters/authz", "1"), &shop.name);
    shop.apply(&format!(
        "apiVersion: weft.dev/v1alpha1
kind: Filter
metadata: {{name: authz}}
spec:
  image: {image}
  config:
    allow: [{{principals: [cluster.local/ns/{namespace}/sa/bookinfo-reviews]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: ratings}}
spec:
  hosts: [ratings]
  filters: [{{name: authz, at: Destination}}]
  http:
  - route: [{{destination: {{host: ratings}}}}]
"
    ));
    shop.kubectl(["wait", "filter/authz", "virtualservice/ratings", "--for=condition=Accepted", "--timeout=60s"]);
    within(SETTLED, "ratings refuse the reader", || {
        let answer = inside.get("http://ratings:9080/ratings/0");
        if answer.status == 403 { Ok(()) } else { Err((answer.status, answer.error)) }
    });
    let third = ["--header", "x-reviews: v3"];
    inside.until("http://reviews:9080/reviews/0", &third, |answer| answer.body.contains("stars"));
}

/// How often each version of reviews has answered, by the names of its pods.
fn versions(answers: &[Answer]) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for answer in answers {
        let name = match answer.json()["podname"].as_str() {
            Some(pod) => pod.chars().take("reviews-v1".len()).collect(),
            None => format!("status {} {}", answer.status, answer.error),
        };
        *count.entry(name).or_default() += 1;
    }
    count
}
