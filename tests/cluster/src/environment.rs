//! The cluster under test, as `tests/cluster/run` describes it.

use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;

/// The repository in which the images of this build lie, without a slash at its end.
pub fn image_prefix() -> String {
    wanted("WEFT_CLUSTER_IMAGES")
}

pub fn image_tag() -> String {
    wanted("WEFT_CLUSTER_TAG")
}

/// Of `weft-proxy` and `weft-controlplane` as an older release: a stub that says another version of itself and takes filters
/// compiled for another key, but does what this one does.
pub fn older_tag() -> String {
    wanted("WEFT_CLUSTER_OLDER")
}

/// The whole name of one of our images: `weft-cluster-app`.
pub fn image(name: &str) -> String {
    format!("{}/{name}:{}", image_prefix(), image_tag())
}

/// The file of Istio's own CustomResourceDefinitions.
pub fn istio_definitions() -> String {
    wanted("WEFT_CLUSTER_ISTIO")
}

/// The folder of the node's logs and PIDs; none where the cluster is somebody else's, and its daemons out of reach.
pub fn own_node() -> Option<PathBuf> {
    std::env::var_os("WEFT_CLUSTER_NODE").map(PathBuf::from)
}

/// Figures: shown whether or not their test fails.
pub fn say(text: impl Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn wanted(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: the cluster suite is run by tests/cluster/run"))
}
