//! Which version of each object counts: the one written now, or the last good one where that is broken.
//!
//! It does not know what the objects mean to each other.

use super::ObjectVersion;
use crate::object::{Kind, ObjectId};
use crate::parse::{Any, Integrity};
use crate::problem::{Code, Problem, Severity};
use rpds::RedBlackTreeMapSync;
use std::collections::BTreeMap;

/// Of a world; the next one shares what stays.
pub(super) type Objects = RedBlackTreeMapSync<ObjectId, (Any, ObjectVersion)>;

#[derive(Default)]
pub(super) struct Kept {
    pub(super) objects: BTreeMap<ObjectId, (Any, ObjectVersion)>,
    /// For broken objects without an earlier version.
    pub(super) stand_ins: Vec<Any>,
    pub(super) problems: Vec<Problem>,
}

/// Files in path order, so that the first of two equal names is the older one.
pub(super) fn keep(files: &super::Files, previous: &Objects) -> Kept {
    let mut kept = Kept::default();
    for file in files.values() {
        // What a cluster says of its pods and endpoints is fact, and has no earlier version that would be better.
        for any in file.good.iter().filter(|any| !matches!(any, Any::Pod(_) | Any::EndpointSlice(_))) {
            insert(any, &mut kept);
        }
    }
    restore_pruned(&mut kept, previous);
    let broken: BTreeMap<&ObjectId, &Option<Any>> =
        files.values().flat_map(|file| &file.broken).map(|(id, stand_in)| (id, stand_in)).collect();
    let torn = |path: &str| files.get(path).is_some_and(|file| file.integrity == Integrity::Torn);
    for (id, (any, _)) in previous {
        let unsure = broken.contains_key(id) || torn(&any.meta().age.file);
        if unsure && !kept.objects.contains_key(id) {
            kept.objects.insert(id.clone(), (any.clone(), ObjectVersion::LastGood));
        }
    }
    let absent = broken.into_iter().filter(|(id, _)| !kept.objects.contains_key(*id));
    kept.stand_ins = absent.filter_map(|(_, stand_in)| stand_in.clone()).collect();
    one_mesh(&mut kept);
    kept
}

fn insert(any: &Any, kept: &mut Kept) {
    let meta = any.meta();
    if let Some((first, _)) = kept.objects.get(&meta.id) {
        let first = first.meta();
        let reason =
            format!("{} is there already, in {}:{}, and that one counts", meta.id, first.age.file, first.at.line);
        let problem =
            meta.problem((Code::DuplicateObject, Severity::Error), (meta.at, ""), reason, "rename one, or remove it");
        kept.problems.push(problem);
        return;
    }
    kept.objects.insert(meta.id.clone(), (any.clone(), ObjectVersion::Current));
}

/// What an object lost without anyone changing it still counts.
fn restore_pruned(kept: &mut Kept, previous: &Objects) {
    for (id, (any, version)) in &mut kept.objects {
        let Some((before, _)) = previous.get(id) else { continue };
        let meta = any.meta();
        if !meta.stored.pruned_since(&before.meta().stored) {
            continue;
        }
        let reason = "the API server no longer gives all of this object that was written: the CRD in the cluster lacks a field; the version from before counts";
        let remedy = "apply Weft's CRDs again, or write the object without the field (filters: by annotation weft.dev/filters, or targetRefs of the Filter)";
        kept.problems.push(meta.problem(
            (Code::FieldPruned, Severity::Error),
            (meta.at, "spec"),
            reason.to_owned(),
            remedy,
        ));
        (*any, *version) = (before.clone(), ObjectVersion::LastGood);
    }
}

/// The oldest Mesh counts.
fn one_mesh(kept: &mut Kept) {
    let mut meshes: Vec<_> =
        kept.objects.values().map(|(any, _)| any.meta()).filter(|m| m.id.kind == Kind::Mesh).collect();
    meshes.sort_by(|a, b| a.age.cmp(&b.age));
    let Some((first, others)) = meshes.split_first() else { return };
    let mut problems = Vec::new();
    for other in others {
        let reason = format!("a mesh has one Mesh object, and {} in {} is older", first.id, first.age.file);
        let problem =
            other.problem((Code::DuplicateObject, Severity::Error), (other.at, ""), reason, "remove this one");
        problems.push(problem);
    }
    kept.problems.extend(problems);
}
