//! One file as objects and problems.
//!
//! It does not know other files, nor what of an earlier version may be kept.

mod graft;

use crate::fields::{Asked, Cursor, Fields, Log};
use crate::kind::{self, Reading};
use crate::object::{Age, Kind, Meta, Metadata, Object, ObjectId, Origin, Stored, digest, metadata};
use crate::problem::{Code, Problem, Severity};
use crate::yaml::{self, Fault, FaultKind, Position};
use crate::{SourceFile, suggest};
use std::sync::Arc;
use weft_snapshot::Digest;

/// A whole object of any kind.
#[derive(Clone, Debug)]
pub(crate) enum Any {
    Mesh(Arc<Object<kind::mesh::Mesh>>),
    Service(Arc<Object<kind::Service>>),
    EndpointSlice(Arc<Object<kind::EndpointSlice>>),
    /// A workload like a WorkloadEntry.
    Pod(Arc<Object<kind::WorkloadEntry>>),
    ServiceEntry(Arc<Object<kind::ServiceEntry>>),
    WorkloadEntry(Arc<Object<kind::WorkloadEntry>>),
    VirtualService(Arc<Object<kind::VirtualService>>),
    DestinationRule(Arc<Object<kind::DestinationRule>>),
    PeerAuthentication(Arc<Object<kind::PeerAuthentication>>),
    Filter(Arc<Object<kind::Filter>>),
}

impl Any {
    pub(crate) fn meta(&self) -> &Meta {
        match self {
            Self::Mesh(object) => &object.meta,
            Self::Service(object) => &object.meta,
            Self::EndpointSlice(object) => &object.meta,
            Self::Pod(object) => &object.meta,
            Self::ServiceEntry(object) => &object.meta,
            Self::WorkloadEntry(object) => &object.meta,
            Self::VirtualService(object) => &object.meta,
            Self::DestinationRule(object) => &object.meta,
            Self::PeerAuthentication(object) => &object.meta,
            Self::Filter(object) => &object.meta,
        }
    }

