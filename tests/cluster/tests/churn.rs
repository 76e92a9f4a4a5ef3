//! Pods that come and go while those who inject them go and come: none of the mesh's is lost, and none is made without a
//! sidecar while there is a webhook.
#![allow(clippy::unwrap_used)]

use serde_json::json;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use weft_cluster_tests::{
    ControlPlane, Namespace, Pod, install, kubectl, manifests, reinstall, say, try_kubectl, weft, within,
};

const WORKERS: usize = 3;

/// Every pod that a namespace ever had, by its uid.
struct Seen {
    pods: Arc<Mutex<BTreeMap<String, Made>>>,
    watch: Child,
}

#[derive(Clone)]
struct Made {
    name: String,
    /// The resource version at which it was seen first.
    made: u64,
    injected: bool,
}

impl Seen {
    fn of(namespace: &Namespace) -> Self {
        let columns = concat!(
            "jsonpath={.metadata.uid} {.metadata.name} {.metadata.resourceVersion} ",
            r#"{.metadata.annotations.sidecar\.weft\.dev/status}{"\n"}"#
        );
        let mut watch = Command::new("kubectl")
            .args(["-n", &namespace.name, "get", "pods", "--watch", "-o", columns])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
        let pods = Arc::<Mutex<BTreeMap<String, Made>>>::default();
        let write = Arc::clone(&pods);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let words: Vec<_> = line.splitn(4, ' ').collect();
                let [uid, name, version, status] = words[..] else { continue };
                let (name, made) = (name.to_owned(), version.parse().unwrap());
                let mut pods = write.lock().unwrap();
                pods.entry(uid.to_owned()).or_insert(Made { name, made, injected: !status.is_empty() });
            }
        });
        Self { pods, watch }
    }

    /// Those made after this resource version that have none.
    fn without_sidecar(&self, since: u64) -> Vec<String> {
        let pods = self.pods.lock().unwrap();
        let lacking = pods.values().filter(|pod| !pod.injected && pod.made > since);
        lacking.map(|pod| pod.name.clone()).collect()
    }

    fn count(&self) -> usize {
        self.pods.lock().unwrap().len()
    }

    /// Waits until so many more pods were made.
    fn more(&self, number: usize) {
        let goal = self.count() + number;
        within(MADE_MAX, &format!("{number} more pods are made"), || {
            let count = self.count();
            if count >= goal { Ok(()) } else { Err(format!("{count} and not {goal}")) }
        });
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        let _ = self.watch.kill();
        let _ = self.watch.wait();
    }
}

const MADE_MAX: Duration = Duration::from_secs(60);

const PACE: Duration = Duration::from_millis(300);

/// Deletes a worker's pod after the other, until this is dropped.
struct Churn {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Churn {
    fn of(namespace: &Namespace) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let (ended, name) = (Arc::clone(&ends), namespace.name.clone());
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let first = "jsonpath={.items[0].metadata.name}";
                let oldest = ["-n", &name, "get", "pods", "-l", "app=worker", "--sort-by=.metadata.creationTimestamp"];
                // While there is none, nothing can be deleted.
                if let Ok(pod) = try_kubectl(oldest.iter().chain(&["-o", first])) {
                    let _ = try_kubectl(["-n", &name, "delete", "pod", &pod, "--grace-period=1", "--wait=false"]);
                }
                std::thread::sleep(PACE);
            }
        });
        Self { ends, thread: Some(thread) }
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A namespace whose pods are there, and from now on made and deleted without end.
fn workers(name: &str) -> (Namespace, Seen, Churn) {
    let namespace = Namespace::new(name, &["istio-injection=enabled"]);
    namespace.apply(&manifests::caller("worker"));
    namespace.kubectl(["scale", "deployment/worker", &format!("--replicas={WORKERS}")]);
    namespace.ready(&["worker"]);
    let (seen, churn) = (Seen::of(&namespace), Churn::of(&namespace));
    (namespace, seen, churn)
}

