//! A registry as companies have it: TLS by a CA of its own, and a password. Only on a node of `tests/cluster/run`.

use serde_json::{Value, json};
use std::net::Ipv4Addr;
use weft_tests::{PASSWORD, Registry, USER, push_with, pushed_component};

pub struct Guarded {
    registry: Registry,
}

/// What was pushed, by the words of `weft filter push`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// As a Filter names it.
    pub image: String,
    /// Digest of the image.
    pub digest: String,
    /// Digest of the component in it.
    pub component: String,
}

impl Guarded {
    pub fn start() -> Self {
        Self { registry: Registry::start_guarded(NODE_IP.into()) }
    }

    pub fn down(&mut self) {
        self.registry.down();
    }

    pub fn push(&self, component: &[u8], tag: &str) -> Pushed {
        let image = format!("oci://{}/filters/under-test:{tag}", self.host());
        let ca = self.registry.ca();
        let config = self.registry.file("config.json", &docker_config(&self.host(), PASSWORD).to_string());
        let (ca, config) = (ca.display().to_string(), config.display().to_string());
        let said = push_with(component, &image, &["--registry-ca", &ca, "--docker-config", &config]);
        let digest = said.lines().last().unwrap_or_default().to_owned();
        assert!(digest.starts_with("sha256:"), "{said}");
        Pushed { image, digest, component: pushed_component(&said) }
    }

    /// A pull secret with the right password, or a wrong one.
    pub fn pull_secret(&self, name: &str, password: Option<&str>) -> Value {
        let config = docker_config(&self.host(), password.unwrap_or(PASSWORD)).to_string();
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": config},
        })
    }

    /// A ConfigMap in weft-system that holds its CA.
    pub fn ca(&self, name: &str) -> Value {
        let pem = std::fs::read_to_string(self.registry.ca()).unwrap();
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "weft-system"},
            "data": {"ca.crt": pem},
        })
    }

    /// The one Mesh object; with the ConfigMap of its CA, or without.
    pub fn mesh(&self, ca: Option<&str>) -> Value {
        let mut registry = json!({"host": self.host()});
        if let Some(name) = ca {
            registry["caRef"] = json!({"kind": "ConfigMap", "name": name});
        }
        json!({
            "apiVersion": "weft.dev/v1alpha1",
            "kind": "Mesh",
            "metadata": {"name": "default", "namespace": "weft-system"},
            "spec": {"registries": [registry]},
        })
    }

    fn host(&self) -> String {
        format!("{NODE_IP}:{}", self.registry.address.port())
    }
}

fn docker_config(host: &str, password: &str) -> Value {
    json!({"auths": {host: {"username": USER, "password": password}}})
}

/// `tests/cluster/node/settings` says so.
const NODE_IP: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 2);
