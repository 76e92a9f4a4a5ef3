//! A mesh on disk, a control plane on it, and sidecars played by real gRPC clients over real TLS.
//!
//! The sidecars here only speak the stream; they serve no traffic.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses a part")]

pub(crate) mod process;
pub(crate) mod sidecar;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use weft_controlplane::status::{Report, fetch};
use weft_controlplane::{ControlPlane, Options, TokenOptions, create_token};

/// A folder of YAML and a state folder.
pub(crate) struct Mesh {
    scratch: tempfile::TempDir,
}

impl Mesh {
    pub(crate) fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir(scratch.path().join("mesh")).unwrap();
        Self { scratch }
    }

    /// As most tests want it: productpage calls reviews and ratings.
    pub(crate) fn bookinfo() -> Self {
        let mesh = Self::new();
        for name in ["productpage", "reviews", "ratings"] {
            mesh.service(name);
        }
        mesh
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.scratch.path().join("mesh")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    pub(crate) fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// A Service and its one WorkloadEntry, in files of their own.
    pub(crate) fn service(&self, name: &str) {
        self.write(&format!("{name}.yaml"), &service(name, 9080));
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        let new = self.scratch.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.folder().join(file)).unwrap();
    }

    pub(crate) fn remove(&self, file: &str) {
        fs::remove_file(self.folder().join(file)).unwrap();
    }

    pub(crate) fn options(&self) -> Options {
        let any = "127.0.0.1:0".parse().unwrap();
        let day = Duration::from_secs(24 * 3600);
        Options {
            origin: weft_controlplane::Origin { folder: Some(self.folder()), kubernetes: false },
            listen: any,
            webhook: None,
            sidecar_image: None,
            sidecar_pull_policy: None,
            sidecar_pull_secrets: Vec::new(),
            status: any,
            state: Some(self.state()),
            state_shared: false,
            compilers: None,
            replicas: Vec::new(),
            svid_life: day,
            root_life: day * 3650,
            ca_cert: None,
            ca_key: None,
            ca_root: None,
            ports_file: None,
            log_level: "info".to_owned(),
            log_format: weft_controlplane::LogFormat::Text,
        }
    }

    pub(crate) async fn start(&self) -> ControlPlane {
        ControlPlane::start(&self.options()).await.unwrap()
    }

    pub(crate) fn token(&self, account: &str) -> String {
        self.token_of(account, false)
    }

    pub(crate) fn token_of(&self, account: &str, reusable: bool) -> String {
        let options = TokenOptions {
            account: account.parse().unwrap(),
            reusable,
            ttl: Duration::from_secs(3600),
            state: Some(self.state()),
        };
        create_token(&options).unwrap()
    }
}

pub(crate) fn service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: http, port: 9080, targetPort: {port}}}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}-v1}}
spec:
  address: 127.0.0.1
  serviceAccount: {name}
  labels: {{app: {name}, version: v1}}
  ports: {{http: {port}}}
"
    )
}

/// One rule that sets a header; what it sets is what changes.
pub(crate) fn virtual_service(name: &str, value: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [{name}]
  http:
  - headers: {{request: {{set: {{x-test: '{value}'}}}}}}
    route: [{{destination: {{host: {name}}}}}]
"
    )
}

/// Polls the status until it fits.
pub(crate) async fn eventually(at: std::net::SocketAddr, what: &str, fits: impl Fn(&Report) -> bool) -> Report {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let report = fetch(&at.to_string()).await.unwrap();
        if fits(&report) {
            return report;
        }
        assert!(Instant::now() < deadline, "never came: {what}; last was {report:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
