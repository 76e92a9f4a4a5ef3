//! Who a pod is: first contact by its token, renewal without an API server, and the root that outlives everybody.
//!
//! The control plane and the sidecars run as processes on the node, with real tokens of real pods (whose containers
//! never start, which no token minds), and Weft is not in the cluster: two meshes would each keep their root in every
//! namespace.
#![allow(clippy::unwrap_used)]

use rcgen::{CertificateParams, CustomExtension, DnType, SanType};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use weft_cluster_tests::{
    Impostor, Namespace, OtherCluster, eventually, node, own_node, try_kubectl, within, without_weft,
};
use weft_tests::{Process, weft};

/// A replica of a control plane that keeps its CA in the namespace of the test.
struct Plane {
    process: Process,
    stream: String,
    folder: TempDir,
}

impl Plane {
    fn start(namespace: &Namespace, replica: &str, arguments: &[&str]) -> Self {
        without_weft();
        let folder = tempfile::tempdir().unwrap();
        let (state, ports) = (folder.path().join("state"), folder.path().join("ports"));
        let mut command = Command::new(weft());
        command.args(["controlplane", "--kubernetes", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0"]);
        command.arg("--state").arg(state).arg("--ports-file").arg(&ports).args(arguments);
        command.env("POD_NAMESPACE", &namespace.name).env("POD_NAME", replica);
        let mut process = Process::spawn(&format!("control plane {replica}"), &mut command);
        let stream = process.ports(&ports)["stream"].as_str().unwrap().to_owned();
        Self { process, stream, folder }
    }

    fn says(&self, words: &str) {
        eventually(&format!("the control plane says {words:?}"), || {
            let output = self.process.output();
            if output.contains(words) { Ok(()) } else { Err(output) }
        });
    }
}

/// What a sidecar was given, in the files that the kubelet would mount.
struct Mounted {
    folder: TempDir,
}

impl Mounted {
    fn new(namespace: &Namespace, token: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("token"), token).unwrap();
        fs::write(folder.path().join("root.pem"), root(namespace)).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sidecar(&self, workload: &str, stream: &str) -> Process {
        let any = "127.0.0.1:0";
        let mut command = Command::new(weft());
        command.args(["sidecar", "--workload", workload, "--controlplane", stream]);
        command.args(["--inbound", any, "--outbound", any, "--admin", any, "--drain", "1s"]);
        command.arg("--token-file").arg(self.path("token")).arg("--root-file").arg(self.path("root.pem"));
        command.arg("--state").arg(self.path("state"));
        Process::spawn(&format!("sidecar {workload}"), &mut command)
    }
}

fn root(namespace: &Namespace) -> String {
    eventually("weft-root holds a root", || {
        let read = namespace.try_kubectl(["get", "configmap", "weft-root", "-o", r"jsonpath={.data.root\.pem}"])?;
        if read.contains("BEGIN CERTIFICATE") { Ok(read) } else { Err(read) }
    })
}

/// A pod without a container that runs, as its service account.
fn pod(namespace: &Namespace, name: &str, account: &str) {
    let _ = namespace.try_kubectl(["create", "serviceaccount", account]);
    namespace.apply(&pod_object(name, account));
}

fn pod_object(name: &str, account: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {account}, version: v1, security.istio.io/tlsMode: istio}}}}
spec:
  serviceAccountName: {account}
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  containers: [{{name: app, image: weft.dev/none:1, imagePullPolicy: Never}}]
"
    )
}

/// That of a pod with the names of this cluster's, as another cluster gives it.
fn token_of_another_cluster(namespace: &Namespace) -> String {
    let other = OtherCluster::start();
    let there = |arguments: &[&str]| other.kubectl(&[&["-n", &namespace.name], arguments].concat());
    other.kubectl(&["create", "namespace", &namespace.name]);
    there(&["create", "serviceaccount", "cart"]);
    other.apply(
        &pod_object("cart-1", "cart")
            .replace("{name: cart-1", &format!("{{namespace: {}, name: cart-1", namespace.name)),
    );
    let uid = there(&["get", "pod", "cart-1", "-o", "jsonpath={.metadata.uid}"]);
    let bound = ["--bound-object-kind", "Pod", "--bound-object-name", "cart-1", "--bound-object-uid", &uid];
    there(&[&["create", "token", "cart", "--audience", "weft-ca"][..], &bound].concat())
}

