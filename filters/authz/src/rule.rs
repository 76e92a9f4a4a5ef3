//! Whether a rule fits a request. It does not know what follows from it.

use std::fmt;

use weft_filter_sdk::{ConfigError, Interest, OneOrMany, Request, RequestAttribute};

use crate::config::RuleConfig;
use crate::path::{self, Path};
use crate::pattern::Pattern;

const PRINCIPAL: &str = "@source.identity";
const NAMESPACE: &str = "@source.namespace";
const METHOD: &str = ":method";
const AUTHORITY: &str = ":authority";
const PATH: &str = ":path";

/// Conditions, all of which have to hold.
pub(crate) struct Rule {
    label: String,
    principals: Condition,
    namespaces: Condition,
    methods: Condition,
    hosts: Condition,
    paths: Condition,
    /// The same for paths as [`Path::plain`] spells them.
    plain_paths: Condition,
    headers: Vec<(RequestAttribute, Condition)>,
}

/// `any` is empty or one of it fits, and none of `none` does.
#[derive(Default)]
struct Condition {
    any: Vec<Pattern>,
    none: Vec<Pattern>,
}

/// Where the attributes stand that the rules look at; none for one that no rule does.
pub(crate) struct Attributes {
    principal: Option<RequestAttribute>,
    namespace: Option<RequestAttribute>,
    method: Option<RequestAttribute>,
    authority: Option<RequestAttribute>,
    path: Option<RequestAttribute>,
}

/// A request as rules see it.
pub(crate) struct Subject<'a> {
    request: Request<'a>,
    principal: Option<&'a str>,
    namespace: Option<&'a str>,
    method: Option<&'a str>,
    host: Option<&'a str>,
    path: Option<Path<'a>>,
}

/// The rules of one list, and the attributes that they look at.
pub(crate) fn list(action: &str, rules: Vec<RuleConfig>, interest: &mut Interest) -> Result<Vec<Rule>, ConfigError> {
    let numbered = rules.into_iter().enumerate();
    numbered.map(|(index, rule)| Rule::new([action, "[", &index.to_string(), "]"].concat(), rule, interest)).collect()
}

impl Rule {
    fn new(place: String, rule: RuleConfig, interest: &mut Interest) -> Result<Self, ConfigError> {
        let condition = |field, any, none| Condition::new(&place, field, any, none);
        let paths = condition("paths", rule.paths, rule.not_paths)?;
        let mut read = Self {
            principals: condition("principals", unprefixed(rule.principals), unprefixed(rule.not_principals))?,
            namespaces: condition("namespaces", rule.namespaces, rule.not_namespaces)?,
            methods: condition("methods", rule.methods, rule.not_methods)?,
            hosts: condition("hosts", rule.hosts, rule.not_hosts)?.respelled(|_, host| host.to_ascii_lowercase()),
            plain_paths: paths.respelled(|pattern, text| match pattern {
                Pattern::Exact(_) => path::normalized(text),
                _ => path::decoded(text),
            }),
            paths,
            headers: Vec::new(),
            label: String::new(),
        };
        for (name, values) in rule.headers.0 {
            let field = ["headers.", &name].concat();
            let condition = Condition::new(&place, &field, Some(values), None)?;
            read.headers.push((interest.request(name.to_ascii_lowercase()), condition));
        }
        for (name, values) in rule.not_headers.0 {
            let field = ["notHeaders.", &name].concat();
            let condition = Condition::new(&place, &field, None, Some(values))?;
            read.headers.push((interest.request(name.to_ascii_lowercase()), condition));
        }
        for (condition, attribute) in [
            (&read.principals, PRINCIPAL),
            (&read.namespaces, NAMESPACE),
            (&read.methods, METHOD),
            (&read.hosts, AUTHORITY),
            (&read.paths, PATH),
        ] {
            if !condition.is_empty() {
                interest.request(attribute);
            }
        }
        read.label = if rule.name.is_empty() { place } else { rule.name };
        Ok(read)
    }

    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Fits under either reading of the path: what one server could read as forbidden is forbidden.
    pub(crate) fn denies(&self, subject: &Subject<'_>) -> bool {
        self.fits_beside_path(subject) && {
            let (raw, plain) = self.fits_path(subject.path.as_ref());
            raw || plain
        }
    }

    /// Fits under both readings of the path: what one server could read as something else is not permitted.
    pub(crate) fn allows(&self, subject: &Subject<'_>) -> bool {
        self.fits_beside_path(subject) && {
            let (raw, plain) = self.fits_path(subject.path.as_ref());
            raw && plain
        }
    }