    pub(crate) fn hash(&self) -> Digest {
        match self {
            Self::Mesh(object) => object.hash(),
            Self::Service(object) => object.hash(),
            Self::EndpointSlice(object) => object.hash(),
            Self::Pod(object) => object.hash(),
            Self::ServiceEntry(object) => object.hash(),
            Self::WorkloadEntry(object) => object.hash(),
            Self::VirtualService(object) => object.hash(),
            Self::DestinationRule(object) => object.hash(),
            Self::PeerAuthentication(object) => object.hash(),
            Self::Filter(object) => object.hash(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct ParsedFile {
    pub(crate) source: SourceFile,
    pub(crate) good: Vec<Any>,
    /// Objects that are written here and broken, and what stands in for those that guard something and have no earlier
    /// version.
    pub(crate) broken: Vec<(ObjectId, Option<Any>)>,
    pub(crate) integrity: Integrity,
    pub(crate) problems: Vec<Problem>,
}

/// Whether it is certain which objects a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Integrity {
    Whole,
    /// Some document could not be read far enough to say what it is.
    Torn,
}

pub(crate) fn parse(file: &SourceFile) -> ParsedFile {
    let mut parsed = ParsedFile {
        source: file.clone(),
        good: Vec::new(),
        broken: Vec::new(),
        integrity: Integrity::Whole,
        problems: Vec::new(),
    };
    let text = match std::str::from_utf8(&file.bytes) {
        Ok(text) => text,
        Err(error) => {
            parsed.integrity = Integrity::Torn;
            parsed.problems.push(not_utf8(file, error.valid_up_to()));
            return parsed;
        }
    };
    for (document, tree) in yaml::documents(text).iter().enumerate() {
        let log = Log::new(&file.path);
        let root = Cursor::root(&tree.root, &log);
        let (cut, doubled): (Vec<_>, Vec<_>) = tree.faults.iter().partition(|f| f.kind == FaultKind::Syntax);
        *log.object.borrow_mut() = peek(&root).unwrap_or_default();
        report(&doubled, Code::DuplicateKey, &log);
        if cut.is_empty() {
            for (item, root) in items(&root).into_iter().enumerate() {
                let age = Age { created: file.created.clone(), file: file.path.clone(), document, item };
                read(&root, age, doubled.is_empty(), &mut parsed, &log);
            }
        } else {
            // What came before the fault says which object it is, and nothing more of it is used.
            report(&cut, Code::BadYaml, &log);
            parsed.integrity = Integrity::Torn;
        }
        parsed.problems.extend(log.into_problems());
    }
    if file.created.is_some() {
        parsed.problems.iter_mut().for_each(|problem| (problem.line, problem.column) = (0, 0));
    }
    parsed
}

/// What the readers look for in these documents, in their order.
pub fn asked(file: &SourceFile) -> Vec<Asked> {
    let text = String::from_utf8_lossy(&file.bytes);
    let mut asked = Vec::new();
    for (document, tree) in yaml::documents(&text).iter().enumerate() {
        let log = Log::watching(&file.path);
        let root = Cursor::root(&tree.root, &log);
        let age = Age { created: file.created.clone(), file: file.path.clone(), document, item: 0 };
        root.object(|fields| object(fields, &age, (root.at(), &root), &log));
        asked.extend(log.into_asked());
    }
    asked
}

fn not_utf8(file: &SourceFile, valid_up_to: usize) -> Problem {
    // YAML's line breaks.
    let before = String::from_utf8_lossy(&file.bytes[..valid_up_to]).replace("\r\n", "\n");
    let line = before.matches(['\n', '\r']).count() + 1;
    let column = before.rsplit(['\n', '\r']).next().map_or(0, |last| last.chars().count()) + 1;
    Problem {
        code: Code::NotUtf8,
        severity: Severity::Error,
        file: file.path.to_string(),
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: u32::try_from(column).unwrap_or(u32::MAX),
        object: String::new(),
        field: String::new(),
        reason: "the file is not UTF-8 text".into(),
        remedy: "save it as UTF-8".into(),
    }
}

/// The documents of a `List`, as `kubectl get -o yaml` writes it; else the document itself.
fn items<'a>(root: &Cursor<'a>) -> Vec<Cursor<'a>> {
    if !root.is_map() {
        return vec![root.clone()];
    }
    let entries = root.entries();
    let is_list = entries.iter().any(|(key, value)| *key == "kind" && value.is_exactly("List"));
    match entries.into_iter().find(|(key, _)| is_list && *key == "items") {
        Some((_, items)) => items.list(),
        None => vec![root.clone()],
    }
}

/// Reads one document, or one item of a list. `sound`: no key of the document is there twice.
fn read(written: &Cursor<'_>, age: Age, sound: bool, parsed: &mut ParsedFile, log: &Log) {
    let errors_before = log.errors();
    *log.object.borrow_mut() = peek(written).unwrap_or_default();
    let grafted = graft::graft(written, log);
    let root = &grafted.as_ref().map_or_else(|| written.clone(), |tree| written.with_node(tree));
    if !root.is_map() {
        root.error(
            Code::NotAnObject,
            "this document is no object",
            "write apiVersion, kind and metadata, or remove it",
        );
        parsed.integrity = Integrity::Torn;
        return;
    }
    let place = (root.at(), written);
    let outcome = root.object(|fields| object(fields, &age, place, log)).flatten();
    match outcome {
        Some(Read::Object(any)) if sound && log.errors() == errors_before => parsed.good.push(any),
        Some(Read::Object(any)) => {
            let meta = any.meta().clone();
            parsed.broken.push((meta.id.clone(), stand_in(root, meta, Some(&any))));
        }
        Some(Read::Broken(meta)) => parsed.broken.push((meta.id.clone(), stand_in(root, *meta, None))),
        Some(Read::NotOurs) => {}
        None => parsed.integrity = Integrity::Torn,
    }
}

fn report(faults: &[&Fault], code: Code, log: &Log) {
    for fault in faults {
        log.add(Problem {
            code,
            severity: Severity::Error,
            file: log.file.clone(),
            line: fault.at.line,
            column: fault.at.column,
            object: log.object.borrow().clone(),
            field: String::new(),
            reason: fault.reason.clone(),
            remedy: fault.remedy.clone(),
        });
    }
}

enum Read {
    Object(Any),
    Broken(Box<Meta>),
    NotOurs,
}

/// `None`: it cannot be said which object this is.
fn object(fields: &mut Fields<'_>, age: &Age, (at, raw): (Position, &Cursor<'_>), log: &Log) -> Option<Read> {
    let api_version = fields.required("apiVersion");
    let kind_field = fields.required("kind");
    let written = api_version.as_ref().and_then(Cursor::nonempty).zip(kind_field.as_ref().and_then(Cursor::nonempty));
    let (Some((version, word)), Some(api_version), Some(kind_field)) = (written, api_version, kind_field) else {
        fields.ignore_rest();
        return None;
    };
    fields.ignore(&["status"]);
    let origin = if age.created.is_some() { Origin::Cluster } else { Origin::Folder };
    let reading = kind::reading(version, word, origin);
    if !matches!(reading, Reading::Supported(_)) {
        fields.ignore_rest();
        return unread(reading, (&api_version, &kind_field), (version, word));
    }
    let Reading::Supported(kind) = reading else { return None };
    let Some(metadata) = metadata(fields, origin) else {
        fields.ignore(&["spec"]);
        return None;
    };
    let id = ObjectId { kind, namespace: metadata.namespace.clone(), name: metadata.name.clone() };
    *log.object.borrow_mut() = id.to_string();
    let stored = match metadata.stored.generation {
        Some(_) => Stored {
            spec: raw.find("spec").map(|spec| digest(&spec.json())),
            filters: graft::annotation(raw).map(|filters| digest(&filters.json())),
            ..metadata.stored.clone()
        },
        None => metadata.stored.clone(),
    };
    let meta = Meta { id, labels: metadata.labels.clone(), age: age.clone(), at, stored };
    Some(match spec(fields, &metadata, meta.clone()) {
        Some(any) => Read::Object(any),
        None => Read::Broken(Box::new(meta)),
    })
}

