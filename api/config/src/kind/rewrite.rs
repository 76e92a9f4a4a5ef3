//! `rewrite`, `redirect` and `directResponse`: what is sent instead of the request, or instead of sending it.
//!
//! It does not know the matches of the route, beside whether all are prefixes.

use super::matching;
use crate::fields::Cursor;
use crate::problem::Code;
use weft_snapshot::{Direct, Redirect, RedirectPath, RedirectPort, Rewrite, RewritePath};

pub(crate) fn rewrite(cursor: &Cursor<'_>) -> Option<Rewrite> {
    cursor.object(|fields| {
        fields.exclusive(&["uri", "uriRegexRewrite"]);
        let uri = fields.get("uri").and_then(|c| path(&c)).map(RewritePath::Replace);
        let regex = fields.get("uriRegexRewrite").and_then(|c| regex_rewrite(&c));
        let authority = fields.get("authority").and_then(|c| authority(&c));
        let rewrite = Rewrite { path: uri.or(regex), authority };
        if rewrite.path.is_none() && rewrite.authority.is_none() {
            cursor.error(Code::MissingField, "a rewrite of nothing", "write uri, uriRegexRewrite or authority");
        }
        rewrite
    })
}

fn regex_rewrite(cursor: &Cursor<'_>) -> Option<RewritePath> {
    cursor.object(|fields| {
        let pattern = fields.required("match").and_then(|c| matching::regex(&c));
        let with = fields.required("rewrite").and_then(|c| c.text()).map(str::to_owned);
        let (pattern, with) = (pattern?, with?);
        groups_exist(cursor, &pattern, &with);
        Some(RewritePath::Regex { pattern, with })
    })?
}

/// `\N` must name a group of the pattern.
fn groups_exist(cursor: &Cursor<'_>, pattern: &str, with: &str) {
    let groups = regex::Regex::new(pattern).map_or(0, |regex| regex.captures_len() - 1);
    let mut bytes = with.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            continue;
        }
        match bytes.next() {
            Some(digit) if digit.is_ascii_digit() && usize::from(digit - b'0') <= groups => {}
            Some(digit) if digit.is_ascii_digit() => {
                let reason = format!("\\{} names a group, and {pattern:?} has {groups}", char::from(digit));
                cursor.error(Code::BadValue, reason, "put the part of the pattern that is meant in ( )");
            }
            Some(b'\\') => {}
            _ => cursor.error(
                Code::BadValue,
                "a backslash before no digit",
                "write \\1 to \\9 for groups, \\\\ for a backslash",
            ),
        }
    }
}

/// A path as it is written into a request line.
fn path<'a>(cursor: &Cursor<'a>) -> Option<String> {
    let text = cursor.nonempty()?;
    if text.bytes().any(|b| b <= b' ' || b >= 0x7f || b == b'#') {
        cursor.error(Code::BadValue, format!("{text:?} is no path"), "percent-encode spaces and what is not ASCII");
        return None;
    }
    Some(text.to_owned())
}

fn authority(cursor: &Cursor<'_>) -> Option<String> {
    let text = cursor.nonempty()?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]~%".contains(&b);
    if !text.bytes().all(allowed) {
        cursor.error(Code::BadValue, format!("{text:?} is no authority"), "write HOST or HOST:PORT");
        return None;
    }
    Some(text.to_owned())
}

const PORTS: &[(&str, RedirectPort)] =
    &[("FROM_PROTOCOL_DEFAULT", RedirectPort::ProtocolDefault), ("FROM_REQUEST_PORT", RedirectPort::Request)];

pub(crate) fn redirect(cursor: &Cursor<'_>) -> Option<Redirect> {
    cursor.object(|fields| {
        fields.exclusive(&["uri", "prefixRewrite"]);
        fields.exclusive(&["port", "derivePort"]);
        let uri = fields.get("uri").and_then(|c| path(&c)).map(RedirectPath::Replace);
        let prefix = fields.get("prefixRewrite").and_then(|c| path(&c)).map(RedirectPath::Prefix);
        let port = fields.get("port").and_then(|c| c.port()).map(RedirectPort::Number);
        let derived = fields.get("derivePort").and_then(|c| c.one_of(PORTS));
        let status = fields.get("redirectCode").map(|c| redirect_code(&c));
        Some(Redirect {
            status: status.unwrap_or(Some(301))?,
            scheme: fields
                .get("scheme")
                .and_then(|c| c.one_of(&[("http", "http"), ("https", "https")]))
                .map(Into::into),
            authority: fields.get("authority").and_then(|c| authority(&c)),
            port: port.or(derived),
            path: uri.or(prefix),
        })
    })?
}

fn redirect_code(cursor: &Cursor<'_>) -> Option<u16> {
    let code = cursor.integer(0..=999)?;
    let known = [301, 302, 303, 307, 308].into_iter().find(|known| i64::from(*known) == code);
    if known.is_none() {
        cursor.error(Code::BadValue, format!("{code} is no redirect"), "write 301, 302, 303, 307 or 308");
    }
    known
}

/// Istio's bound.
const BODY_BYTES_MAX: usize = 1 << 20;

pub(crate) fn direct_response(cursor: &Cursor<'_>) -> Option<Direct> {
    cursor.object(|fields| {
        let status = fields.required("status").and_then(|c| c.integer(200..=599));
        let body = fields.get("body").map(|c| body(&c));
        Some(Direct { status: u16::try_from(status?).ok()?, body: body.unwrap_or_default() })
    })?
}

fn body(cursor: &Cursor<'_>) -> Vec<u8> {
    let read = |fields: &mut crate::fields::Fields<'_>| {
        fields.exclusive(&["string", "bytes"]);
        let text = fields.get("string").and_then(|c| c.text()).map(|text| text.as_bytes().to_vec());
        let bytes = fields.get("bytes").and_then(|c| {
            let decoded = base64(c.text()?);
            if decoded.is_none() {
                c.error(Code::BadValue, "this is no base64", "encode the bytes, or use string");
            }
            decoded
        });
        text.or(bytes).unwrap_or_default()
    };
    let body = cursor.object(read).unwrap_or_default();
    if body.len() > BODY_BYTES_MAX {
        cursor.error(Code::BadValue, format!("a body of {} bytes", body.len()), "keep it within 1 MiB");
    }
    body
}

/// Standard alphabet, padding optional, line breaks skipped.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for symbol in text.bytes().filter(|b| !b.is_ascii_whitespace() && *b != b'=') {
        let value = match symbol {
            b'A'..=b'Z' => symbol - b'A',
            b'a'..=b'z' => symbol - b'a' + 26,
            b'0'..=b'9' => symbol - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    (count < 6).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_texts() {
        let cases: [(&str, Option<&[u8]>); 6] = [
            ("aGVsbG8=", Some(b"hello")),
            ("aGVsbG8", Some(b"hello")),
            ("/+8=", Some(&[0xff, 0xef])),
            ("", Some(b"")),
            ("a", None),
            ("a?b=", None),
        ];
        for (text, want) in cases {
            assert_eq!(base64(text).as_deref(), want, "{text}");
        }
    }
}
