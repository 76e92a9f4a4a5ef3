//! Injection: which pods get a sidecar, and what such a pod looks like.
//!
//! Pure, on JSON as Kubernetes writes it: the webhook and `weft inject` share it. It knows no API server and no clock.
//!
//! ```text
//! pod, namespace ─ decide ─▶ restore ─▶ wishes ─▶ probes, metrics, containers, volumes, labels ─▶ pod
//!                  skip,     (as it     (its
//!                  refuse    was)       annotations)
//! ```
//! A pod that has a sidecar already is first restored to what it was: a second run changes nothing, or mends what
//! another webhook has changed meanwhile.

mod container;
mod decision;
mod label;
mod metadata;
mod metrics;
mod overlay;
mod probe;
mod proxy_config;
mod quantity;
mod redirect;
mod volume;
mod wishes;
mod workload;

pub(crate) use decision::selects;
pub use decision::{Decision, Namespace, Refused, Skip, decide};
pub use label::{Family, Neighbour};
pub use workload::{Injection, inject_object};

use container::Sidecar;
use serde_json::Value;
use wishes::Wishes;

/// Namespaces that are never in the mesh, whatever their labels say: a cluster must be able to start without it.
pub const NEVER: &[&str] = &["kube-system", "kube-public", "kube-node-lease", "weft-system"];

/// The one revision that there is so far.
pub const REVISION: &str = "default";

/// What a sidecar's containers are called.
pub const PROXY: &str = "weft-proxy";
pub const INIT: &str = "weft-init";

/// JSON of what injection wrote; a pod that has it is in the mesh.
pub const STATUS: &str = "sidecar.weft.dev/status";

/// What the mesh says of every sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Of both containers.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`; `None`: as Kubernetes chooses by the image's tag.
    pub pull_policy: Option<String>,
    /// Names of Secrets in the pod's namespace by which its node pulls the image.
    pub pull_secrets: Vec<String>,
    /// `HOST:PORT` that sidecars dial.
    pub controlplane: String,
    pub trust_domain: String,
    pub neighbour: Neighbour,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            image: format!("weft.dev/weft-proxy:{VERSION}"),
            pull_policy: None,
            pull_secrets: Vec::new(),
            controlplane: "weft-controlplane.weft-system.svc:15012".to_owned(),
            trust_domain: TRUST_DOMAIN.to_owned(),
            neighbour: Neighbour::None,
        }
    }
}

/// A pod, or the template of pods.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub pod: &'a Value,
    pub namespace: &'a Namespace,
    /// Of the Deployment or the like whose template it is; `None`: what the pod says of its owner.
    pub workload: Option<&'a str>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Injected(Injected),
    Skipped(Skip),
    Refused(Refused),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Injected {
    pub pod: Value,
    /// What the pod asks for and does not get.
    pub not_supported: Vec<String>,
}

/// Gives the pod its sidecar, if it shall have one.
pub fn inject(subject: Subject<'_>, settings: &Settings) -> Outcome {
    match decide(subject.pod, subject.namespace, settings.neighbour) {
        Decision::Inject => match patched(subject, settings) {
            Ok(injected) => Outcome::Injected(injected),
            Err(refused) => Outcome::Refused(refused),
        },
        Decision::Skip(skip) => Outcome::Skipped(skip),
        Decision::Refuse(refused) => Outcome::Refused(refused),
    }
}

fn patched(subject: Subject<'_>, settings: &Settings) -> Result<Injected, Refused> {
    let mut pod = subject.pod.clone();
    let before = metadata::status(&pod);
    probe::restore(&mut pod);
    metrics::restore(&mut pod);
    let mut wishes = Wishes::read(&pod)?;
    let probes = probe::rewrite(&mut pod, &mut wishes);
    let metrics = metrics::merge(&mut pod, &wishes);
    let sidecar =
        Sidecar { settings, wishes: &wishes, probes, metrics, keeps_image: before.is_some_and(|v| v == VERSION) };
    container::place(&mut pod, &sidecar);
    volume::place(&mut pod, &wishes);
    container::pull_secrets(&mut pod, &settings.pull_secrets);
    metadata::label(&mut pod, subject.workload, settings.neighbour);
    metadata::annotate(&mut pod, &wishes, settings.neighbour);
    Ok(Injected { pod, not_supported: wishes.not_supported })
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Where the mesh says no other.
const TRUST_DOMAIN: &str = "cluster.local";
/// Whose traffic is not redirected.
const UID: u32 = 1337;
const STATUS_PORT: u16 = 15020;
const HEALTH_PORT: u16 = 15021;
const METRICS_PORT: u16 = 15090;

#[cfg(test)]
mod tests;
