//! `weft filter build`: a Rust filter crate becomes a component.

use crate::output::{progress, say};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use weft_filter_build::{BuildOptions, Built};

/// Builds a filter crate into a component
///
/// Runs cargo for wasm32-unknown-unknown (rustup fetches the target where it is missing), encodes the result as a
/// component, and checks that it exports a filter's phases and imports nothing but weft:filter. Filters in other
/// languages are built by their own tools and pushed with `weft filter push`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  weft filter build\n  weft filter build filters/canary -o canary.wasm")]
pub(crate) struct Options {
    /// Folder of the filter's Cargo.toml
    #[arg(default_value = ".", value_name = "DIR")]
    folder: PathBuf,
    /// Where the component goes [default: NAME.wasm in the current folder]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let built = component(&options.folder, &BuildOptions::default())?;
    let output = options.output.clone().unwrap_or_else(|| PathBuf::from(format!("{}.wasm", built.name)));
    std::fs::write(&output, &built.component).with_context(|| format!("cannot write {}", output.display()))?;
    progress(format_args!(
        "{} {}: {} bytes, weft:filter {}, exports {}",
        built.name,
        built.version,
        built.component.len(),
        built.inspection.contract,
        built.inspection.exports.join(", ")
    ));
    say(output.display());
    Ok(())
}

/// The demo builds its filters by the same code.
pub(crate) fn component(folder: &Path, options: &BuildOptions) -> Result<Built> {
    weft_filter_build::build(folder, options).with_context(|| format!("building the filter in {}", folder.display()))
}
