//! The README's way from an empty cluster to a canary, typed as it stands there.
//!
//! It empties the cluster first, by `weft uninstall --purge`; so it runs on a node of the suite's own only.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use weft_cluster_tests::{
    Namespace, get, image, image_prefix, image_tag, install, kubectl, kubectl_with, manifests, own_node, try_kubectl,
    weft, within,
};

const README: &str = include_str!("../../../README.md");

/// The lines of the block after this sentence of the README's section on Kubernetes.
fn commands() -> Vec<&'static str> {
    let section = README.split("\n## 4. On Kubernetes\n").nth(1).expect("the section is there");
    let after = section.split("from an empty cluster to a canary").nth(1).expect("the sentence is there");
    let block = after.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block follows");
    block.lines().collect()
}

/// In the repository's folder, with the `weft` of this build.
fn typed(line: &str) -> String {
    let path = format!("{}:{}", weft_tests::weft().parent().unwrap().display(), std::env::var("PATH").unwrap());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new("sh").args(["-ec", line]).env("PATH", path).current_dir(root).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line} ended with {}: {said}", output.status);
    said.into_owned()
}

/// What the commands leave in namespace default.
struct Cleared;

impl Drop for Cleared {
    fn drop(&mut self) {
        let _ = try_kubectl(["label", "namespace", "default", "istio-injection-"]);
        for manifest in [
            include_str!("../manifests/bookinfo.yaml"),
            include_str!("../../../examples/bookinfo/kubernetes/canary.yaml"),
        ] {
            let delete = ["-n", "default", "delete", "--ignore-not-found", "--wait=false", "-f", "-"];
            let _ = kubectl_with(delete, manifest);
        }
    }
}

/// The node has no way out: Istio's images are our own, under their names.
fn name_images_as_the_manifest_does() {
    let manifest = include_str!("../manifests/bookinfo.yaml");
    for theirs in manifest.lines().filter_map(|line| line.trim().strip_prefix("image: ")) {
        let (_, name) = theirs.rsplit_once("examples-").unwrap();
        let ours = image(name.split(':').next().unwrap());
        let tagged = Command::new("ctr").args(["-n", "k8s.io", "images", "tag", "--force", &ours, theirs]).output();
        assert!(tagged.as_ref().is_ok_and(|output| output.status.success()), "{tagged:?}");
    }
}

#[test]
fn five_commands_lead_from_an_empty_cluster_to_a_canary() {
    if own_node().is_none() {
        println!("passed over: this cluster is not ours to empty");
        return;
    }
    install();
    weft(["uninstall", "--force", "--purge"]).unwrap();
    let left = get(["crd,clusterrole,clusterrolebinding,namespace", "-l", "app.kubernetes.io/part-of=weft"]);
    assert_eq!(left["items"].as_array().unwrap().len(), 0, "{left:#}");
    let roots = get(["configmap", "-A", "--field-selector", "metadata.name=weft-root"]);
    assert_eq!(roots["items"].as_array().unwrap().len(), 0, "{roots:#}");

    name_images_as_the_manifest_does();
    let _cleared = Cleared;
    let commands = commands();
    assert_eq!(commands.len(), 5, "{commands:#?}");
    let ours = format!("{} --tag {}", image_prefix(), image_tag());
    let said: Vec<_> = commands.iter().map(|line| typed(&line.replace("registry.example/weft", &ours))).collect();
    for progress in ["kinds: 7 created", "control plane: 2 of 2 replicas ready", "webhooks: served", "runs. Next:"] {
        assert!(said[0].contains(progress), "{progress:?} is not in {}", said[0]);
    }
    assert!(said[4].contains("reviews") && said[4].contains("True"), "{}", said[4]);

    for deployment in manifests::BOOKINFO {
        kubectl(["-n", "default", "rollout", "status", &format!("deployment/{deployment}"), "--timeout=90s"]);
    }
    let reader = Namespace::new("readme", &["istio-injection=enabled"]);
    let caller = reader.caller("caller");
    let page = within(Duration::from_secs(30), "the page is there", || {
        let page = caller.get("http://productpage.default:9080/productpage");
        if page.status == 200 { Ok(page) } else { Err((page.status, page.error)) }
    });
    assert!(page.body.contains("The Comedy of Errors"), "{page:?}");
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for answer in caller.ask("http://reviews.default:9080/reviews/0", &["--times", "200"]) {
        let pod = answer.json()["podname"].as_str().map_or_else(|| format!("{answer:?}"), str::to_owned);
        *counts.entry(pod.chars().take("reviews-v1".len()).collect()).or_default() += 1;
    }
    // One in ten: a fair draw of 200 is outside these bounds once in a hundred thousand runs.
    let canary = counts.get("reviews-v3").copied().unwrap_or_default();
    assert_eq!(counts.get("reviews-v1").copied().unwrap_or_default() + canary, 200, "{counts:?}");
    assert!((4..=42).contains(&canary), "{counts:?}");
}
