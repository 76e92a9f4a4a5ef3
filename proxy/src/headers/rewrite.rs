//! A rule's `rewrite`: another path, another authority, ready to apply.
//!
//! It does not choose the rule; the matcher says how much of the path matched.

use super::{Authority, Head};
use crate::plan::pattern::{InvalidPattern, Pattern};
use http::HeaderValue;
use http::uri::PathAndQuery;
use std::fmt::Write;
use weft_snapshot as snapshot;

/// How much of the path a rule's `uri` matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matched {
    /// The first bytes. A rule without `uri` counts as prefix `/`.
    Prefix(usize),
    Whole,
}

#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    path: Option<Path>,
    authority: Option<Authority>,
}

#[derive(Clone, Debug)]
enum Path {
    Replace(String),
    Regex { pattern: Pattern, with: Template },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRewrite {
    #[error("the rewrite's authority {0:?} is no host")]
    Authority(String),
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    #[error("the rewrite {0:?} has a \\ that is followed by neither a digit nor \\")]
    Template(String),
    #[error("the rewrite {with:?} names group {group}, and the pattern has {groups}")]
    Group { with: String, group: usize, groups: usize },
}

impl Rewrite {
    pub fn new(rewrite: &snapshot::Rewrite) -> Result<Self, InvalidRewrite> {
        let path = match &rewrite.path {
            None => None,
            Some(snapshot::RewritePath::Replace(path)) => Some(Path::Replace(path.clone())),
            Some(snapshot::RewritePath::Regex { pattern, with }) => {
                let pattern = Pattern::part(pattern)?;
                let with = Template::new(with, pattern.groups())?;
                Some(Path::Regex { pattern, with })
            }
        };
        let authority = rewrite.authority.as_ref().map(|text| {
            let value = HeaderValue::from_str(text).ok();
            let authority = value.and_then(|value| Authority::from_header(value).ok());
            authority.ok_or_else(|| InvalidRewrite::Authority(text.clone()))
        });
        Ok(Self { path, authority: authority.transpose()? })
    }

    /// A result that is no path (a rewrite can build one from what the client sent) leaves the path as it was.
    pub fn apply(&self, head: &mut Head, matched: Matched) {
        if let Some(authority) = &self.authority {
            head.authority = authority.clone();
        }
        let path = match &self.path {
            None => return,
            Some(Path::Replace(with)) => swap_path(&head.path, matched, with),
            Some(Path::Regex { pattern, with }) => with.replace_all(pattern, &head.path),
        };
        if let Ok(path) = PathAndQuery::try_from(path) {
            head.path = path;
        }
    }
}

/// The matched part becomes `with`, the rest and the query stay: `/` swapped for `/v1` turns `/x?q` into `/v1x?q`, as
/// Envoy does; `/v1/` was meant.
pub(super) fn swap_path(path: &PathAndQuery, matched: Matched, with: &str) -> String {
    let (old, query) = (path.path(), path.query());
    let rest = match matched {
        Matched::Prefix(length) => old.get(length..).unwrap_or_default(),
        Matched::Whole => "",
    };
    let mut new = String::with_capacity(with.len() + rest.len() + 1 + query.map_or(0, str::len));
    new.push_str(with);
    new.push_str(rest);
    push_query(&mut new, query);
    new
}

fn push_query(path: &mut String, query: Option<&str>) {
    if let Some(query) = query {
        // Writing to a String does not fail.
        let _ = write!(path, "?{query}");
    }
}

/// RE2's replacement text: `\1` to `\9` are groups, `\0` the whole match, `\\` a backslash.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Group(usize),
}

