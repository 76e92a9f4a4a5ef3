//! The two webhook configurations as objects: which requests the API server asks about, and what it does without answer.
//!
//! Install and chart apply them as they are built here. `caBundle` is never in them: the control plane writes it under
//! a field manager of its own, and an apply that emptied it would stop all pod creation in the mesh.

use crate::inject::{Family, NEVER, Neighbour, REVISION};
use crate::kube::custom;
use serde_json::{Value, json};

/// Name of the MutatingWebhookConfiguration.
pub const INJECTOR: &str = "weft-injector";
/// Name of the ValidatingWebhookConfiguration.
pub const VALIDATOR: &str = "weft-validator";

/// Both objects. Beside Istio's injector only Weft's own labels select pods.
pub fn configurations(neighbour: Neighbour) -> [Value; 2] {
    let known = Family::known(neighbour);
    let injecting: Vec<Value> = known.iter().flat_map(|family| injection(family, known)).collect();
    [
        object("MutatingWebhookConfiguration", INJECTOR, injecting),
        object("ValidatingWebhookConfiguration", VALIDATOR, vec![validation()]),
    ]
}

fn object(kind: &str, name: &str, webhooks: Vec<Value>) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name},
        "webhooks": webhooks,
    })
}

/// The four selections of a family: by the namespace's label, by the pod's in an unlabelled namespace, and both again
/// by revision. What they let through is no less than what the injector then decides to inject.
fn injection(family: &Family, known: &[Family]) -> [Value; 4] {
    // Where Weft's own label is, it alone counts, and the webhooks of its family ask.
    let stronger = known.iter().take_while(|other| other.domain != family.domain);
    let stronger: Vec<Value> = stronger.flat_map(|other| [absent(other.namespace), absent(other.revision)]).collect();
    let unlabelled: Vec<Value> =
        known.iter().flat_map(|family| [absent(family.namespace), absent(family.revision)]).collect();
    let not_refused: Vec<Value> = known.iter().map(|family| none_of(family.pod, &["false"])).collect();
    let revision = one_of(family.revision, &[REVISION]);
    let name = |selection: &str| format!("{selection}.{}", family.domain);
    [
        webhook(
            name("namespace"),
            [vec![one_of(family.namespace, family.enabled)], stronger.clone()].concat(),
            not_refused.clone(),
        ),
        webhook(name("pod"), unlabelled.clone(), vec![one_of(family.pod, &["true"]), absent(family.revision)]),
        webhook(
            name("namespace-revision"),
            [vec![revision.clone(), absent(family.namespace)], stronger].concat(),
            not_refused.clone(),
        ),
        webhook(name("pod-revision"), unlabelled, [vec![revision], not_refused].concat()),
    ]
}

fn webhook(name: String, mut namespaces: Vec<Value>, pods: Vec<Value>) -> Value {
    namespaces.push(none_of("kubernetes.io/metadata.name", NEVER));
    json!({
        "name": name,
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": service("/inject")},
        "rules": [{
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "operations": ["CREATE"],
            "resources": ["pods"],
            "scope": "Namespaced",
        }],
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "timeoutSeconds": 5,
        "reinvocationPolicy": "IfNeeded",
        "sideEffects": "None",
        "namespaceSelector": {"matchExpressions": namespaces},
        "objectSelector": {"matchExpressions": pods},
    })
}

/// Ignored without an answer: what slips through meanwhile, status and the last good version catch.
fn validation() -> Value {
    let rule = |(group, resources): (&str, Vec<&str>)| {
        json!({
            "apiGroups": [group],
            "apiVersions": ["*"],
            "operations": ["CREATE", "UPDATE"],
            "resources": resources,
            "scope": "*",
        })
    };
    json!({
        "name": "validate.weft.dev",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": service("/validate")},
        "rules": custom::judged().map(rule).collect::<Vec<_>>(),
        "failurePolicy": "Ignore",
        "matchPolicy": "Equivalent",
        "timeoutSeconds": 3,
        "sideEffects": "None",
    })
}

fn service(path: &str) -> Value {
    json!({"name": "weft-controlplane", "namespace": "weft-system", "port": 443, "path": path})
}

fn one_of(key: &str, values: &[&str]) -> Value {
    json!({"key": key, "operator": "In", "values": values})
}

fn none_of(key: &str, values: &[&str]) -> Value {
    json!({"key": key, "operator": "NotIn", "values": values})
}

fn absent(key: &str) -> Value {
    json!({"key": key, "operator": "DoesNotExist"})
}

#[cfg(test)]
mod tests;
