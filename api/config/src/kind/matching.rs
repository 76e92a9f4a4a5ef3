//! The conditions of a route: `match` blocks and the string matches in them.
//!
//! It does not know which proxies a block is for: `sourceLabels` and its like are kept for the compilation.

use super::header;
use crate::fields::{Cursor, Fields, Place};
use crate::names::LabelSet;
use crate::problem::Code;
use weft_snapshot::{Match, StringMatch};

/// One entry of `match`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Block {
    /// Logged as `ROUTE.NAME`.
    pub(crate) name: String,
    pub(crate) conditions: Match,
    pub(crate) callers: Callers,
    pub(crate) place: Place,
}

/// Which proxies a block is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Callers {
    /// Sidecars with these labels, in this namespace.
    Sidecars { labels: LabelSet, namespace: Option<String> },
    /// Gateways only.
    None,
}

impl Block {
    /// Istio's catch-all: prefix `/` or regex `.*` (or nothing) and no other condition. Rules after it are never reached.
    pub(crate) fn takes_everything(&self) -> bool {
        let for_all = Callers::Sidecars { labels: LabelSet::new(), namespace: None };
        self.callers == for_all && conditions_take_everything(&self.conditions)
    }
}

pub(crate) fn conditions_take_everything(conditions: &Match) -> bool {
    let Match { uri, ignore_uri_case: _, scheme, method, authority, headers, without_headers, query, port } =
        conditions;
    let any_path = match uri {
        None | Some(StringMatch::Present) => true,
        Some(StringMatch::Prefix(prefix)) => prefix == "/",
        Some(StringMatch::Regex(regex)) => regex == ".*",
        Some(StringMatch::Exact(_)) => false,
    };
    any_path
        && [scheme, method, authority].iter().all(|condition| condition.is_none())
        && headers.is_empty()
        && without_headers.is_empty()
        && query.is_empty()
        && port.is_none()
}

pub(crate) fn block(cursor: &Cursor<'_>) -> Option<Block> {
    cursor.object(|fields| {
        let name = fields.get("name").and_then(|c| c.text()).unwrap_or_default().to_owned();
        let conditions = Match {
            uri: fields.get("uri").and_then(|c| string_match(&c)),
            ignore_uri_case: fields.get("ignoreUriCase").and_then(|c| c.boolean()).unwrap_or_default(),
            scheme: fields.get("scheme").and_then(|c| string_match(&c)),
            method: fields.get("method").and_then(|c| string_match(&c)),
            authority: fields.get("authority").and_then(|c| string_match(&c)),
            headers: fields.get("headers").map(|c| header_matches(&c)).unwrap_or_default(),
            without_headers: fields.get("withoutHeaders").map(|c| header_matches(&c)).unwrap_or_default(),
            query: fields.get("queryParams").map(|c| query_matches(&c)).unwrap_or_default(),
            port: fields.get("port").and_then(|c| c.port()),
        };
        if conditions.ignore_uri_case && matches!(conditions.uri, None | Some(StringMatch::Regex(_))) {
            cursor.warn(
                Code::NoEffect,
                "ignoreUriCase counts for exact and prefix of uri",
                "remove it, or write (?i) into the regex",
            );
        }
        let callers = callers(fields);
        fields.not_supported("statPrefix", "a name for statistics per match");
        Block { name, conditions, callers, place: cursor.place() }
    })
}

fn callers(fields: &mut Fields<'_>) -> Callers {
    let labels = fields.get("sourceLabels").map(|c| c.text_map()).unwrap_or_default();
    let namespace = fields.get("sourceNamespace").and_then(|c| c.nonempty()).map(str::to_owned);
    let gateways = fields.get("gateways").map(|c| c.texts());
    match gateways {
        Some(gateways) if !gateways.is_empty() => {
            if !labels.is_empty() || namespace.is_some() {
                let reason = "sourceLabels and sourceNamespace do not count where gateways is set";
                fields.cursor().warn(Code::NoEffect, reason, "remove them, or gateways");
            }
            if gateways.contains(&"mesh") {
                return Callers::Sidecars { labels: LabelSet::new(), namespace: None };
            }
            let reason = "this block is for gateways, and no sidecar uses it";
            fields.cursor().warn(Code::NoEffect, reason, "add mesh to gateways if sidecars should");
            Callers::None
        }
        _ => Callers::Sidecars { labels, namespace },
    }
}

