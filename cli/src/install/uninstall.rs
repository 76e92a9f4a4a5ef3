//! `weft uninstall`: what Weft put into a cluster goes, in an order in which nothing of the cluster is held up.

use super::choice::{Choice, Values};
use super::cluster::{Cluster, Connection, Reference};
use super::objects::{NAMESPACE, Objects, PART_OF};
use super::{crd, preflight, rbac, ready, sidecars};
use crate::output::{progress, say};
use anyhow::{Result, bail};
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;

/// Removes Weft from the cluster; keeps its CRDs, its namespace and the mesh's root of trust
#[derive(Debug, clap::Args)]
pub(crate) struct UninstallOptions {
    #[command(flatten)]
    connection: Connection,
    /// Also while pods run with sidecars: they go on with their last configuration until their certificates end
    #[arg(long)]
    force: bool,
    /// Also removes the CRDs with every object of their kinds, the namespace, and the root of trust
    #[arg(long)]
    purge: bool,
}

pub(crate) async fn uninstall(options: UninstallOptions) -> Result<ExitCode> {
    let cluster = Cluster::connect(&options.connection).await?;
    cluster.version().await?;
    if let Some(release) = preflight::helm_release(&cluster).await? {
        bail!("Helm release {release} holds it: use helm uninstall {release}");
    }
    let injected = sidecars::pods(&cluster).await?;
    if !injected.is_empty() && !options.force {
        progress("These pods run with Weft's sidecar:");
        injected.iter().for_each(|pod| say(sidecars::name(pod)));
        progress(
            "Take the label off their namespaces and restart their workloads first; --force goes on without that.",
        );
        return Ok(ExitCode::FAILURE);
    }
    let objects = Objects::new(&Choice::from(Values::default()));
    // First what would refuse pods once nobody answers.
    delete(&cluster, "webhooks", objects.webhooks.iter().map(Reference::of)).await?;
    let bindings = cluster.list(&rolebindings(), &format!("{}={}", PART_OF.0, PART_OF.1), "").await?;
    let readers = bindings.iter().filter(|binding| binding["roleRef"]["name"] == rbac::SECRET_READER);
    // The Mesh is its owner's, as all configuration is.
    let own = objects.control_plane.iter().rev().filter(|object| object["kind"] != "Mesh");
    let (runs, rights): (Vec<_>, Vec<_>) = own.chain(readers).partition(|object| object["kind"] == "Deployment");
    delete(&cluster, "control plane", runs.into_iter().map(Reference::of)).await?;
    ready::ended(&cluster, GONE_WITHIN).await?;
    delete(&cluster, "rights and the like", rights.into_iter().map(Reference::of)).await?;
    if options.purge {
        purge(&cluster).await?;
    } else {
        progress(format!(
            "kept: the CRDs with their objects, and namespace {NAMESPACE} with the root of trust; --purge removes them"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

async fn purge(cluster: &Cluster) -> Result<()> {
    let label = format!("{}={}", PART_OF.0, PART_OF.1);
    let definitions = Reference::new("apiextensions.k8s.io/v1", "CustomResourceDefinition", None, "");
    let mut crds = cluster.list(&definitions, &label, "").await?;
    let ours = |object: &Value| crd::ALL.iter().any(|crd| object["metadata"]["name"] == crd.name());
    crds.retain(ours);
    delete(cluster, "kinds", crds.iter().map(Reference::of)).await?;
    let roots = cluster.list(&Reference::new("v1", "ConfigMap", None, ""), "", "metadata.name=weft-root").await?;
    delete(cluster, "root of trust", roots.iter().map(Reference::of)).await?;
    let namespace = Reference::new("v1", "Namespace", None, NAMESPACE);
    delete(cluster, "namespace", std::iter::once(namespace.clone())).await?;
    let leaving: Vec<_> = crds.iter().map(Reference::of).chain([namespace]).collect();
    ready::gone(cluster, &leaving, GONE_WITHIN).await
}

const GONE_WITHIN: Duration = Duration::from_secs(120);

fn rolebindings() -> Reference {
    Reference::new("rbac.authorization.k8s.io/v1", "RoleBinding", None, "")
}

async fn delete(cluster: &Cluster, what: &str, references: impl Iterator<Item = Reference>) -> Result<()> {
    let mut deleted = 0;
    for reference in references {
        deleted += usize::from(cluster.delete(&reference).await?);
    }
    progress(match deleted {
        0 => format!("{what}: nothing there"),
        deleted => format!("{what}: {deleted} deleted"),
    });
    Ok(())
}
