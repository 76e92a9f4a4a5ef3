//! What the names that people write mean: short hosts, the hosts that a caller may use for a service, exportTo.
//!
//! It does not know which services exist.

use std::collections::{BTreeMap, BTreeSet};
use weft_snapshot::{Host, InvalidName};

/// Kubernetes' cluster domain; in a folder it is the same.
pub(crate) const DOMAIN: &str = "svc.cluster.local";

pub(crate) type LabelSet = BTreeMap<String, String>;

/// A host without a dot is short for a service in the namespace of the object that names it; any other stands for
/// itself (Istio's rule).
pub(crate) fn qualify(host: &str, namespace: &str) -> Result<Host, InvalidName> {
    let trimmed = host.strip_suffix('.').unwrap_or(host);
    if trimmed.contains('.') || trimmed.contains(':') || trimmed == "*" || trimmed.is_empty() {
        return host.parse();
    }
    service_host(trimmed, namespace).map_err(|error| InvalidName { value: host.to_owned(), ..error })
}

pub(crate) fn service_host(name: &str, namespace: &str) -> Result<Host, InvalidName> {
    format!("{name}.{namespace}.{DOMAIN}").parse()
}

/// Name and namespace of a service of the cluster.
pub(crate) fn cluster_service(host: &Host) -> Option<(&str, &str)> {
    let (name, namespace) = host.as_str().strip_suffix(DOMAIN)?.strip_suffix('.')?.split_once('.')?;
    (!name.is_empty() && name != "*" && !namespace.contains('.')).then_some((name, namespace))
}

/// All hosts that mean this one for callers of a namespace, the fully qualified one first.
pub(crate) fn domains(host: &Host, caller_namespace: &str) -> Vec<Host> {
    let mut domains = vec![host.clone()];
    if let Some((name, namespace)) = cluster_service(host) {
        let mut texts = vec![format!("{name}.{namespace}.svc"), format!("{name}.{namespace}")];
        if namespace == caller_namespace {
            texts.push(name.to_owned());
        }
        domains.extend(texts.iter().filter_map(|text| text.parse().ok()));
    }
    domains
}

/// The service of the cluster that a caller means by a host in any of its short forms.
pub(crate) fn expand(asked: &Host, caller_namespace: &str) -> Option<Host> {
    let parts: Vec<&str> = asked.as_str().split('.').collect();
    match parts[..] {
        [name] => service_host(name, caller_namespace).ok(),
        [name, namespace] | [name, namespace, "svc"] => service_host(name, namespace).ok(),
        _ => None,
    }
}

/// Every wildcard that covers a host, the most specific first: `*.b.c`, `*.c`, `*` for `a.b.c`.
pub(crate) fn wildcards(host: &Host) -> Vec<Host> {
    let text = host.as_str().strip_prefix("*.").unwrap_or(host.as_str());
    let dots = text.bytes().enumerate().filter(|(_, byte)| *byte == b'.').map(|(index, _)| index);
    let named = dots.filter_map(|index| format!("*{}", &text[index..]).parse::<Host>().ok());
    named.chain("*".parse().ok()).filter(|wildcard| wildcard != host).collect()
}

/// The namespaces whose proxies may see an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ExportTo {
    Everyone,
    Namespaces(BTreeSet<String>),
}

impl ExportTo {
    /// `.` is the object's own namespace, `~` nobody; nothing at all means everyone.
    pub(crate) fn new<'a>(written: impl IntoIterator<Item = &'a str>, own_namespace: &str) -> Self {
        let written: Vec<&str> = written.into_iter().collect();
        if written.is_empty() || written.contains(&"*") {
            return Self::Everyone;
        }
        let named = written.into_iter().filter(|name| *name != "~");
        Self::Namespaces(named.map(|name| if name == "." { own_namespace.into() } else { name.into() }).collect())
    }

    pub(crate) fn admits(&self, namespace: &str) -> bool {
        match self {
            Self::Everyone => true,
            Self::Namespaces(names) => names.contains(namespace),
        }
    }

    /// True where some namespace may see both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Everyone, Self::Everyone) => true,
            (Self::Everyone, Self::Namespaces(names)) | (Self::Namespaces(names), Self::Everyone) => !names.is_empty(),
            (Self::Namespaces(a), Self::Namespaces(b)) => !a.is_disjoint(b),
        }
    }

    pub(crate) fn only(&self, namespace: &str) -> bool {
        matches!(self, Self::Namespaces(names) if names.iter().all(|name| name == namespace))
    }
}

/// True where every label of the selector is there with that value.
pub(crate) fn selects(selector: &LabelSet, labels: &LabelSet) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn host(text: &str) -> Host {
        text.parse().unwrap()
    }

    #[test]
    fn short_hosts_belong_to_the_namespace_of_the_rule() {
        let cases = [
            ("reviews", "reviews.shop.svc.cluster.local"),
            ("Reviews", "reviews.shop.svc.cluster.local"),
            ("reviews.prod", "reviews.prod"),
            ("reviews.prod.svc.cluster.local.", "reviews.prod.svc.cluster.local"),
            ("*.example.com", "*.example.com"),
            ("*", "*"),
            ("::1", "::1"),
        ];
        for (written, want) in cases {
            assert_eq!(qualify(written, "shop").unwrap().as_str(), want, "host {written}");
        }
        assert!(qualify("", "shop").is_err());
    }

    #[test]
    fn a_caller_may_leave_out_what_is_its_own() {
        let names =
            |caller| domains(&host("a.shop.svc.cluster.local"), caller).iter().map(Host::to_string).collect::<Vec<_>>();
        assert_eq!(names("shop"), ["a.shop.svc.cluster.local", "a.shop.svc", "a.shop", "a"]);
        assert_eq!(names("other"), ["a.shop.svc.cluster.local", "a.shop.svc", "a.shop"]);
        assert_eq!(domains(&host("api.example.com"), "shop"), [host("api.example.com")]);
        for asked in ["a", "a.shop", "a.shop.svc"] {
            assert_eq!(expand(&host(asked), "shop"), Some(host("a.shop.svc.cluster.local")), "asked {asked}");
        }
    }

    #[test]
    fn wildcards_from_the_longest() {
        let names = |text| wildcards(&host(text)).iter().map(Host::to_string).collect::<Vec<_>>();
        assert_eq!(names("a.b.c"), ["*.b.c", "*.c", "*"]);
        assert_eq!(names("*.b.c"), ["*.c", "*"]);
    }

    #[test]
    fn export_to() {
        let cases: [(&[&str], &str, bool); 6] = [
            (&[], "b", true),
            (&["*"], "b", true),
            (&["."], "a", true),
            (&["."], "b", false),
            (&["b", "."], "b", true),
            (&["~"], "a", false),
        ];
        for (written, namespace, want) in cases {
            assert_eq!(ExportTo::new(written.iter().copied(), "a").admits(namespace), want, "{written:?} {namespace}");
        }
    }
}
