//! What the webhook makes of pods: which get a sidecar, what it is like, and that `weft inject` says the same.
//!
//! Most of it is asked by a dry run: the API server answers with the pod that it would store. How such pods live is
//! suite `sidecars`.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;
use weft_cluster_tests::{Namespace, image, install, kubectl_with, try_kubectl, within};

/// A namespace in which pods can be made at once.
fn namespace(name: &str, labels: &[&str]) -> Namespace {
    let namespace = Namespace::new(&format!("inject-{name}"), labels);
    within(Duration::from_secs(20), "the namespace has its account", || {
        namespace.try_kubectl(["get", "serviceaccount", "default"])
    });
    namespace
}

/// The pod as the API server would store it.
fn admitted(namespace: &Namespace, pod: &Value) -> Result<Value, String> {
    let create = ["-n", &namespace.name, "create", "--dry-run=server", "-o", "json", "-f", "-"];
    Ok(serde_json::from_str(&kubectl_with(create, &pod.to_string())?).unwrap())
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "labels": {"app": "web"}, "annotations": {}},
        "spec": {
            // Its volume has a new name each time.
            "automountServiceAccountToken": false,
            "containers": [{"name": "web", "image": image("weft-cluster-app")}],
        },
    })
}

fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let all = ["initContainers", "containers"].into_iter().filter_map(|list| pod["spec"][list].as_array()).flatten();
    all.into_iter().find(|container| container["name"] == name).unwrap_or(&Value::Null)
}

fn variable(pod: &Value, name: &str) -> Value {
    let all = container(pod, "weft-proxy")["env"].as_array().into_iter().flatten();
    all.into_iter().find(|variable| variable["name"] == name).map_or(Value::Null, |variable| variable["value"].clone())
}

fn is_injected(pod: &Value) -> bool {
    !container(pod, "weft-proxy").is_null()
}

#[test]
fn labels_of_namespaces_and_pods_choose() {
    install();
    let mesh = namespace("mesh", &["istio-injection=enabled"]);
    let own = namespace("own", &["weft.dev/inject=enabled"]);
    let revision = namespace("rev", &["istio.io/rev=default"]);
    let own_revision = namespace("ownrev", &["weft.dev/rev=default"]);
    let other = namespace("other", &["istio.io/rev=canary"]);
    let plain = namespace("plain", &[]);
    let no = namespace("no", &["istio-injection=disabled"]);
    let mixed = namespace("mixed", &["istio-injection=enabled", "weft.dev/inject=disabled"]);
    type Words = &'static [(&'static str, &'static str)];
    let cases: &[(&Namespace, Words, Words, bool)] = &[
        (&mesh, &[], &[], true),
        (&mesh, &[("sidecar.istio.io/inject", "false")], &[], false),
        (&mesh, &[], &[("sidecar.istio.io/inject", "false")], false),
        (&mesh, &[("sidecar.istio.io/inject", "true")], &[("sidecar.istio.io/inject", "false")], true),
        (&mesh, &[("sidecar.istio.io/inject", "false")], &[("sidecar.istio.io/inject", "true")], false),
        (&mesh, &[("weft.dev/inject", "false")], &[], false),
        (&mesh, &[], &[("weft.dev/inject", "false")], false),
        (&own, &[], &[], true),
        (&own, &[("weft.dev/inject", "false")], &[], false),
        (&own, &[("sidecar.istio.io/inject", "false")], &[], false),
        (&revision, &[], &[], true),
        (&own_revision, &[], &[], true),
        (&other, &[], &[], false),
        (&plain, &[], &[], false),
        (&plain, &[("sidecar.istio.io/inject", "true")], &[], true),
        (&plain, &[("weft.dev/inject", "true")], &[], true),
        (&plain, &[("istio.io/rev", "default")], &[], true),
        (&plain, &[("istio.io/rev", "canary")], &[], false),
        (&plain, &[], &[("sidecar.istio.io/inject", "true")], false),
        (&no, &[("sidecar.istio.io/inject", "true")], &[], false),
        (&mixed, &[("sidecar.istio.io/inject", "true")], &[], false),
    ];
    for (namespace, labels, annotations, want) in cases {
        let mut pod = pod();
        for (at, words) in [("labels", labels), ("annotations", annotations)] {
            words.iter().for_each(|(key, value)| pod["metadata"][at][key] = (*value).into());
        }
        let got = admitted(namespace, &pod).unwrap();
        assert_eq!(
            is_injected(&got),
            *want,
            "in {} with labels {labels:?}, annotations {annotations:?}",
            namespace.name
        );
    }
}

