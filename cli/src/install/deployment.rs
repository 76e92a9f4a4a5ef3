//! The control plane's Deployment: two replicas that need no right on their node.
//!
//! It does not know what they may ask of the API server: that is `rbac`.

use super::objects::{Choice, NAME, control_plane_labels, metadata, selector};
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
    json!({
        "serviceAccountName": NAME,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
            "weight": 100,
            "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": selector()}},
        }]}},
        "terminationGracePeriodSeconds": 30,
        "containers": [container(choice)],
        "volumes": [{"name": "state", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
    })
}

fn container(choice: &Choice) -> Value {
    let from_pod = |name, path| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    json!({
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
        "resources": {
            "requests": {"cpu": "100m", "memory": "128Mi"},
            "limits": {"memory": "1Gi"},
        },
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
    })
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
