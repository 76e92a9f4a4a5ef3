//! The other replicas, for whoever is asked about all proxies.
//!
//! Where they are is told; it only asks each of them.

use super::counts::connected;
use crate::ca::Authority;
use crate::kube::Here;
use crate::status::ProxyLine;
use crate::world::WorldCell;
use futures_util::future::join_all;
use std::net::SocketAddr;
use std::sync::Arc;

#[derive(Clone)]
pub(crate) struct Fellows {
    pub(crate) places: Places,
    pub(crate) authority: Arc<Authority>,
    pub(crate) cell: WorldCell,
}

/// Where they are.
#[derive(Clone)]
pub(crate) enum Places {
    /// As the command line names them.
    Given(Vec<SocketAddr>),
    /// As the cluster has them.
    Cluster(Here),
}

impl Fellows {
    /// The proxies that are connected to others. One that does not answer is left out.
    pub(crate) async fn proxies(&self) -> Vec<ProxyLine> {
        let issuing = self.authority.issuing();
        let addresses = match &self.places {
            Places::Given(addresses) => addresses.clone(),
            Places::Cluster(here) => here.others(&self.cell.load()),
        };
        let answers = join_all(addresses.iter().map(|address| connected(*address, &issuing))).await;
        let told = answers.into_iter().filter_map(|answer| {
            answer.inspect_err(|error| tracing::warn!("{error}; its proxies are shown as away")).ok()
        });
        told.flatten().collect()
    }
}
