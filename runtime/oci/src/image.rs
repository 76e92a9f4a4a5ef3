//! An image that holds one component, in the CNCF Wasm layout: how its bytes are made, and which of somebody else's
//! images are taken.
//!
//! Pure: the same artifact has the same bytes, and so the same digests, in a registry and in a folder. Does not know
//! where an image lies.

use crate::component::{InvalidComponent, Surface};
use crate::error::Cause;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use weft_snapshot::Digest;

pub const TITLE_ANNOTATION: &str = "org.opencontainers.image.title";
pub const DESCRIPTION_ANNOTATION: &str = "org.opencontainers.image.description";
/// The JSON Schema of a filter's config.
pub const CONFIG_SCHEMA_ANNOTATION: &str = "dev.weft.filter.config-schema";

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// What a manifest request accepts.
pub(crate) const ACCEPT: [&str; 4] = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX];

const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
const WASM_LAYER: &str = "application/wasm";
/// wkg and oras before the CNCF layout.
const WASM_LAYER_OLD: &str = "application/vnd.wasm.content.layer.v1+wasm";

/// What is pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    pub component: Vec<u8>,
    /// With [`TITLE_ANNOTATION`] and the others; none that changes from build to build, or the digest does too.
    pub annotations: BTreeMap<String, String>,
}

/// The three blobs of an image.
pub(crate) struct Image {
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: Vec<u8>,
    pub(crate) component: Vec<u8>,
    pub(crate) digests: Digests,
}

#[derive(Clone, Copy)]
pub(crate) struct Digests {
    pub(crate) manifest: Digest,
    pub(crate) config: Digest,
    pub(crate) component: Digest,
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

impl Image {
    pub(crate) fn of(artifact: Artifact) -> Result<Self, InvalidComponent> {
        let surface = Surface::of(&artifact.component)?;
        let component_digest = digest(&artifact.component);
        // wkg demands `created`; the epoch, so that the same component is the same image.
        let config = json!({
            "created": "1970-01-01T00:00:00Z",
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [component_digest.to_string()],
            "component": {"exports": surface.exports, "imports": surface.imports},
        })
        .to_string()
        .into_bytes();
        let config_digest = digest(&config);
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": WASM_CONFIG, "digest": config_digest.to_string(), "size": config.len()},
            "layers": [{
                "mediaType": WASM_LAYER,
                "digest": component_digest.to_string(),
                "size": artifact.component.len(),
            }],
        });
        if !artifact.annotations.is_empty() {
            manifest["annotations"] = json!(artifact.annotations);
        }
        let manifest = manifest.to_string().into_bytes();
        let digests = Digests { manifest: digest(&manifest), config: config_digest, component: component_digest };
        Ok(Self { manifest, config, component: artifact.component, digests })
    }
}

/// Points to a blob or a manifest. What is not read is not kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<serde_json::Value>,
    /// Fields of other people's descriptors survive when an index.json is rewritten.
    #[serde(flatten)]
    pub(crate) rest: serde_json::Map<String, serde_json::Value>,
}

impl Descriptor {
    pub(crate) fn digest(&self) -> Result<Digest, Cause> {
        self.digest.parse().map_err(|error: weft_snapshot::InvalidName| Cause::Malformed {
            what: "a descriptor".to_owned(),
            reason: error.to_string(),
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Where the component of a manifest is.
#[derive(Debug)]
pub(crate) enum Found {
    /// Its blob.
    Component { digest: Digest, bytes: u64, annotations: BTreeMap<String, String> },
    /// An index: the manifest to read instead.
    Manifest { digest: Digest },
}

/// Reads a manifest or an index, and refuses what holds no component or several.
pub(crate) fn find(manifest: &[u8]) -> Result<Found, Cause> {
    let malformed = |reason: String| Cause::Malformed { what: "the manifest".to_owned(), reason };
    let document: Document = serde_json::from_slice(manifest).map_err(|error| malformed(error.to_string()))?;
    if let Some(media_type) = &document.media_type
        && !ACCEPT.contains(&media_type.as_str())
    {
        return Err(Cause::MediaType { what: "manifest", found: media_type.clone() });
    }
    match (document.manifests, document.layers) {
        (Some(manifests), None) => in_index(&manifests),
        (None, Some(layers)) => in_layers(&layers, document.config.as_ref(), document.annotations),
        _ => Err(malformed("it needs either layers or manifests".to_owned())),
    }
}

fn in_index(manifests: &[Descriptor]) -> Result<Found, Cause> {
    let for_wasm = |entry: &&Descriptor| {
        entry.platform.as_ref().and_then(|p| p["architecture"].as_str()).is_some_and(|arch| arch == "wasm")
    };
    let chosen: Vec<_> = match manifests {
        [only] => vec![only],
        several => several.iter().filter(for_wasm).collect(),
    };
    match chosen[..] {
        [entry] => Ok(Found::Manifest { digest: entry.digest()? }),
        [] => Err(Cause::MediaType { what: "index", found: format!("{INDEX} without an entry for wasm") }),
        _ => Err(Cause::SeveralComponents { count: chosen.len() }),
    }
}

fn in_layers(
    layers: &[Descriptor],
    config: Option<&Descriptor>,
    annotations: BTreeMap<String, String>,
) -> Result<Found, Cause> {
    let wasm = |layer: &&Descriptor| [WASM_LAYER, WASM_LAYER_OLD].contains(&layer.media_type.as_str());
    let components: Vec<_> = layers.iter().filter(wasm).collect();
    match (components.as_slice(), layers) {
        // A README that oras pushed beside the component does no harm.
        ([layer], _) => Ok(Found::Component { digest: layer.digest()?, bytes: layer.size, annotations }),
        ([], [first, ..]) => Err(Cause::MediaType { what: "layer", found: first.media_type.clone() }),
        ([], []) => {
            let found = config.map_or_else(|| "no layer".to_owned(), |c| format!("{} and no layer", c.media_type));
            Err(Cause::MediaType { what: "config", found })
        }
        (several, _) => Err(Cause::SeveralComponents { count: several.len() }),
    }
}
