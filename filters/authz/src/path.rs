//! What a path may mean to a server that reads it more freely than a rule's author thought of.

use std::borrow::Cow;

/// A path without its query, as it came and as a lenient server would read it.
pub(crate) struct Path<'a> {
    pub(crate) raw: &'a str,
    pub(crate) plain: Cow<'a, str>,
}

impl<'a> Path<'a> {
    pub(crate) fn new(target: &'a str) -> Self {
        let end = target.bytes().position(|byte| byte == b'?' || byte == b'#').unwrap_or(target.len());
        let raw = target.get(..end).unwrap_or(target);
        let plain = match is_plain(raw) {
            true => Cow::Borrowed(raw),
            false => Cow::Owned(normalized(raw)),
        };
        Self { raw, plain }
    }
}

/// True where there is nothing that two readers could read differently: the common case, decided in one pass.
fn is_plain(path: &str) -> bool {
    let mut before = 0;
    path.bytes().all(|byte| {
        let odd = matches!(byte, b'%' | b'\\' | b';') || (before == b'/' && (byte == b'/' || byte == b'.'));
        before = byte;
        !odd
    })
}

/// Escapes decoded, backslashes as slashes, parameters (`;x`) and empty segments dropped, `.` and `..` resolved.
pub(crate) fn normalized(path: &str) -> String {
    let decoded = decoded(path).replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    let mut ends_open = false;
    for segment in decoded.split('/') {
        let segment = segment.split(';').next().unwrap_or_default();
        ends_open = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    let mut plain = String::with_capacity(decoded.len() + 1);
    for segment in &segments {
        plain.push('/');
        plain.push_str(segment);
    }
    if ends_open {
        plain.push('/');
    }
    plain
}

/// Decodes until nothing changes, since servers behind one another each decode once; three rounds are enough for any.
pub(crate) fn decoded(path: &str) -> String {
    let mut path = path.to_owned();
    for _ in 0..3 {
        let next = decoded_once(&path);
        if next == path {
            break;
        }
        path = next;
    }
    path
}

fn decoded_once(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (*first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
