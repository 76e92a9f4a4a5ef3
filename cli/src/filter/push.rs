//! `weft filter push`: a component becomes an image in a registry or in an image-layout folder.

use super::RegistryOptions;
use crate::output::{progress, say};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use weft_filter_build::{BuildOptions, inspect};
use weft_oci::{
    Artifact, CONFIG_SCHEMA_ANNOTATION, DESCRIPTION_ANNOTATION, Images, Pushed, Reference, TITLE_ANNOTATION,
};

/// Pushes a filter to an OCI registry, or into an OCI image-layout folder
///
/// Prints the image's digest, which `digest:` of a Filter can pin.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  weft filter push canary.wasm oci://registry.example/filters/canary:1.2\n  \
                  weft filter push filters/canary oci-layout:images/canary:1.2")]
pub(crate) struct Options {
    /// A component, or the folder of a filter crate, which is built first
    #[arg(value_name = "FILE|DIR")]
    source: PathBuf,
    /// oci://HOST[:PORT]/REPOSITORY[:TAG] or oci-layout:FOLDER[:TAG]
    #[arg(value_name = "IMAGE")]
    image: Reference,
    #[command(flatten)]
    registries: RegistryOptions,
}

pub(crate) async fn run(options: Options) -> Result<()> {
    let (title, component) = read(&options.source)?;
    let images = options.registries.images(host(&options.image));
    let pushed = push(&images, &options.image, artifact(&title, component)?).await?;
    progress(format_args!("{} with component {}", options.image, pushed.component));
    say(pushed.image);
    Ok(())
}

pub(crate) async fn push(images: &Images, image: &Reference, artifact: Artifact) -> Result<Pushed> {
    images.push(image, artifact).await.map_err(explain)
}

/// With what the component says of itself as annotations; fails where it is no filter.
pub(crate) fn artifact(title: &str, component: Vec<u8>) -> Result<Artifact> {
    let inspection = inspect(&component)?;
    let mut annotations = BTreeMap::from([(TITLE_ANNOTATION.to_owned(), title.to_owned())]);
    if let Some(sentence) = inspection.doc.as_deref().and_then(first_sentence) {
        annotations.insert(DESCRIPTION_ANNOTATION.to_owned(), sentence);
    }
    if let Some(schema) = inspection.config_schema {
        annotations.insert(CONFIG_SCHEMA_ANNOTATION.to_owned(), schema);
    }
    Ok(Artifact { component, annotations })
}

fn read(source: &Path) -> Result<(String, Vec<u8>)> {
    if source.is_dir() {
        let built = super::component(source, &BuildOptions::default())?;
        return Ok((built.name, built.component));
    }
    let component = std::fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
    let title = source.file_stem().map_or_else(|| "filter".to_owned(), |stem| stem.to_string_lossy().into_owned());
    Ok((title, component))
}

/// The first paragraph of Markdown that is no heading.
fn first_sentence(doc: &str) -> Option<String> {
    let paragraph = doc.split("\n\n").map(str::trim).find(|part| !part.is_empty() && !part.starts_with('#'))?;
    Some(paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
}

pub(super) fn host(image: &Reference) -> Option<&str> {
    match image {
        Reference::Registry(image) => Some(&image.host),
        Reference::Layout(_) => None,
    }
}

pub(super) fn explain(error: weft_oci::Error) -> anyhow::Error {
    anyhow::anyhow!("{error}; {}", error.cause.remedy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_the_first_paragraph() {
        let cases = [
            ("# canary\n\nSplits traffic\nby weight.\n\nMore.", Some("Splits traffic by weight.")),
            ("Plain.", Some("Plain.")),
            ("# only a heading", None),
            ("", None),
        ];
        for (doc, want) in cases {
            assert_eq!(first_sentence(doc).as_deref(), want, "doc {doc:?}");
        }
    }
}
