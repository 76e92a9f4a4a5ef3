//! What of an object of the cluster is kept: what means something to weft-config, and nothing that changes by itself.
//!
//! Two texts are equal where nothing has changed for the mesh, so that a status or a lease costs no compilation. It does
//! not know what the fields mean.

use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod};
use kube::api::DynamicObject;
use kube::{Resource, ResourceExt};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use weft_config::SourceFile;

/// One object as it was seen.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// `KIND/NAMESPACE/NAME` under which it is watched.
    pub(crate) key: Arc<str>,
    /// Its text and its age; under the key too, but for what `last_good` keeps.
    pub(crate) file: SourceFile,
    /// metadata.resourceVersion, which grows.
    pub(crate) version: u64,
}

pub(crate) fn path(kind: &str, namespace: &str, name: &str) -> Arc<str> {
    format!("{kind}/{namespace}/{name}").into()
}

/// Of a whole object: its metadata, and these of its top-level fields.
pub(super) fn seen(kind: &'static str, api_version: &str, object: &DynamicObject) -> Seen {
    let mut document = head(kind, api_version, object.meta());
    match kind {
        "EndpointSlice" => endpoint_slice(&mut document, &object.data),
        "Service" => document.extend(service(&object.data)),
        _ => document.extend(object.data.get("spec").map(|spec| ("spec".to_owned(), spec.clone()))),
    }
    sighting(kind, object.meta(), &Value::Object(document))
}

/// Of an object whose kind does not count: that it is there.
pub(super) fn seen_name(kind: &'static str, api_version: &str, meta: &Meta) -> Seen {
    sighting(kind, meta, &Value::Object(head(kind, api_version, meta)))
}

pub(super) type Meta = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

fn sighting(kind: &str, meta: &Meta, document: &Value) -> Seen {
    let (namespace, name) = (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    let created = meta.creation_timestamp.as_ref().map(|time| time.0.to_string()).unwrap_or_default();
    let key = path(kind, namespace, name);
    // One value a line: what `kubectl apply` notes of itself moves nothing else, so that a changed rule is all that changes.
    let text = format!("{document:#}");
    Seen { file: SourceFile::of_cluster(key.clone(), text.into_bytes(), created), key, version: version(meta) }
}

/// 0 where it is no number, which no API server from 1.35 on gives.
pub(super) fn version(meta: &Meta) -> u64 {
    meta.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

fn head(kind: &str, api_version: &str, meta: &Meta) -> Map<String, Value> {
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(meta.name));
    metadata.insert("namespace".to_owned(), json!(meta.namespace));
    metadata.insert("uid".to_owned(), json!(meta.uid));
    if let Some(generation) = meta.generation {
        metadata.insert("generation".to_owned(), json!(generation));
    }
    if let Some(labels) = meta.labels.as_ref().filter(|labels| !labels.is_empty()) {
        metadata.insert("labels".to_owned(), json!(labels));
    }
    let annotations: Map<String, Value> = meta
        .annotations
        .iter()
        .flatten()
        .filter(|(key, _)| MEANINGFUL.contains(&key.as_str()) || (kind == "VirtualService" && *key == LAST_APPLIED))
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    if !annotations.is_empty() {
        metadata.insert("annotations".to_owned(), Value::Object(annotations));
    }
    let mut document = Map::new();
    document.insert("apiVersion".to_owned(), json!(api_version));
    document.insert("kind".to_owned(), json!(kind));
    document.insert("metadata".to_owned(), Value::Object(metadata));
    document
}

/// Annotations that weft-config reads.
const MEANINGFUL: &[&str] = &["networking.istio.io/exportTo", "weft.dev/filters"];
/// What somebody meant to write, where a schema cuts some of it off.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

fn service(data: &Value) -> Option<(String, Value)> {
    let mut spec = data.get("spec")?.as_object()?.clone();
    spec.retain(|key, _| OF_SERVICE.contains(&key.as_str()));
    if let Some(ports) = spec.get_mut("ports").and_then(Value::as_array_mut) {
        // The mesh leaves UDP and SCTP alone, and need not say so of every DNS server.
        ports.retain(|port| port.get("protocol").is_none_or(|protocol| protocol == "TCP"));
        for port in ports.iter_mut().filter_map(Value::as_object_mut) {
            port.remove("nodePort");
        }
    }
    Some(("spec".to_owned(), Value::Object(spec)))
}

const OF_SERVICE: &[&str] = &["type", "selector", "ports", "clusterIP", "clusterIPs", "externalName", "ipFamilies"];

/// The labels that controllers put on a slice change with what they do there; its service is the one that counts.
fn endpoint_slice(document: &mut Map<String, Value>, data: &Value) {
    if let Some(labels) = document.get_mut("metadata").and_then(|m| m.get_mut("labels")).and_then(Value::as_object_mut)
    {
        labels.retain(|key, _| key == "kubernetes.io/service-name");
    }
    document.extend(data.get("addressType").map(|value| ("addressType".to_owned(), value.clone())));
    document.extend(data.get("ports").map(|value| ("ports".to_owned(), value.clone())));
    let endpoints = data.get("endpoints").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let endpoints: Vec<Value> = endpoints.iter().map(endpoint).collect();
    document.insert("endpoints".to_owned(), Value::Array(endpoints));
}

fn endpoint(written: &Value) -> Value {
    let mut kept = Map::new();
    for key in ["addresses", "conditions", "hostname"] {
        kept.extend(written.get(key).map(|value| (key.to_owned(), value.clone())));
    }
    if let Some(target) = written.get("targetRef").filter(|target| target["kind"] == "Pod") {
        let target = json!({"kind": "Pod", "namespace": target["namespace"], "name": target["name"]});
        kept.insert("targetRef".to_owned(), target);
    }
    Value::Object(kept)
}

/// `None` for a pod that has run to its end: its address may be another's by now.
pub(super) fn seen_pod(pod: &Pod) -> Option<Seen> {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return None;
    }
    let mut document = head("Pod", "v1", pod.meta());
    let spec = pod.spec.as_ref();
    let containers = spec.map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
    let containers: Vec<Value> = containers.into_iter().flatten().filter_map(container).collect();
    let mut kept = Map::new();
    kept.insert("containers".to_owned(), Value::Array(containers));
    if let Some(spec) = spec {
        kept.extend(spec.service_account_name.iter().map(|name| ("serviceAccountName".to_owned(), json!(name))));
        kept.extend(spec.host_network.filter(|on| *on).map(|on| ("hostNetwork".to_owned(), json!(on))));
    }
    document.insert("spec".to_owned(), Value::Object(kept));
    let ready = status.into_iter().flat_map(|s| s.conditions.iter().flatten());
    let ready = ready.filter(|condition| condition.type_ == "Ready").any(|condition| condition.status == "True");
    let addresses = status.and_then(|status| status.pod_ips.as_ref());
    document.insert(
        "status".to_owned(),
        json!({"podIPs": addresses, "conditions": [{"type": "Ready", "status": word(ready)}]}),
    );
    if let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut) {
        // What they say changes with each version of the injector; that they are there is what counts.
        let marks = MARKS.iter().filter(|mark| pod.annotations().contains_key(**mark));
        let mut marks: Map<String, Value> = marks.map(|mark| ((*mark).to_owned(), json!(""))).collect();
        let words = pod.annotations().iter().filter(|(key, _)| WORDS.contains(&key.as_str()));
        marks.extend(words.map(|(key, word)| (key.clone(), json!(word))));
        metadata.insert("annotations".to_owned(), Value::Object(marks));
        let leaves = pod.meta().deletion_timestamp.as_ref();
        metadata.extend(leaves.map(|since| ("deletionTimestamp".to_owned(), json!(since))));
        let owners = pod.owner_references().iter().filter(|owner| owner.controller == Some(true));
        let owners: Vec<Value> =
            owners.map(|owner| json!({"kind": owner.kind, "name": owner.name, "controller": true})).collect();
        metadata.insert("ownerReferences".to_owned(), Value::Array(owners));
    }
    Some(sighting("Pod", pod.meta(), &Value::Object(document)))
}

