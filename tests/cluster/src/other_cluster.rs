//! A second cluster: an API server beside the node's own, with objects of its own and another key for its accounts' tokens.
//! It runs no pods. Only on a node of `tests/cluster/run`.

use crate::mesh::NODE_IP;
use crate::{kubectl, kubectl_with, own_node, try_kubectl, within};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

pub struct OtherCluster {
    server: Child,
    folder: TempDir,
}

impl OtherCluster {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (key, public) = (folder.path().join("accounts.key"), folder.path().join("accounts.pub"));
        openssl(&["genrsa", "-out", text(&key), "2048"]);
        openssl(&["rsa", "-in", text(&key), "-pubout", "-out", text(&public)]);
        let keys = own_node().expect("the node is ours").join("keys");
        let mut command = Command::new("kube-apiserver");
        command
            .args(["--etcd-servers", "http://127.0.0.1:2379", "--etcd-prefix", "/other", "--secure-port", PORT])
            .args(["--advertise-address", NODE_IP, "--service-cluster-ip-range", "10.97.0.0/16"])
            .args(["--authorization-mode", "RBAC"])
            .args(["--service-account-issuer", "https://kubernetes.default.svc.cluster.local"])
            .arg("--service-account-key-file")
            .arg(&public)
            .arg("--service-account-signing-key-file")
            .arg(&key)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap());
        for (option, file) in [
            ("--tls-cert-file", "apiserver.crt"),
            ("--tls-private-key-file", "apiserver.key"),
            ("--token-auth-file", "tokens.csv"),
        ] {
            command.arg(option).arg(keys.join(file));
        }
        let kubeconfig = kubectl(["config", "view", "--raw", "--flatten"]).replace(":6443", &format!(":{PORT}"));
        std::fs::write(folder.path().join("kubeconfig"), kubeconfig).unwrap();
        let cluster = Self { server: command.spawn().unwrap(), folder };
        within(START_MAX, "the other cluster's API server is ready", || {
            try_kubectl(cluster.arguments(&["get", "--raw", "/readyz"]))
        });
        cluster
    }

    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        kubectl(self.arguments(arguments))
    }

    #[track_caller]
    pub fn apply(&self, yaml: &str) {
        kubectl_with(self.arguments(&["apply", "-f", "-"]), yaml).unwrap_or_else(|error| panic!("{error}"));
    }

    fn arguments(&self, arguments: &[&str]) -> Vec<String> {
        let there = ["--kubeconfig".to_owned(), text(&self.folder.path().join("kubeconfig")).to_owned()];
        there.into_iter().chain(arguments.iter().map(|argument| (*argument).to_owned())).collect()
    }
}

impl Drop for OtherCluster {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        if std::thread::panicking() {
            eprintln!(
                "--- the other API server:\n{}",
                std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
            );
        }
    }
}

fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the folder for what is temporary has a name in UTF-8")
}

const PORT: &str = "7443";
/// On a busy machine.
const START_MAX: Duration = Duration::from_secs(60);
