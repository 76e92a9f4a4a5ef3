//! Which service a host means.
//!
//! It does not ask anyone: what the plan does not know is answered `Unknown`, and the spine asks and waits.

use super::VirtualHost;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use weft_snapshot::{Answer, Host};

/// How hosts come to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// The control plane is asked for each host that the app calls; only its answers count.
    OnDemand,
    /// The snapshot holds all services; what is not in it is absent.
    Complete,
}

#[derive(Clone, Copy, Debug)]
pub enum Lookup<'p> {
    Found(&'p Arc<VirtualHost>),
    /// The mesh has no such service: `outbound` decides.
    Absent,
    /// Nobody has said yet.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Hosts {
    discovery: Discovery,
    /// On demand: what was asked for. Complete: exact domains.
    exact: HashMap<String, Option<Arc<VirtualHost>>, foldhash::fast::RandomState>,
    /// Complete: `.example.com` of `*.example.com`; the empty text for `*`.
    suffixes: HashMap<String, Arc<VirtualHost>, foldhash::fast::RandomState>,
}

impl Hosts {
    pub(super) fn new<'a>(
        discovery: Discovery,
        answers: impl Iterator<Item = &'a Answer>,
        services: &BTreeMap<Host, Arc<VirtualHost>>,
    ) -> Self {
        let mut hosts = Self { discovery, exact: HashMap::default(), suffixes: HashMap::default() };
        match discovery {
            Discovery::OnDemand => {
                for answer in answers {
                    let service = answer.service.as_ref().map(|name| services.get(name).cloned());
                    // A service without its resource is as if it had not been answered.
                    if let Some(known) = service.map_or(Some(None), |service| service.map(Some)) {
                        hosts.exact.insert(answer.asked.as_str().to_owned(), known);
                    }
                }
            }
            Discovery::Complete => {
                for service in services.values() {
                    for domain in &service.domains {
                        hosts.add_domain(domain, service);
                    }
                }
            }
        }
        hosts
    }

    fn add_domain(&mut self, domain: &Host, service: &Arc<VirtualHost>) {
        match domain.suffix() {
            Some(suffix) => self.suffixes.entry(suffix.to_owned()).or_insert_with(|| service.clone()),
            None => match self.exact.entry(domain.as_str().to_owned()).or_insert_with(|| Some(service.clone())) {
                Some(service) => service,
                None => return,
            },
        };
    }

    /// `host` in the form of [`Host`].
    pub(super) fn lookup(&self, host: &str) -> Lookup<'_> {
        match (self.exact.get(host), self.discovery) {
            (Some(Some(service)), _) => Lookup::Found(service),
            (Some(None), _) => Lookup::Absent,
            (None, Discovery::OnDemand) => Lookup::Unknown,
            (None, Discovery::Complete) => self.longest_suffix(host).map_or(Lookup::Absent, Lookup::Found),
        }
    }

    fn longest_suffix(&self, host: &str) -> Option<&Arc<VirtualHost>> {
        if self.suffixes.is_empty() {
            return None;
        }
        let dots = host.bytes().enumerate().filter(|(_, byte)| *byte == b'.').map(|(at, _)| at);
        dots.filter(|at| *at > 0).find_map(|at| self.suffixes.get(&host[at..])).or_else(|| self.suffixes.get(""))
    }
}
