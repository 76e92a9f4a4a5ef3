//! One match block, compiled: do all of its conditions hold for a request?
//!
//! It does not know other blocks; the index decides which blocks are worth asking.

use crate::headers::{Head, Matched};
use crate::plan::pattern::{InvalidPattern, WholePattern};
use http::{HeaderMap, HeaderName};
use std::borrow::Cow;
use weft_snapshot::{Match, StringMatch};

/// All of these.
#[derive(Debug)]
pub(super) struct Conditions {
    uri: Option<UriCondition>,
    others: Box<[Condition]>,
}

/// Whether `uri` is asked here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Uri {
    Asked,
    /// A set of patterns has found the block by it, and the pattern is compiled there only.
    MatchedBefore,
}

#[derive(Debug)]
enum UriCondition {
    MatchedBefore,
    Value(Value),
    /// ASCII letters count alike.
    ExactAnyCase(Box<str>),
    PrefixAnyCase(Box<str>),
}

#[derive(Debug)]
enum Condition {
    Port(u16),
    Scheme(Value),
    Method(Value),
    Authority(Value),
    Header(HeaderName, Value),
    WithoutHeader(HeaderName, Value),
    Query(Box<str>, Value),
    /// A header whose name HTTP does not know is never there.
    Never,
}

#[derive(Debug)]
enum Value {
    Exact(Box<str>),
    Prefix(Box<str>),
    Pattern(WholePattern),
    Present,
}

impl Value {
    fn new(wanted: &StringMatch) -> Result<Self, InvalidPattern> {
        Ok(match wanted {
            StringMatch::Exact(text) => Self::Exact(text.as_str().into()),
            StringMatch::Prefix(text) => Self::Prefix(text.as_str().into()),
            StringMatch::Regex(pattern) => Self::Pattern(WholePattern::new(pattern)?),
            StringMatch::Present => Self::Present,
        })
    }

    fn holds(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text) => value == text.as_bytes(),
            Self::Prefix(text) => value.starts_with(text.as_bytes()),
            Self::Pattern(pattern) => pattern.is_match(value),
            Self::Present => true,
        }
    }
}

impl Conditions {
    pub(super) fn new(block: &Match, uri: Uri) -> Result<Self, InvalidPattern> {
        let uri = match (&block.uri, block.ignore_uri_case) {
            (None, _) => None,
            (Some(_), _) if uri == Uri::MatchedBefore => Some(UriCondition::MatchedBefore),
            (Some(StringMatch::Exact(path)), true) => Some(UriCondition::ExactAnyCase(path.as_str().into())),
            (Some(StringMatch::Prefix(path)), true) => Some(UriCondition::PrefixAnyCase(path.as_str().into())),
            (Some(wanted), _) => Some(UriCondition::Value(Value::new(wanted)?)),
        };
        // Cheap ones first.
        let mut others = Vec::new();
        others.extend(block.port.map(Condition::Port));
        if let Some(wanted) = &block.method {
            others.push(Condition::Method(Value::new(wanted)?));
        }
        if let Some(wanted) = &block.scheme {
            others.push(Condition::Scheme(Value::new(wanted)?));
        }
        if let Some(wanted) = &block.authority {
            others.push(Condition::Authority(Value::new(wanted)?));
        }
        for (name, wanted) in &block.headers {
            let value = Value::new(wanted)?;
            others.push(header(name).map_or(Condition::Never, |name| Condition::Header(name, value)));
        }
        for (name, wanted) in &block.without_headers {
            let value = Value::new(wanted)?;
            others.extend(header(name).map(|name| Condition::WithoutHeader(name, value)));
        }
        for (name, wanted) in &block.query {
            others.push(Condition::Query(name.as_str().into(), Value::new(wanted)?));
        }
        Ok(Self { uri, others: others.into() })
    }

    pub(super) fn hold(&self, head: &Head, port: u16) -> bool {
        self.uri.as_ref().is_none_or(|uri| uri.holds(head.path.path()))
            && self.others.iter().all(|condition| condition.holds(head, port))
    }

    pub(super) fn matched(&self) -> Matched {
        match &self.uri {
            None => Matched::Prefix(1),
            Some(UriCondition::PrefixAnyCase(prefix) | UriCondition::Value(Value::Prefix(prefix))) => {
                Matched::Prefix(prefix.len())
            }
            Some(_) => Matched::Whole,
        }
    }
}

impl UriCondition {
    fn holds(&self, path: &str) -> bool {
        match self {
            Self::MatchedBefore => true,
            Self::Value(value) => value.holds(path.as_bytes()),
            Self::ExactAnyCase(wanted) => path.eq_ignore_ascii_case(wanted),
            Self::PrefixAnyCase(wanted) => {
                path.as_bytes().get(..wanted.len()).is_some_and(|start| start.eq_ignore_ascii_case(wanted.as_bytes()))
            }
        }
    }
}

impl Condition {
    fn holds(&self, head: &Head, port: u16) -> bool {
        match self {
            Self::Port(wanted) => *wanted == port,
            Self::Scheme(value) => value.holds(head.scheme.as_str().as_bytes()),
            Self::Method(value) => value.holds(head.method.as_str().as_bytes()),
            Self::Authority(value) => value.holds(head.authority.as_str().as_bytes()),
            Self::Header(name, value) => joined(&head.headers, name).is_some_and(|given| value.holds(&given)),
            Self::WithoutHeader(name, Value::Present) => !head.headers.contains_key(name),
            Self::WithoutHeader(name, value) => !value.holds(&joined(&head.headers, name).unwrap_or_default()),
            Self::Query(name, value) => {
                query(head.path.query(), name).is_some_and(|given| value.holds(given.as_bytes()))
            }
            Self::Never => false,
        }
    }
}

fn header(name: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).ok()
}

/// Several values count as one, joined by `,` as Envoy joins them.
pub(super) fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, [u8]>> {
    let mut values = headers.get_all(name).iter().map(|value| value.as_bytes());
    let first = values.next()?;
    let Some(second) = values.next() else { return Some(Cow::Borrowed(first)) };
    let mut all = first.to_vec();
    for value in std::iter::once(second).chain(values) {
        all.push(b',');
        all.extend_from_slice(value);
    }
    Some(Cow::Owned(all))
}

/// The first value of a parameter, as it was sent: Envoy does not decode it either.
fn query<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    query?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}
