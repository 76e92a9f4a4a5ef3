//! The app's probes: the kubelet asks the sidecar, which asks the app.
//!
//! The kubelet has no certificate of the mesh, and what it sends to the app would be refused where only mTLS is let
//! in. It does not know how the sidecar asks.

use super::decision::name;
use super::wishes::{Probes, Wishes};
use super::{INIT, PROXY};
use serde_json::{Map, Value, json};

/// Environment variable of the proxy: by path, what the probe was.
pub(super) const VARIABLE: &str = "WEFT_APP_PROBES";

/// Field of a container, and the end of the path that stands for it.
const KINDS: &[(&str, &str)] =
    &[("livenessProbe", "livez"), ("readinessProbe", "readyz"), ("startupProbe", "startupz")];

/// What can be asked over the network; `exec` runs in the container.
const ACTIONS: &[&str] = &["httpGet", "tcpSocket", "grpc"];

/// Rewrites all probes, and gives what they were.
pub(super) fn rewrite(pod: &mut Value, wishes: &mut Wishes) -> Map<String, Value> {
    let mut originals = Map::new();
    if wishes.probes == Probes::AsWritten {
        return originals;
    }
    let status_port = wishes.status_port();
    each(pod, |container, field, path| {
        let owner = name(container).to_owned();
        let ports = container.get("ports").cloned().unwrap_or_default();
        let Some(probe) = container.get_mut(field).and_then(Value::as_object_mut) else { return };
        let Some(action) = ACTIONS.iter().find(|action| probe.contains_key(**action)) else { return };
        // With a host of its own it never came to this pod's address.
        let elsewhere = probe[*action].get("host").and_then(Value::as_str).is_some_and(|host| !host.is_empty());
        if elsewhere {
            return;
        }
        let Some(number) = port(&probe[*action], &ports) else {
            let port = &probe[*action]["port"];
            wishes.not_supported.push(format!(
                "{field} of container {owner} is left as it is: its port {port} is no port of the container"
            ));
            return;
        };
        let mut original = probe.remove(*action).unwrap_or_default();
        if let Some(fields) = original.as_object_mut() {
            fields.insert("port".to_owned(), number.into());
        }
        let mut handed = Map::from_iter([((*action).to_owned(), original)]);
        handed.extend(probe.get("timeoutSeconds").map(|timeout| ("timeoutSeconds".to_owned(), timeout.clone())));
        probe.insert("httpGet".to_owned(), json!({"path": path, "port": status_port, "scheme": "HTTP"}));
        originals.insert(path, Value::Object(handed));
    });
    originals
}

/// Makes rewritten probes what they were.
pub(super) fn restore(pod: &mut Value) {
    let Some(text) = variable(pod, VARIABLE) else { return };
    let Ok(originals) = serde_json::from_str::<Map<String, Value>>(text) else { return };
    each(pod, |container, field, path| {
        let Some(probe) = container.get_mut(field).and_then(Value::as_object_mut) else { return };
        let ours = probe.get("httpGet").is_some_and(|asked| asked["path"] == path.as_str());
        let Some(Value::Object(original)) = originals.get(&path).filter(|_| ours) else { return };
        probe.remove("httpGet");
        let action = original.iter().find(|(key, _)| ACTIONS.contains(&key.as_str()));
        probe.extend(action.map(|(key, value)| (key.clone(), value.clone())));
    });
}

/// Each probe that may be there: the container, the field, and the path that stands for it.
fn each(pod: &mut Value, mut visit: impl FnMut(&mut Value, &str, String)) {
    for list in ["/spec/initContainers", "/spec/containers"] {
        let containers = pod.pointer_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter(|c| ![PROXY, INIT].contains(&name(c))) {
            for (field, word) in KINDS {
                let path = format!("/app-health/{}/{word}", name(container));
                visit(container, field, path);
            }
        }
    }
}

/// By number, or by the name of one of the container's ports.
fn port(action: &Value, ports: &Value) -> Option<u64> {
    match &action["port"] {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => {
            let named = ports.as_array()?.iter().find(|port| port["name"] == text.as_str());
            named.and_then(|port| port["containerPort"].as_u64()).or_else(|| text.parse().ok())
        }
        _ => None,
    }
}

/// An environment variable of the proxy that is in the pod already.
pub(super) fn variable<'a>(pod: &'a Value, wanted: &str) -> Option<&'a str> {
    let containers = pod.pointer("/spec/initContainers")?.as_array()?;
    let proxy = containers.iter().find(|container| name(container) == PROXY)?;
    proxy["env"].as_array()?.iter().find(|variable| variable["name"] == wanted)?["value"].as_str()
}
