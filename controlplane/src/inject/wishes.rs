//! What a pod's annotations ask of its sidecar, by Istio's names.
//!
//! Each known annotation is acted on, or named as not supported; a value that means nothing refuses the pod, because
//! a sidecar that is set up otherwise than it was written is worse than none. It builds nothing.

use super::decision::Refused;
use super::proxy_config::ProxyConfig;
use super::{STATUS_PORT, quantity, redirect};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Wishes {
    /// `requests` and `limits`, where an annotation sets one.
    pub(super) resources: Option<Value>,
    pub(super) image: Option<String>,
    /// As RUST_LOG writes it.
    pub(super) log_level: Option<&'static str>,
    pub(super) config: ProxyConfig,
    pub(super) probes: Probes,
    pub(super) metrics: Metrics,
    /// Whether responses name the filters that they met.
    pub(super) filter_header: bool,
    /// Where it is not the usual one.
    pub(super) own_status_port: Option<u16>,
    /// Fields of the sidecar's readiness probe.
    pub(super) readiness: Map<String, Value>,
    /// Arguments of weft-init.
    pub(super) redirection: Vec<String>,
    pub(super) volumes: Vec<Value>,
    pub(super) mounts: Vec<Value>,
    /// A sentence each.
    pub(super) not_supported: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Probes {
    #[default]
    Rewritten,
    AsWritten,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Metrics {
    #[default]
    Merged,
    Apart,
}

/// The one wish that has no name of Istio's.
const FILTER_HEADER: &str = "weft.dev/filter-header";

impl Wishes {
    pub(super) fn read(pod: &Value) -> Result<Self, Refused> {
        let mut wishes = Self::default();
        let annotations = pod.pointer("/metadata/annotations").and_then(Value::as_object);
        // A file has them as they were written, the API server in this order.
        let sorted: BTreeMap<_, _> = annotations.into_iter().flatten().collect();
        for (key, value) in sorted {
            let value = value.as_str().unwrap_or_default();
            if let Some(argument) = redirect::argument(key, value)? {
                wishes.redirection.extend(argument);
            } else {
                wishes.annotation(key, value)?;
            }
        }
        Ok(wishes)
    }

    fn annotation(&mut self, key: &str, value: &str) -> Result<(), Refused> {
        match key {
            "sidecar.istio.io/proxyCPU" => self.resource("requests", "cpu", (key, value))?,
            "sidecar.istio.io/proxyCPULimit" => self.resource("limits", "cpu", (key, value))?,
            "sidecar.istio.io/proxyMemory" => self.resource("requests", "memory", (key, value))?,
            "sidecar.istio.io/proxyMemoryLimit" => self.resource("limits", "memory", (key, value))?,
            "sidecar.istio.io/proxyImage" => self.image(key, value),
            "sidecar.istio.io/logLevel" => self.log_level(key, value)?,
            "sidecar.istio.io/rewriteAppHTTPProbers" if !boolean(key, value)? => self.probes = Probes::AsWritten,
            "prometheus.istio.io/merge-metrics" if !boolean(key, value)? => self.metrics = Metrics::Apart,
            "sidecar.istio.io/userVolume" => self.volumes = named(key, value)?,
            "sidecar.istio.io/userVolumeMount" => self.mounts = mounts(key, value)?,
            "sidecar.istio.io/interceptionMode" => self.interception(key, value)?,
            "sidecar.istio.io/nativeSidecar" if !boolean(key, value)? => {
                self.lacks(key, "the sidecar is always a native one (an init container that goes on running)");
            }
            "proxy.istio.io/config" => self.config = ProxyConfig::read(key, value, &mut self.not_supported)?,
            FILTER_HEADER => self.filter_header = boolean(key, value)?,
            "status.sidecar.istio.io/port" => self.status_port_of(key, value)?,
            "readiness.status.sidecar.istio.io/initialDelaySeconds" => {
                self.readiness("initialDelaySeconds", key, value)?
            }
            "readiness.status.sidecar.istio.io/periodSeconds" => self.readiness("periodSeconds", key, value)?,
            "readiness.status.sidecar.istio.io/failureThreshold" => self.readiness("failureThreshold", key, value)?,
            "sidecar.istio.io/rewriteAppHTTPProbers"
            | "prometheus.istio.io/merge-metrics"
            | "sidecar.istio.io/nativeSidecar"
            | "sidecar.istio.io/inject" => {}
            other if PREFIXES.iter().any(|prefix| other.starts_with(prefix)) => {
                self.lacks(other, "this version of Weft does not act on it");
            }
            _ => {}
        }
        Ok(())
    }

    /// Where the sidecar answers for probes and metrics.
    pub(super) fn status_port(&self) -> u16 {
        self.own_status_port.unwrap_or(STATUS_PORT)
    }

    fn status_port_of(&mut self, key: &str, value: &str) -> Result<(), Refused> {
        match value.parse::<u16>() {
            Ok(0) => {
                self.lacks(key, &format!("the sidecar's status is not switched off, and stays on port {STATUS_PORT}"))
            }
            Ok(port) => self.own_status_port = (port != STATUS_PORT).then_some(port),
            Err(_) => return Err(wrong(key, value, "a port from 1 to 65535")),
        }
        Ok(())
    }

    fn lacks(&mut self, key: &str, sentence: &str) {
        self.not_supported.push(format!("annotation {key} has no effect: {sentence}"));
    }

    fn resource(&mut self, side: &str, what: &str, (key, value): (&str, &str)) -> Result<(), Refused> {
        if !quantity::is_valid(value) {
            return Err(wrong(key, value, "a quantity such as 100m or 64Mi"));
        }
        self.resources.get_or_insert_with(|| json!({}))[side][what] = value.into();
        Ok(())
    }

    /// Pods that come from Istio may still name its proxy, which is not ours.
    fn image(&mut self, key: &str, value: &str) {
        let repository = value.rsplit('/').next().unwrap_or(value).split([':', '@']).next();
        if repository == Some("proxyv2") {
            self.lacks(key, "it names Istio's proxy");
        } else if !value.is_empty() {
            self.image = Some(value.to_owned());
        }
    }

    fn log_level(&mut self, key: &str, value: &str) -> Result<(), Refused> {
        if value.contains([':', ',']) {
            self.lacks(key, "levels of Envoy's components mean nothing here");
            return Ok(());
        }
        let known = [
            ("trace", "trace"),
            ("debug", "debug"),
            ("info", "info"),
            ("warning", "warn"),
            ("warn", "warn"),
            ("error", "error"),
            ("critical", "error"),
            ("off", "off"),
        ];
        let level = known.iter().find(|(word, _)| *word == value);
        self.log_level =
            Some(level.ok_or_else(|| wrong(key, value, "trace, debug, info, warning, error, critical or off"))?.1);
        Ok(())
    }

    fn interception(&mut self, key: &str, value: &str) -> Result<(), Refused> {
        match value {
            "REDIRECT" => Ok(()),
            "TPROXY" => {
                self.lacks(key, "TPROXY is not supported, and REDIRECT is used");
                Ok(())
            }
            "NONE" => Err(Refused::new(
                format!("annotation {key}=NONE is not supported: in a cluster every sidecar intercepts"),
                "remove it, or keep the pod out with label weft.dev/inject=false",
            )),
            _ => Err(wrong(key, value, "REDIRECT")),
        }
    }

    fn readiness(&mut self, field: &str, key: &str, value: &str) -> Result<(), Refused> {
        let number: u32 = value.parse().map_err(|_| wrong(key, value, "a number of seconds or failures"))?;
        if number == 0 && field != "initialDelaySeconds" {
            return Err(wrong(key, value, "a number from 1"));
        }
        self.readiness.insert(field.to_owned(), number.into());
        Ok(())
    }
}

/// What injection would have had to act on.
const PREFIXES: &[&str] = &[
    "sidecar.istio.io/",
    "traffic.sidecar.istio.io/",
    "proxy.istio.io/",
    "status.sidecar.istio.io/",
    "readiness.status.sidecar.istio.io/",
    "inject.istio.io/",
];

pub(super) fn wrong(key: &str, value: &str, wanted: &str) -> Refused {
    Refused::new(format!("annotation {key} is {value:?}"), format!("write {wanted}"))
}

fn boolean(key: &str, value: &str) -> Result<bool, Refused> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" => Ok(true),
        "false" | "f" | "0" => Ok(false),
        _ => Err(wrong(key, value, "\"true\" or \"false\"")),
    }
}

/// A list of objects with names, or, as Istio documents it, a mapping from names to objects.
fn named(key: &str, value: &str) -> Result<Vec<Value>, Refused> {
    let form = || wrong(key, value, r#"JSON such as [{"name": "certs", "secret": {"secretName": "certs"}}]"#);
    let objects = match serde_json::from_str(value).map_err(|_| form())? {
        Value::Array(objects) => objects,
        Value::Object(by_name) => by_name.into_iter().map(|(name, object)| with_name(name, object)).collect(),
        _ => return Err(form()),
    };
    let whole = |object: &Value| object.get("name").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
    if objects.iter().all(whole) { Ok(objects) } else { Err(form()) }
}

fn with_name(name: String, mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.insert("name".to_owned(), name.into());
    }
    object
}

fn mounts(key: &str, value: &str) -> Result<Vec<Value>, Refused> {
    let mounts = named(key, value)?;
    if mounts.iter().all(|mount| mount.get("mountPath").is_some_and(Value::is_string)) {
        return Ok(mounts);
    }
    Err(wrong(key, value, r#"JSON such as [{"name": "certs", "mountPath": "/etc/certs", "readOnly": true}]"#))
}
