//! `weft install`, `upgrade` and `uninstall` on a real cluster, and the chart that says the same.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;
use weft_cluster_tests::{
    Namespace, get, image_prefix, image_tag, kubectl, kubectl_with, manifests, try_kubectl, weft, weft_as, within,
};

fn install(more: &[&str]) -> Result<String, String> {
    let (prefix, tag) = (image_prefix(), image_tag());
    weft(["install", "--image-prefix", &prefix, "--tag", &tag].iter().chain(more))
}

/// By kind, namespace and name.
fn objects(yaml: &str) -> BTreeMap<String, Value> {
    let documents = weft_config::from_yaml(yaml).unwrap();
    let named = |mut object: Value| {
        let metadata = &mut object["metadata"];
        // By these a chart says when, and not what.
        if let Some(annotations) = metadata["annotations"].as_object_mut() {
            annotations.remove("helm.sh/hook");
        }
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let key = [text(&object["kind"]), text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"])];
        (key.join(" "), object)
    };
    documents.into_iter().filter(|document| !document.is_null()).map(named).collect()
}

#[test]
fn the_chart_and_install_say_the_same() {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/chart");
    let helm = std::env::var("WEFT_HELM").unwrap_or_else(|_| "helm".to_owned());
    let cases: [(&[&str], &[&str]); 3] = [
        (&[], &[]),
        (
            &["--image-prefix", "registry.example/weft/", "--tag", "1.2", "--replicas", "3"],
            &["--set", "imagePrefix=registry.example/weft/,replicas=3", "--set-string", "tag=1.2"],
        ),
        (&["--pull-secrets", "shop,stock", "--beside-istio"], &["--set", "pullSecrets={shop,stock},besideIstio=true"]),
    ];
    for (flags, values) in cases {
        let ours = objects(&weft(["install", "--dry-run"].iter().chain(flags)).unwrap());
        let output = Command::new(&helm).args(["template", "weft", chart]).args(values).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let theirs = objects(&String::from_utf8(output.stdout).unwrap());
        assert!(ours.len() > 15, "{:?}", ours.keys());
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{flags:?}");
        for (key, object) in &ours {
            assert_eq!(object, &theirs[key], "{key} with {flags:?}, by install and by the chart");
        }
    }
}

#[test]
fn what_install_prints_is_what_it_applies() {
    install(&[]).unwrap();
    let printed = weft(["install", "--dry-run", "--image-prefix", &image_prefix(), "--tag", &image_tag()]).unwrap();
    // kubectl diff ends with 1 where something differs.
    let differs = kubectl_with(["diff", "--server-side", "--field-manager=weft-install", "-f", "-"], &printed);
    differs.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_second_install_changes_nothing() {
    install(&[]).unwrap();
    let versions = || -> BTreeMap<String, Value> {
        let all = get(["crd,clusterrole,mutatingwebhookconfigurations,validatingwebhookconfigurations", "-l", PART_OF]);
        let own =
            get(["-n", "weft-system", "deployment,service,role,rolebinding,poddisruptionbudget,mesh", "-l", PART_OF]);
        let items = [all, own].into_iter().flat_map(|list| list["items"].as_array().cloned().unwrap());
        items
            .map(|item| {
                let metadata = &item["metadata"];
                (format!("{} {}", item["kind"], metadata["name"]), metadata["generation"].clone())
            })
            .collect()
    };
    let before = versions();
    assert!(before.len() > 15, "{before:?}");
    let said = install(&[]).unwrap();
    for what in ["namespace", "kinds", "control plane", "webhooks"] {
        assert!(said.contains(&format!("{what}: unchanged")), "{said}");
    }
    assert_eq!(versions(), before);
}

const PART_OF: &str = "app.kubernetes.io/part-of=weft";

#[test]
fn rights_that_are_missing_are_named() {
    let namespace = Namespace::new("install-rights", &[]);
    namespace.kubectl(["create", "serviceaccount", "intern"]);
    let token = namespace.kubectl(["create", "token", "intern"]);
    let config: Value = serde_json::from_str(&kubectl(["config", "view", "--raw", "--minify", "-o", "json"])).unwrap();
    let mut cluster = config["clusters"][0].clone();
    cluster["name"] = "here".into();
    let intern = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "intern",
        "contexts": [{"name": "intern", "context": {"cluster": "here", "user": "intern"}}],
        "clusters": [cluster],
        "users": [{"name": "intern", "user": {"token": token.trim()}}],
    });
    let file = std::env::temp_dir().join(format!("{}.json", namespace.name));
    std::fs::write(&file, intern.to_string()).unwrap();
    let said = weft_as(&file, ["install"]).expect_err("an intern installs Weft");
    std::fs::remove_file(&file).unwrap();
    for right in [
        "you may not create clusterroles.rbac.authorization.k8s.io in the cluster",
        "you may not patch deployments.apps in namespace weft-system",
        "you may not list namespaces in the cluster",
        "you may not patch mutatingwebhookconfigurations.admissionregistration.k8s.io in the cluster",
    ] {
        assert!(said.contains(right), "{right:?} is not said: {said}");
    }
    assert!(!said.contains("created"), "{said}");
}

#[test]
fn without_a_cluster_it_says_so() {
    let said = weft_as("/nowhere/config".as_ref(), ["install"]).expect_err("there is no cluster");
    assert!(said.contains("no cluster") && said.contains("--kubeconfig"), "{said}");
}