/// An object's good version, under the name of the ConfigMap that keeps it.
pub(super) fn seen_last_good(map: &ConfigMap) -> Option<Seen> {
    let key = path(super::kinds::LAST_GOOD, map.namespace().as_deref().unwrap_or_default(), &map.name_any());
    super::last_good::read(map).map(|file| Seen { key, file, version: version(map.meta()) })
}

fn word(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// Its ports, where it names some; and Istio's sidecar, whose presence says something.
fn container(container: &Container) -> Option<Value> {
    let ports: Vec<Value> = container
        .ports
        .iter()
        .flatten()
        .map(|port| json!({"name": port.name, "containerPort": port.container_port, "protocol": port.protocol}))
        .collect();
    (!ports.is_empty() || container.name == ISTIO).then(|| json!({"name": container.name, "ports": ports}))
}

const ISTIO: &str = "istio-proxy";
/// By these a pod asks for a sidecar, or for none.
const WORDS: &[&str] = &["sidecar.istio.io/inject", "weft.dev/inject"];
/// Of injection, ours and Istio's.
const MARKS: &[&str] = &["sidecar.weft.dev/status", "sidecar.istio.io/status"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use weft_config::{Making, World};

    #[test]
    fn a_rule_applied_again_is_a_step_whatever_kubectl_notes_of_it() {
        let file = |header: &str, note: &str| {
            let object = json!({
                "apiVersion": "networking.istio.io/v1",
                "kind": "VirtualService",
                "metadata": {
                    "name": "reviews", "namespace": "shop", "uid": "1", "creationTimestamp": "2026-01-01T00:00:00Z",
                    "annotations": {LAST_APPLIED: note},
                },
                "spec": {
                    "hosts": ["reviews"],
                    "http": [{
                        "headers": {"request": {"set": {"x-header": header}}},
                        "route": [{"destination": {"host": "reviews"}}],
                    }],
                },
            });
            seen("VirtualService", "networking.istio.io/v1", &serde_json::from_value(object).unwrap()).file
        };
        let first = World::build(&[file("one", "{}")], &World::default());
        let second = World::build(&[file("something longer", "{\"spec\":{}}")], &first);
        assert_ne!(first.revision(), second.revision());
        assert_eq!(second.making(), Making::Step);
    }
}
