//! Patterns that people write in RE2's syntax, run by the regex crate: linear time, bounded size.
//!
//! Both come from one family; the few spellings that differ are translated here. It does not know what is matched.

use regex::{Captures, Regex, RegexBuilder, bytes};

/// Characters of one pattern, as in Istio.
pub const PATTERN_CHARS_MAX: usize = 1024;

/// Compiled bytes of one pattern.
pub(super) const COMPILED_BYTES_MAX: usize = 1 << 20;

/// Finds parts of a text, as a rewrite does.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

/// Matches a whole value or nothing of it.
#[derive(Clone, Debug)]
pub struct WholePattern(bytes::Regex);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    #[error("a pattern must not be empty")]
    Empty,
    #[error("the pattern {pattern:?} has {chars} characters; {PATTERN_CHARS_MAX} are the limit")]
    Long { pattern: String, chars: usize },
    #[error("the pattern {pattern:?} is not valid in RE2's syntax: {reason}")]
    Syntax { pattern: String, reason: String },
}

impl Pattern {
    pub fn part(pattern: &str) -> Result<Self, InvalidPattern> {
        let translated = translate(pattern)?;
        let regex = RegexBuilder::new(&translated).size_limit(COMPILED_BYTES_MAX).build();
        Ok(Self(regex.map_err(|error| syntax(pattern, &error))?))
    }

    /// Capturing groups, the whole match not counted.
    pub fn groups(&self) -> usize {
        self.0.captures_len() - 1
    }

    pub fn captures_iter<'t>(&self, text: &'t str) -> impl Iterator<Item = Captures<'t>> {
        self.0.captures_iter(text)
    }
}

impl WholePattern {
    pub fn new(pattern: &str) -> Result<Self, InvalidPattern> {
        let regex = bytes::RegexBuilder::new(&whole(pattern)?).size_limit(COMPILED_BYTES_MAX).build();
        Ok(Self(regex.map_err(|error| syntax(pattern, &error))?))
    }

    pub fn is_match(&self, value: &[u8]) -> bool {
        self.0.is_match(value)
    }
}

/// The source of a regex that matches where the whole value matches `pattern`.
pub(super) fn whole(pattern: &str) -> Result<String, InvalidPattern> {
    // Compiled by itself first: `a)(b` would become valid between the brackets.
    Pattern::part(pattern)?;
    Ok(format!(r"\A(?:{})\z", translate(pattern)?))
}

/// Text with which every match of the whole pattern begins; empty where nothing is certain.
pub(super) fn literal_prefix(pattern: &str) -> String {
    let mut prefix = String::new();
    // An alternative could begin with anything, and flags change what letters mean.
    if pattern.contains('|') || pattern.contains("(?") || pattern.contains("\\Q") {
        return prefix;
    }
    let mut chars = pattern.strip_prefix('^').unwrap_or(pattern).chars().peekable();
    while let Some(c) = chars.next() {
        let literal = match (c, chars.peek()) {
            ('\\', Some(escaped)) if escaped.is_ascii_punctuation() => chars.next(),
            ('.' | '\\' | '[' | ']' | '(' | ')' | '{' | '}' | '*' | '+' | '?' | '^' | '$', _) => None,
            (c, _) => Some(c),
        };
        let Some(literal) = literal else { return prefix };
        // What is repeated may not be there at all.
        if matches!(chars.peek(), Some('*' | '?' | '{')) {
            return prefix;
        }
        prefix.push(literal);
    }
    prefix
}

fn syntax(pattern: &str, error: &regex::Error) -> InvalidPattern {
    let text = error.to_string();
    // The regex crate draws a picture of several lines; its last line says what is wrong.
    let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
    InvalidPattern::Syntax { pattern: pattern.to_owned(), reason }
}

/// RE2's `\d \w \s \b` are ASCII, `\Q…\E` quotes, and inside brackets `[`, `&&`, `--` and `~~` are plain characters.
fn translate(pattern: &str) -> Result<String, InvalidPattern> {
    let chars = pattern.chars().count();
    if chars == 0 {
        return Err(InvalidPattern::Empty);
    }
    if chars > PATTERN_CHARS_MAX {
        return Err(InvalidPattern::Long { pattern: pattern.to_owned(), chars });
    }
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    let mut place = Place::Outside;
    while let Some(c) = rest.chars().next() {
        let taken = match (c, place) {
            ('\\', _) => escape(rest, place, &mut out),
            ('[', Place::Outside) => {
                place = Place::Class;
                open_class(rest, &mut out)
            }
            ('[', Place::Class) if rest.starts_with("[:") => posix_class(rest, &mut out),
            (']', Place::Class) => {
                place = Place::Outside;
                push(c, &mut out)
            }
            ('[' | '&' | '~', Place::Class) => {
                out.push('\\');
                push(c, &mut out)
            }
            ('-', Place::Class) if rest.starts_with("--") => dashes(&mut out),
            _ => push(c, &mut out),
        };
        rest = &rest[taken..];
    }
    Ok(out)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    Class,
}

