//! Injection into objects that hold pods or templates of pods, as files have them.
//!
//! It reads no files; an object of another kind is none of its business.

use super::decision::text;
use super::{Injected, Namespace, Outcome, Settings, Subject, inject};
use serde_json::{Value, json};

/// What became of one object.
#[derive(Clone, Debug, PartialEq)]
pub enum Injection {
    /// It holds no pods: as it was.
    Other,
    /// One for each pod or template; only in a List are there several.
    Pods(Vec<(String, Outcome)>),
}

/// Injects an object in place. `namespace` says what is known of the namespace of an object.
pub fn inject_object(object: &mut Value, settings: &Settings, namespace: &dyn Fn(&str) -> Namespace) -> Injection {
    if text(object, "/kind").is_some_and(|kind| kind.ends_with("List")) && object["items"].is_array() {
        let mut all = Vec::new();
        for item in object["items"].as_array_mut().into_iter().flatten() {
            if let Injection::Pods(outcomes) = inject_object(item, settings, namespace) {
                all.extend(outcomes);
            }
        }
        return if all.is_empty() { Injection::Other } else { Injection::Pods(all) };
    }
    let (Some(kind), Some(at)) = (text(object, "/kind"), template(object)) else { return Injection::Other };
    let name = text(object, "/metadata/name").unwrap_or_default();
    let described = format!("{kind} {name}");
    let namespace = namespace(text(object, "/metadata/namespace").unwrap_or("default"));
    let workload = (!at.is_empty()).then(|| name.to_owned());
    let Some(pod) = object.pointer_mut(at) else { return Injection::Other };
    let subject = Subject { pod, namespace: &namespace, workload: workload.as_deref() };
    let outcome = inject(subject, settings);
    if let Outcome::Injected(Injected { pod: injected, .. }) = &outcome {
        *pod = injected.clone();
        tidy(pod);
    }
    Injection::Pods(vec![(described, outcome)])
}

/// Where the pod is in an object.
fn template(object: &Value) -> Option<&'static str> {
    let group = text(object, "/apiVersion")?.rsplit_once('/').map_or("", |(group, _)| group);
    match (group, text(object, "/kind")?) {
        ("", "Pod") => Some(""),
        ("", "ReplicationController") => Some("/spec/template"),
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") | ("batch", "Job") => {
            Some("/spec/template")
        }
        ("batch", "CronJob") => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

/// `metadata` reads best at the top, also where the template had none.
fn tidy(pod: &mut Value) {
    let Some(fields) = pod.as_object_mut() else { return };
    if fields.keys().next().is_some_and(|first| first == "spec")
        && let Some(spec) = fields.shift_remove("spec")
    {
        fields.entry("metadata").or_insert_with(|| json!({}));
        fields.insert("spec".to_owned(), spec);
    }
}
