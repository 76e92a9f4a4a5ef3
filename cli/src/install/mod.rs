//! `weft install`, `upgrade` and `uninstall`: Weft's objects into a cluster, and out of it.
//!
//! It does not know how the API is spoken to (`cluster`), nor what the objects say (`objects`).

mod choice;
mod cluster;
mod crd;
mod deployment;
mod managers;
mod objects;
mod preflight;
mod rbac;
mod ready;
mod sidecars;
mod uninstall;
mod webhook;

use crate::output::{progress, say};
use anyhow::{Context as _, Result, bail};
use choice::{Choice, Values};
use cluster::{Cluster, Connection, Outcome, Reference};
use objects::{NAME, NAMESPACE, Objects};
use serde_json::Value;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

pub(crate) use uninstall::{UninstallOptions, uninstall};

/// Installs Weft into the cluster of the kubeconfig, or makes what is there as it should be
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  weft install\n  weft install --dry-run | kubectl diff -f -\n  weft install --values values.yaml"
)]
pub(crate) struct InstallOptions {
    #[command(flatten)]
    connection: Connection,
    /// Registry, and path, of Weft's images [default: what runs, else weft.dev]
    #[arg(long, value_name = "PREFIX")]
    image_prefix: Option<String>,
    /// Tag of Weft's images [default: this release's]
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Replicas of the control plane [default: what runs, else 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    replicas: Option<u16>,
    /// Namespaces in which the control plane may read pull secrets that Filters name
    #[arg(long, value_name = "NS", value_delimiter = ',')]
    pull_secrets: Vec<String>,
    /// Everything else that may be chosen: a file of values, as the Helm chart's (deploy/chart/values.yaml)
    #[arg(short = 'f', long, value_name = "FILE")]
    values: Option<PathBuf>,
    /// Leaves Istio's labels to Istio, as where its injector is found [default: found out; off with --dry-run]
    #[arg(long)]
    beside_istio: bool,
    /// Prints the objects as YAML, in the order of their application, and asks no cluster
    #[arg(long)]
    dry_run: bool,
    /// How long to wait until the control plane serves
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = weft_controlplane::duration)]
    timeout: Duration,
}

