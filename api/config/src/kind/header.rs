//! Header operations: what is set, added and removed, with Istio's special names resolved.
//!
//! It does not know requests; which operations come first is the proxy's.

use crate::fields::Cursor;
use crate::problem::Code;
use weft_snapshot::{HeaderOps, Headers};

/// `headers` of a route or a destination.
pub(crate) fn headers(cursor: &Cursor<'_>) -> Headers {
    cursor
        .object(|fields| Headers {
            request: fields.get("request").map(|c| operations(&c, Direction::Request)).unwrap_or_default(),
            response: fields.get("response").map(|c| operations(&c, Direction::Response)).unwrap_or_default(),
        })
        .unwrap_or_default()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Response,
}

fn operations(cursor: &Cursor<'_>, direction: Direction) -> HeaderOps {
    let read = |fields: &mut crate::fields::Fields<'_>| {
        let set = fields.get("set").map(|c| values(&c, direction)).unwrap_or_default();
        let mut add = fields.get("add").map(|c| values(&c, direction)).unwrap_or_default();
        let remove = fields.list("remove").iter().filter_map(|c| removed(c, direction)).collect();
        let mut ops = HeaderOps { set, add: Vec::new(), remove };
        // There is one authority: to add one is to set it, and `set` beats `add`.
        if let Some(index) = add.iter().position(|(name, _)| name == AUTHORITY) {
            let authority = add.remove(index);
            if !ops.set.iter().any(|(name, _)| name == AUTHORITY) {
                ops.set.push(authority);
            }
        }
        ops.add = add;
        ops
    };
    cursor.object(read).unwrap_or_default()
}

const AUTHORITY: &str = ":authority";

fn values(cursor: &Cursor<'_>, direction: Direction) -> Vec<(String, String)> {
    let mut values: Vec<(String, String)> = Vec::new();
    for (written, value) in cursor.entries() {
        let Some(name) = target(&value, written, direction) else { continue };
        let Some(text) = value.text().and_then(|text| plain_value(&value, text)) else { continue };
        if values.iter().any(|(other, _)| *other == name) {
            value.error(Code::DuplicateKey, format!("the header {name} is named twice"), "keep one of the two");
            continue;
        }
        values.push((name, text));
    }
    values
}

/// The header that an operation means; `None` (after a problem) where it means none.
fn target(cursor: &Cursor<'_>, written: &str, direction: Direction) -> Option<String> {
    let lower = written.to_ascii_lowercase();
    match direction {
        Direction::Request if lower == "host" || lower == AUTHORITY => Some(AUTHORITY.to_owned()),
        _ if lower.starts_with(':') => {
            let remedy = "use rewrite for the path, and :authority or host for the authority";
            cursor.error(Code::NotAllowed, format!("{written} cannot be changed by a header operation"), remedy);
            None
        }
        _ => name(cursor, written),
    }
}

fn removed(cursor: &Cursor<'_>, direction: Direction) -> Option<String> {
    let name = target(cursor, cursor.nonempty()?, direction)?;
    if name == AUTHORITY {
        cursor.error(Code::NotAllowed, "a request without an authority goes nowhere", "set it instead");
        return None;
    }
    Some(name)
}

/// A header's name, lower-case.
pub(crate) fn name(cursor: &Cursor<'_>, written: &str) -> Option<String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if written.is_empty() || written.len() > 256 || !written.bytes().all(token) {
        cursor.error(Code::BadName, format!("{written:?} is no header name"), "use letters, digits and hyphens");
        return None;
    }
    Some(written.to_ascii_lowercase())
}

/// Envoy's format commands (`%REQ(x)%`) are not supported; `%%` is a percent sign.
fn plain_value(cursor: &Cursor<'_>, text: &str) -> Option<String> {
    if text.bytes().any(|b| (b < 0x20 && b != b'\t') || b == 0x7f) {
        cursor.error(Code::BadValue, "a header value with a control character", "keep it on one line");
        return None;
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        plain.push('%');
        let Some(tail) = after.strip_prefix('%') else {
            let reason =
                format!("format commands of header values, as in {text:?}, are not supported by this version of Weft");
            cursor.not_supported(reason, "write the value out; a percent sign is written %%");
            return None;
        };
        rest = tail;
    }
    plain.push_str(rest);
    Some(plain)
}
