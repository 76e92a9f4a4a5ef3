//! What a cluster must have before anything is applied, and what its owner should know.
//!
//! It changes nothing.

use super::cluster::{Cluster, Reference};
use super::crd;
use super::objects::{NAME, NAMESPACE, Objects, PART_OF};
use anyhow::Result;
use futures_util::future::try_join_all;
use serde_json::Value;
use std::collections::BTreeSet;

/// What is there already.
#[derive(Debug, Default)]
pub(super) struct Found {
    version: (u32, u32),
    /// Istio's sidecar injector serves here.
    pub(super) istio_injects: bool,
    injectors: Vec<String>,
    /// Names of CRDs of Weft's kinds that another project has installed.
    pub(super) foreign_crds: BTreeSet<String>,
    /// Of those, the ones in whose specs `filters` would be dropped.
    without_filters: Vec<String>,
    /// Namespaces whose Pod Security refuses `weft-init`.
    restricted: Vec<String>,
    /// Release by which Helm has installed Weft.
    helm_release: Option<String>,
}

/// Native sidecars are stable from here on.
const VERSION_MIN: (u32, u32) = (1, 33);
const WEBHOOKS: &str = "admissionregistration.k8s.io";

pub(super) async fn look(cluster: &Cluster) -> Result<Found> {
    let mut found = Found { version: cluster.version().await?, ..Found::default() };
    // Without the right to look it goes on: what is missing is said by name later.
    let list = async |api_version, kind, labels: &str| {
        cluster.list(&Reference::new(api_version, kind, None, ""), labels, "").await.unwrap_or_default()
    };
    for webhook in list("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "app=sidecar-injector").await
    {
        found.injectors.push(name(&webhook));
        found.istio_injects = true;
    }
    for definition in list("apiextensions.k8s.io/v1", "CustomResourceDefinition", "").await {
        let ours = crd::ALL.iter().any(|crd| crd.name() == name(&definition));
        if ours && definition["metadata"]["labels"][PART_OF.0] != PART_OF.1 {
            if name(&definition).starts_with("virtualservices.") && !crd::keeps_filters(&definition) {
                found.without_filters.push(name(&definition));
            }
            found.foreign_crds.insert(name(&definition));
        }
    }
    for namespace in list("v1", "Namespace", "").await {
        let enforced = namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"].as_str();
        let ours = name(&namespace) == NAMESPACE || name(&namespace).starts_with("kube-");
        if !ours && matches!(enforced, Some("baseline" | "restricted")) {
            found.restricted.push(name(&namespace));
        }
    }
    found.helm_release = helm_release(cluster).await.unwrap_or_default();
    Ok(found)
}

/// The release that installed the control plane, where Helm did.
pub(super) async fn helm_release(cluster: &Cluster) -> Result<Option<String>> {
    let deployment = cluster.get(&Reference::new("apps/v1", "Deployment", Some(NAMESPACE), NAME)).await?;
    let metadata = deployment.map(|deployment| deployment["metadata"].clone()).unwrap_or_default();
    let by_helm = metadata["labels"]["app.kubernetes.io/managed-by"] == "Helm";
    let release = metadata["annotations"]["meta.helm.sh/release-name"].as_str().unwrap_or("weft");
    Ok(by_helm.then(|| release.to_owned()))
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// Sentences, each with a remedy; empty: it may begin.
pub(super) async fn missing(cluster: &Cluster, objects: &Objects, found: &Found) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    let ((major, minor), (least_major, least_minor)) = (found.version, VERSION_MIN);
    if found.version < VERSION_MIN {
        missing.push(format!(
            "Kubernetes {major}.{minor}: Weft needs {least_major}.{least_minor} or later, where sidecar containers are stable; upgrade the cluster"
        ));
    }
    if let Some(release) = &found.helm_release {
        missing
            .push(format!("Helm release {release} holds it: use helm upgrade {release}, or helm uninstall it first"));
    }
    missing.extend(rights(cluster, objects).await?);
    Ok(missing)
}

/// What of the rights that an apply takes is not given.
async fn rights(cluster: &Cluster, objects: &Objects) -> Result<Vec<String>> {
    let mut needed = BTreeSet::new();
    for object in objects.all() {
        let reference = Reference::of(object);
        let (group, resource) = reference.resource();
        let verbs: &[_] =
            if group == WEBHOOKS { &["get", "create", "patch", "update"] } else { &["get", "create", "patch"] };
        for verb in verbs {
            needed.insert((*verb, group.to_owned(), resource.clone(), reference.namespace.clone()));
        }
    }
    for (group, resource) in [
        (WEBHOOKS, "mutatingwebhookconfigurations"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("", "namespaces"),
    ] {
        needed.insert(("list", group.to_owned(), resource.to_owned(), None));
    }
    needed.insert(("list", String::new(), "pods".to_owned(), Some(NAMESPACE.to_owned())));
    let ask = |(verb, group, resource, namespace): (&'static str, String, String, Option<String>)| async move {
        let may = cluster.may(verb, &group, &resource, namespace.as_deref()).await?;
        anyhow::Ok((!may).then(|| right(verb, &group, &resource, namespace.as_deref())))
    };
    Ok(try_join_all(needed.into_iter().map(ask)).await?.into_iter().flatten().collect())
}

fn right(verb: &str, group: &str, resource: &str, namespace: Option<&str>) -> String {
    let group = if group.is_empty() { String::new() } else { format!(".{group}") };
    let place = namespace.map_or_else(|| "in the cluster".to_owned(), |namespace| format!("in namespace {namespace}"));
    format!("you may not {verb} {resource}{group} {place}: ask its administrator for that right")
}

impl Found {
    /// What installs all the same, and its owner should know.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.istio_injects {
            notes.push(format!(
                "another sidecar injector is here ({}): Weft injects only where weft.dev/inject says so, and leaves istio-injection to it",
                self.injectors.join(", ")
            ));
        }
        if !self.foreign_crds.is_empty() {
            let names: Vec<_> = self.foreign_crds.iter().map(String::as_str).collect();
            notes.push(format!("these CRDs are another project's and stay as they are: {}", names.join(", ")));
        }
        for crd in &self.without_filters {
            notes.push(format!(
                "{crd} drops the field filters: attach Filters by targetRefs or by the annotation weft.dev/filters"
            ));
        }
        if !self.restricted.is_empty() {
            notes.push(format!(
                "Pod Security refuses NET_ADMIN, which weft-init needs, in {}: label a namespace pod-security.kubernetes.io/enforce=privileged before its pods join the mesh",
                self.restricted.join(", ")
            ));
        }
        notes
    }
}
