//! Pieces of the YAML that the suites feed to the control plane.

use std::net::SocketAddr;

/// A Service that selects `app: NAME`, with one port 8080. `port` names it, and so its protocol: `http`, `tcp`, `grpc`.
pub fn service(name: &str, port: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  selector: {{app: {name}}}\n  ports: [{{name: {port}, port: 8080}}]\n---\n"
    )
}

/// A WorkloadEntry `APP-VERSION` whose app listens on `address`; service account and sidecar have its name.
pub fn workload(app: &str, version: &str, port: &str, address: SocketAddr) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {app}-{version}}}\nspec:\n  address: {}\n  ports: {{{port}: {}}}\n  labels: {{app: {app}, version: {version}}}\n  serviceAccount: {app}-{version}\n---\n",
        address.ip(),
        address.port()
    )
}

/// The workload from which the suites call: no app, no port.
pub fn caller(name: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}}}\nspec:\n  address: 127.0.0.1\n  labels: {{app: {name}}}\n  serviceAccount: {name}\n---\n"
    )
}

/// Subsets named as the label `version`.
pub fn subsets(host: &str, versions: &[&str]) -> String {
    let subsets: String =
        versions.iter().map(|version| format!("  - {{name: {version}, labels: {{version: {version}}}}}\n")).collect();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {host}}}\nspec:\n  host: {host}\n  subsets:\n{subsets}---\n"
    )
}

/// A VirtualService of one host; `http` is its list of routes, indented by two.
pub fn virtual_service(host: &str, http: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {host}}}\nspec:\n  hosts: [{host}]\n  http:\n{http}\n---\n"
    )
}

pub const STRICT: &str = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, namespace: weft-system}\nspec: {mtls: {mode: STRICT}}\n---\n";
