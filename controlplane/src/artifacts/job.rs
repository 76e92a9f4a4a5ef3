//! One attempt at one Filter: look up the image, pull it, compile it, and ask the component about each policy.
//!
//! ```text
//! look up ─▶ pull ─▶ compile for each artifact key ─▶ admit each policy
//!    └───────── whatever fails: the last good version, asked about the policies that are wanted now
//! ```
//! It does not know when an attempt is due nor what is published.

use super::cupboard::Shut;
use super::facts::{Artifact, Version};
use super::good::{Admitted, Ask, Good};
use super::problem::ProblemKind;
use super::sources::Sources;
use super::stock::Stock;
use super::workshop::Workshop;
use std::collections::BTreeMap;
use std::sync::Arc;
use weft_filter_host::artifact_key;
use weft_oci::{Cause, Reference};
use weft_snapshot::{Digest, FilterKey};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Job {
    pub(super) filter: String,
    pub(super) number: u64,
    pub(super) ask: Ask,
    pub(super) lookup: Lookup,
    pub(super) good: Option<Good>,
    /// An image that was refused with just these asks; it would be again.
    pub(super) refused: Option<Refused>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// Ask where the tag points now.
    Anew,
    /// The last good version is what is wanted; the registry is asked only for what the store lacks.
    Keep,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refused {
    pub(super) image: Digest,
    pub(super) troubles: Vec<Trouble>,
}

/// A problem without its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) kind: ProblemKind,
    pub(super) refused: Option<Digest>,
    pub(super) reason: String,
    pub(super) remedy: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    /// What to run from now on; `None`: nothing has ever been good.
    pub(super) good: Option<Good>,
    pub(super) refused: Option<Refused>,
    pub(super) troubles: Vec<Trouble>,
}

/// Why there is no component to look at.
enum Unfetched {
    RefusedBefore(Refused),
    /// With the image that will be refused again.
    Failed(Trouble, Option<Digest>),
}

impl Job {
    pub(super) async fn run(self, shop: Arc<Workshop>, sources: Arc<Sources>) -> Outcome {
        let version = match self.fetch(&shop, &sources).await {
            Ok(version) => version,
            Err(Unfetched::RefusedBefore(refused)) => {
                let troubles = refused.troubles.clone();
                return Outcome { good: self.good, refused: Some(refused), troubles };
            }
            Err(Unfetched::Failed(trouble, refused)) => {
                let Some(version) = self.elsewhere(&shop, &trouble).await else {
                    return self.fall_back(&shop, vec![trouble], refused).await;
                };
                return match self.prepare(&shop, version).await {
                    Ok((good, more)) => {
                        Outcome { good: Some(good), refused: None, troubles: [vec![trouble], more].concat() }
                    }
                    Err(_) => self.fall_back(&shop, vec![trouble], refused).await,
                };
            }
        };
        match self.prepare(&shop, version).await {
            Ok((good, troubles)) => Outcome { good: Some(good), refused: None, troubles },
            Err(troubles) => self.fall_back(&shop, troubles, Some(version.image)).await,
        }
    }

    /// Where the registry does not give what this object asks for, another replica may have got it in time.
    async fn elsewhere(&self, shop: &Workshop, trouble: &Trouble) -> Option<Version> {
        let held =
            |good: &Good| good.object == self.ask.object() && shop.store.component(good.version.component).is_some();
        let unavailable = matches!(trouble.kind, ProblemKind::ImageUnavailable | ProblemKind::CredentialsUnavailable);
        if !unavailable || self.good.as_ref().is_some_and(held) {
            return None;
        }
        let theirs = shop.peers.last_good(&self.filter, &Stock::of(&shop.store)).await?;
        theirs.0.get(&self.filter).filter(|good| held(good)).map(|good| good.version)
    }

    /// The last good version goes on, with what is asked of it now.
    async fn fall_back(&self, shop: &Arc<Workshop>, mut troubles: Vec<Trouble>, refused: Option<Digest>) -> Outcome {
        let mut good = self.good.clone();
        if let Some(held) = &self.good
            && refused != Some(held.version.image)
            && let Ok((same, more)) = self.prepare(shop, held.version).await
        {
            troubles.extend(more);
            // The object that asked for something else has not been satisfied: it is looked up again.
            good = Some(Good { object: held.object.clone(), ..same });
        }
        let refused = refused.map(|image| Refused { image, troubles: troubles.clone() });
        Outcome { good, refused, troubles }
    }

    /// Afterwards the component is in the store.
    async fn fetch(&self, shop: &Workshop, sources: &Sources) -> Result<Version, Unfetched> {
        let reference = self.reference()?;
        let images = || async { sources.images(&reference, self.ask.pull_secret.as_ref()).await.map_err(shut) };
        let _turn = shop.pulling.acquire().await;
        let image = match (&self.good, self.lookup) {
            (Some(good), Lookup::Keep) => good.version.image,
            _ => images().await?.resolve(&reference).await.map_err(|error| unavailable(&error, None))?,
        };
        if let Some(refused) = self.refused.as_ref().filter(|refused| refused.image == image) {
            return Err(Unfetched::RefusedBefore(refused.clone()));
        }
        let known = self.good.as_ref().map(|good| good.version).filter(|version| version.image == image);
        if let Some(version) = known.filter(|version| shop.store.component(version.component).is_some()) {
            return Ok(version);
        }
        let pulled = images().await?.pull(&reference.pinned(image), &shop.store.spool()).await;
        let pulled = pulled.map_err(|error| unavailable(&error, Some(image)))?;
        let version = Version { image: pulled.image, component: pulled.component.digest() };
        shop.store.add_component(pulled.component).map_err(|error| {
            let reason = format!("it cannot be stored: {error}");
            let remedy = "make room in the state folder, and let this user write there".to_owned();
            Unfetched::Failed(Trouble { kind: ProblemKind::ImageUnavailable, refused: None, reason, remedy }, None)
        })?;
        Ok(version)
    }

