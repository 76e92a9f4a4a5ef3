//! The control plane in a Kubernetes cluster. The only module that sees kube.
//!
//! ```text
//! watches ─ trimmed ─▶ source ─ FileSet ─▶ world (as a folder's) ─ standing ─▶ status, Events, last good (the leader)
//! ```
//! It does not know what the objects mean: they go to weft-config as texts.

mod client;
mod cupboard;
pub mod custom;
mod identity;
mod kinds;
mod last_good;
mod lease;
mod others;
mod peers;
mod replicas;
mod root;
mod source;
mod status;
mod trim;
mod uninjected;
mod verdict;
mod watch;
pub mod webhook;

pub(crate) use client::ClientError;
pub(crate) use cupboard::ClusterCupboard;
pub(crate) use identity::PodTokens;
pub(crate) use peers::ClusterPeers;
pub(crate) use replicas::ready_replicas;
pub(crate) use root::SecretVault;
pub(crate) use source::ClusterSource;
pub(crate) use webhook::WebhookOptions;

use crate::ca::Authority;
use crate::inject::Neighbour;
use crate::world::{Event, WorldCell};
use arc_swap::ArcSwap;
use client::said;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::runtime::reflector::Store;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use watch::events;

/// What all parts that work with the cluster share.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespaces: Store<Namespace>,
    pub(crate) here: Here,
}

/// This replica.
#[derive(Clone, Debug)]
pub(crate) struct Here {
    /// POD_NAMESPACE, else `weft-system`.
    pub(crate) namespace: String,
    /// POD_NAME, else a name of this process.
    pub(crate) replica: String,
    /// Where it serves proxies, as each replica does.
    pub(crate) port: u16,
}

/// What the cluster's tasks need of the rest of the control plane.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) cell: WorldCell,
    pub(crate) authority: Arc<Authority>,
    /// Told when what status says may have changed.
    pub(crate) stirred: tokio::sync::watch::Sender<()>,
    /// Whose labels select pods.
    pub(crate) neighbour: Arc<ArcSwap<Neighbour>>,
}

/// Starts to watch. What was seen comes out of the source; the tasks end with it, or when aborted.
pub(crate) async fn watch(port: u16) -> Result<(Cluster, ClusterSource, Vec<JoinHandle<()>>), ClientError> {
    let client = client::connect().await?;
    let (sender, changes) = mpsc::channel(CHANGES_MAX);
    let here = Here::from_environment(port);
    let (namespaces, tasks) = kinds::watch_all(&client, &here, &sender);
    let cluster = Cluster { client, namespaces, here };
    Ok((cluster, ClusterSource::new(changes), tasks))
}

/// Starts what works beside the world loop. Called once everything has been listed, before any proxy is served.
pub(crate) fn start(
    cluster: &Cluster,
    shared: &Shared,
    webhooks: &WebhookOptions,
) -> std::io::Result<Vec<JoinHandle<()>>> {
    let (role, roles) = tokio::sync::watch::channel(lease::Role::Follower);
    let mut tasks = webhook::start(cluster, shared, webhooks)?;
    tasks.extend([
        tokio::spawn(lease::elect(cluster.clone(), role)),
        tokio::spawn(status::write(cluster.clone(), shared.clone(), roles)),
        tokio::spawn(root::keep(cluster.client.clone(), cluster.here.clone(), shared.authority.clone())),
    ]);
    Ok(tasks)
}

impl Here {
    fn from_environment(port: u16) -> Self {
        let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            namespace: read("POD_NAMESPACE").unwrap_or_else(|| "weft-system".to_owned()),
            replica: read("POD_NAME").unwrap_or_else(|| format!("process-{}", std::process::id())),
            port,
        }
    }
}

/// Watches wait while the source is busy.
const CHANGES_MAX: usize = 4096;