#[test]
fn neighbours_are_seen_and_left_alone() {
    let closed = Namespace::new("install-closed", &["pod-security.kubernetes.io/enforce=restricted"]);
    let injector = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "another-injector", "labels": {"app": "sidecar-injector"}},
        "webhooks": [],
    });
    kubectl_with(["apply", "-f", "-"], &injector.to_string()).unwrap();
    let said = install(&[]);
    let selectors = get(["mutatingwebhookconfiguration", "weft-injector"]).to_string();
    kubectl(["delete", "mutatingwebhookconfiguration", "another-injector"]);
    let said = said.unwrap();
    assert!(said.contains("another-injector") && said.contains("weft.dev/inject"), "{said}");
    assert!(said.contains(&closed.name) && said.contains("NET_ADMIN"), "{said}");
    assert!(!selectors.contains("istio-injection"), "{selectors}");
    // With the other gone, its labels are ours again.
    install(&[]).unwrap();
    let selectors = get(["mutatingwebhookconfiguration", "weft-injector"]).to_string();
    assert!(selectors.contains("istio-injection"), "{selectors}");
}

#[test]
fn uninstall_waits_for_the_pods_and_keeps_the_root_of_trust() {
    install(&[]).unwrap();
    let shop = Namespace::new("install-shop", &["istio-injection=enabled"]);
    shop.app("server", "v1");
    let root = || get(["-n", "weft-system", "secret", "weft-ca"])["data"].clone();
    let before = root();
    let said = weft(["uninstall"]).expect_err("pods run with sidecars");
    assert!(said.contains(&format!("{}/server-v1", shop.name)) && said.contains("--force"), "{said}");
    assert!(try_kubectl(["get", "mutatingwebhookconfiguration", "weft-injector"]).is_ok());

    weft(["uninstall", "--force"]).unwrap();
    for gone in [
        &["mutatingwebhookconfiguration", "weft-injector"][..],
        &["validatingwebhookconfiguration", "weft-validator"],
        &["-n", "weft-system", "deployment", "weft-controlplane"],
        &["clusterrole", "weft-controlplane"],
    ] {
        let said = try_kubectl(["get"].iter().chain(gone)).expect_err(&format!("{gone:?} is still there"));
        assert!(said.contains("NotFound"), "{said}");
    }
    kubectl(["get", "crd", "filters.weft.dev", "virtualservices.networking.istio.io"]);
    assert_eq!(root(), before, "the root of trust is not the same");
    // Pods of the namespace start as if there had never been a mesh.
    shop.kubectl(["rollout", "restart", "deployment/server-v1"]);
    shop.ready(&["server-v1"]);

    install(&[]).unwrap();
    assert_eq!(root(), before, "the root of trust is not the same");
    shop.kubectl(["rollout", "restart", "deployment/server-v1"]);
    shop.ready(&["server-v1"]);
    within(Duration::from_secs(30), "the restarted pod has a sidecar", || {
        let pods = shop.pods("app=server");
        let injected = |pod: &&Value| pod["metadata"]["annotations"]["sidecar.weft.dev/status"].is_string();
        if pods.iter().any(|pod| injected(&pod)) { Ok(()) } else { Err(pods.len()) }
    });
}

/// Pods come and go while Weft goes and comes: each that was asked for starts, and with the webhook back each is injected.
#[test]
fn reinstalling_under_pod_churn_loses_no_pod() {
    install(&[]).unwrap();
    let shop = Namespace::new("install-churn", &["istio-injection=enabled"]);
    shop.apply(&manifests::caller("worker"));
    shop.ready(&["worker"]);
    std::thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let shop = &shop;
        let churn = scope.spawn(move || {
            let mut restarts = 0;
            while stopped.recv_timeout(Duration::from_secs(2)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                shop.kubectl(["rollout", "restart", "deployment/worker"]);
                restarts += 1;
            }
            restarts
        });
        weft(["uninstall", "--force"]).unwrap();
        install(&[]).unwrap();
        drop(stop);
        assert!(churn.join().unwrap() > 1, "nothing was restarted meanwhile");
    });
    shop.ready(&["worker"]);
    // A pod of between the two is none of the mesh's: one restart, as the notes of install say.
    shop.kubectl(["rollout", "restart", "deployment/worker"]);
    shop.ready(&["worker"]);
    within(Duration::from_secs(60), "there is one pod, and it has a sidecar", || {
        let pods = shop.pods("app=worker");
        let injected = |pod: &&Value| pod["metadata"]["annotations"]["sidecar.weft.dev/status"].is_string();
        if pods.len() == 1 && pods.iter().all(|pod| injected(&pod)) { Ok(()) } else { Err(pods.len()) }
    });
}

#[test]
fn upgrade_lists_the_pods_with_other_sidecars() {
    install(&[]).unwrap();
    let shop = Namespace::new("install-upgrade", &["istio-injection=enabled"]);
    shop.app("server", "v1");
    let (prefix, tag) = (image_prefix(), image_tag());
    let now = weft(["upgrade", "--image-prefix", &prefix, "--tag", &tag]).unwrap();
    assert!(!now.contains(&shop.name), "{now}");
    // The control plane of another release cannot be pulled here: what it would list can be seen all the same.
    let running = get(["-n", "weft-system", "deployment", "weft-controlplane"])["status"]["readyReplicas"].clone();
    let said = weft(["upgrade", "--tag", "not-there", "--timeout", "5s"]).expect_err("an image that nobody has");
    assert!(said.contains("not ready") && said.contains("not-there"), "{said}");
    let after = get(["-n", "weft-system", "deployment", "weft-controlplane"])["status"]["readyReplicas"].clone();
    assert_eq!(running, after, "a failing upgrade takes nobody out of service");
    install(&[]).unwrap();
}