pub(crate) async fn install(options: InstallOptions) -> Result<ExitCode> {
    if options.dry_run {
        let choice = options.choice(None, options.beside_istio)?;
        say(weft_config::to_yaml_documents(Objects::new(&choice).all()).trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let cluster = Cluster::connect(&options.connection).await?;
    let Some(choice) = put(&cluster, &options).await? else { return Ok(ExitCode::FAILURE) };
    progress(format!(
        "Weft {} runs. Next: kubectl label namespace NAMESPACE istio-injection=enabled, then restart its workloads",
        choice.tag
    ));
    Ok(ExitCode::SUCCESS)
}

/// Brings an installed Weft to this version, in place, and lists the pods whose sidecars are older
#[derive(Debug, clap::Args)]
pub(crate) struct UpgradeOptions {
    #[command(flatten)]
    install: InstallOptions,
}

pub(crate) async fn upgrade(options: UpgradeOptions) -> Result<ExitCode> {
    let options = options.install;
    if options.dry_run {
        return install(options).await;
    }
    let cluster = Cluster::connect(&options.connection).await?;
    cluster.version().await?;
    if running(&cluster).await?.is_none() {
        bail!("there is no Deployment {NAMESPACE}/{NAME} to upgrade; weft install makes one");
    }
    let Some(choice) = put(&cluster, &options).await? else { return Ok(ExitCode::FAILURE) };
    let older = sidecars::others(&cluster, &choice.image("weft-proxy")).await?;
    if older.is_empty() {
        progress(format!("every sidecar runs {}", choice.image("weft-proxy")));
        return Ok(ExitCode::SUCCESS);
    }
    progress("These pods run another sidecar, and go on doing so until they are replaced:");
    for sidecar in &older {
        say(sidecar);
    }
    progress(REPLACE);
    Ok(ExitCode::SUCCESS)
}

/// Looks, applies, waits. `None`, after saying why, where something is missing.
async fn put(cluster: &Cluster, options: &InstallOptions) -> Result<Option<Choice>> {
    let found = preflight::look(cluster).await?;
    let beside_istio = options.beside_istio || found.istio_injects;
    // Without the right to look it goes on: what is missing is said by name.
    let choice = options.choice(running(cluster).await.unwrap_or_default().as_ref(), beside_istio)?;
    let mut objects = Objects::new(&choice);
    let missing = preflight::missing(cluster, &objects, &found).await?;
    if !missing.is_empty() {
        progress(format!("Weft cannot be installed into {}:", cluster.url));
        for one in missing {
            progress(format!("- {one}"));
        }
        return Ok(None);
    }
    for note in found.notes() {
        progress(format!("note: {note}"));
    }
    objects.crds.retain(|crd| !found.foreign_crds.contains(&Reference::of(crd).name));
    let leaving: Vec<_> = std::iter::once(&objects.namespace).chain(&objects.crds).map(Reference::of).collect();
    ready::gone(cluster, &leaving, options.timeout).await?;
    // Kinds before objects of them; webhooks only when somebody answers them.
    apply(cluster, "namespace", std::slice::from_ref(&objects.namespace)).await?;
    apply(cluster, "kinds", &objects.crds).await?;
    ready::established(cluster, &objects.crds, options.timeout).await?;
    apply(cluster, "control plane", &objects.control_plane).await?;
    ready::control_plane(cluster, &choice, options.timeout).await?;
    for webhook in &objects.webhooks {
        webhook::drop_others(cluster, webhook).await?;
    }
    apply(cluster, "webhooks", &objects.webhooks).await?;
    ready::webhooks(cluster, &objects.webhooks, options.timeout).await?;
    // Without the right to look it goes without saying.
    let lacking = sidecars::lacking(cluster, choice.neighbour()).await.unwrap_or_default();
    if !lacking.is_empty() {
        progress("These pods are of the mesh and have no sidecar: they were made before their label, or without Weft:");
        lacking.iter().for_each(say);
        progress(REPLACE);
    }
    Ok(Some(choice))
}

const REPLACE: &str = "Replace them by kubectl rollout restart of their Deployments, StatefulSets and DaemonSets.";

async fn running(cluster: &Cluster) -> Result<Option<Value>> {
    cluster.get(&Reference::new("apps/v1", "Deployment", Some(NAMESPACE), NAME)).await
}

async fn apply(cluster: &Cluster, what: &str, objects: &[Value]) -> Result<()> {
    let (mut created, mut changed) = (0, 0);
    for object in objects {
        match cluster.apply(object).await.with_context(|| format!("{what}: stopped half-way; run it again"))? {
            Outcome::Created => created += 1,
            Outcome::Changed => changed += 1,
            Outcome::Unchanged => {}
        }
    }
    progress(match (created, changed) {
        (0, 0) => format!("{what}: unchanged"),
        (created, 0) => format!("{what}: {created} created"),
        (0, changed) => format!("{what}: {changed} changed"),
        (created, changed) => format!("{what}: {created} created, {changed} changed"),
    });
    Ok(())
}

impl InstallOptions {
    /// What is asked for, then what runs, then the defaults.
    fn choice(&self, running: Option<&Value>, beside_istio: bool) -> Result<Choice> {
        let options = Values {
            image_prefix: self.image_prefix.clone(),
            tag: self.tag.clone(),
            replicas: self.replicas,
            pull_secrets: Some(self.pull_secrets.clone()).filter(|namespaces| !namespaces.is_empty()),
            beside_istio: beside_istio.then_some(true),
            ..Values::default()
        };
        let file = self.values.as_deref().map(Values::read).transpose()?.unwrap_or_default();
        Ok(options.or(file).or(running.map(Values::of).unwrap_or_default()).into())
    }
}
