//! `weft filter pull`: an image becomes a file again, verified.

use super::RegistryOptions;
use super::push::{explain, host};
use crate::output::{progress, say};
use anyhow::{Context, Result};
use std::path::PathBuf;
use weft_oci::Reference;

/// Pulls a filter's component and verifies its digests
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  weft filter pull oci://registry.example/filters/canary:1.2 -o canary.wasm")]
pub(crate) struct Options {
    /// oci://HOST[:PORT]/REPOSITORY[:TAG][@DIGEST] or oci-layout:FOLDER[:TAG][@DIGEST]
    #[arg(value_name = "IMAGE")]
    image: Reference,
    /// Where the component goes
    #[arg(short, long, value_name = "FILE", default_value = "filter.wasm")]
    output: PathBuf,
    #[command(flatten)]
    registries: RegistryOptions,
}

pub(crate) async fn run(options: Options) -> Result<()> {
    let images = options.registries.images(host(&options.image));
    let spool = tempfile::tempdir().context("cannot make a temporary folder")?;
    let pulled = images.pull(&options.image, spool.path()).await.map_err(explain)?;
    std::fs::copy(pulled.component.path(), &options.output)
        .with_context(|| format!("cannot write {}", options.output.display()))?;
    progress(format_args!(
        "{}: component {}, {} bytes",
        options.image,
        pulled.component.digest(),
        pulled.component.bytes()
    ));
    say(pulled.image);
    Ok(())
}
