//! What the cluster suite shares: a real cluster through kubectl, pods of our images, and load that counts.
//!
//! It knows nothing of Weft's crates but the list of fields from which the CRDs are made: what it tests is what a user
//! runs. `tests/cluster/run` starts the node, builds the images and says in the environment where they are; on a cluster
//! that exists already it uses that one.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod api;
pub mod audit;
mod caller;
mod chart;
mod control_plane;
mod environment;
mod guarded;
mod impostor;
mod kubectl;
pub mod manifests;
mod mesh;
mod namespace;
pub mod node;
mod other_cluster;
mod relay;
mod replica;
mod shop;
mod truth;

pub use api::Api;
pub use caller::{Answer, Caller, Load, Tally};
pub use chart::{CHART, helm};
pub use control_plane::{ControlPlane, Pod};
pub use environment::{image, image_prefix, image_tag, istio_definitions, older_tag, own_node, say};
pub use guarded::{Guarded, Pushed};
pub use impostor::{Impostor, Svid};
pub use kubectl::{get, kubectl, kubectl_with, try_kubectl};
pub use mesh::{Filters, control_planes, install, install_checked, reinstall, weft, weft_as, without_weft};
pub use namespace::Namespace;
pub use other_cluster::OtherCluster;
pub use relay::Relay;
pub use replica::Replica;
pub use shop::{Score, Shop, UnderLoad};
pub use weft_tests::{eventually, within};
