//! The chart by itself, from a cluster without Weft to one without it: what it makes, and what of it stays.
//!
//! Helm takes the rights of replicas that are still ending, so that suite `audit` has to be over.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::Duration;
use weft_cluster_tests::{CHART, Namespace, helm, image_prefix, image_tag, kubectl, weft, within};

/// `KIND/NAME` of every object of the cluster, with its namespace; without what the API server makes by itself.
fn objects() -> BTreeSet<String> {
    let kinds = kubectl(["api-resources", "--verbs=list,delete", "-o", "name"]);
    let passing =
        ["events", "events.events.k8s.io", "leases.coordination.k8s.io", "apiservices.apiregistration.k8s.io"];
    let kinds: Vec<&str> = kinds.lines().filter(|kind| !passing.contains(kind)).collect();
    let columns = r#"jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.namespace}{"\n"}{end}"#;
    kubectl(["get", &kinds.join(","), "-A", "-o", columns]).lines().map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn what_helm_uninstalls_is_gone_but_for_what_the_guide_names() {
    // Wherever it is installed.
    weft(["uninstall", "--force", "--purge"]).unwrap();
    let release = Namespace::new("chart", &[]);
    let before = objects();
    let images = format!("imagePrefix={},tag={}", image_prefix(), image_tag());
    helm(&["install", "weft", CHART, "--namespace", &release.name, "--set", &images, "--wait"]);
    let shop = Namespace::new("chart-shop", &["istio-injection=enabled"]);
    shop.app("server", "v1");
    let sidecars = |version: &str| {
        let pods = shop.pods(&format!("version={version}"));
        let status = |pod: &serde_json::Value| pod["metadata"]["annotations"]["sidecar.weft.dev/status"].is_string();
        pods.iter().filter(|pod| status(pod)).count()
    };
    assert_eq!(sidecars("v1"), 1);

    helm(&["uninstall", "weft", "--namespace", &release.name, "--wait"]);
    // A pod made from now on is as if there had never been a mesh.
    shop.app("server", "v2");
    assert_eq!(sidecars("v2"), 0);
    let name = shop.name.clone();
    drop(shop);
    let wanted = [
        "ConfigMap/kube-root-ca.crt weft-system",
        "Mesh/default weft-system",
        "Namespace/weft-system",
        "Secret/weft-ca weft-system",
        "ServiceAccount/default weft-system",
    ];
    let documented = |object: &str| {
        wanted.contains(&object)
            || object.starts_with("ConfigMap/weft-root ")
            || (object.starts_with("CustomResourceDefinition/")
                && [".istio.io", ".weft.dev"].iter().any(|group| object.ends_with(group)))
    };
    within(Duration::from_secs(60), "what the chart made is gone", || {
        let now = objects();
        let left: Vec<_> = now.difference(&before).filter(|left| !documented(left) && !left.contains(&name)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:#?}")) }
    });
    let now = objects();
    for kept in wanted {
        assert!(now.contains(kept), "{kept} is gone: {now:#?}");
    }
}