#[test]
fn pods_that_must_not_be_are_refused_with_the_remedy() {
    install();
    let mesh = namespace("refused", &["istio-injection=enabled"]);
    let closed = namespace("closed", &["istio-injection=enabled", "pod-security.kubernetes.io/enforce=baseline"]);
    type Edit = fn(&mut Value);
    let cases: &[(&Namespace, Edit, &str)] = &[
        (&mesh, |pod| pod["spec"]["securityContext"] = json!({"runAsUser": 1337}), "choose another number"),
        (
            &mesh,
            |pod| pod["spec"]["containers"][0]["securityContext"] = json!({"runAsGroup": 1337}),
            "container web has runAsGroup 1337",
        ),
        (&mesh, |pod| pod["spec"]["containers"][0]["name"] = "weft-proxy".into(), "rename the container"),
        (
            &mesh,
            |pod| pod["metadata"]["annotations"]["sidecar.istio.io/proxyCPU"] = "viel".into(),
            "write a quantity such as 100m",
        ),
        (
            &mesh,
            |pod| pod["metadata"]["annotations"]["traffic.sidecar.istio.io/excludeInboundPorts"] = "http".into(),
            "write ports from 1 to 65535",
        ),
        (&closed, |_| (), "pod-security.kubernetes.io/enforce=privileged"),
    ];
    for (namespace, edit, want) in cases {
        let mut pod = pod();
        edit(&mut pod);
        let said = admitted(namespace, &pod).expect_err(want);
        assert!(said.contains(want) && said.contains("weft.dev"), "{want:?}: {said}");
    }
}

#[test]
fn pods_that_cannot_be_in_the_mesh_stay_as_they_are_and_an_event_says_so() {
    install();
    let mesh = namespace("host", &["istio-injection=enabled"]);
    let mut on_the_node = pod();
    on_the_node["spec"]["hostNetwork"] = true.into();
    on_the_node["spec"]["containers"][0]["args"] = json!(["idle"]);
    let mut istios = pod();
    istios["metadata"]["name"] = "istios".into();
    istios["spec"]["containers"][0]["name"] = "istio-proxy".into();
    istios["spec"]["containers"][0]["args"] = json!(["idle"]);
    let cases = [(on_the_node, "web", "hostNetwork"), (istios, "istios", "istio-proxy")];
    for (pod, name, why) in cases {
        mesh.try_create(&pod).unwrap();
        assert!(!is_injected(&mesh.get(["pod", name])), "{why}");
        within(Duration::from_secs(20), &format!("an Event tells of {name}"), || {
            let events = mesh.get(["events.events.k8s.io"]);
            let notes: Vec<_> =
                events["items"].as_array().unwrap().iter().filter(|event| event["reason"] == "NotInjected").collect();
            let told = notes.iter().any(|event| {
                event["regarding"]["name"] == name && event["note"].as_str().is_some_and(|note| note.contains(why))
            });
            if told { Ok(()) } else { Err(format!("{notes:?}")) }
        });
    }
}

