//! Weft goes, comes back, is away, and changes its version: what stays, what goes on meanwhile, and who is told.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use weft_cluster_tests::{
    Namespace, get, image, image_prefix, image_tag, kubectl, kubectl_with, own_node, reinstall, try_kubectl, weft,
    within,
};

fn is_injected(pod: &Value) -> bool {
    pod["metadata"]["annotations"]["sidecar.weft.dev/status"].is_string()
}

/// The mesh's root of trust, as the control plane keeps it and as pods mount it.
fn root(namespace: &Namespace) -> (Value, Value) {
    let secret = get(["-n", "weft-system", "secret", "weft-ca"])["data"].clone();
    (secret, namespace.get(["configmap", "weft-root"])["data"].clone())
}

/// The pods of `shop` that are not on their way out: as many as are wanted, all with a sidecar or none.
fn all_injected(shop: &Namespace, selector: &str, wanted: bool) {
    within(Duration::from_secs(60), &format!("{selector} has a sidecar: {wanted}"), || {
        let mut pods = shop.pods(selector);
        pods.retain(|pod| !pod["metadata"]["deletionTimestamp"].is_string());
        if pods.len() == 1 && is_injected(&pods[0]) == wanted { Ok(()) } else { Err(pods.len()) }
    });
}

#[test]
fn uninstall_and_reinstall_keep_the_root_and_disturb_nobody() {
    reinstall(&[]);
    let shop = Namespace::new("away-shop", &["istio-injection=enabled"]);
    shop.app("server", "v1");
    let caller = shop.caller("caller");
    let before = root(&shop);
    let said = weft(["uninstall"]).expect_err("pods run with sidecars");
    assert!(said.contains(&format!("{}/server-v1", shop.name)) && said.contains("--force"), "{said}");
    kubectl(["get", "mutatingwebhookconfiguration", "weft-injector"]);

    let load = caller.load("http://server/", &["--rate", "20", "--expect", "x-app=server-v1"]);
    let said = weft(["uninstall", "--force"]).unwrap();
    assert!(said.contains("kept: the CRDs"), "{said}");
    for gone in [
        &["mutatingwebhookconfiguration", "weft-injector"][..],
        &["validatingwebhookconfiguration", "weft-validator"],
        &["-n", "weft-system", "deployment", "weft-controlplane"],
        &["-n", "weft-system", "poddisruptionbudget", "weft-controlplane"],
        &["-n", "weft-system", "role", "weft-controlplane"],
        &["clusterrole", "weft-controlplane"],
        &["clusterrolebinding", "weft-controlplane"],
    ] {
        let said = try_kubectl(["get"].iter().chain(gone)).expect_err(&format!("{gone:?} is still there"));
        assert!(said.contains("NotFound"), "{said}");
    }
    kubectl(["get", "crd", "filters.weft.dev", "virtualservices.networking.istio.io"]);
    assert_eq!(root(&shop), before, "the root of trust is not the same");
    // A new pod of the namespace starts as if there had never been a mesh.
    let other = Namespace::new("away-later", &["istio-injection=enabled"]);
    other.app("server", "v1");
    all_injected(&other, "app=server", false);
    reinstall(&[]);
    assert_eq!(root(&shop), before, "the root of trust is not the same");
    // What ran on, and what starts anew, believe each other.
    other.kubectl(["rollout", "restart", "deployment/server-v1"]);
    other.ready(&["server-v1"]);
    all_injected(&other, "app=server", true);
    // A sidecar knows nothing new until it has found the new control plane.
    caller.until(&other.url("server"), &[], |answer| (answer.status, answer.app()) == (200, "server-v1"));
    load.stop().assert_clean(100);
}

