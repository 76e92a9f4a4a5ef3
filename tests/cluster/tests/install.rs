//! `weft install` on a real cluster: what it applies, what it says where something is missing, and the chart that says the
//! same.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use weft_cluster_tests::{
    CHART, Namespace, get, helm, image_prefix, image_tag, kubectl, kubectl_with, node, own_node, weft, weft_as,
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
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.yaml");
    std::fs::write(&file, VALUES).unwrap();
    let file = file.to_str().unwrap();
    let cases: [(&[&str], &[&str]); 4] = [
        (&[], &[]),
        (
            &["--image-prefix", "registry.example/weft/", "--tag", "1.2", "--replicas", "3"],
            &["--set", "imagePrefix=registry.example/weft/,replicas=3", "--set-string", "tag=1.2"],
        ),
        (&["--pull-secrets", "shop,stock", "--beside-istio"], &["--set", "pullSecrets={shop,stock},besideIstio=true"]),
        (&["--values", file], &["--values", file]),
    ];
    for (flags, values) in cases {
        let ours = objects(&weft(["install", "--dry-run"].iter().chain(flags)).unwrap());
        let theirs = objects(&helm(["template", "weft", CHART].iter().chain(values)));
        assert!(ours.len() > 14, "{:?}", ours.keys());
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{flags:?}");
        for (key, object) in &ours {
            assert_eq!(object, &theirs[key], "{key} with {flags:?}, by install and by the chart");
        }
    }
}

/// Each value is another than the chart's own.
const VALUES: &str = "imagePrefix: registry.example/weft
tag: '2.0'
replicas: 1
pullSecrets: [shop]
imagePullSecrets: [mirror, other]
besideIstio: true
istioCrds: false
stateClaim: weft-state
preStopSeconds: 0
resources: {requests: {cpu: 250m}, limits: {memory: 2Gi, cpu: '2'}}
";

#[test]
fn the_values_of_this_test_are_all_that_there_are() {
    let chart = include_str!("../../../deploy/chart/values.yaml");
    let fields = |text: &str| -> Vec<String> {
        let mut names: Vec<_> = weft_config::from_yaml(text).unwrap()[0].as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    };
    assert_eq!(fields(chart), fields(VALUES));
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
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    std::fs::write(&file, intern.to_string()).unwrap();
    let said = weft_as(&file, ["install"]).expect_err("an intern installs Weft");
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
fn an_older_kubernetes_is_refused() {
    let proxy = ApiProxy::start();
    let older = OlderApiServer::start(proxy.port);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "older",
        "contexts": [{"name": "older", "context": {"cluster": "older", "user": ""}}],
        "clusters": [{"name": "older", "cluster": {"server": format!("http://127.0.0.1:{}", older.port)}}],
        "users": [],
    });
    std::fs::write(&file, config.to_string()).unwrap();
    let said = weft_as(&file, ["install"]).expect_err("Kubernetes 1.32 has no stable sidecar containers");
    assert!(said.contains("Kubernetes 1.32: Weft needs 1.33 or later"), "{said}");
    assert!(!said.contains("you may not"), "the rest of the cluster is as it is: {said}");
}

/// `kubectl proxy`: this cluster's API server without TLS and without asking who calls.
struct ApiProxy {
    child: Child,
    port: u16,
}

impl ApiProxy {
    fn start() -> Self {
        let mut child = Command::new("kubectl").args(["proxy", "--port=0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().rsplit(':').next().and_then(|port| port.parse().ok());
        Self { child, port: port.unwrap_or_else(|| panic!("kubectl proxy says {line:?}")) }
    }
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The cluster as it is, but for its version.
struct OlderApiServer {
    port: u16,
}

impl OlderApiServer {
    fn start(behind: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || serve(stream, behind));
            }
        });
        Self { port }
    }
}

/// One connection; a client goes away when it likes.
fn serve(mut client: TcpStream, behind: u16) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    if head.starts_with(b"GET /version ") {
        let body = json!({"major": "1", "minor": "32", "gitVersion": "v1.32.9", "gitCommit": "", "gitTreeState": "",
            "buildDate": "", "goVersion": "", "compiler": "", "platform": ""});
        let body = body.to_string();
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n");
        client.write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes()).ok()?;
        return Some(());
    }
    let mut server = TcpStream::connect(("127.0.0.1", behind)).ok()?;
    server.write_all(&head).ok()?;
    let (mut from, mut to) = (server.try_clone().ok()?, client.try_clone().ok()?);
    let back = std::thread::spawn(move || std::io::copy(&mut from, &mut to));
    std::io::copy(&mut client, &mut server).ok()?;
    server.shutdown(std::net::Shutdown::Write).ok()?;
    back.join().ok()?.ok().map(drop)
}

