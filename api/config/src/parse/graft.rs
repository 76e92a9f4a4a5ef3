//! The annotation `weft.dev/filters`: what it attaches is put into the tree as the field `filters` that it stands for.
//!
//! So that whatever reads the tree reads both alike, and a broken annotation leaves its hosts closed as a broken field
//! does. It also finds filters that were written and pruned on their way, by the annotation that `kubectl apply` leaves.

use crate::fields::{Cursor, Log};
use crate::names::qualify;
use crate::problem::{Code, Problem, Severity};
use crate::yaml::{self, Entry, Node, Position, Value};

pub(crate) const FILTERS: &str = "weft.dev/filters";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The tree of an object with what its annotations attach; `None` where they attach nothing.
pub(super) fn graft(root: &Cursor<'_>, log: &Log) -> Option<Node> {
    let annotations = root.find("metadata")?.find("annotations")?;
    if !root.find("kind")?.is_exactly("VirtualService") {
        if let Some(cursor) = annotations.find(FILTERS) {
            let remedy = "put it on a VirtualService, or use targetRefs or selector of the Filter";
            cursor.warn(Code::NoEffect, "this annotation counts on a VirtualService only", remedy);
        }
        return None;
    }
    let mut tree = root.node().clone();
    let spec = tree.entry_mut("spec")?;
    if let Some(cursor) = annotations.find(FILTERS) {
        let text = cursor.text()?;
        let written = Written { cursor: &cursor, log };
        let namespace = root.find("metadata").and_then(|m| m.find("namespace")?.scalar()).unwrap_or("default");
        if written.put(text, spec, namespace).is_none() {
            close(spec, cursor.at());
        }
        return Some(tree);
    }
    let applied = annotations.find(LAST_APPLIED)?;
    let text = applied.scalar()?;
    if !pruned(text, spec) {
        return None;
    }
    let reason = "filters were applied to this object, and its spec has lost them: the VirtualService CRD in the cluster does not know the field";
    applied.error(
        Code::FieldPruned,
        reason,
        "attach them by annotation weft.dev/filters or by targetRefs of the Filter, or apply Weft's CRD again and then the object",
    );
    close(spec, applied.at());
    Some(tree)
}

pub(super) fn annotation<'a>(root: &Cursor<'a>) -> Option<Cursor<'a>> {
    root.find("metadata")?.find("annotations")?.find(FILTERS)
}

/// The annotation as it is written.
struct Written<'a> {
    cursor: &'a Cursor<'a>,
    log: &'a Log,
}