fn push(c: char, out: &mut String) -> usize {
    out.push(c);
    c.len_utf8()
}

/// `[`, `[^` and a first `]`, which stands for itself.
fn open_class(rest: &str, out: &mut String) -> usize {
    let opening = if rest.starts_with("[^") { "[^" } else { "[" };
    out.push_str(opening);
    if rest[opening.len()..].starts_with(']') {
        out.push_str("\\]");
        return opening.len() + 1;
    }
    opening.len()
}

/// A first `-` stands for itself and may begin a range; a later one makes a range that ends with `-`.
fn dashes(out: &mut String) -> usize {
    if out.ends_with(['[', '^']) {
        out.push_str("\\-");
        return 1;
    }
    out.push_str("-\\-");
    2
}

fn posix_class(rest: &str, out: &mut String) -> usize {
    let length = rest.find(":]").map_or(1, |at| at + 2);
    out.push_str(if length > 1 { &rest[..length] } else { "\\[" });
    length
}

fn escape(rest: &str, place: Place, out: &mut String) -> usize {
    let Some(c) = rest[1..].chars().next() else { return push('\\', out) };
    let ascii = match c {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        's' => "[\\t\\n\\f\\r ]",
        'S' => "[^\\t\\n\\f\\r ]",
        'b' if place == Place::Outside => "(?-u:\\b)",
        'Q' if place == Place::Outside => {
            let quoted = rest[2..].split("\\E").next().unwrap_or_default();
            out.push_str(&regex::escape(quoted));
            return (2 + quoted.len() + 2).min(rest.len());
        }
        _ => {
            out.push('\\');
            return 1 + push(c, out);
        }
    };
    out.push_str(ascii);
    2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_values_in_re2_syntax() {
        let rows: &[(&str, &str, bool)] = &[
            ("/a.*", "/abc", true),
            ("a", "ab", false),
            ("a|ab", "ab", true),
            (r"\d+", "123", true),
            (r"\d+", "١٢٣", false),
            (r"[\d-]+", "1-2", true),
            (r"\w+", "ä", false),
            (r"[[a]+", "[a", true),
            (r"[]a]+", "]a", true),
            (r"[^]]+", "ab", true),
            (r"[a&&b]+", "a&b", true),
            (r"[+--]+", "+,-", true),
            (r"[--/]+", "-./", true),
            (r"[[:alpha:]]+", "ab", true),
            (r"\Qa.b\E+", "a.bbb", true),
            (r"\Qa.b", "a.b", true),
            (r"a\.b", "a.b", true),
            (r"(?i)AB", "ab", true),
            (r"\bfoo\b.*", "foo bar", true),
            (".*", "", true),
            (".", "\n", false),
            (r"\[x\]", "[x]", true),
        ];
        for (pattern, value, want) in rows {
            let compiled = WholePattern::new(pattern).expect(pattern);
            assert_eq!(compiled.is_match(value.as_bytes()), *want, "{pattern} on {value:?}");
        }
    }

    #[test]
    fn what_every_match_begins_with() {
        let rows = [
            ("/users/[0-9]+", "/users/"),
            (r"^/a\.b/.*", "/a.b/"),
            ("/ab?c", "/a"),
            ("/ab*", "/a"),
            ("/ab{2}", "/a"),
            ("/ab+", "/ab"),
            ("/a|/b", ""),
            ("(?i)/a", ""),
            (".*", ""),
            (r"\d/x", ""),
            ("/whole", "/whole"),
            ("/a(b)c", "/a"),
            ("/a$", "/a"),
        ];
        for (pattern, want) in rows {
            assert_eq!(literal_prefix(pattern), want, "{pattern}");
        }
    }

    #[test]
    fn what_is_refused() {
        let long = "a".repeat(PATTERN_CHARS_MAX + 1);
        let rows = [
            ("", "empty"),
            ("(", "unclosed"),
            ("a)(b", "unopened"),
            (&long, "1025"),
            (r"(a)\1", "backreference"),
            ("((a{100}){100}){100}", "size limit"),
        ];
        for (pattern, says) in rows {
            let error = WholePattern::new(pattern).expect_err(pattern).to_string();
            assert!(error.contains(says), "{pattern}: {error}");
        }
    }
}
