//! Filter (weft.dev): a component by image, its config and limits, and where it is attached from its own side.
//!
//! It does not look the image up; what the component wants is known from its manifest.

use super::attachment::{self, Side};
use super::mesh::beside;
use super::workload_entry::selector;
use crate::fields::{Cursor, Fields, Place};
use crate::names::LabelSet;
use crate::problem::Code;
use crate::quantity;
use std::time::Duration;
use weft_snapshot::{Digest, FailurePolicy, Isolation, NonUtf8};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Filter {
    /// Layout paths are joined to the folder of the file. Empty only in a broken Filter.
    pub(crate) image: String,
    pub(crate) digest: Option<Digest>,
    pub(crate) refresh: Option<Duration>,
    /// Name of a Secret in its own namespace.
    pub(crate) pull_secret: Option<String>,
    /// JSON.
    pub(crate) config: String,
    pub(crate) deadline: Duration,
    pub(crate) memory_max: u64,
    pub(crate) failure_policy: FailurePolicy,
    pub(crate) non_utf8: NonUtf8,
    pub(crate) isolation: Isolation,
    /// The higher, the earlier.
    pub(crate) priority: i32,
    /// Workloads in whose own sidecars it runs; empty: all of the namespace.
    pub(crate) selector: Option<(LabelSet, Place)>,
    pub(crate) targets: Vec<Target>,
    pub(crate) place: Place,
}

/// One entry of `targetRefs`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) kind: TargetKind,
    pub(crate) name: String,
    pub(crate) place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TargetKind {
    /// As an entry of its `filters`.
    VirtualService(Side),
    /// As an entry of that route's `filters`.
    Route(String),
    /// In the service's own sidecars.
    Service,
}

const DEADLINE: Duration = Duration::from_millis(2);
const MEMORY: u64 = 16 << 20;

pub(crate) fn read(fields: &mut Fields<'_>, metadata: &crate::object::Metadata, file: &str) -> Option<Filter> {
    fields.required("spec")?.object(|fields| {
        let image = fields.required("image");
        let place = image.as_ref().map_or_else(|| fields.cursor().place(), Cursor::place);
        let image = image.and_then(|c| self::image(&c, file));
        let digest = fields.get("digest").and_then(|c| c.parse("write sha256: and 64 hexadecimal digits"));
        let refresh = fields.get("refresh").and_then(|c| refresh(&c));
        let pull_secret = fields.get("imagePullSecret").and_then(|c| c.nonempty()).map(str::to_owned);
        let config = fields.get("config").map_or_else(|| "{}".into(), |c| attachment::config(&c));
        let (deadline, memory_max) = limits(fields);
        let failures = [("Closed", FailurePolicy::Closed), ("Open", FailurePolicy::Open)];
        let failure_policy = fields.get("failurePolicy").and_then(|c| c.one_of(&failures));
        let texts = [("Refuse", NonUtf8::Refuse), ("Absent", NonUtf8::Absent)];
        let non_utf8 = fields.get("nonUtf8").and_then(|c| c.one_of(&texts));
        let isolations = [("Reuse", Isolation::Reuse), ("Request", Isolation::Request)];
        let isolation = fields.get("isolation").and_then(|c| c.one_of(&isolations));
        let priority = fields.get("priority").and_then(|c| c.integer(i64::from(i32::MIN)..=i64::from(i32::MAX)));
        let selector_place = fields.get("selector").map(|c| c.place());
        let selector = selector(fields, "selector", "matchLabels").zip(selector_place);
        let targets = fields.list("targetRefs").iter().filter_map(|c| target(c, &metadata.namespace)).collect();
        Some(Filter {
            image: image.unwrap_or_default(),
            digest,
            refresh,
            pull_secret,
            config,
            deadline,
            memory_max,
            failure_policy: failure_policy.unwrap_or(FailurePolicy::Closed),
            non_utf8: non_utf8.unwrap_or(NonUtf8::Refuse),
            isolation: isolation.unwrap_or(Isolation::Reuse),
            priority: priority.and_then(|n| i32::try_from(n).ok()).unwrap_or(0),
            selector,
            targets,
            place,
        })
    })?
}

/// Of a broken Filter that attaches itself: the same without an image, so that it is never ready and fails by its
/// policy. `None` where others attach it: a name that means no Filter does the same.
pub(crate) fn closed(broken: &Filter) -> Option<Filter> {
    let selects = broken.selector.as_ref().is_some_and(|(labels, _)| !labels.is_empty());
    (selects || !broken.targets.is_empty()).then(|| Filter { image: String::new(), ..broken.clone() })
}

