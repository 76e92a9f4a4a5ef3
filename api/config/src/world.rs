//! All configuration that counts at one moment: immutable, made from files and the world before.
//!
//! It does not know where files come from, nor what a proxy makes of the configuration.

mod attached;
mod declaration;
mod index;
mod keep;
mod located;
mod policy;
mod revision;
mod step;
mod touched;
mod workforce;

pub(crate) use attached::{Attached, Site, attachments};
use index::Material;
pub(crate) use index::{Backing, Declared, Discovery, Index, Targeting, subset};
pub(crate) use located::Located;
pub use policy::Policy;
pub(crate) use policy::{key, missing_key};
pub use touched::Touched;

use crate::kind::mesh::Mesh;
use crate::parse::{self, Any, ParsedFile};
use crate::view::{FilterFacts, UnknownWorkload, View, Viewpoint};
use crate::{Problem, SourceFile, check};
use rpds::RedBlackTreeMapSync;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use weft_snapshot::{Digest, Labels, SpiffeId, WorkloadName};

/// The next world shares what stays.
type Files = RedBlackTreeMapSync<Arc<str>, Arc<ParsedFile>>;

/// All configuration that counts at one moment.
#[derive(Clone, Debug)]
pub struct World {
    mesh: Arc<Mesh>,
    files: Files,
    objects: keep::Objects,
    index: Arc<Index>,
    problems: Arc<Vec<Problem>>,
    policies: Arc<Vec<Policy>>,
    /// Services and ServiceEntries.
    services: usize,
    revision: revision::Revision,
    making: Making,
    /// Of a cluster's objects that are broken now: the text that counts, by path.
    last_good: BTreeMap<Arc<str>, SourceFile>,
    touched: Touched,
}

impl Default for World {
    fn default() -> Self {
        Self::assemble(Files::new_sync(), keep::Kept::default(), &Index::default())
    }
}

/// How a world came about, which makes no difference to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Making {
    /// As the world before, with what has changed in its place: work for the change.
    Step,
    /// From everything: work for the whole world.
    Whole,
}

/// What the control plane has to know of a workload that wants to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: WorkloadName,
    pub identity: SpiffeId,
    pub labels: Labels,
    /// Of a pod, as Kubernetes gives it: what a certificate for this workload is bound to.
    pub uid: Option<String>,
}

/// One object and whether it counts as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectState {
    pub kind: &'static str,
    pub namespace: String,
    pub name: String,
    pub file: String,
    pub line: u32,
    pub version: ObjectVersion,
    /// Of the version that counts, as [`View::objects`] gives it.
    pub digest: Digest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectVersion {
    /// As written now.
    Current,
    /// What is written now is broken; an earlier version counts.
    LastGood,
}

impl World {
    /// Reads all files. What is broken keeps its version of `previous`; what is gone goes. Unchanged files are not
    /// parsed again.
    pub fn build(files: &[SourceFile], previous: &World) -> World {
        let mut changes = Vec::new();
        let mut known_before = 0;
        // Mostly the same files in the same order as before.
        let mut expected = previous.files.values();
        for file in files {
            let known = expected.next().filter(|known| Arc::ptr_eq(&known.source.path, &file.path));
            let known = known.or_else(|| previous.files.get(&file.path));
            known_before += usize::from(known.is_some());
            if !known.is_some_and(|known| known.source.is(file)) {
                changes.push((known.cloned(), Some(Arc::new(parse::parse(file)))));
            }
        }
        let gone = known_before < previous.files.size();
        let next = if gone { None } else { step::step(previous, &changes) };
        if let Some(mut world) = next {
            world.making = Making::Step;
            world.touched = touched::touched(&changes, &previous.index, &world.index);
            return world;
        }
        Self::build_whole(files, changes, previous)
    }

    fn build_whole(files: &[SourceFile], mut changes: Vec<touched::Change>, previous: &World) -> World {
        let new = changes.iter().filter_map(|(_, now)| now.as_ref());
        let new: HashMap<&Arc<str>, &Arc<ParsedFile>> = new.map(|file| (&file.source.path, file)).collect();
        let now = |file: &SourceFile| new.get(&file.path).copied().or_else(|| previous.files.get(&file.path)).cloned();
        let parsed: Files = files.iter().filter_map(|file| Some((file.path.clone(), now(file)?))).collect();
        let gone = previous.files.iter().filter(|(path, _)| !parsed.contains_key(*path));
        changes.extend(gone.map(|(_, file)| (Some(file.clone()), None)).collect::<Vec<_>>());
        let kept = keep::keep(&parsed, &previous.objects);
        let last_good = previous.texts_of(kept.objects.values());
        let mut world = Self::assemble(parsed, kept, &previous.index);
        world.last_good = last_good;
        world.touched = match world.mesh == previous.mesh {
            true => touched::touched(&changes, &previous.index, &world.index),
            false => Touched::Everyone,
        };
        world
    }

