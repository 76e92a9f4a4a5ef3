//! Whether a pod gets a sidecar: by the labels of its namespace and its own, and by what it is.
//!
//! It mirrors the selectors of the webhooks (`kube/webhook/rules.rs`), so that files and cluster come to one answer.

use super::label::{Family, Neighbour};
use super::{INIT, NEVER, PROXY, REVISION, STATUS, UID};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// What injection has to know of a pod's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Inject,
    Skip(Skip),
    Refuse(Refused),
}

/// Why a pod stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Skip {
    #[error("namespace {0} is never in the mesh")]
    NeverNamespace(String),
    #[error("it uses the node's network (hostNetwork), where nothing may be redirected")]
    HostNetwork,
    #[error("it runs Windows")]
    Windows,
    #[error("namespace {0} has no label that asks for a sidecar, and the pod has none either")]
    NotSelected(String),
    #[error("namespace {namespace} has label {label}={value}")]
    NamespaceSaysNo { namespace: String, label: &'static str, value: String },
    #[error("it has {key}={value}")]
    PodSaysNo { key: &'static str, value: String },
    #[error("{label}={value} asks for another revision than {REVISION}, and there is none")]
    OtherRevision { label: &'static str, value: String },
    #[error("it has a sidecar of Istio's already ({0})")]
    IstioSidecar(&'static str),
}

/// Why a pod must not come to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}; {remedy}")]
pub struct Refused {
    pub reason: String,
    pub remedy: String,
}

impl Refused {
    pub(super) fn new(reason: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self { reason: reason.to_string(), remedy: remedy.to_string() }
    }
}

pub fn decide(pod: &Value, namespace: &Namespace, neighbour: Neighbour) -> Decision {
    let families = Family::known(neighbour);
    match unfit(pod, namespace).or_else(|| unwanted(pod, namespace, families)).or_else(|| taken(pod)) {
        Some(skip) => Decision::Skip(skip),
        None => impossible(pod, namespace).map_or(Decision::Inject, Decision::Refuse),
    }
}

/// Whether a pod with nothing to say would be injected there, if it could be.
pub(crate) fn selects(namespace: &Namespace, neighbour: Neighbour) -> bool {
    !matches!(decide(&Value::Null, namespace, neighbour), Decision::Skip(_))
}

/// Where a sidecar cannot be, whoever asks for it.
fn unfit(pod: &Value, namespace: &Namespace) -> Option<Skip> {
    if NEVER.contains(&namespace.name.as_str()) {
        return Some(Skip::NeverNamespace(namespace.name.clone()));
    }
    if pod.pointer("/spec/hostNetwork") == Some(&Value::Bool(true)) {
        return Some(Skip::HostNetwork);
    }
    let system = text(pod, "/spec/os/name").or_else(|| text(pod, "/spec/nodeSelector/kubernetes.io~1os"));
    (system == Some("windows")).then_some(Skip::Windows)
}

/// What the namespace's labels say.
enum Standing {
    Mesh,
    Out(Skip),
    Unlabelled,
}

fn unwanted(pod: &Value, namespace: &Namespace, families: &[Family]) -> Option<Skip> {
    let label = |key: &str| pod.pointer("/metadata/labels")?.get(key)?.as_str();
    match standing(namespace, families) {
        Standing::Out(skip) => Some(skip),
        Standing::Mesh => refusal(pod, "/metadata/labels", families).or_else(|| {
            let asks = families.iter().any(|family| label(family.pod).is_some_and(yes));
            if asks { None } else { refusal(pod, "/metadata/annotations", families) }
        }),
        Standing::Unlabelled => {
            if let Some(skip) = refusal(pod, "/metadata/labels", families) {
                return Some(skip);
            }
            let chosen = families.iter().any(|family| match label(family.revision) {
                Some(revision) => revision == REVISION,
                None => label(family.pod).is_some_and(yes),
            });
            let other = || {
                let found = families.iter().find_map(|f| Some((f.revision, label(f.revision)?)));
                found.map(|(label, value)| Skip::OtherRevision { label, value: value.to_owned() })
            };
            (!chosen).then(|| other().unwrap_or_else(|| Skip::NotSelected(namespace.name.clone())))
        }
    }
}

fn standing(namespace: &Namespace, families: &[Family]) -> Standing {
    for family in families {
        if let Some(value) = namespace.labels.get(family.namespace) {
            if family.enabled.contains(&value.as_str()) {
                return Standing::Mesh;
            }
            let (label, value) = (family.namespace, value.clone());
            return Standing::Out(Skip::NamespaceSaysNo { namespace: namespace.name.clone(), label, value });
        }
        if let Some(value) = namespace.labels.get(family.revision) {
            if value == REVISION {
                return Standing::Mesh;
            }
            return Standing::Out(Skip::OtherRevision { label: family.revision, value: value.clone() });
        }
    }
    Standing::Unlabelled
}

/// A label, or an annotation, that keeps the pod out; as in Istio, any word but yes does.
fn refusal(pod: &Value, at: &str, families: &[Family]) -> Option<Skip> {
    let words = pod.pointer(at)?;
    families.iter().find_map(|family| {
        let value = words.get(family.pod)?.as_str()?;
        let no = !value.is_empty() && !yes(value);
        no.then(|| Skip::PodSaysNo { key: family.pod, value: value.to_owned() })
    })
}

fn yes(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "true" | "yes" | "y" | "on")
}

/// A pod has one sidecar.
fn taken(pod: &Value) -> Option<Skip> {
    if pod.pointer("/metadata/annotations/sidecar.istio.io~1status").is_some() {
        return Some(Skip::IstioSidecar("annotation sidecar.istio.io/status"));
    }
    let istio = containers(pod).any(|container| name(container) == "istio-proxy");
    istio.then_some(Skip::IstioSidecar("container istio-proxy"))
}

fn impossible(pod: &Value, namespace: &Namespace) -> Option<Refused> {
    let ours = pod.pointer("/metadata/annotations").is_some_and(|annotations| annotations.get(STATUS).is_some());
    let own = |container: &Value| [PROXY, INIT].contains(&name(container));
    if !ours && let Some(container) = containers(pod).find(|container| own(container)) {
        let reason = format!("the container name {} is Weft's own", name(container));
        return Some(Refused::new(
            reason,
            "rename the container, or keep the pod out with label weft.dev/inject=false",
        ));
    }
    let context = |holder: &Value, field: &str| {
        holder.pointer(&format!("/securityContext/{field}")).and_then(Value::as_u64) == Some(UID.into())
    };
    for field in ["runAsUser", "runAsGroup"] {
        let spec = pod.get("spec").filter(|spec| context(spec, field)).map(|_| "the pod".to_owned());
        let holder = spec.or_else(|| {
            let container = containers(pod).find(|container| !own(container) && context(container, field))?;
            Some(format!("container {}", name(container)))
        });
        if let Some(holder) = holder {
            let reason = format!("{holder} has {field} {UID}, the sidecar's own, whose traffic is not redirected");
            return Some(Refused::new(
                reason,
                "choose another number, or keep the pod out with label weft.dev/inject=false",
            ));
        }
    }
    pod_security(namespace)
}

/// These levels refuse the pod anyway, in a ReplicaSet's event that nobody reads.
fn pod_security(namespace: &Namespace) -> Option<Refused> {
    let level = namespace.labels.get("pod-security.kubernetes.io/enforce")?;
    if !matches!(level.as_str(), "baseline" | "restricted") {
        return None;
    }
    let name = &namespace.name;
    let reason = format!(
        "namespace {name} enforces Pod Security level {level}, which refuses capability NET_ADMIN, and {INIT} needs it to redirect the pod's traffic to its sidecar"
    );
    let remedy = format!(
        "allow it with `kubectl label namespace {name} pod-security.kubernetes.io/enforce=privileged --overwrite`, or keep the pod out with label weft.dev/inject=false"
    );
    Some(Refused::new(reason, remedy))
}

/// All of a pod's containers, init containers first.
pub(super) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["/spec/initContainers", "/spec/containers"].into_iter().filter_map(|at| pod.pointer(at)?.as_array()).flatten()
}

pub(super) fn name(container: &Value) -> &str {
    container.get("name").and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str()
}

#[cfg(test)]
mod tests;