    /// As it came, and as a lenient server would read it.
    fn fits_path(&self, path: Option<&Path<'_>>) -> (bool, bool) {
        let raw = self.paths.fits(path.map(|path| path.raw));
        (raw, self.plain_paths.fits(path.map(|path| path.plain.as_ref())))
    }

    fn fits_beside_path(&self, subject: &Subject<'_>) -> bool {
        self.principals.fits(subject.principal)
            && self.namespaces.fits(subject.namespace)
            && self.methods.fits(subject.method)
            && self.hosts.fits_host(subject.host)
            && self.headers.iter().all(|(attribute, condition)| condition.fits(subject.request.attribute(*attribute)))
    }
}

impl Condition {
    fn new(place: &str, field: &str, any: Option<OneOrMany>, none: Option<OneOrMany>) -> Result<Self, ConfigError> {
        let patterns = |texts: Option<OneOrMany>| {
            let Some(OneOrMany(texts)) = texts else { return Ok(Vec::new()) };
            let path = [place, ".", field].concat();
            match texts.is_empty() {
                true => {
                    Err(ConfigError::field(path, "is an empty list, which nothing fits; leave it out, or write `*`"))
                }
                false => texts.iter().map(|text| Pattern::parse(&path, text)).collect(),
            }
        };
        Ok(Self { any: patterns(any)?, none: patterns(none)? })
    }

    fn is_empty(&self) -> bool {
        self.any.is_empty() && self.none.is_empty()
    }

    /// What is absent fits no pattern.
    fn fits(&self, value: Option<&str>) -> bool {
        let one_of = |patterns: &[Pattern]| value.is_some_and(|value| patterns.iter().any(|one| one.fits(value)));
        (self.any.is_empty() || one_of(&self.any)) && !one_of(&self.none)
    }

    /// A host fits with its port and without.
    fn fits_host(&self, host: Option<&str>) -> bool {
        if self.is_empty() {
            return true;
        }
        let Some(host) = host.map(str::to_ascii_lowercase) else { return self.fits(None) };
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
            _ => host.as_str(),
        };
        let one_of = |patterns: &[Pattern]| patterns.iter().any(|one| one.fits(&host) || one.fits(name));
        (self.any.is_empty() || one_of(&self.any)) && !one_of(&self.none)
    }

    fn respelled(&self, spell: impl Fn(&Pattern, &str) -> String) -> Self {
        let all = |patterns: &[Pattern]| patterns.iter().map(|one| one.respelled(&spell)).collect();
        Self { any: all(&self.any), none: all(&self.none) }
    }
}

impl Attributes {
    /// After all rules were read.
    pub(crate) fn declared(interest: &mut Interest) -> Self {
        Self {
            principal: interest.declared_request(PRINCIPAL),
            namespace: interest.declared_request(NAMESPACE),
            method: interest.declared_request(METHOD),
            authority: interest.declared_request(AUTHORITY),
            path: interest.declared_request(PATH),
        }
    }

    pub(crate) fn of<'a>(&self, request: &Request<'a>) -> Subject<'a> {
        let value = |attribute: Option<RequestAttribute>| request.attribute(attribute?);
        let principal = value(self.principal);
        Subject {
            request: *request,
            principal: principal.map(|id| id.strip_prefix("spiffe://").unwrap_or(id)),
            namespace: value(self.namespace),
            method: value(self.method),
            host: value(self.authority),
            path: value(self.path).map(Path::new),
        }
    }
}

/// What the rules looked at, for the log.
impl fmt::Display for Subject<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.method.unwrap_or("a request"))?;
        if let Some(path) = &self.path {
            out.write_str(" ")?;
            out.write_str(path.raw)?;
        }
        out.write_str(" from ")?;
        match (self.principal, self.namespace) {
            (Some(principal), _) => out.write_str(principal),
            (None, Some(namespace)) => {
                out.write_str("namespace ")?;
                out.write_str(namespace)
            }
            (None, None) => out.write_str("a caller without identity"),
        }
    }
}

/// Principals are written as Istio does, `cluster.local/ns/N/sa/S`, or as a whole SPIFFE id.
fn unprefixed(principals: Option<OneOrMany>) -> Option<OneOrMany> {
    let texts = principals?.0.into_iter().map(|text| match text.strip_prefix("spiffe://") {
        Some(rest) => rest.to_owned(),
        None => text,
    });
    Some(OneOrMany(texts.collect()))
}
