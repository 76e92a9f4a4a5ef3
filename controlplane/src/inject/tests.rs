use super::*;
use serde_json::json;

fn namespace() -> Namespace {
    Namespace { name: "shop".to_owned(), labels: [("istio-injection".to_owned(), "enabled".to_owned())].into() }
}

fn run(pod: &Value) -> Outcome {
    let namespace = namespace();
    inject(Subject { pod, namespace: &namespace, workload: None }, &Settings::default())
}

fn injected(pod: &Value) -> Injected {
    match run(pod) {
        Outcome::Injected(injected) => injected,
        other => panic!("not injected: {other:?}"),
    }
}

fn full() -> Value {
    json!({
        "metadata": {
            "name": "web-5c9f-x2",
            "labels": {"app": "web", "pod-template-hash": "5c9f"},
            "annotations": {
                "prometheus.io/scrape": "true",
                "prometheus.io/port": "9102",
                "traffic.sidecar.istio.io/excludeOutboundPorts": "3306",
                "sidecar.istio.io/interceptionMode": "TPROXY",
                "sidecar.istio.io/userVolume": r#"{"certs": {"emptyDir": {}}}"#,
                "sidecar.istio.io/userVolumeMount": r#"[{"name": "certs", "mountPath": "/etc/certs"}]"#,
            },
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web-5c9f", "controller": true}],
        },
        "spec": {
            "initContainers": [{"name": "migrate", "image": "migrate"}],
            "containers": [{
                "name": "web",
                "image": "web",
                "ports": [{"name": "http", "containerPort": 8080}],
                "livenessProbe": {"httpGet": {"path": "/live", "port": "http", "scheme": "HTTPS"}, "timeoutSeconds": 2},
                "readinessProbe": {"grpc": {"port": 9000, "service": "web"}, "periodSeconds": 3},
                "startupProbe": {"tcpSocket": {"port": 8080}},
            }],
        },
    })
}

/// What an API server and other webhooks do to a pod between two runs.
fn touched(pod: &Value) -> Vec<(&'static str, Value)> {
    let with = |edit: &dyn Fn(&mut Value)| {
        let mut pod = pod.clone();
        edit(&mut pod);
        pod
    };
    vec![
        ("nothing", pod.clone()),
        (
            "defaults of the API server",
            with(&|pod| {
                for container in pod["spec"]["initContainers"].as_array_mut().expect("init containers") {
                    container["terminationMessagePath"] = "/dev/termination-log".into();
                    container["imagePullPolicy"] = "IfNotPresent".into();
                }
                pod["spec"]["initContainers"][1]["startupProbe"]["successThreshold"] = 1.into();
                pod["spec"]["volumes"][0]["projected"]["defaultMode"] = 420.into();
                pod["spec"]["restartPolicy"] = "Always".into();
            }),
        ),
        (
            "an environment variable and a mount for all",
            with(&|pod| {
                for container in pod["spec"]["initContainers"].as_array_mut().expect("init containers") {
                    let list = |container: &mut Value, field: &str, entry: Value| match container[field].as_array_mut()
                    {
                        Some(list) => list.insert(0, entry),
                        None => container[field] = json!([entry]),
                    };
                    list(container, "env", json!({"name": "REGION", "value": "eu"}));
                    list(container, "volumeMounts", json!({"name": "ca", "mountPath": "/etc/ca"}));
                }
                pod["spec"]["volumes"]
                    .as_array_mut()
                    .expect("volumes")
                    .insert(0, json!({"name": "ca", "emptyDir": {}}));
            }),
        ),
        ("a mirror", with(&|pod| pod["spec"]["initContainers"][1]["image"] = "mirror.example/weft-proxy:1".into())),
        (
            "limits by a LimitRange",
            with(&|pod| pod["spec"]["initContainers"][1]["resources"]["limits"]["cpu"] = "2".into()),
        ),
    ]
}

#[test]
fn a_second_run_changes_nothing() {
    let first = injected(&full());
    for (what, pod) in touched(&first.pod) {
        let second = injected(&pod);
        assert_eq!(second.pod, pod, "after {what}");
        assert_eq!(second.not_supported, first.not_supported, "after {what}");
    }
}

