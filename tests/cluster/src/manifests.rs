//! Pods and Services of the suite's own image, written as users write theirs: no mesh in them.

use crate::image;
use serde_json::{Value, json};

/// A Service that selects `app: NAME`: port 80 is HTTP and gRPC, port 9000 raw TCP.
pub fn service(name: &str) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  selector: {{app: {name}}}
  ports:
  - {{name: http, port: 80, targetPort: 8080}}
  - {{name: tcp, port: 9000}}
---
"
    )
}

/// A Deployment `NAME-VERSION` of one pod with the labels `app` and `version`, that calls itself `NAME-VERSION`; its
/// service account is NAME. It goes on serving for 5 s after it was taken out, as apps do that want to lose nothing.
pub fn app(name: &str, version: &str) -> String {
    let image = image("weft-cluster-app");
    format!(
        "apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}-{version}, labels: {{app: {name}, version: {version}}}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: {name}, version: {version}}}}}
  template:
    metadata: {{labels: {{app: {name}, version: {version}}}}}
    spec:
      serviceAccountName: {name}
      containers:
      - name: app
        image: {image}
        args: [serve, --name, {name}-{version}]
        ports: [{{name: http, containerPort: 8080}}, {{name: tcp, containerPort: 9000}}]
        readinessProbe: {{httpGet: {{path: /ready, port: http}}, periodSeconds: 1}}
        lifecycle: {{preStop: {{sleep: {{seconds: 5}}}}}}
---
"
    )
}

/// A Deployment of one pod that does nothing by itself.
pub fn caller(name: &str) -> String {
    caller_with(name, "{}")
}

/// The same with annotations of its pod, as YAML has them: `{a: b}`.
pub fn caller_with(name: &str, annotations: &str) -> String {
    let image = image("weft-cluster-app");
    format!(
        "apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata:
      labels: {{app: {name}}}
      annotations: {annotations}
    spec:
      serviceAccountName: {name}
      terminationGracePeriodSeconds: 2
      containers:
      - name: app
        image: {image}
        args: [idle]
---
"
    )
}

/// One object of the mesh's kinds, as JSON.
pub fn object(kind: &str, name: &str, spec: &Value) -> String {
    let version = match kind {
        "Filter" | "Mesh" => "weft.dev/v1alpha1",
        "PeerAuthentication" => "security.istio.io/v1",
        _ => "networking.istio.io/v1",
    };
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}).to_string()
}

/// The `http` of a VirtualService that sends all to one host.
pub fn to(host: &str) -> Value {
    json!([{"route": [{"destination": {"host": host}}]}])
}

/// Bookinfo as its manifests are, with our images in the place of its own.
pub fn bookinfo() -> String {
    let from = "docker.io/istio/examples-bookinfo-";
    let with_our_names = |line: &str| match line.split_once(from) {
        Some((before, rest)) => {
            format!("{before}{}\n", image(&format!("bookinfo-{}", rest.split(':').next().unwrap())))
        }
        None => format!("{line}\n"),
    };
    include_str!("../manifests/bookinfo.yaml").lines().map(with_our_names).collect()
}

/// The Deployments of [`bookinfo`].
pub const BOOKINFO: [&str; 6] =
    ["details-v1", "ratings-v1", "reviews-v1", "reviews-v2", "reviews-v3", "productpage-v1"];