impl Written<'_> {
    /// `None` where anything of it is wrong: that is reported.
    fn put(&self, text: &str, spec: &mut Node, namespace: &str) -> Option<()> {
        let at = self.cursor.at();
        if carries_filters(spec) {
            self.fault(
                Code::Conflict,
                "filters are attached by this annotation and by the field filters",
                "keep one of the two",
            );
            return None;
        }
        let documents = yaml::documents(text);
        let [document] = documents.as_slice() else {
            self.fault(Code::BadValue, "this is not one YAML document", FORM);
            return None;
        };
        if let Some(fault) = document.faults.first() {
            self.fault(Code::BadYaml, &fault.reason, &fault.remedy);
            return None;
        }
        let mut tree = document.root.clone();
        tree.moved_to(at);
        let Value::Map(entries) = tree.value else {
            self.fault(Code::BadValue, "this is no mapping", FORM);
            return None;
        };
        for entry in entries {
            match entry.key.as_str() {
                "filters" => spec.insert("filters", entry.node),
                "http" => self.routes(entry.node, spec, namespace)?,
                other => return self.unknown(other),
            }
        }
        Some(())
    }

    fn routes(&self, by_name: Node, spec: &mut Node, namespace: &str) -> Option<()> {
        let Value::Map(entries) = by_name.value else {
            self.fault(Code::BadValue, "http is no mapping from the names of routes", FORM);
            return None;
        };
        for Entry { key: name, node, .. } in entries {
            let routes = spec.entry_mut("http").and_then(Node::list_mut);
            let named = |route: &&mut Node| route.entry("name").is_some_and(|own| own.is_text(&name));
            let Some(route) = routes.into_iter().flatten().find(named) else {
                self.fault(
                    Code::BadValue,
                    &format!("no route of this VirtualService is named {name:?}"),
                    "name the route, or correct the name",
                );
                return None;
            };
            let Value::Map(entries) = node.value else {
                self.fault(Code::BadValue, &format!("http.{name} is no mapping"), FORM);
                return None;
            };
            for entry in entries {
                match entry.key.as_str() {
                    "filters" => route.insert("filters", entry.node),
                    "destinations" => self.destinations(entry.node, route, namespace)?,
                    other => return self.unknown(other),
                }
            }
        }
        Some(())
    }

    fn destinations(&self, by_name: Node, route: &mut Node, namespace: &str) -> Option<()> {
        let Value::Map(entries) = by_name.value else {
            self.fault(Code::BadValue, "destinations is no mapping from HOST/SUBSET", FORM);
            return None;
        };
        for Entry { key, node, .. } in entries {
            let (host, subset) = key.split_once('/').unwrap_or((&key, ""));
            let destinations = route.entry_mut("route").and_then(Node::list_mut);
            let Some(found) = destinations.into_iter().flatten().find(|d| is(d, (host, subset), namespace)) else {
                self.fault(
                    Code::BadValue,
                    &format!("this route has no destination {key:?}"),
                    "write HOST/SUBSET, or HOST where there is no subset",
                );
                return None;
            };
            found.insert("filters", node);
        }
        Some(())
    }

    fn unknown<T>(&self, key: &str) -> Option<T> {
        self.fault(Code::UnknownField, &format!("there is no field {key:?} here"), FORM);
        None
    }

    fn fault(&self, code: Code, reason: &str, remedy: &str) {
        let at = self.cursor.at();
        self.log.add(Problem {
            code,
            severity: Severity::Error,
            file: self.log.file.clone(),
            line: at.line,
            column: at.column,
            object: self.log.object.borrow().clone(),
            field: format!("metadata.annotations.{FILTERS}"),
            reason: reason.to_owned(),
            remedy: remedy.to_owned(),
        });
    }
}

/// Hosts are equal as they are written, or as they are meant.
fn is(destination: &Node, (host, subset): (&str, &str), namespace: &str) -> bool {
    let Some(target) = destination.entry("destination") else { return false };
    let written = target.entry("host").and_then(Node::text).unwrap_or_default();
    let own_subset = target.entry("subset").and_then(Node::text).unwrap_or_default();
    let meant = |host: &str| qualify(host, namespace).ok();
    own_subset == subset && (written == host || (meant(host).is_some() && meant(host) == meant(written)))
}

/// Nobody knows any more what was to run here: nothing may pass.
fn close(spec: &mut Node, at: Position) {
    let text = |text: &str| Node { at, value: Value::Quoted(text.to_owned()) };
    let entry = |key: &str, node| Entry { key: key.to_owned(), at, node };
    let attachment = |side| {
        let entries = vec![entry("name", text("unreadable")), entry("at", text(side))];
        Node { at, value: Value::Map(entries) }
    };
    let list = Value::List(vec![attachment("Caller"), attachment("Destination")]);
    spec.insert("filters", Node { at, value: list });
}

fn pruned(last_applied: &str, spec: &Node) -> bool {
    let applied = yaml::documents(last_applied);
    let before = applied.first().and_then(|document| document.root.entry("spec"));
    before.is_some_and(carries_filters) && !carries_filters(spec)
}

/// On the object, a route or a destination.
fn carries_filters(spec: &Node) -> bool {
    let has = |node: &Node| node.entry("filters").is_some();
    let routes = || spec.entry("http").and_then(Node::list).into_iter().flatten();
    let mut destinations = routes().filter_map(|route| route.entry("route")?.list()).flatten();
    has(spec) || routes().any(has) || destinations.any(has)
}

const FORM: &str = "write `filters: [...]`, or `http: {ROUTE: {filters: [...], destinations: {HOST/SUBSET: [...]}}}`";