/// Whatever there is of pods that injection changes.
fn full() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "full",
            "labels": {"app": "full", "version": "v2"},
            "annotations": {
                "prometheus.io/scrape": "true",
                "prometheus.io/port": "9102",
                "sidecar.istio.io/proxyCPU": "20m",
                "sidecar.istio.io/proxyCPULimit": "1",
                "sidecar.istio.io/proxyMemory": "32Mi",
                "sidecar.istio.io/proxyMemoryLimit": "256Mi",
                "sidecar.istio.io/proxyImage": "registry.example/mirror/weft-proxy:1",
                "sidecar.istio.io/logLevel": "debug",
                "sidecar.istio.io/nativeSidecar": "false",
                "sidecar.istio.io/interceptionMode": "TPROXY",
                "sidecar.istio.io/userVolume": r#"{"certs": {"emptyDir": {}}}"#,
                "sidecar.istio.io/userVolumeMount": r#"[{"name": "certs", "mountPath": "/etc/certs"}]"#,
                "traffic.sidecar.istio.io/includeOutboundIPRanges": "10.0.0.0/8,fd00::/8",
                "traffic.sidecar.istio.io/excludeOutboundIPRanges": "10.9.0.0/16",
                "traffic.sidecar.istio.io/excludeOutboundPorts": "3306, 6379",
                "traffic.sidecar.istio.io/includeInboundPorts": "*",
                "traffic.sidecar.istio.io/excludeInboundPorts": "9102",
                "traffic.sidecar.istio.io/excludeInterfaces": "eth1",
                "proxy.istio.io/config": "{terminationDrainDuration: 7s, concurrency: 3, tracing: {}}",
                "status.sidecar.istio.io/port": "15030",
                "readiness.status.sidecar.istio.io/initialDelaySeconds": "2",
                "readiness.status.sidecar.istio.io/periodSeconds": "4",
                "readiness.status.sidecar.istio.io/failureThreshold": "9",
            },
        },
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "fsGroup": 1000},
            "initContainers": [{"name": "migrate", "image": "migrate"}],
            "containers": [{
                "name": "web",
                "image": "web",
                "ports": [{"name": "http", "containerPort": 8080}],
                "livenessProbe": {"httpGet": {"path": "/live", "port": "http", "scheme": "HTTPS"}, "timeoutSeconds": 2},
                "readinessProbe": {"grpc": {"port": 9000, "service": "web"}, "periodSeconds": 3},
                "startupProbe": {"tcpSocket": {"port": 8080}},
            }, {
                "name": "side",
                "image": "side",
                "livenessProbe": {"exec": {"command": ["true"]}},
                "readinessProbe": {"httpGet": {"path": "/", "port": 81, "host": "elsewhere.example"}},
            }],
        },
    })
}

