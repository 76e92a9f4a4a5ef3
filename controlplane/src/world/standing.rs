//! What becomes of each object of a cluster: whether it counts, what is wrong with it, how many proxies run it.
//!
//! It only reads, and compiles nothing.

use super::Loop;
use super::report::{of_config, of_filter};
use crate::status::ProblemLine;
use std::collections::BTreeMap;
use std::sync::Arc;
use weft_config::{ObjectVersion, SourceFile};
use weft_snapshot::Digest;

/// All objects of a cluster that configure the mesh, and its pods.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    pub(crate) objects: Vec<ObjectStanding>,
    pub(crate) pods: Vec<SourceFile>,
    /// Texts that count in place of broken ones.
    pub(crate) last_good: Vec<SourceFile>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ObjectStanding {
    /// As it is written now.
    pub(crate) text: SourceFile,
    /// `None`: no version of it counts.
    pub(crate) version: Option<ObjectVersion>,
    /// Of that version.
    pub(crate) digest: Option<Digest>,
    pub(crate) problems: Vec<ProblemLine>,
    pub(crate) count: Count,
    /// Of a Filter: the image as written, and the digest that runs.
    pub(crate) running: Option<(String, Option<Digest>)>,
}

/// Of the proxies that this object concerns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) affected: usize,
    /// Those that have acknowledged it as it is now.
    pub(crate) acknowledged: usize,
}

/// What one object comes to at one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Of the version that counts there.
    pub(crate) digest: Digest,
    pub(crate) count: Count,
}

/// By path; without those that concern nobody.
pub(crate) type Tallies = BTreeMap<Arc<str>, Tally>;

impl Standing {
    /// The proxies of another replica. Where another version counts there, they have not acknowledged this one.
    pub(crate) fn add(&mut self, tallies: &Tallies) {
        for object in &mut self.objects {
            let Some(tally) = tallies.get(&object.text.path) else { continue };
            object.count.affected += tally.count.affected;
            if object.digest == Some(tally.digest) {
                object.count.acknowledged += tally.count.acknowledged;
            }
        }
    }
}

impl Loop {
    pub(super) fn tallies(&self) -> Tallies {
        let world = self.adoption.newest();
        let tally = |path: &Arc<str>| {
            let (_, digest) = world.counting(path)?;
            Some((path.clone(), Tally { digest, count: self.audience.tally(path, Some(digest)) }))
        };
        self.audience.objects().filter_map(tally).collect()
    }

    pub(super) fn standing(&self) -> Standing {
        let world = self.adoption.newest();
        let mut problems: BTreeMap<String, Vec<ProblemLine>> = BTreeMap::new();
        let facts = self.facts.filter_facts(&weft_filter_host::artifact_key());
        let of_filters = world.filter_problems(&facts);
        let lines = world.problems().iter().chain(&of_filters).map(of_config);
        for line in lines.chain(self.facts.problems().map(of_filter)) {
            problems.entry(line.file.clone()).or_default().push(line);
        }
        let configures = |file: &&SourceFile| file.created.is_some() && !crate::source::is_discovery(file);
        let mut standing = |file: &SourceFile| {
            let counting = world.counting(&file.path);
            let digest = counting.map(|(_, digest)| digest);
            ObjectStanding {
                text: file.clone(),
                version: counting.map(|(version, _)| version),
                digest,
                problems: problems.remove(&*file.path).unwrap_or_default(),
                count: self.audience.tally(&file.path, digest),
                running: self.running(&file.path),
            }
        };
        let is_pod = |file: &&SourceFile| file.created.is_some() && file.path.starts_with("Pod/");
        Standing {
            pods: self.files.files.iter().filter(is_pod).cloned().collect(),
            objects: self.files.files.iter().filter(configures).map(&mut standing).collect(),
            last_good: world.last_good().cloned().collect(),
        }
    }

    fn running(&self, path: &str) -> Option<(String, Option<Digest>)> {
        let filter = self.facts.filters.get(path.strip_prefix("Filter/")?)?;
        Some((filter.image.clone(), filter.running.as_ref().map(|version| version.image)))
    }
}
