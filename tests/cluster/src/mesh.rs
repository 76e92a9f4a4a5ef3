//! Weft in the cluster, put there by the command that a user types.

use crate::{eventually, get, image_prefix, image_tag, kubectl_with, manifests, own_node, try_kubectl, within};
use serde_json::json;
use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::Once;
use std::time::Duration;
use weft_tests::{Registry, filter_component, push};

/// `weft ARGUMENTS…`: what it says, both streams together.
pub fn weft<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Result<String, String> {
    run(Command::new(weft_tests::weft()), arguments)
}

/// The same as somebody else, who has this kubeconfig.
pub fn weft_as<A: AsRef<OsStr>>(kubeconfig: &Path, arguments: impl IntoIterator<Item = A>) -> Result<String, String> {
    let mut command = Command::new(weft_tests::weft());
    command.env("KUBECONFIG", kubeconfig);
    run(command, arguments)
}

fn run<A: AsRef<OsStr>>(mut command: Command, arguments: impl IntoIterator<Item = A>) -> Result<String, String> {
    let output = command.args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(said.into_owned())
    } else {
        Err(format!("{command:?} ended with {}: {said}", output.status))
    }
}

/// The images of this build run after it, whether or not Weft was there before.
#[track_caller]
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(reinstall(&[])));
}

/// The same again, with more options; what it says.
#[track_caller]
pub fn reinstall(options: &[&str]) -> String {
    let (prefix, tag) = (image_prefix(), image_tag());
    let usual = ["install", "--image-prefix", &prefix, "--tag", &tag];
    weft(usual.iter().chain(options)).unwrap_or_else(|error| panic!("{error}"))
}

/// Installed, and asked by the API server about what is written: until it knows the webhook's certificate it stores all.
#[track_caller]
pub fn install_checked() {
    install();
    let wrong = manifests::object("VirtualService", "probe", &json!({"hosts": ["a"], "rout": []}));
    eventually("the webhook is asked", || match kubectl_with(["create", "--dry-run=server", "-f", "-"], &wrong) {
        Err(said) if said.contains("validate.weft.dev") => Ok(()),
        other => Err(other),
    });
}

/// For suites with a control plane of their own, beside the cluster: one that runs in it would lead, and show its own root.
#[track_caller]
pub fn without_weft() {
    if try_kubectl(["-n", "weft-system", "get", "deployment", "weft-controlplane"]).is_err() {
        return;
    }
    weft(["uninstall", "--force"]).unwrap_or_else(|error| panic!("{error}"));
    within(GONE_MAX, "no control plane runs any more", || {
        let left = control_planes();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

const GONE_MAX: Duration = Duration::from_secs(60);

/// Addresses of the control plane's pods.
pub fn control_planes() -> Vec<String> {
    let pods = get(["-n", "weft-system", "pods", "-l", "app.kubernetes.io/name=weft-controlplane"]);
    let addresses = pods["items"].as_array().into_iter().flatten().map(|pod| pod["status"]["podIP"].as_str());
    addresses.map(|address| address.unwrap_or_default().to_owned()).collect()
}

/// A registry that pods reach: one of our own on the node's address, or the one from which a given cluster pulls.
pub struct Filters {
    registry: Option<Registry>,
}

/// `tests/cluster/node/settings` says so.
pub(crate) const NODE_IP: &str = "172.31.0.2";

impl Filters {
    pub fn start() -> Self {
        Self { registry: own_node().map(|_| Registry::start_on(Ipv4Addr::UNSPECIFIED)) }
    }

    /// Builds a standard filter or a guest of the tests (`filters/canary`) and pushes it; its image, as a Filter names it.
    pub fn push(&self, folder: &str, tag: &str) -> String {
        self.push_component(&filter_component(folder), folder, tag)
    }

    pub fn push_component(&self, component: &[u8], name: &str, tag: &str) -> String {
        let near = |port| format!("oci://127.0.0.1:{port}/{name}:{tag}");
        match &self.registry {
            Some(registry) => push(component, &near(registry.address.port())),
            None => push(component, &self.image(name, tag)),
        };
        self.image(name, tag)
    }

    fn image(&self, name: &str, tag: &str) -> String {
        format!("oci://{}/{name}:{tag}", self.host().unwrap_or_else(image_prefix))
    }

    fn host(&self) -> Option<String> {
        self.registry.as_ref().map(|registry| format!("{NODE_IP}:{}", registry.address.port()))
    }

    /// The spec of the one Mesh object by which the control plane speaks to it in plain text; nothing where that is not wanted.
    pub fn mesh(&self) -> String {
        self.host().map_or_else(String::new, |host| {
            format!(
                "apiVersion: weft.dev/v1alpha1
kind: Mesh
metadata: {{name: default, namespace: weft-system}}
spec:
  registries: [{{host: '{host}', plainHttp: true}}]
---
"
            )
        })
    }
}