#[test]
fn annotations_do_what_istios_do() {
    install();
    let mesh = namespace("fields", &["istio-injection=enabled"]);
    let got = admitted(&mesh, &full()).unwrap();
    let names = |list: &str| -> Vec<&str> {
        got["spec"][list].as_array().unwrap().iter().filter_map(|container| container["name"].as_str()).collect()
    };
    assert_eq!(names("initContainers"), ["weft-init", "weft-proxy", "migrate"]);
    assert_eq!(names("containers"), ["web", "side"]);
    let (init, proxy) = (container(&got, "weft-init"), container(&got, "weft-proxy"));
    let (web, side) = (container(&got, "web"), container(&got, "side"));
    let asked = |word: &str| json!({"path": format!("/app-health/web/{word}"), "port": 15030, "scheme": "HTTP"});
    let nobody = json!({
        "runAsUser": 1337, "runAsGroup": 1337, "runAsNonRoot": true, "privileged": false,
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
    });
    let cases = [
        ("image", proxy["image"].clone(), json!("registry.example/mirror/weft-proxy:1")),
        ("native", proxy["restartPolicy"].clone(), json!("Always")),
        (
            "resources",
            proxy["resources"].clone(),
            json!({"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}}),
        ),
        ("no root, no capability", proxy["securityContext"].clone(), nobody),
        (
            "one capability",
            init["securityContext"]["capabilities"].clone(),
            json!({"drop": ["ALL"], "add": ["NET_ADMIN"]}),
        ),
        (
            "started first",
            proxy["startupProbe"]["httpGet"].clone(),
            json!({"path": "/healthz/ready", "port": 15021, "scheme": "HTTP"}),
        ),
        ("each second", proxy["startupProbe"]["periodSeconds"].clone(), json!(1)),
        ("drained", proxy["lifecycle"]["preStop"]["exec"]["command"].clone(), json!(["/weft-proxy", "drain"])),
        ("initialDelaySeconds", proxy["readinessProbe"]["initialDelaySeconds"].clone(), json!(2)),
        ("periodSeconds", proxy["readinessProbe"]["periodSeconds"].clone(), json!(4)),
        ("failureThreshold", proxy["readinessProbe"]["failureThreshold"].clone(), json!(9)),
        ("logLevel", variable(&got, "WEFT_LOG"), json!("debug")),
        ("drain", variable(&got, "WEFT_DRAIN"), json!("7000ms")),
        ("concurrency", variable(&got, "WEFT_WORKERS"), json!("3")),
        ("status port", variable(&got, "WEFT_STATUS_PORT"), json!("15030")),
        ("HTTPS, named port", web["livenessProbe"]["httpGet"].clone(), asked("livez")),
        ("gRPC", web["readinessProbe"]["httpGet"].clone(), asked("readyz")),
        ("TCP", web["startupProbe"]["httpGet"].clone(), asked("startupz")),
        ("its own period", web["readinessProbe"]["periodSeconds"].clone(), json!(3)),
        ("exec", side["livenessProbe"]["exec"].clone(), json!({"command": ["true"]})),
        ("a host of its own", side["readinessProbe"]["httpGet"]["host"].clone(), json!("elsewhere.example")),
        ("the app's own user", got["spec"]["securityContext"]["runAsUser"].clone(), json!(1000)),
        ("label", got["metadata"]["labels"]["security.istio.io/tlsMode"].clone(), json!("istio")),
        ("name", got["metadata"]["labels"]["service.istio.io/canonical-name"].clone(), json!("full")),
        ("revision", got["metadata"]["labels"]["service.istio.io/canonical-revision"].clone(), json!("v2")),
        ("rev", got["metadata"]["annotations"]["istio.io/rev"].clone(), json!("default")),
        ("exec's", got["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].clone(), json!("web")),
    ];
    for (what, found, want) in cases {
        assert_eq!(found, want, "{what} of {got:#}");
    }
    let probes: Value = serde_json::from_str(variable(&got, "WEFT_APP_PROBES").as_str().unwrap()).unwrap();
    assert_eq!(probes["/app-health/web/livez"]["httpGet"]["port"], 8080, "{probes}");
    let arguments = init["args"].to_string();
    for want in [
        "--include-outbound-cidrs=10.0.0.0/8,fd00::/8",
        "--exclude-outbound-cidrs=10.9.0.0/16",
        "--exclude-outbound-ports=3306,6379",
        "--exclude-inbound-ports=9102",
        "--exclude-interfaces=eth1",
        "15030",
    ] {
        assert!(arguments.contains(want), "{want} in {arguments}");
    }
    let token =
        got["spec"]["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == "weft-token").unwrap();
    let token = &token["projected"]["sources"][0]["serviceAccountToken"];
    assert_eq!((&token["audience"], &token["expirationSeconds"]), (&json!("weft-ca"), &json!(43_200)));
    let status = got["metadata"]["annotations"]["sidecar.weft.dev/status"].as_str().unwrap();
    for lacks in ["sidecar.istio.io/nativeSidecar", "sidecar.istio.io/interceptionMode", "tracing"] {
        assert!(status.contains(lacks), "{lacks} in {status}");
    }
}

/// What `weft inject` makes of an object.
fn by_file(object: &Value) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("object.json");
    std::fs::write(&file, object.to_string()).unwrap();
    let output =
        Command::new(weft_tests::weft()).args(["inject", "--image", &image("weft-proxy"), "-f"]).arg(&file).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    weft_config::from_yaml(&String::from_utf8(output.stdout).unwrap()).unwrap().remove(0)
}

/// As it can be made anew, in any namespace.
fn unmade(mut pod: Value) -> Value {
    for field in ["uid", "creationTimestamp", "generation", "managedFields", "resourceVersion", "namespace"] {
        pod["metadata"].as_object_mut().unwrap().remove(field);
    }
    pod
}

/// Without what tells one pod of a kind from the next.
fn comparable(mut pod: Value) -> (Value, Value, Value) {
    let (metadata, spec) = (pod["metadata"].take(), pod["spec"].take());
    let mut labels = metadata["labels"].clone();
    let mut spec = spec;
    labels.as_object_mut().unwrap().remove("pod-template-hash");
    spec.as_object_mut().unwrap().remove("nodeName");
    (labels, metadata["annotations"].clone(), spec)
}

#[test]
fn files_are_injected_as_pods_are() {
    install();
    let mesh = namespace("same", &["istio-injection=enabled"]);
    // Nobody injects here: what comes in is what `weft inject` wrote.
    let apart = namespace("apart", &["weft.dev/inject=disabled"]);
    for pod in [pod(), full()] {
        // The webhook sees a pod with the API server's defaults, and so does the file.
        let pod = unmade(admitted(&apart, &pod).unwrap());
        let by_webhook = admitted(&mesh, &pod).unwrap();
        assert!(is_injected(&by_webhook));
        let by_file = admitted(&apart, &by_file(&pod)).unwrap();
        assert_eq!(comparable(by_webhook), comparable(by_file));
    }
    // A template has no name of its own yet: what the pod is called by comes from its owner.
    let mut template = json!({"metadata": {"labels": {"tier": "web"}}, "spec": pod()["spec"]});
    template["spec"]["containers"][0]["args"] = json!(["idle"]);
    template["spec"]["terminationGracePeriodSeconds"] = 1.into();
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "owned"},
        "spec": {"selector": {"matchLabels": {"tier": "web"}}, "template": template},
    });
    mesh.try_create(&deployment).unwrap();
    apart.try_create(&by_file(&deployment)).unwrap();
    let made = |namespace: &Namespace| {
        within(Duration::from_secs(20), "the Deployment has a pod", || {
            namespace.pods("tier=web").into_iter().next().ok_or("no pod yet")
        })
    };
    let (by_webhook, by_file) = (made(&mesh), made(&apart));
    assert_eq!(by_webhook["metadata"]["labels"]["service.istio.io/canonical-name"], "owned");
    assert_eq!(comparable(by_webhook), comparable(by_file));
}

#[test]
fn what_is_injected_already_stays_as_it_is() {
    install();
    let mesh = namespace("again", &["istio-injection=enabled"]);
    for pod in [pod(), full()] {
        let once = admitted(&mesh, &pod).unwrap();
        let again = admitted(&mesh, &unmade(once.clone())).unwrap();
        assert_eq!(comparable(again), comparable(once));
    }
}

/// Another who changes pods on their way, and so has the webhook asked again.
struct Meddler;

const POLICIES: &str = "mutatingadmissionpolicies.admissionregistration.k8s.io";
const MEDDLER: &str = "weft-test-meddler";

impl Meddler {
    /// It adds an environment variable to the sidecar, and gives it all rights. Only in this namespace.
    fn start(namespace: &str) -> Self {
        let api = "admissionregistration.k8s.io/v1";
        let proxy = "object.spec.initContainers[1]";
        let objects = format!(
            "apiVersion: {api}
kind: MutatingAdmissionPolicy
metadata: {{name: {MEDDLER}}}
spec:
  matchConstraints:
    namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}
    resourceRules: [{{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [pods]}}]
  failurePolicy: Fail
  reinvocationPolicy: IfNeeded
  mutations:
  - patchType: JSONPatch
    jsonPatch:
      expression: >-
        has(object.spec.initContainers) && object.spec.initContainers.size() > 1
        && {proxy}.name == 'weft-proxy' && !{proxy}.env.exists(e, e.name == 'REGION')
        ? [JSONPatch{{op: 'add', path: '/spec/initContainers/1/env/0', value: Object.spec.initContainers.env{{name: 'REGION', value: 'eu'}}}},
        JSONPatch{{op: 'replace', path: '/spec/initContainers/1/securityContext', value: Object.spec.initContainers.securityContext{{privileged: true}}}}]
        : []
---
apiVersion: {api}
kind: MutatingAdmissionPolicyBinding
metadata: {{name: {MEDDLER}}}
spec: {{policyName: {MEDDLER}}}
"
        );
        kubectl_with(["apply", "-f", "-"], &objects).unwrap();
        Self
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        let _ = try_kubectl(["delete", "mutatingadmissionpolicybinding", MEDDLER]);
        let _ = try_kubectl(["delete", "mutatingadmissionpolicy", MEDDLER]);
    }
}

#[test]
fn another_who_changes_the_sidecar_is_asked_after() {
    install();
    if try_kubectl(["get", POLICIES]).is_err() {
        println!("passed over: this cluster has no MutatingAdmissionPolicy of version v1");
        return;
    }
    let mesh = namespace("meddled", &["istio-injection=enabled"]);
    let alone = admitted(&mesh, &pod()).unwrap();
    let _meddler = Meddler::start(&mesh.name);
    let meddled = within(Duration::from_secs(30), "the other is at work", || {
        let got = admitted(&mesh, &pod())?;
        if variable(&got, "REGION") == "eu" { Ok(got) } else { Err(container(&got, "weft-proxy").to_string()) }
    });
    let context = |pod: &Value| container(pod, "weft-proxy")["securityContext"].clone();
    assert_eq!(context(&meddled), context(&alone), "the sidecar has other rights");
    let count = container(&meddled, "weft-proxy")["env"].as_array().unwrap().len();
    assert_eq!(count, container(&alone, "weft-proxy")["env"].as_array().unwrap().len() + 1);
    assert_eq!(container(&meddled, "weft-init"), container(&alone, "weft-init"));
}