impl Template {
    fn new(with: &str, groups: usize) -> Result<Self, InvalidRewrite> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut chars = with.chars();
        while let Some(c) = chars.next() {
            match (c, if c == '\\' { chars.next() } else { None }) {
                ('\\', Some('\\')) => text.push('\\'),
                ('\\', Some(digit)) if digit.is_ascii_digit() => {
                    let group = digit as usize - '0' as usize;
                    if group > groups {
                        return Err(InvalidRewrite::Group { with: with.to_owned(), group, groups });
                    }
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                    pieces.push(Piece::Group(group));
                }
                ('\\', _) => return Err(InvalidRewrite::Template(with.to_owned())),
                (c, _) => text.push(c),
            }
        }
        pieces.push(Piece::Text(text));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        Ok(Self(pieces))
    }

    fn replace_all(&self, pattern: &Pattern, path: &PathAndQuery) -> String {
        let mut new = String::with_capacity(path.as_str().len() + 16);
        let mut done = 0;
        for captures in pattern.captures_iter(path.path()) {
            let Some(whole) = captures.get(0) else { continue };
            new.push_str(&path.path()[done..whole.start()]);
            for piece in &self.0 {
                match piece {
                    Piece::Text(text) => new.push_str(text),
                    Piece::Group(group) => new.push_str(captures.get(*group).map_or("", |m| m.as_str())),
                }
            }
            done = whole.end();
        }
        new.push_str(&path.path()[done..]);
        push_query(&mut new, path.query());
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::Scheme;
    use http::{HeaderMap, Method};

    fn head(path: &str) -> Head {
        Head {
            method: Method::GET,
            scheme: Scheme::Http,
            authority: Authority::from_header(HeaderValue::from_static("reviews:9080")).expect("host"),
            path: path.parse().expect("path"),
            headers: HeaderMap::new(),
        }
    }

    #[test]
    fn paths() {
        use Matched::{Prefix, Whole};
        let replace = |with: &str| snapshot::RewritePath::Replace(with.to_owned());
        let regex = |pattern: &str, with: &str| snapshot::RewritePath::Regex {
            pattern: pattern.to_owned(),
            with: with.to_owned(),
        };
        let rows = [
            ("prefix", replace("/v2"), Prefix(4), "/api/x?q=1", "/v2/x?q=1"),
            ("prefix /", replace("/v2/"), Prefix(1), "/x", "/v2/x"),
            ("prefix to / doubles the slash, as in Istio", replace("/"), Prefix(4), "/api/x", "//x"),
            ("whole", replace("/new"), Whole, "/old/path?q", "/new?q"),
            ("longer than the path", replace("/n"), Prefix(9), "/old", "/n"),
            (
                "regex",
                regex("^/service/([^/]+)(/.*)$", r"\2/instance/\1"),
                Whole,
                "/service/foo/v1?a",
                "/v1/instance/foo?a",
            ),
            ("each match", regex("one", "two"), Whole, "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/two/zzz"),
            ("no match", regex("nowhere", "x"), Whole, "/a", "/a"),
            ("what is no path leaves it", regex("^/a", ""), Whole, "/a", "/a"),
            ("a backslash", regex("b", r"\\"), Whole, "/abc", "/a\\c"),
        ];
        for (row, path, matched, given, want) in rows {
            let rewrite = Rewrite::new(&snapshot::Rewrite { path: Some(path), authority: None }).expect(row);
            let mut head = head(given);
            rewrite.apply(&mut head, matched);
            let unchanged = PathAndQuery::try_from(want).map_or_else(|_| given.to_owned(), |p| p.to_string());
            assert_eq!(head.path.as_str(), unchanged, "{row}");
        }
    }

    #[test]
    fn the_authority() {
        let rewrite = snapshot::Rewrite { path: None, authority: Some("other.example:8080".to_owned()) };
        let mut head = head("/a");
        Rewrite::new(&rewrite).expect("valid").apply(&mut head, Matched::Whole);
        assert_eq!((head.authority.as_str(), head.path.as_str()), ("other.example:8080", "/a"));
    }

    #[test]
    fn what_is_refused() {
        let rows = [("(", "x", "pattern"), ("a", r"\1", "names group 1"), ("a", r"\x", "neither a digit")];
        for (pattern, with, says) in rows {
            let path = snapshot::RewritePath::Regex { pattern: pattern.to_owned(), with: with.to_owned() };
            let error = Rewrite::new(&snapshot::Rewrite { path: Some(path), authority: None }).expect_err(with);
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