/// Nobody answers the webhooks: only new pods of the mesh wait.
#[test]
fn with_all_replicas_gone_the_cluster_works() {
    reinstall(&[]);
    let mesh = Namespace::new("alone-mesh", &["istio-injection=enabled"]);
    mesh.app("server", "v1");
    let caller = mesh.caller("caller");
    let plain = Namespace::new("alone-plain", &[]);
    // What a sidecar has never asked for it cannot know.
    let answer = caller.get("http://server/");
    assert_eq!((answer.status, answer.app()), (200, "server-v1"), "{answer:?}");
    kubectl(["-n", "weft-system", "scale", "deployment/weft-controlplane", "--replicas=0"]);
    let gone = || {
        let pods = get(["-n", "weft-system", "pods", "-l", "app.kubernetes.io/name=weft-controlplane"]);
        let left = pods["items"].as_array().map_or(0, Vec::len);
        if left == 0 { Ok(()) } else { Err(left) }
    };
    within(Duration::from_secs(60), "no replica is left", gone);

    plain.app("server", "v1");
    let lonely = |name: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {"containers": [{"name": "app", "image": image("weft-cluster-app"), "args": ["idle"]}],
                "terminationGracePeriodSeconds": 0},
        })
    };
    let alone = lonely(&format!("alone-{}", std::process::id())).to_string();
    let system = |verb: &str| kubectl_with(["-n", "kube-system", verb, "-f", "-"], &alone);
    system("create").unwrap();
    let answer = caller.get("http://server/");
    assert_eq!((answer.status, answer.app()), (200, "server-v1"), "{answer:?}");
    // An update of a pod, and of a kind of Weft's: stored unseen, and told of later.
    mesh.kubectl(["label", "pods", "--all", "seen=true"]);
    mesh.apply(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: server}
spec: {hosts: [server], rout: []}
",
    );
    let said = mesh.try_create(&lonely("new")).expect_err("a pod of the mesh starts without its sidecar");
    assert!(said.contains("inject.weft.dev"), "{said}");
    mesh.kubectl(["delete", "pod", "-l", "app=server", "--timeout=60s"]);
    system("delete").unwrap();
    reinstall(&[]);
    // What was to be made meanwhile is made now, with its sidecar. Its controller waits the longer the more often it was
    // refused, up to minutes; a change makes it try at once, which fails where the API server does not reach the new
    // replicas yet.
    let mut tries = 0;
    within(Duration::from_secs(60), "the pod is made", || {
        tries += 1;
        mesh.kubectl(["annotate", "replicaset", "--all", "--overwrite", &format!("tried={tries}")]);
        let pods = mesh.kubectl(["get", "pods", "-l", "app=server", "-o", "name"]);
        if pods.is_empty() { Err("none") } else { Ok(()) }
    });
    mesh.ready(&["server-v1"]);
    all_injected(&mesh, "app=server", true);
    mesh.kubectl(["wait", "virtualservice/server", "--for=condition=Accepted=False", "--timeout=30s"]);
}

/// Folder of the node that a PersistentVolume shows.
struct Volume {
    folder: PathBuf,
}

