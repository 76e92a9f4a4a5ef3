//! The control plane's Deployment: two replicas that need no right on their node.
//!
//! It does not know what they may ask of the API server: that is `rbac`.

use super::choice::Choice;
use super::objects::{NAME, control_plane_labels, metadata, selector};
use serde_json::{Value, json};

pub(super) fn object(choice: &Choice) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(NAME),
        "spec": {
            "replicas": choice.replicas,
            "selector": {"matchLabels": selector()},
            // A new replica answers before an old one goes.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {"metadata": {"labels": control_plane_labels()}, "spec": pod(choice)},
        },
    })
}

fn pod(choice: &Choice) -> Value {
    let state = match &choice.state_claim {
        Some(claim) => json!({"name": "state", "persistentVolumeClaim": {"claimName": claim}}),
        None => json!({"name": "state", "emptyDir": {}}),
    };
    let mut pod = json!({
        "serviceAccountName": NAME,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            // A volume that was used before keeps its files to their owner.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
            "weight": 100,
            "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": selector()}},
        }]}},
        "terminationGracePeriodSeconds": 30 + choice.pre_stop_seconds,
        "containers": [container(choice)],
        "volumes": [state, {"name": "tmp", "emptyDir": {}}],
    });
    if !choice.image_pull_secrets.is_empty() {
        pod["imagePullSecrets"] = choice.image_pull_secrets.iter().map(|name| json!({"name": name})).collect();
    }
    pod
}

fn container(choice: &Choice) -> Value {
    // With the version that is the default: without it, Helm's apply and ours would be at odds over what is the same.
    let from_pod =
        |name, path| json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}});
    let mut container = json!({
        "name": NAME,
        "image": choice.image("weft-controlplane"),
        "args": [
            "--kubernetes",
            "--listen=0.0.0.0:15012",
            "--webhook=0.0.0.0:15017",
            "--status=0.0.0.0:15014",
            "--state=/var/lib/weft/state",
            "--log-format=json",
        ],
        "env": [
            from_pod("POD_NAME", "metadata.name"),
            from_pod("POD_NAMESPACE", "metadata.namespace"),
            from_pod("POD_IP", "status.podIP"),
            {"name": "WEFT_SIDECAR_IMAGE", "value": choice.image("weft-proxy")},
        ],
        "ports": [
            {"name": "stream", "containerPort": 15012, "protocol": "TCP"},
            {"name": "webhooks", "containerPort": 15017, "protocol": "TCP"},
            {"name": "metrics", "containerPort": 15014, "protocol": "TCP"},
        ],
        // The first start compiles every filter that a sidecar will ask for.
        "startupProbe": probe(2, 150),
        "readinessProbe": probe(2, 2),
        "livenessProbe": probe(10, 6),
        "resources": choice.resources,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "state", "mountPath": "/var/lib/weft"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    });
    let mut add =
        |list: &str, entry: Value| container[list].as_array_mut().into_iter().for_each(|all| all.push(entry.clone()));
    if choice.state_claim.is_some() {
        add("args", "--state-shared".into());
    }
    if !choice.image_pull_secrets.is_empty() {
        add("env", json!({"name": "WEFT_SIDECAR_PULL_SECRETS", "value": choice.image_pull_secrets.join(",")}));
    }
    // Until then callers may still be sent here.
    if choice.pre_stop_seconds > 0 {
        container["lifecycle"] = json!({"preStop": {"sleep": {"seconds": choice.pre_stop_seconds}}});
    }
    container
}

/// The world's loop answers it, so that a stuck one shows.
fn probe(period_seconds: u16, failures_max: u16) -> Value {
    json!({
        "httpGet": {"path": "/ready", "port": "metrics"},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 2,
        "failureThreshold": failures_max,
    })
}

/// Anyone but root; 1337 is the sidecars'.
const USER: u32 = 65532;
