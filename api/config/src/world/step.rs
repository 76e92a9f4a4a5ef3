//! The next world where what has changed is small and nothing hangs on it but what is replaced here: a
//! VirtualService's routes, where a Service is answered, whether a pod is ready. That is work for the change, however
//! large the world is.
//!
//! Where anything else may follow, it says so and the world is built anew. Both ways lead to the same world:
//! `tests/steps.rs`.

use super::index::Index;
use super::touched::{Change, single};
use super::{ObjectVersion, World, attached};
use crate::Problem;
use crate::check;
use crate::identity;
use crate::kind::{EndpointSlice, VirtualService, WorkloadEntry};
use crate::names;
use crate::object::{Kind, Object};
use crate::parse::{Any, ParsedFile};
use std::sync::Arc;
use weft_snapshot::Host;

/// `None`: more may follow from a change than is done here.
pub(super) fn step(previous: &World, changes: &[Change]) -> Option<World> {
    if changes.len() > CHANGES_MAX {
        return None;
    }
    let mut world = previous.clone();
    let mut index = Index::clone(&previous.index);
    for (before, after) in changes {
        let (before, after) = (before.as_deref()?, after.as_ref()?);
        take(&mut world, &mut index, before, after)?;
    }
    world.index = Arc::new(index);
    Some(world)
}

fn take(world: &mut World, index: &mut Index, before: &ParsedFile, after: &Arc<ParsedFile>) -> Option<()> {
    let (old, new) = (single(Some(before))??, single(Some(after))??);
    let (was, is) = (old.meta(), new.meta());
    let same = was.id == is.id && was.labels == is.labels && was.age == is.age && was.at == is.at;
    if !same || before.problems != after.problems || is.stored.pruned_since(&was.stored) {
        return None;
    }
    match (old, new) {
        (Any::VirtualService(old), Any::VirtualService(new)) => {
            let id = &new.meta.id;
            match world.objects.get(id)? {
                (Any::VirtualService(counts), ObjectVersion::Current) if Arc::ptr_eq(counts, old) => {}
                _ => return None,
            }
            world.find(routes(index, old, new)?);
            world.objects.insert_mut(id.clone(), (Any::VirtualService(new.clone()), ObjectVersion::Current));
        }
        (Any::EndpointSlice(old), Any::EndpointSlice(new)) => world.find(slice(index, old, new)?),
        (Any::Pod(old), Any::Pod(new)) => world.find(pod(index, old, new)?),
        _ => return None,
    }
    world.revision.replace(old, new);
    world.files.insert_mut(after.source.path.clone(), after.clone());
    Some(())
}

/// Routes, and nothing that decides for whom they are or which filters run.
fn routes(index: &mut Index, old: &Arc<Object<VirtualService>>, new: &Arc<Object<VirtualService>>) -> Option<Found> {
    let names = |object: &Object<VirtualService>| -> Vec<String> {
        object.spec.http.iter().map(|route| route.name.clone()).collect()
    };
    let same = old.spec.hosts == new.spec.hosts
        && old.spec.export_to == new.spec.export_to
        && names(old) == names(new)
        && attached::attachments_of(old).eq(attached::attachments_of(new));
    if !same {
        return None;
    }
    let before = check::virtual_service(index, old);
    for (host, _) in &new.spec.hosts {
        let all = index.virtual_services.get_mut(host)?;
        let place = all.iter_mut().find(|object| Arc::ptr_eq(object, old))?;
        *place = new.clone();
    }
    Some(Found { before, after: check::virtual_service(index, new) })
}

/// Where one Service is answered.
fn slice(index: &mut Index, old: &Arc<Object<EndpointSlice>>, new: &Arc<Object<EndpointSlice>>) -> Option<Found> {
    if old.spec.service != new.spec.service {
        return None;
    }
    if new.spec.service.is_empty() {
        return Some(Found::default());
    }
    let host = names::service_host(&new.spec.service, new.meta.namespace()).ok()?;
    let before = problems(index, &host);
    let mut slices = index.slices(&host)?;
    *slices.iter_mut().find(|slice| Arc::ptr_eq(slice, old))? = new.clone();
    index.redeclare(&host, slices)?;
    Some(Found { before, after: problems(index, &host) })
}

/// Whether a pod is ready; nothing that selects it or that it says of itself.
fn pod(index: &mut Index, old: &Arc<Object<WorkloadEntry>>, new: &Arc<Object<WorkloadEntry>>) -> Option<Found> {
    let mut as_before = new.spec.clone();
    as_before.pod.as_mut()?.readiness = old.spec.pod.as_ref()?.readiness;
    if as_before != old.spec {
        return None;
    }
    let name = identity::name(new);
    index.workforce = Arc::new(index.workforce.with(&name, old, new)?);
    let declared = index.memberships.get(&name).cloned().unwrap_or_default();
    // A ServiceEntry may select it too, and even for the host of a Service.
    if declared.iter().any(|declared| declared.meta.id.kind != Kind::Service) {
        return None;
    }
    let mut found = Found::default();
    for host in declared.iter().map(|declared| &declared.host) {
        found.before.extend(problems(index, host));
        let slices = index.slices(host)?;
        index.redeclare(host, slices)?;
        found.after.extend(problems(index, host));
    }
    Some(found)
}

/// Problems of the objects that look at what has changed.
#[derive(Default)]
struct Found {
    before: Vec<Problem>,
    after: Vec<Problem>,
}

impl World {
    fn find(&mut self, found: Found) {
        if found.before != found.after {
            let all = Arc::make_mut(&mut self.problems);
            all.retain(|problem| !found.before.contains(problem));
            all.extend(found.after);
            all.sort_by(Problem::reading_order);
            all.dedup();
        }
    }
}

/// Of the rules that look at the workloads behind a service, by its own name or another.
fn problems(index: &Index, host: &Host) -> Vec<Problem> {
    let names = || index.aliases.keys().filter(|alias| index.aliased(alias) == Some(host)).chain([host]);
    let rules = index.rules.values().flat_map(|by_host| names().filter_map(|name| by_host.get(name)));
    rules.flatten().flat_map(|rule| check::rule(index, rule)).collect()
}

/// More than that, and building anew is no worse.
const CHANGES_MAX: usize = 64;
