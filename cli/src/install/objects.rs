//! Everything that Weft puts into a cluster, in the order in which it is applied.
//!
//! The Helm chart under deploy/chart says the same, and a test compares the two. It does not talk to a cluster.

use super::choice::Choice;
use super::{crd, deployment, rbac};
use serde_json::{Value, json};
use weft_controlplane::kube::webhook;

pub(crate) const NAMESPACE: &str = "weft-system";
pub(crate) const NAME: &str = "weft-controlplane";
/// On every object; an object without it is somebody else's.
pub(crate) const PART_OF: (&str, &str) = ("app.kubernetes.io/part-of", "weft");

/// The objects, by when they may be applied.
pub(crate) struct Objects {
    /// Kinds and the namespace: nothing depends on anything.
    pub(crate) crds: Vec<Value>,
    pub(crate) namespace: Value,
    /// Rights, settings, and the control plane itself.
    pub(crate) control_plane: Vec<Value>,
    /// Only when a control plane answers: until then they would refuse every pod.
    pub(crate) webhooks: Vec<Value>,
}

impl Objects {
    pub(crate) fn new(choice: &Choice) -> Self {
        let mut control_plane = rbac::objects(choice);
        control_plane.extend([mesh(), service(), disruption_budget(), deployment::object(choice)]);
        Self {
            crds: crd::ALL
                .iter()
                .filter(|crd| choice.istio_crds || !crd.is_istios())
                .map(crd::Crd::definition)
                .collect(),
            namespace: namespace(),
            control_plane,
            webhooks: webhook::configurations(choice.neighbour()).map(labelled).into(),
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Value> {
        std::iter::once(&self.namespace).chain(&self.crds).chain(&self.control_plane).chain(&self.webhooks)
    }
}

fn labelled(mut object: Value) -> Value {
    object["metadata"]["labels"] = labels();
    object
}

pub(crate) fn labels() -> Value {
    json!({PART_OF.0: PART_OF.1})
}

/// Of the control plane's own objects; its pods are selected by the name.
pub(super) fn control_plane_labels() -> Value {
    json!({"app.kubernetes.io/name": NAME, PART_OF.0: PART_OF.1})
}

pub(super) fn metadata(name: &str) -> Value {
    json!({"name": name, "namespace": NAMESPACE, "labels": control_plane_labels()})
}

pub(super) fn selector() -> Value {
    json!({"app.kubernetes.io/name": NAME})
}

/// It holds the mesh's root of trust, so nothing but `--purge` removes it.
fn namespace() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": NAMESPACE,
            "labels": {
                PART_OF.0: PART_OF.1,
                "pod-security.kubernetes.io/enforce": "restricted",
                "pod-security.kubernetes.io/warn": "restricted",
            },
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
    })
}

/// Nothing is set: what a person writes here stays his at the next install.
fn mesh() -> Value {
    json!({
        "apiVersion": "weft.dev/v1alpha1",
        "kind": "Mesh",
        "metadata": {
            "name": "default",
            "namespace": NAMESPACE,
            "labels": labels(),
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
    })
}

fn service() -> Value {
    let port = |name, number, target| json!({"name": name, "port": number, "targetPort": target, "protocol": "TCP"});
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(NAME),
        "spec": {
            "selector": selector(),
            "ports": [
                port("tls-stream", 15012, "stream"),
                port("https-webhooks", 443, "webhooks"),
                port("http-metrics", 15014, "metrics"),
            ],
        },
    })
}

/// One replica may go; with a single one, it may go too: a drain must not hang on it.
fn disruption_budget() -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(NAME),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector()}},
    })
}
