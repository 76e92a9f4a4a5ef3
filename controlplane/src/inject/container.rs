//! The sidecar's two containers, and their place before all others.
//!
//! `weft-init` redirects the pod's traffic and ends; `weft-proxy` is a native sidecar: it is ready before the next
//! container starts, so that the app's own init containers are in the mesh, and it ends after the app has.

use super::decision::name;
use super::overlay::{lists, overlay};
use super::volume::{self, ROOT_FOLDER, STATE_FOLDER, TOKEN_FOLDER};
use super::wishes::Wishes;
use super::{HEALTH_PORT, INIT, METRICS_PORT, PROXY, STATUS_PORT, Settings, TRUST_DOMAIN, UID, metrics, probe};
use serde_json::{Map, Value, json};

pub(super) struct Sidecar<'a> {
    pub(super) settings: &'a Settings,
    pub(super) wishes: &'a Wishes,
    /// The app's probes, as the proxy is told of them.
    pub(super) probes: Map<String, Value>,
    /// Where the app's own metrics are.
    pub(super) metrics: Option<Value>,
    /// The pod was injected by this version: an image that is another now was put there on purpose, as by a webhook
    /// that points to a mirror.
    pub(super) keeps_image: bool,
}

pub(super) fn place(pod: &mut Value, sidecar: &Sidecar<'_>) {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let list = spec.entry("initContainers").or_insert_with(|| json!([]));
    if list.is_null() {
        *list = json!([]);
    }
    let Some(list) = list.as_array_mut() else { return };
    for (at, ours) in [sidecar.init(), sidecar.proxy()].into_iter().enumerate() {
        let there = list.iter().position(|container| name(container) == name(&ours));
        let mut container = there.map_or_else(|| json!({}), |index| list.remove(index));
        let image = container.get("image").filter(|_| sidecar.keeps_image).cloned();
        overlay(&mut container, ours);
        if let Some(image) = image {
            container["image"] = image;
        }
        list.insert(at, container);
    }
}

/// Beside the pod's own: what it needs for its own images stays.
pub(super) fn pull_secrets(pod: &mut Value, names: &[String]) {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut).filter(|_| !names.is_empty()) else { return };
    let list = spec.entry("imagePullSecrets").or_insert_with(|| json!([]));
    if list.is_null() {
        *list = json!([]);
    }
    lists(list, names.iter().map(|name| json!({"name": name})).collect(), "name");
}

impl Sidecar<'_> {
    fn init(&self) -> Value {
        let mut arguments = vec![format!("--uid={UID}")];
        arguments.extend(self.wishes.redirection.iter().cloned());
        if self.wishes.status_port() != STATUS_PORT {
            let ports = [RESERVED_PORT, self.wishes.status_port(), HEALTH_PORT, METRICS_PORT];
            arguments.push(format!("--status-ports={}", ports.map(|port| port.to_string()).join(",")));
        }
        // Root of the pod's network, and of nothing else.
        let capabilities = json!({"drop": ["ALL"], "add": ["NET_ADMIN"]});
        let mut container = self.container(INIT);
        container["command"] = json!(["/weft-init"]);
        container["args"] = json!(arguments);
        container["securityContext"] = context(0, &capabilities);
        container
    }

    fn proxy(&self) -> Value {
        let mut container = self.container(PROXY);
        let mut arguments = vec![
            "--workload=$(POD_NAMESPACE)/$(POD_NAME)".to_owned(),
            format!("--controlplane={}", self.settings.controlplane),
            format!("--token-file={TOKEN_FOLDER}/token"),
            format!("--root-file={ROOT_FOLDER}/root.pem"),
            format!("--state={STATE_FOLDER}/state"),
            "--intercept".to_owned(),
        ];
        if self.wishes.filter_header {
            arguments.push("--filter-header".to_owned());
        }
        let more = json!({
            "command": ["/weft-proxy"],
            "args": arguments,
            "env": self.environment(),
            "ports": [{"name": "http-weft-prom", "containerPort": METRICS_PORT, "protocol": "TCP"}],
            "restartPolicy": "Always",
            // A sidecar that may not join says why in its last words.
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "startupProbe": startup(),
            "readinessProbe": self.readiness(),
            "lifecycle": {"preStop": {"exec": {"command": ["/weft-proxy", "drain"]}}},
            "securityContext": context(UID, &json!({"drop": ["ALL"]})),
            "volumeMounts": volume::mounts(self.wishes),
        });
        overlay(&mut container, more);
        container
    }

    fn container(&self, name: &str) -> Value {
        let settings = self.settings;
        let mut container = json!({
            "name": name,
            "image": self.wishes.image.as_ref().unwrap_or(&settings.image),
            "resources": self.wishes.resources.clone().unwrap_or_else(resources),
        });
        if let Some(policy) = &settings.pull_policy {
            container["imagePullPolicy"] = policy.as_str().into();
        }
        container
    }

    fn environment(&self) -> Vec<Value> {
        let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}});
        let mut variables = vec![
            field("POD_NAME", "metadata.name"),
            field("POD_NAMESPACE", "metadata.namespace"),
            field("POD_IP", "status.podIP"),
        ];
        let (wishes, domain) = (self.wishes, &self.settings.trust_domain);
        let probes = (!self.probes.is_empty()).then(|| Value::Object(self.probes.clone()).to_string());
        let optional = [
            (probe::VARIABLE, probes),
            (metrics::VARIABLE, self.metrics.as_ref().map(Value::to_string)),
            ("WEFT_TRUST_DOMAIN", (domain != TRUST_DOMAIN).then(|| domain.clone())),
            ("WEFT_STATUS_PORT", wishes.own_status_port.map(|port| port.to_string())),
            ("WEFT_LOG", wishes.log_level.map(str::to_owned)),
            ("WEFT_DRAIN", wishes.config.drain.map(|drain| format!("{drain}ms"))),
            ("WEFT_WORKERS", wishes.config.workers.map(|workers| workers.to_string())),
        ];
        let set = optional.into_iter().filter_map(|(name, value)| Some(json!({"name": name, "value": value?})));
        variables.extend(set);
        variables
    }

    fn readiness(&self) -> Value {
        let mut probe = json!({
            "httpGet": health(),
            "periodSeconds": 15,
            "timeoutSeconds": 3,
            "failureThreshold": 4,
        });
        for (field, value) in &self.wishes.readiness {
            probe[field] = value.clone();
        }
        probe
    }
}

/// Each second, so that the app is not kept waiting; for ten minutes, so that a control plane that comes late is no
/// reason to restart.
fn startup() -> Value {
    json!({
        "httpGet": health(),
        "periodSeconds": 1,
        "timeoutSeconds": 3,
        "failureThreshold": 600,
    })
}

fn health() -> Value {
    json!({"path": "/healthz/ready", "port": HEALTH_PORT, "scheme": "HTTP"})
}

/// An idle sidecar with three filters takes 22.5 MiB, a request 25 µs of CPU in each (bench/README.md), a busy
/// connection some 40 KiB: what is asked for is enough for a thousand connections and two thousand requests a second,
/// and the memory's limit for ten thousand connections. No limit of CPU: it would hold requests up, and the sidecar
/// does nothing unasked.
fn resources() -> Value {
    json!({"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}})
}

fn context(user: u32, capabilities: &Value) -> Value {
    json!({
        "runAsUser": user,
        "runAsGroup": user,
        "runAsNonRoot": user != 0,
        "privileged": false,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": capabilities,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// HBONE's, closed.
const RESERVED_PORT: u16 = 15008;