#[test]
fn crds_of_another_project_are_seen_and_left_alone() {
    install(&[]).unwrap();
    // As Istio's own are: without our label, and with a schema that does not know filters.
    let name = "virtualservices.networking.istio.io";
    let mut foreign = get(["crd", name]);
    foreign["metadata"]["labels"] = json!({"app": "istio-pilot"});
    for version in foreign["spec"]["versions"].as_array_mut().unwrap() {
        let spec = &mut version["schema"]["openAPIV3Schema"]["properties"]["spec"];
        spec.as_object_mut().unwrap().remove("x-kubernetes-preserve-unknown-fields");
        spec["properties"].as_object_mut().unwrap().remove("filters");
    }
    kubectl_with(["replace", "-f", "-"], &foreign.to_string()).unwrap();
    let said = install(&[]);
    let labels = get(["crd", name])["metadata"]["labels"].clone();
    kubectl(["label", "crd", name, PART_OF]);
    install(&[]).unwrap();
    let said = said.unwrap();
    assert!(said.contains(&format!("another project's and stay as they are: {name}")), "{said}");
    assert!(said.contains(&format!("{name} drops the field filters")) && said.contains("targetRefs"), "{said}");
    assert_eq!(labels, json!({"app": "istio-pilot"}));
    let mended = get(["crd", name]);
    for version in mended["spec"]["versions"].as_array().unwrap() {
        let spec = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
        assert!(spec["properties"]["filters"].is_object(), "{version}");
    }
}

/// The namespace refuses what is less restricted; what the process then has, its node says.
#[test]
fn the_control_plane_has_no_right_on_its_node() {
    install(&[]).unwrap();
    let labels = get(["namespace", "weft-system"])["metadata"]["labels"].clone();
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
    let processes = node::processes("weft-controlplane");
    if own_node().is_none() {
        println!("passed over: the processes of this cluster are out of reach");
        return;
    }
    assert!(!processes.is_empty(), "no process weft-controlplane on the node");
    for status in processes {
        for (field, want) in
            [("Uid", "65532"), ("Gid", "65532"), ("CapEff", NONE), ("CapBnd", NONE), ("NoNewPrivs", "1")]
        {
            assert_eq!(status.get(field).map(String::as_str), Some(want), "{field} of {status:?}");
        }
    }
}

/// Of capabilities.
const NONE: &str = "0000000000000000";

#[test]
fn a_drain_takes_one_replica_at_a_time() {
    install(&[]).unwrap();
    let pods = get(["-n", "weft-system", "pods", "-l", "app.kubernetes.io/name=weft-controlplane"]);
    let names: Vec<_> = pods["items"].as_array().unwrap().iter().map(|pod| &pod["metadata"]["name"]).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let evict = |name: &Value| {
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
        let url = format!("/api/v1/namespaces/weft-system/pods/{}/eviction", name.as_str().unwrap());
        kubectl_with(["create", "--raw", &url, "-f", "-"], &eviction.to_string())
    };
    evict(names[0]).unwrap();
    let said = evict(names[1]).expect_err("both replicas went at once");
    assert!(said.contains("disruption budget"), "{said}");
    install(&[]).unwrap();
}

/// Without `helm uninstall`, which takes the rights of replicas that are still ending: the audit would see that.
#[test]
fn the_chart_takes_over_and_is_then_left_alone() {
    install(&[]).unwrap();
    // What Helm knows of a release lies in its namespace, and goes with it.
    let release = Namespace::new("install-chart", &[]);
    let images = format!("imagePrefix={},tag={}", image_prefix(), image_tag());
    helm(&["install", "weft", CHART, "--namespace", &release.name, "--take-ownership", "--set", &images, "--wait"]);
    let again = install(&[]);
    let gone = weft(["uninstall", "--force"]);
    kubectl(["-n", "weft-system", "label", "deployment/weft-controlplane", "app.kubernetes.io/managed-by-"]);
    let mended = install(&[]).unwrap();
    for said in [again, gone] {
        let said = said.expect_err("Helm holds it");
        assert!(said.contains("Helm release weft holds it"), "{said}");
    }
    // It says the same, so there was nothing to change.
    assert!(mended.contains("control plane: unchanged"), "{mended}");
}