    fn reference(&self) -> Result<Reference, Unfetched> {
        let reference = self.ask.image.parse::<Reference>().map_err(|error| {
            let (reason, remedy) = (error.to_string(), error.remedy().to_owned());
            Unfetched::Failed(Trouble { kind: ProblemKind::ImageUnavailable, refused: None, reason, remedy }, None)
        })?;
        Ok(match self.ask.pin {
            Some(pin) => reference.pinned(pin),
            None => reference,
        })
    }

    /// Compiled for every key, admitted for every policy; or what is wrong with this version.
    async fn prepare(&self, shop: &Arc<Workshop>, version: Version) -> Result<(Good, Vec<Trouble>), Vec<Trouble>> {
        let mut troubles = Vec::new();
        let mut own = None;
        for key in shop.keys() {
            match shop.compiled(version.component, &key).await {
                Ok(artifact) if key == artifact_key() => own = Some(artifact),
                Ok(_) => {}
                Err(reason) => {
                    let trouble = refusal(version, &reason, "build the component with a current `weft filter build`");
                    if key == artifact_key() {
                        return Err(vec![trouble]);
                    }
                    let reason = format!("for proxies with the key {key}: {reason}");
                    troubles.push(Trouble { kind: ProblemKind::NoCompiler, reason, ..trouble });
                }
            }
        }
        let Some(own) = own else {
            return Err(vec![refusal(version, "this program has no compiler of its own", "install weft again")]);
        };
        let policies = self.admit(shop, version, &own, &mut troubles).await?;
        Ok((Good { version, object: self.ask.object(), policies }, troubles))
    }

    /// A policy that this version refuses and the last good one runs: then the version is refused as a whole. One that
    /// never ran, or whose new config is refused, is a trouble of its own.
    async fn admit(
        &self,
        shop: &Arc<Workshop>,
        version: Version,
        own: &Artifact,
        troubles: &mut Vec<Trouble>,
    ) -> Result<BTreeMap<FilterKey, Admitted>, Vec<Trouble>> {
        let mut admitted = BTreeMap::new();
        for (key, ask) in &self.ask.policies {
            let held = self.good.as_ref().and_then(|good| Some((good.version.component, good.policies.get(key)?)));
            let same = held.filter(|(component, _)| *component == version.component).map(|(_, held)| held);
            if let Some(held) = same.filter(|held| held.ask == *ask) {
                admitted.insert(key.clone(), held.clone());
                continue;
            }
            let reason = match shop.admitted(own, key, ask).await {
                Ok(manifest) => {
                    admitted.insert(key.clone(), Admitted { ask: ask.clone(), manifest });
                    continue;
                }
                Err(reason) => reason,
            };
            troubles.push(refusal(version, &reason, "correct its config, or push a component that takes it"));
            match (same, held) {
                (Some(held), _) => {
                    admitted.insert(key.clone(), held.clone());
                }
                (None, Some((_, held))) if held.ask != *ask => match shop.admitted(own, key, &held.ask).await {
                    Ok(manifest) => {
                        admitted.insert(key.clone(), Admitted { ask: held.ask.clone(), manifest });
                    }
                    Err(_) => return Err(std::mem::take(troubles)),
                },
                (None, Some(_)) => return Err(std::mem::take(troubles)),
                (None, None) => {}
            }
        }
        Ok(admitted)
    }
}

fn refusal(version: Version, reason: &str, remedy: &str) -> Trouble {
    Trouble {
        kind: ProblemKind::NotAdmitted,
        refused: Some(version.image),
        reason: reason.to_owned(),
        remedy: remedy.to_owned(),
    }
}

fn shut(shut: Shut) -> Unfetched {
    let Shut { reason, remedy } = shut;
    Unfetched::Failed(Trouble { kind: ProblemKind::CredentialsUnavailable, refused: None, reason, remedy }, None)
}

/// `image`: what the reference points to, if that much is known. What is wrong with its content stays wrong.
fn unavailable(error: &weft_oci::Error, image: Option<Digest>) -> Unfetched {
    let cause = &error.cause;
    let content = matches!(
        cause,
        Cause::MediaType { .. } | Cause::SeveralComponents { .. } | Cause::NotComponent { .. } | Cause::TooLarge { .. }
    );
    let trouble = Trouble {
        kind: if content { ProblemKind::NotAdmitted } else { ProblemKind::ImageUnavailable },
        refused: image,
        reason: cause.to_string(),
        remedy: cause.remedy(),
    };
    Unfetched::Failed(trouble, image.filter(|_| content))
}
