//! Resolve, pull and push, wherever an image lies: tries again what may pass, asks mirrors first, and bounds the time.
//!
//! Does not know HTTP (endpoint.rs, registry.rs) or the layout of folders (layout.rs); keeps one endpoint for each host.

use crate::endpoint::Endpoint;
use crate::error::{Cause, Error, Retry};
use crate::image::{self, Artifact, Found, Image};
use crate::layout::Layout;
use crate::reference::{LayoutReference, Reference, RegistryReference};
use crate::registry::Repository;
use crate::settings::{Limits, Registries};
use crate::spool::{Spool, Spooled};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use weft_snapshot::Digest;

/// All images that can be reached.
pub struct Images {
    registries: Arc<Registries>,
    limits: Limits,
    endpoints: Mutex<HashMap<String, Arc<Endpoint>>>,
}

/// A component that was pulled and verified.
#[derive(Debug)]
pub struct Pulled {
    /// Digest of the manifest (or index) to which the reference points: what `digest:` pins.
    pub image: Digest,
    pub component: Spooled,
    pub annotations: BTreeMap<String, String>,
}

/// The digests under which a component was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    pub image: Digest,
    pub component: Digest,
}

/// Before the second attempt; doubled for each further one.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// An index may point to an index once.
const INDEX_DEPTH_MAX: usize = 2;

impl Images {
    pub fn new(registries: Registries, limits: Limits) -> Self {
        Self { registries: Arc::new(registries), limits, endpoints: Mutex::default() }
    }

    /// The digest to which the reference points now: its own if it is pinned.
    pub async fn resolve(&self, reference: &Reference) -> Result<Digest, Error> {
        if let Some(digest) = reference.digest() {
            return Ok(digest);
        }
        let resolved = self.bounded(reference, async {
            match reference {
                Reference::Registry(image) => {
                    self.from_registry(image, async |repository| repository.resolve(wanted(image).as_str()).await).await
                }
                Reference::Layout(image) => {
                    let (image, limits) = (image.clone(), self.limits.clone());
                    blocking(move || layout_digest(&image, &limits)).await
                }
            }
        });
        resolved.await
    }

    /// The component into a file in `folder`, verified; nothing of it is left there when it fails.
    pub async fn pull(&self, reference: &Reference, folder: &Path) -> Result<Pulled, Error> {
        let pulled = self.bounded(reference, async {
            match reference {
                Reference::Registry(image) => {
                    self.from_registry(image, async |repository| pull_from_registry(repository, image, folder).await)
                        .await
                }
                Reference::Layout(image) => {
                    let (image, folder, limits) = (image.clone(), folder.to_owned(), self.limits.clone());
                    blocking(move || pull_from_layout(&image, &folder, &limits)).await
                }
            }
        });
        pulled.await
    }

    /// Moves the tag to the artifact's image; the same artifact is the same image everywhere.
    pub async fn push(&self, reference: &Reference, artifact: Artifact) -> Result<Pushed, Error> {
        let pushed = self.bounded(reference, async {
            let (Some(tag), None) = (reference.tag(), reference.digest()) else { return Err(Cause::PushWithoutTag) };
            let bytes = artifact.component.len() as u64;
            if bytes > self.limits.component_bytes_max {
                let bytes_max = self.limits.component_bytes_max;
                return Err(Cause::TooLarge { what: "the component", bytes, bytes_max });
            }
            let image = Image::of(artifact).map_err(|invalid| Cause::NotComponent { found: invalid.found })?;
            let pushed = Pushed { image: image.digests.manifest, component: image.digests.component };
            match reference {
                Reference::Registry(at) => {
                    self.attempts(async || {
                        let endpoint = self.endpoint(&at.host)?;
                        Repository { endpoint: &endpoint, name: &at.repository }.push(&image, tag).await
                    })
                    .await?;
                }
                Reference::Layout(at) => {
                    let (path, tag, bytes_max) = (at.path.clone(), tag.to_owned(), self.limits.manifest_bytes_max);
                    blocking(move || Layout { path: &path }.push(&image, &tag, bytes_max)).await?;
                }
            }
            Ok(pushed)
        });
        pushed.await
    }

    async fn bounded<T>(
        &self,
        reference: &Reference,
        work: impl Future<Output = Result<T, Cause>>,
    ) -> Result<T, Error> {
        let limit = self.limits.whole;
        let done = match tokio::time::timeout(limit, work).await {
            Ok(done) => done,
            Err(_) => Err(Cause::TimedOut { host: reference.to_string(), limit }),
        };
        done.map_err(|cause| Error::new(reference, cause))
    }