fn remove(namespace: &Namespace, pod: &str) {
    namespace.kubectl(["delete", "pod", pod, "--grace-period=0", "--force"]);
}

/// As the kubelet asks for it.
fn token(namespace: &Namespace, pod: &str, account: &str, audience: &str) -> String {
    let uid = namespace.get(["pod", pod])["metadata"]["uid"].as_str().unwrap().to_owned();
    let bound = ["--bound-object-kind", "Pod", "--bound-object-name", pod, "--bound-object-uid", &uid];
    namespace.kubectl(["create", "token", account, "--audience", audience].into_iter().chain(bound))
}

fn has(process: &mut Process, words: &str, times: usize, limit: Duration) {
    within(limit, &format!("it says {words:?} {times} times"), || {
        process.must_run();
        let output = process.output();
        if output.matches(words).count() >= times { Ok(()) } else { Err(output) }
    });
}

fn connects(process: &mut Process) {
    has(process, "connected to the control plane", 1, PATIENCE);
}

#[test]
fn each_token_that_is_not_the_pods_own_is_refused_by_name() {
    let namespace = Namespace::new("identity", &[]);
    let plane = Plane::start(&namespace, "one", &[]);
    for (name, account) in [("cart-1", "cart"), ("cart-2", "cart"), ("gone", "cart"), ("again", "cart")] {
        pod(&namespace, name, account);
    }
    let own = |name: &str| token(&namespace, name, "cart", "weft-ca");
    let gone = own("gone");
    remove(&namespace, "gone");
    let earlier = own("again");
    remove(&namespace, "again");
    pod(&namespace, "again", "cart");
    let unbound = namespace.kubectl(["create", "token", "cart", "--audience", "weft-ca"]);
    let rows = [
        ("another pod's", "cart-2", own("cart-1"), "the token is of pod"),
        ("a deleted pod's", "gone", gone, "has been invalidated"),
        ("that of an earlier pod of this name", "again", earlier, "does not match service account pod ref claim"),
        (
            "another audience",
            "cart-1",
            token(&namespace, "cart-1", "cart", "vault"),
            "is invalid for the target audiences",
        ),
        ("bound to no pod", "cart-1", unbound, "is bound to no pod"),
    ];
    let foreign = own_node().map(|_| {
        let token = token_of_another_cluster(&namespace);
        ("another cluster's", "cart-1", token, "the API server of this cluster does not accept the token")
    });
    for (row, name, token, words) in rows.into_iter().chain(foreign) {
        let mounted = Mounted::new(&namespace, &token);
        let mut sidecar = mounted.sidecar(&format!("{}/{name}", namespace.name), &plane.stream);
        // Its last words may be read after its end is known.
        eventually(&format!("{row}: it ends and says {words:?}"), || match (sidecar.exited(), sidecar.output()) {
            (Some(status), output) if !status.success() && output.contains(words) => Ok(()),
            other => Err(other),
        });
        plane.says(words);
        assert!(!mounted.path("state/identity.pem").exists(), "{row}");
    }
    let mounted = Mounted::new(&namespace, &own("cart-1"));
    let mut sidecar = mounted.sidecar(&format!("{}/cart-1", namespace.name), &plane.stream);
    connects(&mut sidecar);
    drop(sidecar);
    // Its certificate is good for itself alone, though the other pod has the same identity.
    fs::write(mounted.path("token"), own("cart-2")).unwrap();
    let mut other = mounted.sidecar(&format!("{}/cart-2", namespace.name), &plane.stream);
    has(&mut other, "the certificate is of pod", 1, PATIENCE);
}

