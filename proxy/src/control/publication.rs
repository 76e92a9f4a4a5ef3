//! What was told becomes what is served: artifacts that were verified, a plan, the state folder, in this order.
//!
//! It blocks for as long as filters need to get ready, never for the disk, and knows neither streams nor clocks.

use super::held::{Candidate, Held, artifacts, without_artifacts};
use super::signature::Signers;
use crate::plan::{Artifacts, Next, Problem, Publisher};
use crate::state::{ArtifactFolder, SnapshotWriter, StateFolder};
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use weft_snapshot::{Digest, Key, WorkloadName};
use weft_wire::proto;

/// What serves a snapshot; the control thread's side of it.
pub trait Publish: Send {
    /// On `Err` what was served still is.
    fn publish(&mut self, next: &Next<'_>, artifacts: &dyn Artifacts) -> Result<(), Vec<Problem>>;
}

impl Publish for Publisher {
    fn publish(&mut self, next: &Next<'_>, artifacts: &dyn Artifacts) -> Result<(), Vec<Problem>> {
        Publisher::publish(self, next, artifacts).map(|_| ())
    }
}

pub(super) struct Publication {
    state: Arc<StateFolder>,
    writer: SnapshotWriter,
    publish: Box<dyn Publish>,
    workload: WorkloadName,
    artifact_key: String,
    pub(super) held: Held,
    served: Served,
    /// Artifacts whose digest and signature this process has checked.
    verified: HashSet<Digest>,
    /// What the snapshot before this one needed, while others may still be on the disk.
    owed: Option<BTreeSet<Digest>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Served {
    Nothing,
    /// What is held, without filters that could not run.
    Reduced,
    /// What is held.
    Whole,
}

struct Verified<'a> {
    folder: &'a ArtifactFolder,
    verified: &'a HashSet<Digest>,
}

impl Artifacts for Verified<'_> {
    fn path(&self, artifact: &Digest) -> Option<PathBuf> {
        self.verified.contains(artifact).then(|| self.folder.path(artifact)).flatten()
    }
}

impl Publication {
    pub(super) fn new(
        state: Arc<StateFolder>,
        publish: Box<dyn Publish>,
        workload: WorkloadName,
        artifact_key: String,
    ) -> io::Result<Self> {
        let (held, verified) = (Held::default(), HashSet::new());
        let writer = SnapshotWriter::start(Arc::clone(&state))?;
        Ok(Self { state, writer, publish, workload, artifact_key, held, served: Served::Nothing, verified, owed: None })
    }

    /// Serves what lies in the state folder, as far as that can be trusted.
    pub(super) fn resume(&mut self, trust_domain: &str, signers: &Signers) {
        let file = match self.state.snapshot() {
            Ok(Some(file)) => file,
            Ok(None) => return,
            Err(error) => {
                tracing::error!("{error}");
                return self.state.set_aside(&error);
            }
        };
        let held = match Held::load(file, &self.workload, trust_domain, signers) {
            Ok(held) => held,
            Err(reason) => {
                let path = self.state.path().display();
                return tracing::error!(
                    "the snapshot in {path} is not used: {reason}; the control plane will send it anew"
                );
            }
        };
        let needed = artifacts(&held.snapshot);
        self.verify(&needed, signers);
        match self.publish_reduced(&held) {
            Ok(served) => {
                tracing::info!(revision = held.revision(), "serving the snapshot of the state folder");
                (self.held, self.served) = (held, served);
            }
            Err(problems) => {
                let path = self.state.path().display();
                let problems = sentences(&problems).join("; ");
                tracing::error!(
                    "the snapshot in {path} cannot be served: {problems}; the control plane will send it anew"
                );
            }
        }
    }

