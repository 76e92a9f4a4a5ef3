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
        let resolved = async {
            match reference {
                Reference::Registry(image) => self.resolve_in_registry(image).await,
                Reference::Layout(image) => {
                    let (image, limits) = (image.clone(), self.limits.clone());
                    blocking(move || layout_digest(&image, &limits)).await
                }
            }
        };
        self.bounded(reference, resolved).await
    }

    /// The component into a file in `folder`, verified; nothing of it is left there when it fails.
    pub async fn pull(&self, reference: &Reference, folder: &Path) -> Result<Pulled, Error> {
        let pulled = async {
            match reference {
                Reference::Registry(image) => self.pull_from_registry(image, folder).await,
                Reference::Layout(image) => {
                    let (image, folder, limits) = (image.clone(), folder.to_owned(), self.limits.clone());
                    blocking(move || pull_from_layout(&image, &folder, &limits)).await
                }
            }
        };
        self.bounded(reference, pulled).await
    }

    /// Moves the tag to the artifact's image; the same artifact is the same image everywhere.
    pub async fn push(&self, reference: &Reference, artifact: Artifact) -> Result<Pushed, Error> {
        let pushed = async {
            let (Some(tag), None) = (reference.tag(), reference.digest()) else { return Err(Cause::PushWithoutTag) };
            let bytes = artifact.component.len() as u64;
            let bytes_max = self.limits.component_bytes_max;
            if bytes > bytes_max {
                return Err(Cause::TooLarge { what: "the component", bytes, bytes_max });
            }
            let image = Image::of(artifact).map_err(|invalid| Cause::NotComponent { found: invalid.found })?;
            let pushed = Pushed { image: image.digests.manifest, component: image.digests.component };
            match reference {
                Reference::Registry(at) => self.push_to_registry(at, &image, tag).await?,
                Reference::Layout(at) => {
                    let (path, tag, bytes_max) = (at.path.clone(), tag.to_owned(), self.limits.manifest_bytes_max);
                    blocking(move || Layout { path: &path }.push(&image, &tag, bytes_max)).await?;
                }
            }
            Ok(pushed)
        };
        self.bounded(reference, pushed).await
    }

    async fn resolve_in_registry(&self, image: &RegistryReference) -> Result<Digest, Cause> {
        let wanted = wanted(image);
        let mut attempts = Attempts::at_mirror_first(self, image);
        loop {
            let resolved = async {
                let endpoint = self.endpoint(attempts.host())?;
                Repository { endpoint: &endpoint, name: &image.repository }.resolve(&wanted).await
            };
            match resolved.await {
                Ok(digest) => return Ok(digest),
                Err(cause) => attempts.failed(cause).await?,
            }
        }
    }

    async fn pull_from_registry(&self, image: &RegistryReference, folder: &Path) -> Result<Pulled, Cause> {
        let mut attempts = Attempts::at_mirror_first(self, image);
        loop {
            let pulled = async {
                let endpoint = self.endpoint(attempts.host())?;
                pull_once(&Repository { endpoint: &endpoint, name: &image.repository }, image, folder).await
            };
            match pulled.await {
                Ok(pulled) => return Ok(pulled),
                Err(cause) => attempts.failed(cause).await?,
            }
        }
    }

    async fn push_to_registry(&self, at: &RegistryReference, image: &Image, tag: &str) -> Result<(), Cause> {
        let mut attempts = Attempts { mirror: None, ..Attempts::at_mirror_first(self, at) };
        loop {
            let pushed = async {
                let endpoint = self.endpoint(attempts.host())?;
                Repository { endpoint: &endpoint, name: &at.repository }.push(image, tag).await
            };
            match pushed.await {
                Ok(()) => return Ok(()),
                Err(cause) => attempts.failed(cause).await?,
            }
        }
    }

    async fn bounded<T>(
        &self,
        reference: &Reference,
        work: impl Future<Output = Result<T, Cause>>,
    ) -> Result<T, Error> {
        let limit = self.limits.whole;
        // Boxed: a pull holds a whole HTTP exchange, and nobody wants to carry that in their own future.
        let done = match tokio::time::timeout(limit, Box::pin(work)).await {
            Ok(done) => done,
            Err(_) => Err(Cause::TimedOut { host: reference.to_string(), limit }),
        };
        done.map_err(|cause| Error::new(reference, cause))
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

/// Whom to ask next, and when to give up.
struct Attempts<'a> {
    /// Until it has failed once.
    mirror: Option<&'a str>,
    host: &'a str,
    left: u32,
    wait: Duration,
}

impl<'a> Attempts<'a> {
    fn at_mirror_first(images: &'a Images, image: &'a RegistryReference) -> Self {
        let mirror = images.registries.entry(&image.host).and_then(|entry| entry.mirror.as_deref());
        Self { mirror, host: &image.host, left: images.limits.attempts_max, wait: RETRY_AFTER }
    }

    fn host(&self) -> &'a str {
        self.mirror.unwrap_or(self.host)
    }

    /// Returns when it is time to try again, or the cause where that is no use.
    async fn failed(&mut self, cause: Cause) -> Result<(), Cause> {
        if let Some(mirror) = self.mirror.take() {
            tracing::warn!(%mirror, host = %self.host, %cause, "the mirror does not serve it");
            return Ok(());
        }
        self.left = self.left.saturating_sub(1);
        if self.left == 0 || cause.retry() == Retry::Never {
            return Err(cause);
        }
        tracing::debug!(%cause, "trying again");
        tokio::time::sleep(self.wait).await;
        self.wait *= 2;
        Ok(())
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

async fn pull_once(repository: &Repository<'_>, image: &RegistryReference, folder: &Path) -> Result<Pulled, Cause> {
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