    /// From the mirror if there is one and it answers; otherwise from the registry itself.
    async fn from_registry<T>(
        &self,
        image: &RegistryReference,
        work: impl AsyncFn(&Repository<'_>) -> Result<T, Cause>,
    ) -> Result<T, Cause> {
        let ask = async |host: &str| {
            let endpoint = self.endpoint(host)?;
            work(&Repository { endpoint: &endpoint, name: &image.repository }).await
        };
        if let Some(mirror) = self.registries.entry(&image.host).and_then(|entry| entry.mirror.as_deref()) {
            match ask(mirror).await {
                Ok(done) => return Ok(done),
                Err(cause) => tracing::warn!(%mirror, host = %image.host, %cause, "the mirror does not serve it"),
            }
        }
        self.attempts(async || ask(&image.host).await).await
    }

    async fn attempts<T>(&self, work: impl AsyncFn() -> Result<T, Cause>) -> Result<T, Cause> {
        let mut wait = RETRY_AFTER;
        let mut attempt = 1;
        loop {
            match work().await {
                Err(cause) if cause.retry() == Retry::Later && attempt < self.limits.attempts_max => {
                    tracing::debug!(%cause, attempt, "trying again");
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    fn endpoint(&self, host: &str) -> Result<Arc<Endpoint>, Cause> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = endpoints.get(host) {
            return Ok(Arc::clone(endpoint));
        }
        let endpoint = Arc::new(Endpoint::new(host, &self.registries, &self.limits)?);
        endpoints.insert(host.to_owned(), Arc::clone(&endpoint));
        Ok(endpoint)
    }
}

/// What to ask a registry for: the digest decides, then the tag.
fn wanted(image: &RegistryReference) -> String {
    match (&image.digest, &image.tag) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.clone(),
        (None, None) => "latest".to_owned(),
    }
}

async fn pull_from_registry(
    repository: &Repository<'_>,
    image: &RegistryReference,
    folder: &Path,
) -> Result<Pulled, Cause> {
    let mut manifest = repository.manifest(&wanted(image)).await?;
    let image_digest = verified(&manifest, image.digest)?;
    for _ in 0..INDEX_DEPTH_MAX {
        match image::find(&manifest)? {
            Found::Component { digest, bytes, annotations } => {
                let component = repository.component(digest, bytes, folder).await?;
                return Ok(Pulled { image: image_digest, component, annotations });
            }
            Found::Manifest { digest } => {
                manifest = repository.manifest(&digest.to_string()).await?;
                verified(&manifest, Some(digest))?;
            }
        }
    }
    Err(nested())
}

fn layout_digest(image: &LayoutReference, limits: &Limits) -> Result<Digest, Cause> {
    match (image.digest, &image.tag) {
        (Some(digest), _) => Ok(digest),
        (None, tag) => {
            let tag = tag.as_deref().unwrap_or("latest");
            Layout { path: &image.path }.resolve(tag, limits.manifest_bytes_max)
        }
    }
}

fn pull_from_layout(image: &LayoutReference, folder: &Path, limits: &Limits) -> Result<Pulled, Cause> {
    let layout = Layout { path: &image.path };
    let image_digest = layout_digest(image, limits)?;
    let mut digest = image_digest;
    for _ in 0..INDEX_DEPTH_MAX {
        let manifest = layout.manifest(digest, limits.manifest_bytes_max)?;
        verified(&manifest, Some(digest))?;
        match image::find(&manifest)? {
            Found::Component { digest, bytes, annotations } => {
                let spool = Spool::new(folder, digest, bytes, limits.component_bytes_max)?;
                let component = layout.component(digest, spool)?;
                return Ok(Pulled { image: image_digest, component, annotations });
            }
            Found::Manifest { digest: inner } => digest = inner,
        }
    }
    Err(nested())
}

fn verified(manifest: &[u8], expected: Option<Digest>) -> Result<Digest, Cause> {
    let got = image::digest(manifest);
    match expected {
        Some(expected) if expected != got => Err(Cause::Tampered { what: "the manifest", expected, got }),
        _ => Ok(got),
    }
}

fn nested() -> Cause {
    Cause::Malformed { what: "the manifest".to_owned(), reason: "its indexes are nested too deep".to_owned() }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Cause> + Send + 'static) -> Result<T, Cause> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Cause::Malformed { what: "the folder's work".to_owned(), reason: error.to_string() }),
    }
}
