//! Where a control plane gets its configuration, its keys and its trust in newcomers: a folder, or a cluster.
//!
//! It chooses between the two and no more.

use crate::Options;
use crate::artifacts::{Cupboard, NoCluster, NoPeers, Peers, Stock};
use crate::ca::{Authority, Seconds};
use crate::kube::{self, ClusterCupboard, ClusterPeers, ClusterSource, PodTokens, SecretVault};
use crate::replica::{self, Places, Stocked};
use crate::source::{FileSet, Folder, Interest, Source};
use crate::state::StateFolder;
use crate::stream::{FirstContact, JoinTokens};
use crate::token::used::UsedTokens;
use crate::world::{Event, WorldCell};
use anyhow::Context;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub(crate) enum Origin {
    Folder(Box<Folder>),
    Cluster(Box<Cluster>),
}

pub(crate) struct Cluster {
    cluster: kube::Cluster,
    source: ClusterSource,
    tasks: Vec<JoinHandle<()>>,
    vault: SecretVault,
}

impl Origin {
    /// In a cluster it waits for the API server.
    pub(crate) async fn open(options: &Options) -> anyhow::Result<Self> {
        if let Some(path) = &options.origin.folder {
            return Ok(Self::Folder(Box::new(Folder::new(path))));
        }
        let (cluster, source, mut tasks) = kube::watch(options.listen.port()).await?;
        let vault = SecretVault::open(cluster.client.clone(), &cluster.here.namespace).await?;
        tasks.push(vault.watch());
        Ok(Self::Cluster(Box::new(Cluster { cluster, source, tasks, vault })))
    }

    pub(crate) async fn authority(
        &self,
        state: &StateFolder,
        options: &Options,
        now: Seconds,
    ) -> anyhow::Result<Authority> {
        let options = options.authority();
        let Self::Cluster(cluster) = self else { return Ok(Authority::open(state, options, now)?) };
        let vault = Arc::new(cluster.vault.clone());
        Ok(tokio::task::spawn_blocking(move || Authority::open_in(vault, options, now)).await??)
    }

    /// Takes over what other replicas have of filters. In a cluster it waits while there is a Ready one.
    pub(crate) async fn stock_up(&self, options: &Options, authority: &Authority, folder: &Path) -> anyhow::Result<()> {
        let stock = Stock::open(folder)?;
        let issuing = authority.issuing();
        let Self::Cluster(cluster) = self else {
            replica::stock_up(&options.replicas, &issuing, &stock).await;
            return Ok(());
        };
        loop {
            let replicas = kube::ready_replicas(&cluster.cluster, options.listen.port()).await;
            let addresses: Vec<SocketAddr> = replicas.iter().map(|replica| replica.address).collect();
            if replica::stock_up(&addresses, &issuing, &stock).await == Stocked::Yes {
                return Ok(());
            }
            tokio::time::sleep(STOCK_AGAIN).await;
        }
    }

    /// Where other replicas are, for whoever tells of them.
    pub(crate) fn fellows(&self, options: &Options) -> Places {
        match self {
            Self::Folder(_) => Places::Given(options.replicas.clone()),
            Self::Cluster(cluster) => Places::Cluster(cluster.cluster.here.clone()),
        }
    }

    /// Those at work beside this one, where they can be found.
    pub(crate) fn peers(&self, options: &Options, authority: &Arc<Authority>) -> Arc<dyn Peers> {
        match self {
            Self::Folder(_) => Arc::new(NoPeers),
            Self::Cluster(cluster) => {
                Arc::new(ClusterPeers::new(cluster.cluster.clone(), authority.clone(), options.listen.port()))
            }
        }
    }

    pub(crate) fn cupboard(&self) -> Arc<dyn Cupboard> {
        match self {
            Self::Folder(_) => Arc::new(NoCluster),
            Self::Cluster(cluster) => Arc::new(ClusterCupboard::new(cluster.cluster.client.clone())),
        }
    }

    /// All that there is now.
    pub(crate) async fn first(&mut self) -> anyhow::Result<FileSet> {
        match self {
            Self::Folder(folder) => Ok(folder.read(Instant::now())),
            Self::Cluster(cluster) => cluster.source.first().await.context("the watches of the cluster ended"),
        }
    }

    pub(crate) fn first_contact(
        &self,
        authority: &Arc<Authority>,
        cell: &WorldCell,
        state: &StateFolder,
    ) -> anyhow::Result<Arc<dyn FirstContact>> {
        Ok(match self {
            Self::Folder(_) => Arc::new(JoinTokens::new(authority.clone(), cell.clone(), UsedTokens::open(state)?)),
            Self::Cluster(cluster) => Arc::new(PodTokens::new(cluster.cluster.client.clone(), cell.clone())),
        })
    }

    /// Tells of every change from now on.
    pub(crate) fn watch(
        self,
        shared: &kube::Shared,
        webhooks: &kube::WebhookOptions,
    ) -> std::io::Result<Vec<JoinHandle<()>>> {
        match self {
            Self::Folder(folder) => watch_folder(*folder, shared.events.clone()).map(|()| Vec::new()),
            Self::Cluster(parts) => {
                let Cluster { cluster, source, mut tasks, .. } = *parts;
                tasks.push(tokio::spawn(watch_cluster(source, shared.events.clone())));
                tasks.extend(kube::start(&cluster, shared, webhooks)?);
                Ok(tasks)
            }
        }
    }
}

async fn watch_cluster(mut source: ClusterSource, events: mpsc::Sender<Event>) {
    while let Some(files) = source.next().await {
        warn(&files);
        if events.send(Event::Files(files)).await.is_err() {
            return;
        }
    }
}

fn watch_folder(folder: Folder, events: mpsc::Sender<Event>) -> std::io::Result<()> {
    let mut publish = move |files: FileSet| {
        warn(&files);
        match events.blocking_send(Event::Files(files)) {
            Ok(()) => Interest::Wanted,
            Err(_) => Interest::Gone,
        }
    };
    // Nobody waits for it: it ends with the loop, or with the process.
    std::thread::Builder::new().name("weft-folder".to_owned()).spawn(move || folder.watch(&mut publish))?;
    Ok(())
}

pub(crate) fn warn(files: &FileSet) {
    for problem in &files.problems {
        tracing::warn!(code = problem.code.name(), path = problem.path, reason = problem.reason, "{}", problem.remedy);
    }
}

const STOCK_AGAIN: Duration = Duration::from_secs(1);
