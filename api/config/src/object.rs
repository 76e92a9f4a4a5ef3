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
    EndpointSlice,
    Pod,
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
            Self::EndpointSlice => "EndpointSlice",
            Self::Pod => "Pod",
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

/// Age in a folder: the order of paths, then of documents, then within a `List`. In a cluster: when it was made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Age {
    pub(crate) created: Option<Arc<str>>,
    pub(crate) file: Arc<str>,
    pub(crate) document: usize,
    pub(crate) item: usize,
}

impl Age {
    /// A line and a column mean something in a text that a person wrote; of a cluster's object the field is the place.
    pub(crate) fn shown(&self, at: Position) -> Position {
        if self.created.is_some() { Position { line: 0, column: 0 } } else { at }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Meta {
    pub(crate) id: ObjectId,
    pub(crate) labels: LabelSet,
    pub(crate) age: Age,
    pub(crate) at: Position,
    pub(crate) stored: Stored,
}

/// What an API server says of the object that it has; nothing in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) uid: Option<String>,
    /// Counts the changes of the spec.
    pub(crate) generation: Option<i64>,
    /// Hash of the spec as it came, where there is a generation.
    pub(crate) spec: Option<Digest>,
    /// Of the annotation `weft.dev/filters`, which counts beside the spec and in no generation.
    pub(crate) filters: Option<Digest>,
}

impl Stored {
    /// True where the object lost a part without anyone changing it: its CRD no longer knows a field. An annotation that
    /// says anew what is attached is such a change.
    pub(crate) fn pruned_since(&self, earlier: &Self) -> bool {
        let same = self.uid.is_some() && self.uid == earlier.uid && self.generation == earlier.generation;
        let same = same && self.filters == earlier.filters;
        same && self.spec.is_some() && earlier.spec.is_some() && self.spec != earlier.spec
    }
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
        let at = self.age.shown(at);
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
    /// Of `sidecar.weft.dev/status` and `sidecar.istio.io/status`: whose sidecar was injected.
    pub(crate) injected: Option<Injected>,
    /// Kind and name of the controller that made it.
    pub(crate) controller: Option<(String, String)>,
    pub(crate) origin: Origin,
    pub(crate) stored: Stored,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Injected {
    ByWeft,
    ByIstio,
}

/// Where an object was read. What a person wrote into a folder is judged; what others run in a cluster is taken as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Origin {
    #[default]
    Folder,
    Cluster,
}

/// What a server fills in, or what other programs read; it configures no mesh.
const SERVER_FIELDS: &[&str] = &[
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "managedFields",
    "resourceVersion",
    "selfLink",
];

const EXPORT_TO: &str = "networking.istio.io/exportTo";

const INJECTED: &[(&str, Injected)] =
    &[("sidecar.weft.dev/status", Injected::ByWeft), ("sidecar.istio.io/status", Injected::ByIstio)];

pub(crate) fn metadata(fields: &mut Fields<'_>, origin: Origin) -> Option<Metadata> {
    let metadata = fields.required("metadata")?;
    metadata.object(|fields| {
        let name = fields.required("name").and_then(|c| name(&c));
        let namespace = fields.get("namespace").map(|c| self::name(&c));
        let labels = fields.get("labels").map(|c| c.text_map()).unwrap_or_default();
        let (export_to, injected) = fields.get("annotations").map(|c| annotations(&c)).unwrap_or_default();
        let controller = fields.get("ownerReferences").and_then(|c| controller(&c));
        let uid = fields.get("uid").and_then(|c| c.text().map(str::to_owned));
        let generation = fields.get("generation").and_then(|c| c.integer(0..=i64::MAX));
        fields.ignore(SERVER_FIELDS);
        let namespace = match namespace {
            Some(Some(namespace)) => namespace,
            Some(None) => return None,
            None => "default".to_owned(),
        };
        let stored = Stored { uid, generation, ..Stored::default() };
        Some(Metadata { namespace, name: name?, labels, export_to, injected, controller, origin, stored })
    })?
}

fn annotations(cursor: &Cursor<'_>) -> (Option<String>, Option<Injected>) {
    let (mut export_to, mut injected) = (None, None);
    for (key, value) in cursor.entries() {
        match key {
            EXPORT_TO => export_to = value.text().map(str::to_owned),
            _ => {
                let mark = INJECTED.iter().find(|(name, _)| *name == key).map(|(_, by)| *by);
                injected = if injected == Some(Injected::ByWeft) { injected } else { mark.or(injected) };
            }
        }
    }
    (export_to, injected)
}

fn controller(cursor: &Cursor<'_>) -> Option<(String, String)> {
    let text = |owner: &Cursor<'_>, key: &str| owner.find(key)?.scalar().map(str::to_owned);
    let owners = cursor.list();
    let controls = |owner: &&Cursor<'_>| owner.find("controller").is_some_and(|c| c.is_exactly("true"));
    let owner = owners.iter().find(controls)?;
    Some((text(owner, "kind")?, text(owner, "name")?))
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