    /// Filters that lack their artifact, or whose artifact this build cannot load, do not keep the rest from serving.
    fn publish_reduced(&mut self, held: &Held) -> Result<Served, Vec<Problem>> {
        let verified = self.verified.clone();
        let mut broken: HashSet<String> = HashSet::new();
        loop {
            let unready = |key: &weft_snapshot::FilterKey, artifact: &Digest| {
                !verified.contains(artifact) || broken.contains(&key.0)
            };
            let snapshot = without_artifacts(&held.snapshot, unready);
            let served = if snapshot == held.snapshot { Served::Whole } else { Served::Reduced };
            let revision = held.revision();
            let next = Next { snapshot: &snapshot, update: None, revision: &revision };
            let verified = Verified { folder: self.state.artifacts(), verified: &self.verified };
            let Err(problems) = self.publish.publish(&next, &verified) else { return Ok(served) };
            let before = broken.len();
            for problem in &problems {
                let Some(Key::Filter(key)) = &problem.resource else { return Err(problems) };
                tracing::error!("{problem}; it answers by its failure policy until the control plane is back");
                broken.insert(key.0.clone());
            }
            if broken.len() == before {
                return Err(problems);
            }
        }
    }

    /// Checks an update; `Err` is what the nack says.
    pub(super) fn check(
        &self,
        update: &proto::Update,
        trust_domain: &str,
        signers: &Signers,
    ) -> Result<Candidate, Vec<String>> {
        self.held.check(update, &self.workload, trust_domain, signers).map_err(|error| vec![error.to_string()])
    }

    /// The artifacts that have to be fetched before the candidate can be served.
    pub(super) fn missing(&mut self, candidate: &Candidate, signers: &Signers) -> Vec<Digest> {
        let needed = artifacts(&candidate.held.snapshot);
        self.verify(&needed, signers);
        needed.into_iter().filter(|digest| !self.verified.contains(digest)).collect()
    }

    pub(super) fn artifacts(&self) -> ArtifactFolder {
        self.state.artifacts().clone()
    }

    /// They were verified on their way in.
    pub(super) fn fetched(&mut self, artifacts: Vec<Digest>) {
        self.verified.extend(artifacts);
    }

    fn verify(&mut self, needed: &BTreeSet<Digest>, signers: &Signers) {
        for digest in needed {
            if self.verified.contains(digest) {
                continue;
            }
            match self.state.artifacts().signature(digest) {
                Some(signature) if signers.signed_artifact(&self.artifact_key, digest, &signature) => {
                    self.verified.insert(*digest);
                }
                Some(_) => {
                    let path = self.state.path().display();
                    tracing::warn!("artifact {digest} in {path} is not signed for this proxy; it is fetched again");
                    self.state.artifacts().remove(digest);
                }
                None => {}
            }
        }
    }

    /// Serves and keeps it. `Err` (what the nack says) leaves everything as it was.
    pub(super) fn commit(&mut self, candidate: Candidate) -> Result<(), Vec<String>> {
        let Candidate { held, update, revision } = candidate;
        let news = !update.is_empty() || self.served != Served::Whole;
        if news {
            let known = (self.served == Served::Whole).then_some(&update);
            let next = Next { snapshot: &held.snapshot, update: known, revision: &revision };
            let verified = Verified { folder: self.state.artifacts(), verified: &self.verified };
            self.publish.publish(&next, &verified).map_err(|problems| sentences(&problems))?;
            self.served = Served::Whole;
        }
        let keep = news || held.signature != self.held.signature;
        let before = std::mem::replace(&mut self.held, held);
        if !update.only_endpoints() {
            self.owed = Some(artifacts(&before.snapshot));
            self.tidy();
        }
        if keep {
            self.writer.write(self.held.file(&self.workload));
        }
        Ok(())
    }

    /// Artifacts are there that nothing needs.
    pub(super) fn owes(&self) -> bool {
        self.owed.is_some()
    }

    /// Removes them, unless the disk may have an older snapshot yet, which would need its own after a restart. What the
    /// one before needs stays, since a step back is likely. Not for while others are being fetched.
    pub(super) fn tidy(&mut self) {
        if !self.writer.is_idle() {
            return;
        }
        let Some(mut kept) = self.owed.take() else { return };
        kept.extend(artifacts(&self.held.snapshot));
        self.verified.retain(|digest| kept.contains(digest));
        self.state.artifacts().prune(|digest| kept.contains(digest));
    }
}

fn sentences(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}
