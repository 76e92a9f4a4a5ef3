//! `weft filter inspect`: what a component says of itself, without running it.

use super::RegistryOptions;
use super::push::{explain, host};
use crate::output::say;
use anyhow::{Context, Result};
use std::path::PathBuf;
use weft_filter_build::{Inspection, inspect};
use weft_oci::Reference;

/// Shows a filter's contract, phases, config schema and documentation
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  weft filter inspect canary.wasm\n  weft filter inspect oci-layout:images/canary:1.2 -o json"
)]
pub(crate) struct Options {
    /// A component, or an image
    #[arg(value_name = "FILE|IMAGE")]
    source: String,
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    registries: RegistryOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Text,
    Json,
}

pub(crate) async fn run(options: Options) -> Result<()> {
    let component = read(&options).await?;
    let inspection = inspect(&component).with_context(|| format!("{} is no filter", options.source))?;
    match options.output {
        Output::Text => say(text(&inspection).trim_end()),
        Output::Json => say(serde_json::to_string_pretty(&json(&inspection))?),
    }
    Ok(())
}

async fn read(options: &Options) -> Result<Vec<u8>> {
    let path = PathBuf::from(&options.source);
    let is_image = options.source.starts_with("oci://") || options.source.starts_with("oci-layout:");
    if path.is_file() || !is_image {
        return std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()));
    }
    let image: Reference = options.source.parse()?;
    let images = options.registries.images(host(&image));
    let spool = tempfile::tempdir().context("cannot make a temporary folder")?;
    let pulled = images.pull(&image, spool.path()).await.map_err(explain)?;
    std::fs::read(pulled.component.path()).context("cannot read what was pulled")
}

fn text(inspection: &Inspection) -> String {
    let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let mut text = format!(
        "contract  weft:filter {}\nexports   {}\nimports   {}\nsize      {} bytes\n",
        inspection.contract,
        list(&inspection.exports),
        list(&inspection.imports),
        inspection.size
    );
    if let Some(schema) = &inspection.config_schema {
        text += &format!("\nconfig schema\n{schema}\n");
    }
    if let Some(doc) = &inspection.doc {
        text += &format!("\n{doc}\n");
    }
    text
}

fn json(inspection: &Inspection) -> serde_json::Value {
    let schema = inspection.config_schema.as_deref().map(serde_json::from_str::<serde_json::Value>);
    serde_json::json!({
        "contract": inspection.contract,
        "exports": inspection.exports,
        "imports": inspection.imports,
        "size": inspection.size,
        "configSchema": schema.and_then(Result::ok),
        "doc": inspection.doc,
    })
}