#[test]
fn a_second_run_mends_what_was_broken() {
    let first = injected(&full()).pod;
    type Harm<'a> = &'a dyn Fn(&mut Value);
    let cases: &[(&str, Harm<'_>)] = &[
        ("weft-init is gone", &|pod| {
            pod["spec"]["initContainers"].as_array_mut().expect("a list").remove(0);
        }),
        ("another came before", &|pod| {
            let list = pod["spec"]["initContainers"].as_array_mut().expect("a list");
            list.rotate_left(2);
        }),
        ("the security context is another", &|pod| {
            pod["spec"]["initContainers"][1]["securityContext"] = json!({"privileged": true});
        }),
        ("the arguments are others", &|pod| pod["spec"]["initContainers"][0]["args"] = json!([])),
        ("the token's volume is gone", &|pod| {
            pod["spec"]["volumes"].as_array_mut().expect("a list").remove(0);
        }),
        ("a label is gone", &|pod| {
            pod["metadata"]["labels"].as_object_mut().expect("labels").shift_remove("security.istio.io/tlsMode");
        }),
    ];
    for (what, breaks) in cases {
        let mut pod = first.clone();
        breaks(&mut pod);
        assert_ne!(pod, first, "{what}");
        let mended = injected(&pod).pod;
        let sorted = |pod: &Value| {
            let mut names: Vec<_> = pod["spec"]["volumes"].as_array().expect("a list").clone();
            names.sort_by_key(|volume| volume["name"].to_string());
            (names, pod["spec"]["initContainers"].clone(), pod["spec"]["containers"].clone(), pod["metadata"].clone())
        };
        assert_eq!(sorted(&mended), sorted(&first), "after {what}");
    }
}

#[test]
fn a_container_that_came_later_has_its_probes_rewritten() {
    let mut pod = injected(&full()).pod;
    let late = json!({"name": "late", "livenessProbe": {"httpGet": {"path": "/", "port": 81}}});
    pod["spec"]["containers"].as_array_mut().expect("containers").push(late);
    let pod = injected(&pod).pod;
    assert_eq!(pod["spec"]["containers"][1]["livenessProbe"]["httpGet"]["path"], "/app-health/late/livez");
    let handed: Value =
        serde_json::from_str(probe::variable(&pod, probe::VARIABLE).expect("handed over")).expect("JSON");
    assert_eq!(handed["/app-health/late/livez"], json!({"httpGet": {"path": "/", "port": 81}}));
    assert_eq!(handed["/app-health/web/livez"]["httpGet"]["port"], 8080, "{handed}");
}

#[test]
fn annotations_that_mean_nothing_refuse_the_pod() {
    let cases = [
        ("sidecar.istio.io/proxyCPU", "viel", "write a quantity"),
        ("sidecar.istio.io/logLevel", "loud", "write trace, debug"),
        ("sidecar.istio.io/interceptionMode", "NONE", "in a cluster every sidecar intercepts"),
        ("sidecar.istio.io/interceptionMode", "redirect", "write REDIRECT"),
        ("sidecar.istio.io/rewriteAppHTTPProbers", "maybe", "write \"true\" or \"false\""),
        ("sidecar.istio.io/userVolume", "certs", "write JSON such as"),
        ("sidecar.istio.io/userVolumeMount", r#"[{"name": "certs"}]"#, "write JSON such as"),
        ("traffic.sidecar.istio.io/excludeInboundPorts", "http", "write ports from 1 to 65535"),
        ("proxy.istio.io/config", "terminationDrainDuration: soon", "write a duration"),
        ("status.sidecar.istio.io/port", "http", "write a port"),
        ("readiness.status.sidecar.istio.io/periodSeconds", "0", "write a number from 1"),
    ];
    for (key, value, want) in cases {
        let mut pod = full();
        pod["metadata"]["annotations"][key] = value.into();
        match run(&pod) {
            Outcome::Refused(refused) => {
                let text = refused.to_string();
                assert!(text.contains(want) && text.contains(key), "{key}={value}: {text}");
            }
            other => panic!("{key}={value}: {other:?}"),
        }
    }
}

#[test]
fn what_has_no_effect_is_named() {
    let cases = [
        ("sidecar.istio.io/nativeSidecar", "false"),
        ("sidecar.istio.io/componentLogLevel", "http:debug"),
        ("sidecar.istio.io/logLevel", "http:debug,router:trace"),
        ("sidecar.istio.io/proxyImage", "docker.io/istio/proxyv2:1.29"),
        ("sidecar.istio.io/bootstrapOverride", "x"),
        ("traffic.sidecar.istio.io/kubevirtInterfaces", "k6t"),
        ("readiness.status.sidecar.istio.io/applicationPorts", "8080"),
        ("status.sidecar.istio.io/port", "0"),
        ("inject.istio.io/templates", "gateway"),
        ("proxy.istio.io/config", "tracing: {sampling: 1}"),
    ];
    for (key, value) in cases {
        let mut pod = full();
        pod["metadata"]["annotations"][key] = value.into();
        let injected = injected(&pod);
        let named = injected.not_supported.iter().filter(|sentence| sentence.contains(key)).count();
        assert_eq!(named, 1, "{key}={value}: {:?}", injected.not_supported);
        let status = injected.pod["metadata"]["annotations"][STATUS].as_str().expect("written");
        assert!(status.contains(key), "{key}={value}: {status}");
    }
}

#[test]
fn owners_give_the_canonical_name() {
    let owner = |kind: &str, name: &str| json!([{"kind": kind, "name": name, "controller": true}]);
    let long = "a".repeat(62) + "-" + &"b".repeat(10);
    let cases = [
        (json!({"name": "web"}), "web"),
        (json!({"generateName": "web-"}), "web"),
        (json!({"labels": {"pod-template-hash": "5c9f"}, "ownerReferences": owner("ReplicaSet", "web-5c9f")}), "web"),
        (json!({"ownerReferences": owner("ReplicaSet", "web-5c9f")}), "web-5c9f"),
        (json!({"ownerReferences": owner("StatefulSet", "db")}), "db"),
        (json!({"ownerReferences": owner("Job", "report-29384560")}), "report"),
        (json!({"ownerReferences": owner("Job", "report-2026")}), "report-2026"),
        (json!({"labels": {"app": "shop"}, "ownerReferences": owner("Job", "report-29384560")}), "shop"),
        (json!({"labels": {"service.istio.io/workload-name": "own"}, "name": "web"}), "own"),
        (json!({"labels": {"service.istio.io/canonical-name": "c", "app": "a"}}), "c"),
        (json!({"name": long}), &long[..62]),
    ];
    for (metadata, want) in cases {
        let pod = json!({"metadata": metadata, "spec": {"containers": [{"name": "web"}]}});
        let pod = injected(&pod).pod;
        assert_eq!(pod["metadata"]["labels"]["service.istio.io/canonical-name"], want, "{}", pod["metadata"]);
    }
}