/// What a proxy says of itself is refused where it is not true, and counts nowhere: names come from the token's pod.
#[test]
fn a_proxy_that_claims_to_be_another_is_refused() {
    let (namespace, foreign) = (Namespace::new("identity", &[]), Namespace::new("identity-foreign", &[]));
    let plane = Plane::start(&namespace, "one", &[]);
    let impostor = Impostor::at(&plane.stream);
    for (name, account) in [("cart-1", "cart"), ("cart-2", "cart"), ("till-1", "till")] {
        pod(&namespace, name, account);
    }
    pod(&foreign, "cart-1", "cart");
    let id =
        |namespace: &Namespace, account: &str| format!("spiffe://cluster.local/ns/{}/sa/{account}", namespace.name);
    let uri = |id: String| SanType::URI(id.as_str().try_into().unwrap());
    let workload = |name: &str| format!("{}/{name}", namespace.name);
    let (own, others) = (id(&namespace, "cart"), id(&namespace, "till"));
    let token = token(&namespace, "cart-1", "cart", "weft-ca");
    let named = |names: Vec<SanType>| {
        let mut asked = CertificateParams::default();
        asked.subject_alt_names = names;
        asked
    };
    let mut labelled = named(vec![]);
    labelled.custom_extensions = vec![CustomExtension::from_oid_content(LABELS, b"till".to_vec())];
    let mut entitled = named(vec![SanType::DnsName("till.example".try_into().unwrap())]);
    entitled.distinguished_name.push(DnType::CommonName, "till-1");
    let cart = workload("cart-1");
    let rows = [
        ("nothing", named(vec![]), cart.clone(), None),
        ("its own id", named(vec![uri(own.clone())]), cart.clone(), None),
        // Of no weight in the mesh, and not written either.
        ("a subject and a name of DNS", entitled, cart.clone(), None),
        ("another id", named(vec![uri(others.clone())]), cart.clone(), Some("the request names spiffe://")),
        (
            "an id of elsewhere beside its own",
            named(vec![uri(own.clone()), uri(id(&foreign, "cart"))]),
            cart.clone(),
            Some("the request names spiffe://"),
        ),
        ("labels", labelled, cart.clone(), Some("the certificate request cannot be used")),
        ("another pod", named(vec![]), workload("cart-2"), Some("the token is of pod")),
        ("its name elsewhere", named(vec![]), format!("{}/cart-1", foreign.name), Some("the token is of pod")),
    ];
    let mut svid = None;
    for (row, asked, workload, refusal) in rows {
        match (impostor.sign(asked, &token, &workload), refusal) {
            (Ok(given), None) => {
                assert!(given.says(&own) && given.says("cart-1"), "{row}: who it is");
                assert!(!given.says("till"), "{row}: what it claims");
                svid = Some(given);
            }
            (Err(said), Some(words)) => {
                assert!(said.contains(words), "{row}: {said}");
                plane.says(words);
            }
            (given, _) => panic!("{row}: {:?}", given.map(|_| "signed")),
        }
    }
    let svid = svid.unwrap();
    let rows = [
        ("another pod of its account", workload("cart-2"), "the certificate is of pod"),
        ("a pod of another account", workload("till-1"), "the certificate is of spiffe://"),
        ("a pod of its name elsewhere", format!("{}/cart-1", foreign.name), "the certificate is of spiffe://"),
        ("nobody", workload("cart-9"), "neither a pod nor a WorkloadEntry"),
    ];
    for (row, workload, words) in rows {
        let said = impostor.hello(&svid, &workload).expect_err(row);
        assert!(said.contains(words), "{row}: {said}");
        plane.says(words);
    }
    impostor.hello(&svid, &cart).unwrap();
}

/// Of the extension in which the control plane writes a workload's names.
const LABELS: &[u64] = &[2, 25, 4_123_377_562_190_418_273];

#[test]
fn the_certificate_serves_while_the_api_server_is_away_and_not_after_the_pod() {
    if own_node().is_none() {
        return eprintln!("the API server of this cluster cannot be stopped: nothing was tried");
    }
    let namespace = Namespace::new("identity", &[]);
    let plane = Plane::start(&namespace, "one", &["--svid-life", "8s"]);
    pod(&namespace, "cart-1", "cart");
    let mounted = Mounted::new(&namespace, &token(&namespace, "cart-1", "cart", "weft-ca"));
    let workload = format!("{}/cart-1", namespace.name);
    let mut sidecar = mounted.sidecar(&workload, &plane.stream);
    connects(&mut sidecar);
    {
        let _frozen = node::freeze("apiserver");
        let held = sidecar.output().matches("got an SVID").count();
        has(&mut sidecar, "got an SVID", held + 3, PATIENCE);
        drop(sidecar);
        sidecar = mounted.sidecar(&workload, &plane.stream);
        connects(&mut sidecar);
        // Without a certificate there is nothing to believe: it waits.
        let fresh = Mounted { folder: tempfile::tempdir().unwrap() };
        for name in ["token", "root.pem"] {
            fs::copy(mounted.path(name), fresh.path(name)).unwrap();
        }
        let mut newcomer = fresh.sidecar(&workload, &plane.stream);
        has(&mut newcomer, "the API server cannot be asked about the token", 1, PATIENCE);
    }
    eventually("the API server answers", || try_kubectl(["get", "--raw", "/readyz"]));
    remove(&namespace, "cart-1");
    has(&mut sidecar, "neither a pod nor a WorkloadEntry", 1, PATIENCE);
}

