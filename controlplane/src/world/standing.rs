//! What becomes of each object of a cluster: whether it counts, what is wrong with it, how many proxies run it.
//!
//! It only reads, and compiles nothing.

use super::Loop;
use super::proxy::{Has, Proxy};
use super::report::{of_config, of_filter};
use crate::status::ProblemLine;
use std::collections::{BTreeMap, HashMap};
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

#[derive(Clone, Debug)]
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
        let versions = self.versions();
        let counts = self.counts(&versions);
        let tally = |(path, count): (Arc<str>, Count)| {
            let (_, digest) = versions.get(&*path)?;
            Some((path, Tally { digest: *digest, count }))
        };
        counts.into_iter().filter_map(tally).collect()
    }

    /// Of each object that counts, by path.
    fn versions(&self) -> HashMap<String, (ObjectVersion, Digest)> {
        let objects = self.adoption.newest().objects();
        objects.map(|object| (object.file, (object.version, object.digest))).collect()
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
        let versions = self.versions();
        let counts = self.counts(&versions);
        let configures = |file: &&SourceFile| file.created.is_some() && !crate::source::is_discovery(file);
        let standing = |file: &SourceFile| ObjectStanding {
            text: file.clone(),
            version: versions.get(&*file.path).map(|(version, _)| *version),
            digest: versions.get(&*file.path).map(|(_, digest)| *digest),
            problems: problems.remove(&*file.path).unwrap_or_default(),
            count: counts.get(&file.path).copied().unwrap_or_default(),
            running: self.running(&file.path),
        };
        let is_pod = |file: &&SourceFile| file.created.is_some() && file.path.starts_with("Pod/");
        Standing {
            pods: self.files.files.iter().filter(is_pod).cloned().collect(),
            objects: self.files.files.iter().filter(configures).map(standing).collect(),
            last_good: world.last_good().cloned().collect(),
        }
    }

    fn running(&self, path: &str) -> Option<(String, Option<Digest>)> {
        let filter = self.facts.filters.get(path.strip_prefix("Filter/")?)?;
        Some((filter.image.clone(), filter.running.as_ref().map(|version| version.image)))
    }

    fn counts(&self, versions: &HashMap<String, (ObjectVersion, Digest)>) -> HashMap<Arc<str>, Count> {
        let mut counts: HashMap<Arc<str>, Count> = HashMap::new();
        for proxy in self.proxies.values() {
            let Some(target) = &proxy.target else { continue };
            let runs = running(proxy).unwrap_or_default();
            for (path, _) in &target.objects {
                let count = counts.entry(path.clone()).or_default();
                count.affected += 1;
                let newest = versions.get(&**path).map(|(_, digest)| *digest);
                let has = newest.is_some_and(|newest| runs.binary_search(&(path.clone(), newest)).is_ok());
                count.acknowledged += usize::from(has);
            }
        }
        counts
    }
}

/// The rules of what the proxy has acknowledged, or said that it has. A rule may change without a word of what this
/// proxy is told: then it runs the new one as soon as that is known.
fn running(proxy: &Proxy) -> Option<&[(Arc<str>, Digest)]> {
    let target = proxy.target.as_ref().filter(|target| target.revision == proxy.has.revision());
    match (&proxy.has, target) {
        (_, Some(same)) => Some(&same.objects),
        (Has::Acked(telling), None) => Some(&telling.objects),
        (Has::Held { .. }, None) => None,
    }
}
