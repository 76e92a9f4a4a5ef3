//! What the control plane may ask of the API server: each verb of each resource that it uses, and no other.
//!
//! The cluster suite holds this against the API server's audit log: what is refused, and what is never used, fails it.

use super::choice::Choice;
use super::objects::{NAME, NAMESPACE, control_plane_labels, labels, metadata};
use serde_json::{Value, json};
use weft_controlplane::kube::custom;

pub(crate) const SECRET_READER: &str = "weft-secret-reader";

pub(super) fn objects(choice: &Choice) -> Vec<Value> {
    let mut objects = vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(NAME)}),
        cluster_role(),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": NAME, "labels": control_plane_labels()},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME},
            "subjects": [subject()],
        }),
        role(),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata(NAME),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME},
            "subjects": [subject()],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": SECRET_READER, "labels": labels()},
            "rules": [rule("", &["secrets"], &["get"])],
        }),
    ];
    objects.extend(choice.pull_secrets.iter().map(|namespace| secret_reader(namespace)));
    objects
}

/// In one namespace, for the pull secrets of its Filters.
fn secret_reader(namespace: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": SECRET_READER, "namespace": namespace, "labels": labels()},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": SECRET_READER},
        "subjects": [subject()],
    })
}

fn subject() -> Value {
    json!({"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE})
}

fn rule<T: AsRef<str>>(group: &str, resources: &[T], verbs: &[&str]) -> Value {
    let resources: Vec<_> = resources.iter().map(AsRef::as_ref).collect();
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}

fn named(group: &str, resources: &[&str], names: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "resourceNames": names, "verbs": verbs})
}

const WATCH: &[&str] = &["list", "watch"];

/// What lies in every namespace, or in none.
fn cluster_role() -> Value {
    let mut rules = vec![
        // Discovery; at admission the labels of a pod's namespace are asked for, whatever the watch has seen.
        rule("", &["services", "pods", "namespaces"], WATCH),
        rule("", &["namespaces"], &["get"]),
        rule("discovery.k8s.io", &["endpointslices"], WATCH),
        rule("events.k8s.io", &["events"], &["create", "patch"]),
        rule("apiextensions.k8s.io", &["customresourcedefinitions"], WATCH),
        // Who a pod is.
        rule("authentication.k8s.io", &["tokenreviews"], &["create"]),
        // The root of trust, where pods mount it: made by server-side apply, which names what it creates.
        named("", &["configmaps"], &["weft-root"], &["list", "watch", "create", "patch"]),
        // Webhooks: which injectors there are, and the certificate of our own.
        rule("admissionregistration.k8s.io", &["mutatingwebhookconfigurations"], WATCH),
        named("admissionregistration.k8s.io", &["mutatingwebhookconfigurations"], &["weft-injector"], &["patch"]),
        named(
            "admissionregistration.k8s.io",
            &["validatingwebhookconfigurations"],
            &["weft-validator"],
            &["list", "watch", "patch"],
        ),
    ];
    // Configuration, and what would be a hole if nobody said that it is not acted on.
    rules.extend(custom::watched().map(|(group, resources)| rule(group, &resources, WATCH)));
    // The truth about it.
    let status = |resource: &str| format!("{resource}/status");
    let statuses = |resources: Vec<&str>| resources.into_iter().map(status).collect::<Vec<_>>();
    rules.extend(custom::counting().map(|(group, resources)| rule(group, &statuses(resources), &["patch"])));
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": NAME, "labels": control_plane_labels()},
        "rules": rules,
    })
}

/// What lies in weft-system.
fn role() -> Value {
    let rules = [
        // The root of trust is made once, and read and rotated by its name; pull secrets of this namespace by theirs.
        rule("", &["secrets"], &["create", "get"]),
        named("", &["secrets"], &["weft-ca"], &["list", "watch", "update"]),
        // Roots of registries, last good versions, and who leads.
        rule("", &["configmaps"], &["get", "list", "watch", "create", "patch", "delete"]),
        rule("coordination.k8s.io", &["leases"], &["create"]),
        named("coordination.k8s.io", &["leases"], &[NAME], &["get", "update"]),
    ];
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": metadata(NAME),
        "rules": rules,
    })
}