impl Volume {
    const NAME: &'static str = "weft-state-test";

    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("weft-volume-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let (name, path) = (Self::NAME, folder.display());
        let objects = format!(
            "apiVersion: v1
kind: PersistentVolume
metadata: {{name: {name}}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteMany]
  storageClassName: ''
  hostPath: {{path: {path}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}, namespace: weft-system}}
spec:
  accessModes: [ReadWriteMany]
  storageClassName: ''
  volumeName: {name}
  resources: {{requests: {{storage: 1Gi}}}}
"
        );
        kubectl_with(["apply", "-f", "-"], &objects).unwrap();
        Self { folder }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = try_kubectl(["-n", "weft-system", "delete", "pvc", Self::NAME, "--wait=false"]);
        let _ = try_kubectl(["delete", "pv", Self::NAME, "--wait=false"]);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn replicas_keep_their_state_on_a_volume_of_their_own() {
    if own_node().is_none() {
        println!("passed over: volumes of this cluster are its owner's");
        return;
    }
    // What another has applied too stays his: who that is, what he holds, and what to do is said.
    let folder = tempfile::tempdir().unwrap();
    let values = folder.path().join("values.yaml");
    std::fs::write(&values, "stateClaim: elsewhere\n").unwrap();
    reinstall(&[]);
    let theirs = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "weft-controlplane", "namespace": "weft-system"},
        "spec": {"template": {"spec": {"volumes": [{"name": "state", "emptyDir": {}}]}}},
    });
    let apply = ["apply", "--server-side", "--force-conflicts", "--field-manager=gardener", "-f", "-"];
    kubectl_with(apply, &theirs.to_string()).unwrap();
    let said = weft(["install", "--values", values.to_str().unwrap()]).expect_err("a volume of two kinds");
    for words in
        ["gardener holds spec.template.spec.volumes[", "].emptyDir", "delete Deployment weft-system/weft-controlplane"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    // So also where Helm has applied it, as in suite `install`.
    kubectl(["-n", "weft-system", "delete", "deployment", "weft-controlplane", "--ignore-not-found"]);
    reinstall(&[]);
    let volume = Volume::new();
    let values = volume.folder.join("values.yaml");
    std::fs::write(&values, format!("stateClaim: {}\npreStopSeconds: 1\n", Volume::NAME)).unwrap();
    let (prefix, tag) = (image_prefix(), image_tag());
    let with_values = ["--image-prefix", &prefix, "--tag", &tag, "--values", values.to_str().unwrap()];
    let said = weft(["install"].iter().chain(&with_values));
    let folders = || -> Vec<String> {
        let found = std::fs::read_dir(volume.folder.join("state")).into_iter().flatten().flatten();
        let mut names: Vec<_> = found.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    let after = folders();
    // Without the file what runs is kept; and replicas that come later take over what the earlier ones left.
    let again = weft(["install", "--image-prefix", &prefix, "--tag", &tag]);
    kubectl(["-n", "weft-system", "rollout", "restart", "deployment/weft-controlplane"]);
    kubectl(["-n", "weft-system", "rollout", "status", "deployment/weft-controlplane", "--timeout=120s"]);
    let later = folders();
    std::fs::write(&values, "stateClaim: ''\npreStopSeconds: 5\n").unwrap();
    let back = weft(["install"].iter().chain(&with_values));
    said.unwrap();
    assert!(again.unwrap().contains("control plane: unchanged"));
    back.unwrap();
    assert_eq!(after, ["replica-0", "replica-1"]);
    assert!(later.len() <= 4 && later.starts_with(&after), "{later:?}");
}

#[test]
fn the_root_survives_restarts() {
    reinstall(&[]);
    let shop = Namespace::new("away-restart", &[]);
    within(Duration::from_secs(10), "the namespace has the root", || shop.try_kubectl(["get", "configmap/weft-root"]));
    let before = root(&shop);
    kubectl(["-n", "weft-system", "rollout", "restart", "deployment/weft-controlplane"]);
    kubectl(["-n", "weft-system", "rollout", "status", "deployment/weft-controlplane", "--timeout=120s"]);
    assert_eq!(root(&shop), before);
}

/// The images of this build once more, under the tag of another release.
const OTHER_TAG: &str = "another-release";

#[test]
fn upgrade_goes_in_place_and_lists_the_pods_with_other_sidecars() {
    reinstall(&[]);
    let shop = Namespace::new("away-upgrade", &["istio-injection=enabled"]);
    shop.app("server", "v1");
    let (prefix, tag) = (image_prefix(), image_tag());
    let now = weft(["upgrade", "--image-prefix", &prefix, "--tag", &tag]).unwrap();
    assert!(!now.contains(&shop.name), "{now}");
    if own_node().is_some() {
        for name in ["weft-proxy", "weft-controlplane"] {
            let other = format!("{prefix}/{name}:{OTHER_TAG}");
            let tagged =
                Command::new("ctr").args(["-n", "k8s.io", "images", "tag", "--force", &image(name), &other]).output();
            assert!(tagged.as_ref().is_ok_and(|output| output.status.success()), "{tagged:?}");
        }
        let said = weft(["upgrade", "--tag", OTHER_TAG]).unwrap();
        assert!(said.contains(&format!("{}/server-v1", shop.name)) && said.contains(&image("weft-proxy")), "{said}");
        assert!(said.contains("rollout restart"), "{said}");
        shop.kubectl(["rollout", "restart", "deployment/server-v1"]);
        shop.ready(&["server-v1"]);
        within(Duration::from_secs(60), "no pod has an older sidecar", || {
            let said = weft(["upgrade", "--tag", OTHER_TAG])?;
            if said.contains(&format!("{}/server-v1", shop.name)) { Err(said) } else { Ok(()) }
        });
    }
    let ready = || get(["-n", "weft-system", "deployment", "weft-controlplane"])["status"]["readyReplicas"].clone();
    let before = ready();
    let said = weft(["upgrade", "--tag", "not-there", "--timeout", "5s"]).expect_err("an image that nobody has");
    assert!(said.contains("not ready") && said.contains("not-there"), "{said}");
    assert_eq!(before, ready(), "a failing upgrade takes nobody out of service");
    reinstall(&[]);
}
