//! What every object has: kind, namespace, name, labels, place and age.
//!
//! It does not know any kind's spec.

use crate::fields::{Cursor, Fields};
use crate::names::LabelSet;
use crate::problem::{Code, Problem, Severity};
use crate::yaml::Position;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use weft_snapshot::Digest;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Mesh,
    Service,
    ServiceEntry,
    WorkloadEntry,
    VirtualService,
    DestinationRule,
    PeerAuthentication,
    Filter,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mesh => "Mesh",
            Self::Service => "Service",
            Self::ServiceEntry => "ServiceEntry",
            Self::WorkloadEntry => "WorkloadEntry",
            Self::VirtualService => "VirtualService",
            Self::DestinationRule => "DestinationRule",
            Self::PeerAuthentication => "PeerAuthentication",
            Self::Filter => "Filter",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectId {
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.name(), self.namespace, self.name)
    }
}

/// Age in a folder: the order of paths, then of documents, then within a `List`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Age {
    pub(crate) file: Arc<str>,
    pub(crate) document: usize,
    pub(crate) item: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Meta {
    pub(crate) id: ObjectId,
    pub(crate) labels: LabelSet,
    pub(crate) age: Age,
    pub(crate) at: Position,
}

impl Meta {
    pub(crate) fn namespace(&self) -> &str {
        &self.id.namespace
    }

    /// `NAMESPACE/NAME`.
    pub(crate) fn origin(&self) -> String {
        format!("{}/{}", self.id.namespace, self.id.name)
    }

    /// A problem that shows only beside other objects.
    pub(crate) fn problem(
        &self,
        (code, severity): (Code, Severity),
        place: (Position, &str),
        reason: String,
        remedy: impl Into<String>,
    ) -> Problem {
        let (at, path) = place;
        Problem {
            code,
            severity,
            file: self.age.file.to_string(),
            line: at.line,
            column: at.column,
            object: self.id.to_string(),
            field: path.to_owned(),
            reason,
            remedy: remedy.into(),
        }
    }
}

/// One object that is whole. Equal hashes: equal in everything but place and age.
#[derive(Clone, Debug)]
pub(crate) struct Object<T> {
    pub(crate) meta: Meta,
    pub(crate) spec: T,
    hash: Digest,
}

impl<T: Hash> Object<T> {
    pub(crate) fn new(meta: Meta, spec: T) -> Self {
        let hash = digest(&(&meta.id, &meta.labels, &spec));
        Self { meta, spec, hash }
    }
}

impl<T> Object<T> {
    pub(crate) fn hash(&self) -> Digest {
        self.hash
    }
}

impl<T> Hash for Object<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

/// SHA-256 of what a value feeds to a hasher: complete where `Hash` is derived, and good within one build of Weft.
pub(crate) fn digest(value: &impl Hash) -> Digest {
    struct Feed(Sha256);
    impl Hasher for Feed {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut feed = Feed(Sha256::new());
    value.hash(&mut feed);
    Digest(feed.0.finalize().into())
}

/// `metadata` of a document: namespace, name, labels, and the annotations that mean something here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metadata {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) labels: LabelSet,
    /// Of `networking.istio.io/exportTo`.
    pub(crate) export_to: Option<String>,
}

/// What a server fills in, or what other programs read; it configures no mesh.
const SERVER_FIELDS: &[&str] = &[
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

const EXPORT_TO: &str = "networking.istio.io/exportTo";
const FILTERS: &str = "weft.dev/filters";

pub(crate) fn metadata(fields: &mut Fields<'_>) -> Option<Metadata> {
    let metadata = fields.required("metadata")?;
    metadata.object(|fields| {
        let name = fields.required("name").and_then(|c| name(&c));
        let namespace = fields.get("namespace").map(|c| self::name(&c));
        let labels = fields.get("labels").map(|c| c.text_map()).unwrap_or_default();
        let export_to = fields.get("annotations").and_then(|c| annotations(&c));
        fields.ignore(SERVER_FIELDS);
        let namespace = match namespace {
            Some(Some(namespace)) => namespace,
            Some(None) => return None,
            None => "default".to_owned(),
        };
        Some(Metadata { namespace, name: name?, labels, export_to })
    })?
}

fn annotations(cursor: &Cursor<'_>) -> Option<String> {
    let mut export_to = None;
    for (key, value) in cursor.entries() {
        match key {
            EXPORT_TO => export_to = value.text().map(str::to_owned),
            FILTERS => value.not_supported(
                "this annotation is not supported by this version of Weft",
                "use the field filters of the VirtualService, or targetRefs of the Filter",
            ),
            _ => {}
        }
    }
    export_to
}

fn name(cursor: &Cursor<'_>) -> Option<String> {
    let text = cursor.nonempty()?;
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if text.len() > 253 || !text.chars().all(inner) || !edge(text.chars().next()) || !edge(text.chars().last()) {
        let remedy = "use lower-case letters, digits, - and ., with a letter or digit at both ends";
        cursor.error(Code::BadName, format!("{text:?} is no name that Kubernetes accepts"), remedy);
        return None;
    }
    Some(text.to_owned())
}