/// Exactly one of exact, prefix and regex.
pub(crate) fn string_match(cursor: &Cursor<'_>) -> Option<StringMatch> {
    string_or_presence(cursor).or_else(|| {
        if cursor.is_empty_object() {
            cursor.error(Code::MissingField, "no condition", "write one of exact, prefix and regex");
        }
        None
    })
}

/// `None` after an error, and for `{}`.
fn string_or_presence(cursor: &Cursor<'_>) -> Option<StringMatch> {
    if cursor.is_text() {
        let remedy = cursor.scalar().map(|text| format!("write {{exact: {text:?}}}")).unwrap_or_default();
        cursor.error(Code::WrongType, "a condition is a mapping, and this is a text", remedy);
        return None;
    }
    cursor.object(|fields| {
        fields.exclusive(&["exact", "prefix", "regex"]);
        let exact = fields.get("exact").and_then(|c| c.text()).map(|text| StringMatch::Exact(text.into()));
        let prefix = fields.get("prefix").and_then(|c| c.nonempty()).map(|text| StringMatch::Prefix(text.into()));
        let regex = fields.get("regex").and_then(|c| regex(&c)).map(StringMatch::Regex);
        exact.or(prefix).or(regex)
    })?
}

/// Names are lower-cased; `{}` and the regex `*` stand for presence.
fn header_matches(cursor: &Cursor<'_>) -> Vec<(String, StringMatch)> {
    let mut matches = Vec::new();
    for (name, value) in cursor.entries() {
        if let "uri" | "scheme" | "method" | "authority" = name {
            value.error(
                Code::NotAllowed,
                format!("{name} is no header here, and Istio ignores it"),
                format!("use the field {name} of the match"),
            );
            continue;
        }
        if name.starts_with('@') {
            value.not_supported("matching on claims of a token is not supported by this version of Weft", "remove it");
            continue;
        }
        let Some(name) = header::name(&value, name) else { continue };
        matches.extend(presence_or_string(&value).map(|condition| (name, condition)));
    }
    matches
}

fn query_matches(cursor: &Cursor<'_>) -> Vec<(String, StringMatch)> {
    let one = |(name, value): (&str, Cursor<'_>)| Some((name.to_owned(), presence_or_string(&value)?));
    cursor.entries().into_iter().filter_map(one).collect()
}

fn presence_or_string(cursor: &Cursor<'_>) -> Option<StringMatch> {
    if cursor.is_null() || cursor.is_empty_object() || is_star(cursor) {
        return Some(StringMatch::Present);
    }
    string_or_presence(cursor)
}

fn is_star(cursor: &Cursor<'_>) -> bool {
    cursor.is_map() && matches!(&cursor.entries()[..], [("regex", value)] if value.is_exactly("*"))
}

const REGEX_CHARS_MAX: usize = 1024;

/// RE2 syntax; the whole value must match.
pub(crate) fn regex(cursor: &Cursor<'_>) -> Option<String> {
    let text = cursor.nonempty()?;
    if text.chars().count() > REGEX_CHARS_MAX {
        let reason = format!("a regular expression of {} characters", text.chars().count());
        cursor.error(Code::BadRegex, reason, format!("keep it within {REGEX_CHARS_MAX}"));
        return None;
    }
    match regex::RegexBuilder::new(text).size_limit(1 << 20).build() {
        Ok(_) => Some(text.to_owned()),
        Err(error) => {
            let last = error.to_string();
            let last = last.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            cursor.error(
                Code::BadRegex,
                format!("{text:?} is no regular expression: {last}"),
                "use RE2 syntax (no look-around, no back-references)",
            );
            None
        }
    }
}