#[test]
fn the_root_is_one_for_all_replicas_and_is_kept_everywhere() {
    let namespace = Namespace::new("identity", &[]);
    let first = Plane::start(&namespace, "one", &[]);
    let second = Plane::start(&namespace, "two", &[]);
    let kept = root(&namespace);
    assert_eq!(root(&Namespace::new("identity-later", &[])), kept, "also where a namespace comes later");
    for system in ["kube-system", "kube-public"] {
        let none = try_kubectl(["-n", system, "get", "configmap", "weft-root"]);
        assert!(none.is_err_and(|error| error.contains("NotFound")), "{system}");
    }
    let put_back = |what: &str| {
        eventually(&format!("{what}: it is put back"), || {
            let read = namespace.try_kubectl(["get", "configmap", "weft-root", "-o", r"jsonpath={.data.root\.pem}"]);
            if read.as_deref() == Ok(&kept) { Ok(()) } else { Err(read) }
        });
    };
    namespace.kubectl(["delete", "configmap", "weft-root"]);
    put_back("deleted");
    namespace.kubectl(["patch", "configmap", "weft-root", "--type=merge", "-p", r#"{"data":{"root.pem":"mine"}}"#]);
    put_back("edited");
    namespace.kubectl(["delete", "secret", "weft-ca"]);
    eventually("the Secret is put back", || namespace.try_kubectl(["get", "secret", "weft-ca"]));

    // Who joined at one replica is known to the other, and to those that come after both.
    pod(&namespace, "cart-1", "cart");
    let mounted = Mounted::new(&namespace, &token(&namespace, "cart-1", "cart", "weft-ca"));
    let workload = format!("{}/cart-1", namespace.name);
    connects(&mut mounted.sidecar(&workload, &first.stream));
    connects(&mut mounted.sidecar(&workload, &second.stream));
    let folders = [first.folder, second.folder];
    for process in [first.process, second.process] {
        assert!(process.terminate().success());
    }
    drop(folders);
    let third = Plane::start(&namespace, "three", &[]);
    connects(&mut mounted.sidecar(&workload, &third.stream));
    put_back("after all replicas were replaced");
}

#[test]
fn two_replicas_turn_the_root_once_and_nobody_is_cut_off() {
    let namespace = Namespace::new("identity", &[]);
    let short = ["--svid-life", "4s", "--root-life", "30s"];
    let planes = [Plane::start(&namespace, "one", &short), Plane::start(&namespace, "two", &short)];
    let before = root(&namespace);
    pod(&namespace, "cart-1", "cart");
    let mounted = Mounted::new(&namespace, &token(&namespace, "cart-1", "cart", "weft-ca"));
    let streams = format!("{},{}", planes[0].stream, planes[1].stream);
    let mut sidecar = mounted.sidecar(&format!("{}/cart-1", namespace.name), &streams);
    connects(&mut sidecar);
    let certificates = |text: &str| text.matches("BEGIN CERTIFICATE").count();
    let limit = Duration::from_secs(60);
    let both = within(limit, "old and new root are shown", || {
        let shown = root(&namespace);
        if certificates(&shown) == 2 { Ok(shown) } else { Err(shown) }
    });
    assert!(both.contains(before.trim()), "the old one stays while it is believed");
    let after = within(limit, "the old one goes", || {
        let shown = root(&namespace);
        if certificates(&shown) == 1 { Ok(shown) } else { Err(shown) }
    });
    assert_ne!(after, before);
    assert!(both.contains(after.trim()));
    let turned: usize = planes.iter().map(|plane| plane.process.output().matches("is due for a change").count()).sum();
    assert!(turned >= 1);
    let held = sidecar.output();
    has(&mut sidecar, "got an SVID", held.matches("got an SVID").count() + 2, PATIENCE);
    assert!(!sidecar.output().contains("no control plane"), "{}", sidecar.output());
}

const PATIENCE: Duration = Duration::from_secs(40);
