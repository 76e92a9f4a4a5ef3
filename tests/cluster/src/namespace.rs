//! A namespace of one test: made at its start, gone after it, and reported on when the test fails.

use crate::{Caller, get, kubectl, kubectl_with, manifests, try_kubectl};
use serde_json::Value;
use std::sync::atomic::{AtomicU32, Ordering};

pub struct Namespace {
    pub name: String,
}

/// What a Deployment may take to be ready, images and sidecars included.
const READY_MAX: &str = "--timeout=90s";
/// Lines of each container's log in a report.
const LOG_LINES: &str = "--tail=60";

impl Namespace {
    /// `name` gets a number, so that one that is still being deleted is in nobody's way. Labels as kubectl takes them:
    /// `istio-injection=enabled`.
    #[track_caller]
    pub fn new(name: &str, labels: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let namespace = Self { name: format!("{name}-{}-{number}", std::process::id()) };
        kubectl(["create", "namespace", &namespace.name]);
        if !labels.is_empty() {
            kubectl(["label", "namespace", &namespace.name].iter().chain(labels));
        }
        namespace
    }

    #[track_caller]
    pub fn apply(&self, yaml: &str) {
        self.try_apply(yaml).unwrap_or_else(|error| panic!("{error}"));
    }

    pub fn try_apply(&self, yaml: &str) -> Result<String, String> {
        kubectl_with(["-n", &self.name, "apply", "-f", "-"], yaml)
    }

    /// Creates objects, given as JSON: nothing is left out and nothing is merged.
    pub fn try_create(&self, object: &Value) -> Result<String, String> {
        kubectl_with(["-n", &self.name, "create", "-f", "-"], &object.to_string())
    }

    /// kubectl in this namespace.
    #[track_caller]
    pub fn kubectl<'a>(&'a self, arguments: impl IntoIterator<Item = &'a str>) -> String {
        kubectl(["-n", &self.name].into_iter().chain(arguments))
    }

    pub fn try_kubectl<'a>(&'a self, arguments: impl IntoIterator<Item = &'a str>) -> Result<String, String> {
        try_kubectl(["-n", &self.name].into_iter().chain(arguments))
    }

    /// Objects of this namespace: `get(["virtualservice", "reviews"])`.
    #[track_caller]
    pub fn get<'a>(&'a self, what: impl IntoIterator<Item = &'a str>) -> Value {
        get(["-n", &self.name].into_iter().chain(what))
    }

    /// Waits until all pods of these Deployments are ready.
    #[track_caller]
    pub fn ready(&self, deployments: &[&str]) {
        for deployment in deployments {
            self.kubectl(["rollout", "status", &format!("deployment/{deployment}"), READY_MAX]);
        }
    }

    /// One version of an app behind the Service `name`, ready: [`manifests::app`].
    #[track_caller]
    pub fn app(&self, name: &str, version: &str) {
        self.apply(&(manifests::service(name) + &manifests::app(name, version)));
        self.ready(&[&format!("{name}-{version}")]);
    }

    /// A pod to call from, ready; its service account has its name.
    #[track_caller]
    pub fn caller(&self, name: &str) -> Caller {
        self.caller_with(name, "{}")
    }

    /// The same, of whose pod something is asked: `{sidecar.istio.io/logLevel: debug}`.
    #[track_caller]
    pub fn caller_with(&self, name: &str, annotations: &str) -> Caller {
        self.apply(&manifests::caller_with(name, annotations));
        self.ready(&[name]);
        Caller::new(&self.name, name)
    }

    /// A namespace of the mesh in which these apps answer a caller.
    #[track_caller]
    pub fn shop(name: &str, apps: &[&str]) -> (Self, Caller) {
        let namespace = Self::new(name, &["istio-injection=enabled"]);
        let all: String = apps.iter().map(|app| manifests::service(app) + &manifests::app(app, "v1")).collect();
        namespace.apply(&(all + &manifests::caller("caller")));
        apps.iter().for_each(|app| namespace.ready(&[&format!("{app}-v1")]));
        let caller = namespace.caller("caller");
        for app in apps {
            caller.until(&namespace.url(app), &[], |answer| answer.status == 200);
        }
        (namespace, caller)
    }

    /// Of a Service of this namespace, from any other too.
    pub fn url(&self, service: &str) -> String {
        format!("http://{service}.{}/", self.name)
    }

    /// To call from the app's container of a Deployment that is there.
    pub fn inside(&self, deployment: &str) -> Caller {
        Caller::new(&self.name, deployment)
    }

    /// The pods with a label: `pods("app=reviews")`.
    #[track_caller]
    pub fn pods(&self, selector: &str) -> Vec<Value> {
        let list = self.get(["pods", "-l", selector]);
        list["items"].as_array().cloned().unwrap_or_default()
    }

    fn report(&self) {
        for namespace in [self.name.as_str(), "weft-system"] {
            for what in [
                &["get", "pods", "-o", "wide"][..],
                &["get", "events", "--sort-by=.lastTimestamp"],
                &["logs", "-l", "!none", "--all-containers", "--prefix", LOG_LINES],
            ] {
                let said = try_kubectl(["-n", namespace].iter().chain(what)).unwrap_or_else(|error| error);
                eprintln!("---- {namespace}: kubectl {} ----\n{said}", what.join(" "));
            }
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.report();
        }
        if std::env::var_os("WEFT_CLUSTER_KEEP").is_none() {
            let _ = try_kubectl(["delete", "namespace", &self.name, "--wait=false"]);
        }
    }
}
