//! The field `filters`: which Filter runs, on which side, with which config.
//!
//! It does not know whether the Filter exists or may be attached there.

use crate::fields::{Cursor, Fields, Place};
use crate::problem::Code;

/// One entry of `filters`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Attachment {
    pub(crate) name: String,
    /// JSON that replaces the Filter's own config.
    pub(crate) config: Option<String>,
    pub(crate) side: Side,
    pub(crate) place: Place,
}

impl Attachment {
    /// For a broken object that has no earlier version: names no Filter, so what it guards is answered 503, and the
    /// log shows why.
    pub(crate) fn closing(object: &str, side: Side, place: Place) -> Self {
        Self { name: format!("({object} is broken)"), config: None, side, place }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.name.starts_with('(')
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// In the sidecar that chooses the route.
    Caller,
    /// In the sidecar of the service that answers.
    Destination,
}

const SIDES: &[(&str, Side)] = &[("Caller", Side::Caller), ("Destination", Side::Destination)];

/// On a VirtualService as a whole: either side.
pub(crate) fn on_either_side(fields: &mut Fields<'_>) -> Vec<Attachment> {
    fields.list("filters").iter().filter_map(attachment).collect()
}

/// On a route or a destination: the caller chooses those, so the policy runs there.
pub(crate) fn at_the_caller(fields: &mut Fields<'_>) -> Vec<Attachment> {
    let mut attachments = Vec::new();
    for cursor in fields.list("filters") {
        let Some(attachment) = attachment(&cursor) else { continue };
        if attachment.side == Side::Destination {
            cursor.error(
                Code::NotAllowed,
                "at: Destination on a route, and routes are chosen by the caller",
                "attach it to the VirtualService as a whole, or select workloads with the Filter's selector",
            );
            continue;
        }
        attachments.push(attachment);
    }
    attachments
}

fn attachment(cursor: &Cursor<'_>) -> Option<Attachment> {
    if cursor.is_text() {
        let remedy = cursor.scalar().map(|name| format!("write {{name: {name}}}")).unwrap_or_default();
        cursor.error(Code::WrongType, "a filter is attached by a mapping, and this is a text", remedy);
        return None;
    }
    cursor.object(|fields| {
        let name = fields.required("name").and_then(|c| c.nonempty());
        let config = fields.get("config").map(|c| config(&c));
        let side = fields.get("at").map(|c| c.one_of(SIDES));
        let side = side.unwrap_or(Some(Side::Caller));
        Some(Attachment { name: name?.to_owned(), config, side: side?, place: cursor.place() })
    })?
}

/// A filter's config: any mapping, passed to it as JSON.
pub(crate) fn config(cursor: &Cursor<'_>) -> String {
    if cursor.is_text() {
        cursor.error(
            Code::WrongType,
            "a config is a mapping, and this is a text",
            "write the config as YAML, not as a text",
        );
    }
    cursor.json()
}

pub(crate) fn side(fields: &mut Fields<'_>) -> Option<Side> {
    fields.get("at").and_then(|c| c.one_of(SIDES))
}
