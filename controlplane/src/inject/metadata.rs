//! Labels and annotations that a pod in the mesh has, and whose pod it is.

use super::decision::{name, text};
use super::label::Neighbour;
use super::wishes::Wishes;
use super::{INIT, PROXY, REVISION, STATUS, VERSION, volume};
use serde_json::{Map, Value, json};

/// What peers and metrics know the pod by. Labels that it has already stay.
pub(super) fn label(pod: &mut Value, workload: Option<&str>, neighbour: Neighbour) {
    let workload = workload.map_or_else(|| owner(pod), str::to_owned);
    let Some(labels) = map(pod, "labels") else { return };
    let first = |labels: &Map<String, Value>, keys: &[&str]| {
        let mut found = keys.iter().filter_map(|key| labels.get(*key)?.as_str());
        found.find(|value| !value.is_empty()).map(str::to_owned)
    };
    let service = first(labels, &["app.kubernetes.io/name", "app"]).unwrap_or_else(|| label_value(&workload));
    let revision = first(labels, &["app.kubernetes.io/version", "version"]).unwrap_or_else(|| "latest".to_owned());
    let mut wanted =
        vec![("service.istio.io/canonical-name", service), ("service.istio.io/canonical-revision", revision)];
    // Istio's sidecars take it for a promise that Istio's certificates are understood.
    if neighbour == Neighbour::None {
        wanted.push(("security.istio.io/tlsMode", "istio".to_owned()));
    }
    for (key, value) in wanted {
        labels.entry(key).or_insert_with(|| value.into());
    }
}

pub(super) fn annotate(pod: &mut Value, wishes: &Wishes, neighbour: Neighbour) {
    let app = pod.pointer("/spec/containers/0").map(|container| name(container).to_owned());
    let mut volumes = vec![volume::TOKEN, volume::ROOT, volume::STATE];
    volumes.extend(wishes.volumes.iter().filter_map(|volume| volume["name"].as_str()));
    let mut status = json!({
        "version": VERSION,
        "revision": REVISION,
        "initContainers": [INIT, PROXY],
        "volumes": volumes,
    });
    if !wishes.not_supported.is_empty() {
        status["notSupported"] = json!(wishes.not_supported);
    }
    let Some(annotations) = map(pod, "annotations") else { return };
    annotations.insert(STATUS.to_owned(), status.to_string().into());
    if neighbour == Neighbour::None {
        annotations.entry("istio.io/rev").or_insert_with(|| REVISION.into());
    }
    // So that `kubectl logs` and `kubectl exec` go on meaning the app.
    for key in ["kubectl.kubernetes.io/default-container", "kubectl.kubernetes.io/default-logs-container"] {
        if let Some(app) = &app {
            annotations.entry(key).or_insert_with(|| app.as_str().into());
        }
    }
}

/// The version that injected the pod.
pub(super) fn status(pod: &Value) -> Option<String> {
    let text = pod.pointer("/metadata/annotations")?.get(STATUS)?.as_str()?;
    let status: Value = serde_json::from_str(text).ok()?;
    Some(status["version"].as_str()?.to_owned())
}

pub(super) fn has_status(pod: &Value) -> bool {
    pod.pointer("/metadata/annotations").is_some_and(|annotations| annotations.get(STATUS).is_some())
}

/// A mapping in `metadata`, made where there is none.
pub(super) fn map<'a>(pod: &'a mut Value, field: &str) -> Option<&'a mut Map<String, Value>> {
    let metadata = pod.as_object_mut()?.entry("metadata").or_insert_with(|| json!({}));
    let map = metadata.as_object_mut()?.entry(field).or_insert_with(|| json!({}));
    if map.is_null() {
        *map = json!({});
    }
    map.as_object_mut()
}

/// What made the pod: the Deployment behind its ReplicaSet, the CronJob behind its Job, or the owner itself.
fn owner(pod: &Value) -> String {
    if let Some(name) = text(pod, "/metadata/labels/service.istio.io~1workload-name") {
        return name.to_owned();
    }
    let owners = pod.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let owner = owners.into_iter().flatten().find(|owner| owner["controller"] == true);
    let Some(owner) = owner.map(|owner| (owner["kind"].as_str(), owner["name"].as_str().unwrap_or_default())) else {
        let own = text(pod, "/metadata/name").or_else(|| text(pod, "/metadata/generateName"));
        return own.unwrap_or_default().trim_end_matches('-').to_owned();
    };
    let without =
        |name: &str, tail: &str| name.strip_suffix(tail).and_then(|name| name.strip_suffix('-')).map(str::to_owned);
    let above = match owner {
        (Some("ReplicaSet"), name) => {
            text(pod, "/metadata/labels/pod-template-hash").and_then(|hash| without(name, hash))
        }
        // A CronJob ends the names of its Jobs with the minute for which they were due.
        (Some("Job"), name) => name.rsplit_once('-').and_then(|(_, minute)| {
            let minute = (8..=10).contains(&minute.len()).then_some(minute)?;
            minute.bytes().all(|b| b.is_ascii_digit()).then(|| without(name, minute))?
        }),
        _ => None,
    };
    above.unwrap_or_else(|| owner.1.to_owned())
}

/// Names may be longer than the values of labels.
fn label_value(name: &str) -> String {
    let cut = &name[..name.len().min(LABEL_BYTES_MAX)];
    cut.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

const LABEL_BYTES_MAX: usize = 63;