#[test]
fn reinstalling_under_pod_churn_loses_no_pod() {
    install();
    let (shop, seen, churn) = workers("churn");
    seen.more(WORKERS);

    // Both replicas at once, so that pods are refused meanwhile; the new ones make certificates of their own.
    kubectl(["-n", "weft-system", "delete", "pods", "--all", "--grace-period=0", "--force"]);
    kubectl(["-n", "weft-system", "rollout", "status", "deployment/weft-controlplane", "--timeout=120s"]);
    seen.more(WORKERS);
    kubectl(["-n", "weft-system", "rollout", "restart", "deployment/weft-controlplane"]);
    kubectl(["-n", "weft-system", "rollout", "status", "deployment/weft-controlplane", "--timeout=120s"]);
    seen.more(WORKERS);
    assert_eq!(seen.without_sidecar(0), [""; 0], "made without a sidecar while the webhook was there");

    weft(["uninstall", "--force"]).unwrap();
    // Nobody refuses them, and nobody injects.
    within(MADE_MAX, "a pod is made without a sidecar", || {
        if seen.without_sidecar(0).is_empty() { Err("none") } else { Ok(()) }
    });
    reinstall(&[]);
    let installed = now(&shop);
    seen.more(2 * WORKERS);
    assert_eq!(
        seen.without_sidecar(installed),
        [""; 0],
        "made without a sidecar after install had said that webhooks serve"
    );
    drop(churn);

    // A pod that nobody deletes: install names it until it is replaced.
    shop.kubectl(["delete", "pods", "--all", "--grace-period=1"]);
    within(MADE_MAX, "all that was asked for is there, each with a sidecar", || {
        let pods = shop.pods("app=worker");
        let whole = |pod: &&serde_json::Value| {
            let ready = pod["status"]["conditions"].as_array().into_iter().flatten();
            pod["metadata"]["annotations"]["sidecar.weft.dev/status"].is_string()
                && ready.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        };
        let count = pods.iter().filter(whole).count();
        if count == WORKERS && pods.len() == WORKERS { Ok(()) } else { Err(format!("{count} of {}", pods.len())) }
    });
    let without = seen.without_sidecar(0).len();
    say(format!("{} pods were made, {without} of them while Weft was not there", seen.count()));
}

/// At half of their life, by an option under which they live for seconds; then the API server comes anew, to a replica whose
/// first certificate is over.
#[test]
fn certificates_of_the_webhooks_are_renewed_under_pod_churn() {
    install();
    let (shop, seen, churn) = workers("churn-young");
    let add = json!([{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--svid-life=20s"}]);
    kubectl(["-n", "weft-system", "patch", "deployment", "weft-controlplane", "--type=json", "-p", &add.to_string()]);
    let replicas = ControlPlane::settled();
    let served = |pod: &Pod| {
        let log = kubectl(["-n", "weft-system", "logs", &pod.name]);
        log.matches("the webhooks serve a new certificate").count()
    };
    within(MADE_MAX, "each replica has served three certificates, and the first of them is over", || {
        let counts = replicas.each_ref().map(served);
        if counts.iter().all(|count| *count >= 3) { Ok(()) } else { Err(counts) }
    });
    kubectl(["-n", "weft-system", "delete", "pod", &replicas[0].name]);
    seen.more(2 * WORKERS);
    assert!(served(&replicas[1]) >= 3, "the other replica has answered meanwhile");
    assert_eq!(seen.without_sidecar(0), [""; 0], "made without a sidecar while the webhook was there");
    drop(churn);
    reinstall(&[]);
    shop.ready(&["worker"]);
    say(format!("{} pods were made under certificates of 20 s", seen.count()));
}

/// How far the pods of a namespace have come.
fn now(namespace: &Namespace) -> u64 {
    let list = kubectl(["get", "--raw", &format!("/api/v1/namespaces/{}/pods?limit=1", namespace.name)]);
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    list["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

/// What was made while nobody injected is named by the command that ends that, and replaced by the one that it says.
#[test]
fn install_names_the_pods_that_have_no_sidecar() {
    install();
    let shop = Namespace::new("lacking", &[]);
    shop.apply(&manifests::caller("worker"));
    shop.ready(&["worker"]);
    kubectl(["label", "namespace", &shop.name, "istio-injection=enabled"]);
    let names = || reinstall(&[]).contains(&format!("{}/worker-", shop.name));
    assert!(names());
    shop.kubectl(["rollout", "restart", "deployment/worker"]);
    shop.ready(&["worker"]);
    assert!(!names());
}