    pub fn making(&self) -> Making {
        self.making
    }

    /// Whom the step from the world before to this one may concern.
    pub fn touched(&self) -> &Touched {
        &self.touched
    }

    /// Like [`World::build`], where `stored` holds good versions that `previous` may never have seen.
    pub fn build_after(files: &[SourceFile], previous: &World, stored: &[SourceFile]) -> World {
        let known = |file: &SourceFile| previous.last_good.get(&file.path) == Some(file);
        if stored.iter().all(known) {
            return Self::build(files, previous);
        }
        let mut before = Self::build(stored, &World::default());
        before.last_good = stored.iter().map(|file| (file.path.clone(), file.clone())).collect();
        for (id, object) in &previous.objects {
            before.objects.insert_mut(id.clone(), object.clone());
        }
        before.files = previous.files.clone();
        before.index = previous.index.clone();
        before.last_good.extend(previous.last_good.iter().map(|(path, file)| (path.clone(), file.clone())));
        Self::build(files, &before)
    }

    /// The texts behind last good versions that were this world's, then or before.
    fn texts_of<'a>(&self, objects: impl Iterator<Item = &'a (Any, ObjectVersion)>) -> BTreeMap<Arc<str>, SourceFile> {
        let earlier = objects.filter(|(_, version)| *version == ObjectVersion::LastGood);
        let cluster = earlier.map(|(any, _)| any.meta()).filter(|meta| meta.age.created.is_some());
        let text = |path: &Arc<str>| {
            let known = self.last_good.get(path).or_else(|| self.files.get(path).map(|file| &file.source));
            known.map(|source| (path.clone(), source.clone()))
        };
        cluster.filter_map(|meta| text(&meta.age.file)).collect()
    }

    /// Objects of a cluster that are broken now, and count in an earlier version: that version's text.
    pub fn last_good(&self) -> impl Iterator<Item = &SourceFile> {
        self.last_good.values()
    }

    /// The text under this path, as it was read last.
    pub fn text(&self, path: &str) -> Option<&SourceFile> {
        self.files.get(path).map(|file| &file.source)
    }

    /// The problems that a file would have in this world, which stays as it is.
    pub fn judge(&self, file: &SourceFile) -> Vec<Problem> {
        let parsed = Arc::new(parse::parse(file));
        let change = (self.files.get(&file.path).cloned(), Some(parsed.clone()));
        let next = step::step(self, &[change]).unwrap_or_else(|| {
            let files = self.files.insert(file.path.clone(), parsed);
            let kept = keep::keep(&files, &self.objects);
            Self::assemble(files, kept, &self.index)
        });
        next.problems.iter().filter(|problem| problem.file == *file.path).cloned().collect()
    }

    fn assemble(files: Files, kept: keep::Kept, previous: &Index) -> Self {
        let mut problems: Vec<Problem> = files.values().flat_map(|file| file.problems.iter().cloned()).collect();
        problems.extend(kept.problems);
        let mut by_age: Vec<&Any> = kept.objects.values().map(|(any, _)| any).chain(&kept.stand_ins).collect();
        by_age.sort_by(|a, b| a.meta().age.cmp(&b.meta().age));
        let mesh = match by_age.iter().find(|any| matches!(any, Any::Mesh(_))) {
            Some(Any::Mesh(mesh)) => mesh.spec.clone(),
            _ => Mesh::default(),
        };
        let (mut pods, mut slices) = (Vec::new(), Vec::new());
        for any in files.values().flat_map(|file| &file.good) {
            match any {
                Any::Pod(pod) => pods.push(pod.clone()),
                Any::EndpointSlice(slice) => slices.push(slice.clone()),
                _ => {}
            }
        }
        let mut revision = revision::Revision::default();
        let facts = files.values().flat_map(|file| &file.good);
        let facts = facts.filter(|any| matches!(any, Any::Pod(_) | Any::EndpointSlice(_)));
        by_age.iter().copied().chain(facts).for_each(|any| revision.add(any));
        let index = Index::new(Material { rules: &by_age, pods, slices, mesh: &mesh }, previous);
        problems.extend(check::across_objects(&index, &by_age, &mesh));
        problems.sort_by(Problem::reading_order);
        problems.dedup();
        let services = by_age.iter().filter(|any| matches!(any, Any::Service(_) | Any::ServiceEntry(_))).count();
        let policies = policy::attached(&index).into_values().filter(|policy| !policy.image.is_empty()).collect();
        Self {
            mesh: Arc::new(mesh),
            files,
            objects: kept.objects.into_iter().collect(),
            index: Arc::new(index),
            problems: Arc::new(problems),
            policies: Arc::new(policies),
            services,
            revision,
            making: Making::Whole,
            last_good: BTreeMap::new(),
            touched: Touched::Everyone,
        }
    }

    /// Hash of all that counts: the same for the same content, wherever and whenever it was read.
    pub fn revision(&self) -> String {
        self.revision.to_string()
    }

    /// In reading order. Those that need the filters' manifests are [`World::filter_problems`].
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// What only shows when the manifests are known: guards at the caller, nothing to pick from.
    pub fn filter_problems(&self, facts: &FilterFacts) -> Vec<Problem> {
        check::with_manifests(&self.index, facts)
    }

    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// Every policy that is attached somewhere, by key.
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }

    /// Services and ServiceEntries.
    pub fn services(&self) -> usize {
        self.services
    }

    pub fn members(&self) -> impl Iterator<Item = Member> {
        self.index.workforce.iter().filter_map(|(name, _)| self.member(name))
    }

    /// Pods that have a sidecar of this mesh, whether or not it has been heard of.
    pub fn injected(&self) -> impl Iterator<Item = &WorkloadName> {
        self.index.workforce.iter().filter(|(_, entry)| entry.spec.is_in_mesh_as_pod()).map(|(name, _)| name)
    }

    pub fn member(&self, name: &WorkloadName) -> Option<Member> {
        let entry = self.index.workforce.get(name)?;
        let identity = crate::identity::spiffe_id(&self.mesh.trust_domain, entry).ok()?;
        let uid = entry.spec.pod.as_ref().map(|pod| pod.uid.clone());
        Some(Member { name: name.clone(), identity, labels: crate::identity::labels(entry), uid })
    }

    /// Where requests to a Service of a cluster go now, and which pod answers there.
    pub fn located(&self, namespace: &str, service: &str) -> Vec<(IpAddr, Option<WorkloadName>)> {
        let host = crate::names::service_host(service, namespace).ok();
        let declared = host.and_then(|host| self.index.services.get(&host)?.first());
        let Some(Backing::Located(located, _)) = declared.map(|declared| &declared.backing) else { return Vec::new() };
        let name = |pod: &Arc<_>| crate::identity::name(pod);
        located.iter().map(|one| (one.address, one.pod.as_ref().map(name))).collect()
    }

    /// Of a cluster's object, by its path: the version that counts, and its digest.
    pub fn counting(&self, path: &str) -> Option<(ObjectVersion, Digest)> {
        let file = self.files.get(path)?;
        let id = file.good.first().map(|any| &any.meta().id).or_else(|| file.broken.first().map(|(id, _)| id));
        // Of a text of which it cannot be said what it is, the object that it was.
        let (any, version) = match id {
            Some(id) => self.objects.get(id)?,
            None => self.objects.values().find(|(any, _)| *any.meta().age.file == *path)?,
        };
        Some((*version, any.hash()))
    }

    /// Whom it concerns that another sidecar than before, or none, has joined for these workloads.
    pub fn touched_by<'a>(&self, workloads: impl Iterator<Item = &'a WorkloadName>) -> Touched {
        touched::touched_by(workloads, &self.index)
    }

    pub fn objects(&self) -> impl Iterator<Item = ObjectState> {
        self.objects.values().map(|(any, version)| {
            let meta = any.meta();
            ObjectState {
                kind: meta.id.kind.name(),
                namespace: meta.id.namespace.clone(),
                name: meta.id.name.clone(),
                file: meta.age.file.to_string(),
                line: meta.age.shown(meta.at).line,
                version: *version,
                digest: any.hash(),
            }
        })
    }

    /// Collects what the subject may see of the hosts that it asked for.
    pub fn view(&self, at: &Viewpoint<'_>) -> Result<View, UnknownWorkload> {
        crate::view::collect(&self.index, &self.mesh, at)
    }
}