/// A broken object with no earlier version counts as absent, but what it would have guarded must not stand open.
fn stand_in(root: &Cursor<'_>, meta: Meta, broken: Option<&Any>) -> Option<Any> {
    // Its problems are reported already.
    let silent = Log::new("");
    match (meta.id.kind, broken) {
        // What of it can be read is nearer to what was meant than the defaults are.
        (Kind::Mesh, Some(any @ Any::Mesh(_))) => Some(any.clone()),
        (Kind::PeerAuthentication, _) => {
            let closed = kind::peer_authentication::closed(&root.with_log(&silent))?;
            Some(Any::PeerAuthentication(Arc::new(Object::new(meta, closed))))
        }
        (Kind::VirtualService, _) => {
            let closed = kind::virtual_service::closed(&root.with_log(&silent), &meta.id)?;
            Some(Any::VirtualService(Arc::new(Object::new(meta, closed))))
        }
        (Kind::Filter, Some(Any::Filter(filter))) => {
            let closed = kind::filter::closed(&filter.spec)?;
            Some(Any::Filter(Arc::new(Object::new(meta, closed))))
        }
        _ => None,
    }
}

fn spec(fields: &mut Fields<'_>, metadata: &Metadata, meta: Meta) -> Option<Any> {
    let namespace = metadata.namespace.as_str();
    let file = meta.age.file.clone();
    Some(match meta.id.kind {
        Kind::Mesh => Any::Mesh(Arc::new(Object::new(meta, kind::mesh::read(fields, &file)?))),
        Kind::Service => Any::Service(Arc::new(Object::new(meta, kind::service::read(fields, metadata)?))),
        Kind::EndpointSlice => {
            Any::EndpointSlice(Arc::new(Object::new(meta, kind::endpoint_slice::read(fields, metadata)?)))
        }
        Kind::Pod => Any::Pod(Arc::new(Object::new(meta, kind::pod::read(fields, metadata)?))),
        Kind::ServiceEntry => {
            Any::ServiceEntry(Arc::new(Object::new(meta, kind::service_entry::read(fields, namespace)?)))
        }
        Kind::WorkloadEntry => {
            let labels = metadata.labels.clone();
            Any::WorkloadEntry(Arc::new(Object::new(meta, kind::workload_entry::read(fields, &labels)?)))
        }
        Kind::VirtualService => {
            Any::VirtualService(Arc::new(Object::new(meta, kind::virtual_service::read(fields, namespace)?)))
        }
        Kind::DestinationRule => {
            Any::DestinationRule(Arc::new(Object::new(meta, kind::destination_rule::read(fields, namespace)?)))
        }
        Kind::PeerAuthentication => {
            Any::PeerAuthentication(Arc::new(Object::new(meta, kind::peer_authentication::read(fields)?)))
        }
        Kind::Filter => Any::Filter(Arc::new(Object::new(meta, kind::filter::read(fields, metadata, &file)?))),
    })
}

fn unread(reading: Reading, at: (&Cursor<'_>, &Cursor<'_>), words: (&str, &str)) -> Option<Read> {
    let ((version_at, kind_at), (version, kind)) = (at, words);
    match reading {
        Reading::Supported(_) => None,
        Reading::OtherVersion(known) => {
            let reason = format!("{kind} is not read in version {version:?}");
            version_at.error(Code::UnknownVersion, reason, format!("write {known}"));
            // It may be an object that was good under another version.
            None
        }
        Reading::NotYet => {
            let reason = format!("{kind} of {version} is not supported by this version of Weft, and has no effect");
            kind_at.not_supported(reason, "remove it from what Weft reads");
            Some(Read::NotOurs)
        }
        Reading::Foreign => {
            let reason = format!("{kind} of {version} configures no mesh, and is left aside");
            kind_at.warn(Code::ForeignKind, reason, "nothing, if it is meant for others");
            Some(Read::NotOurs)
        }
        Reading::Unknown => {
            let remedy = match suggest::nearest(kind, kind::KIND_NAMES.iter().copied()) {
                Some(name) => format!("did you mean {name}?"),
                None => format!("Weft reads {}", kind::KIND_NAMES.join(", ")),
            };
            kind_at.error(Code::UnknownKind, format!("there is no kind {kind} in {version}"), remedy);
            None
        }
    }
}

/// `Kind namespace/name` of a document that is not read further.
fn peek(root: &Cursor<'_>) -> Option<String> {
    if !root.is_map() {
        return None;
    }
    let text = |cursor: &Cursor<'_>, wanted: &str| {
        let found = cursor.is_map().then(|| cursor.entries().into_iter().find(|(key, _)| *key == wanted))??;
        found.1.is_text().then(|| found.1.scalar().map(str::to_owned))?
    };
    let (_, metadata) = root.entries().into_iter().find(|(key, _)| *key == "metadata")?;
    let namespace = text(&metadata, "namespace").unwrap_or_else(|| "default".into());
    Some(format!("{} {namespace}/{}", text(root, "kind")?, text(&metadata, "name")?))
}