fn image(cursor: &Cursor<'_>, file: &str) -> Option<String> {
    let text = cursor.nonempty()?;
    if let Some(rest) = text.strip_prefix("oci://") {
        let host_and_path = rest.split_once('/').filter(|(host, path)| !host.is_empty() && !path.is_empty());
        if host_and_path.is_some() && !rest.contains(char::is_whitespace) {
            return Some(text.to_owned());
        }
    } else if let Some(path) = text.strip_prefix("oci-layout:").filter(|path| !path.is_empty()) {
        return Some(format!("oci-layout:{}", beside(file, path)));
    }
    let remedy = "write oci://HOST/REPOSITORY:TAG, or oci-layout:PATH:TAG with a path relative to this file";
    cursor.error(Code::BadValue, format!("{text:?} names no image"), remedy);
    None
}

fn refresh(cursor: &Cursor<'_>) -> Option<Duration> {
    let duration = cursor.duration()?;
    if !duration.is_zero() && duration < Duration::from_secs(1) {
        cursor.error(Code::BadValue, "a registry is asked at most once a second", "write 1s or more");
    }
    (!duration.is_zero()).then_some(duration)
}

fn limits(fields: &mut Fields<'_>) -> (Duration, u64) {
    let read = |fields: &mut Fields<'_>| {
        let deadline = fields.get("deadline").and_then(|c| {
            let deadline = c.duration()?;
            if deadline < Duration::from_micros(100) || deadline > Duration::from_secs(1) {
                c.error(Code::BadValue, "a deadline out of range", "write 100us to 1s; the default is 2ms");
                return None;
            }
            Some(deadline)
        });
        let memory = fields.get("memory").and_then(|c| memory(&c));
        (deadline.unwrap_or(DEADLINE), memory.unwrap_or(MEMORY))
    };
    fields.get("limits").and_then(|c| c.object(read)).unwrap_or((DEADLINE, MEMORY))
}

fn memory(cursor: &Cursor<'_>) -> Option<u64> {
    let text = cursor.scalar()?;
    let bytes = quantity::bytes(text);
    match bytes {
        Some(bytes) if (64 << 10..=1 << 30).contains(&bytes) => return Some(bytes),
        Some(_) => {
            cursor.error(Code::BadValue, format!("{text} is out of range"), "write 64Ki to 1Gi; the default is 16Mi")
        }
        None => cursor.error(Code::BadValue, format!("{text:?} is no size"), "write a number and a unit, such as 16Mi"),
    }
    None
}

fn target(cursor: &Cursor<'_>, namespace: &str) -> Option<Target> {
    cursor.object(|fields| {
        let group = fields.get("group").and_then(|c| c.text()).unwrap_or_default();
        let kind = fields.required("kind");
        let name = fields.required("name").and_then(|c| c.nonempty());
        let section = fields.get("sectionName").and_then(|c| c.nonempty());
        let side = attachment::side(fields);
        if let Some(other) = fields.get("namespace")
            && !other.is_exactly(namespace)
        {
            other.error(
                Code::NotAllowed,
                "a target in another namespace",
                "put the Filter into the target's namespace",
            );
            return None;
        }
        let kind = target_kind(&kind?, group, section, side)?;
        Some(Target { kind, name: name?.to_owned(), place: cursor.place() })
    })?
}

fn target_kind(kind: &Cursor<'_>, group: &str, section: Option<&str>, side: Option<Side>) -> Option<TargetKind> {
    let word = kind.nonempty()?;
    match (word, group) {
        ("VirtualService", "networking.istio.io") => match (section, side) {
            (Some(_), Some(Side::Destination)) => {
                kind.error(
                    Code::NotAllowed,
                    "at: Destination on a route, and routes are chosen by the caller",
                    "remove sectionName, or at",
                );
                None
            }
            (Some(route), _) => Some(TargetKind::Route(route.to_owned())),
            (None, side) => Some(TargetKind::VirtualService(side.unwrap_or(Side::Caller))),
        },
        ("Service", "" | "core") if section.is_none() && side != Some(Side::Caller) => Some(TargetKind::Service),
        ("Service", "" | "core") => {
            kind.error(
                Code::Conflict,
                "a Service is protected as a whole, in its own sidecars",
                "remove sectionName and at",
            );
            None
        }
        ("HTTPRoute" | "GRPCRoute", "gateway.networking.k8s.io") => {
            kind.not_supported(
                format!("{word} is not supported by this version of Weft"),
                "name a VirtualService or a Service",
            );
            None
        }
        _ => {
            let remedy = "write group networking.istio.io and kind VirtualService, or kind Service without group";
            kind.error(Code::BadValue, format!("no filter can be attached to kind {word} of group {group:?}"), remedy);
            None
        }
    }
}
