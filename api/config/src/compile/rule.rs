//! One service as its callers route to it: domains, ports, and rules with nothing left open.
//!
//! It does not know endpoints.

use super::policy::{Policies, push};
use crate::View;
use crate::kind::filter::TargetKind;
use crate::kind::matching::{Block, Callers, conditions_take_everything};
use crate::kind::port::Port;
use crate::kind::route::{Forwarding, Route, RouteAction, RouteDestination};
use crate::kind::{Side, VirtualService, retry};
use crate::names::{self, selects};
use crate::object::Object;
use crate::view::{Caller, Seen};
use crate::world::{Discovery, Targeting};
use std::collections::BTreeSet;
use weft_snapshot::{
    Action, BackendName, Destination, FilterKey, Forward, Headers, Host, Match, Protocol, Rule, Service, ServicePort,
};

pub(super) fn service(view: &View, host: &Host, seen: &Seen, policies: &mut Policies<'_>) -> Service {
    let routed = seen.virtual_service.as_ref();
    let namespace = match (&seen.declared, routed) {
        (Some(declared), _) => declared.meta.namespace(),
        (None, Some((object, _))) => object.meta.namespace(),
        (None, None) => "",
    };
    let rules = match routed {
        Some((object, targeting)) => {
            let mut routes = Routes { view, host, seen, object, targeting, policies, allowed: true };
            // Who may: in the service's namespace for all callers, elsewhere for callers of its own only.
            let own = object.meta.namespace();
            routes.allowed = own == namespace || own == view.caller.namespace;
            let rules = routes.rules();
            // No route of it is for this caller: Istio discards the whole VirtualService there.
            if rules.is_empty() { defaults(view, host, seen, &[], "") } else { rules }
        }
        None => defaults(view, host, seen, &[], ""),
    };
    Service {
        name: host.clone(),
        namespace: namespace.to_owned(),
        domains: domains(view, host, seen),
        ports: ports(host, seen),
        rules,
    }
}

/// The name of another service wins over a short form of this one.
fn domains(view: &View, host: &Host, seen: &Seen) -> Vec<Host> {
    let addresses = seen.declared.iter().flat_map(|declared| declared.addresses.iter().cloned());
    let named = names::domains(host, &view.caller.namespace);
    let by_address = seen.declared.as_ref().is_some_and(|declared| declared.discovery == Discovery::ByAddress);
    // A headless service's pods have names below its own.
    let pods = named.iter().filter(|name| by_address && name.as_str().contains('.'));
    let pods: Vec<Host> = pods.filter_map(|name| format!("*.{name}").parse().ok()).collect();
    let aliases = seen.aliases.iter().flat_map(|alias| names::domains(alias, &view.caller.namespace));
    let all = named.into_iter().chain(pods).chain(addresses).chain(aliases);
    all.filter(|domain| domain == host || !view.services.contains_key(domain)).collect()
}

fn ports(host: &Host, seen: &Seen) -> Vec<ServicePort> {
    let ports = seen.declared.iter().flat_map(|declared| &declared.ports);
    ports
        .map(|port| ServicePort {
            port: port.number,
            name: port.name.clone(),
            protocol: port.protocol,
            backend: backend_name(host, port.number, ""),
        })
        .collect()
}

fn backend_name(host: &Host, port: u16, subset: &str) -> BackendName {
    BackendName { host: host.clone(), port, subset: subset.to_owned() }
}

/// Where no VirtualService says otherwise: each port to itself, with Istio's default retries.
fn defaults(view: &View, host: &Host, seen: &Seen, filters: &[FilterKey], origin: &str) -> Vec<Rule> {
    let Some(declared) = &seen.declared else { return Vec::new() };
    let rule = |port: u16, matches: Vec<Match>| Rule {
        name: "default".into(),
        origin: origin.to_owned(),
        matches,
        headers: Headers::default(),
        action: Action::Forward(Forward {
            destinations: vec![Destination {
                backend: backend_name(host, port, ""),
                weight: 0,
                headers: Headers::default(),
                filters: Vec::new(),
            }],
            rewrite: None,
            timeout: None,
            retry: Some(retry::default_policy()),
        }),
        filters: filters.to_vec(),
    };
    let on_port = |port: &Port| rule(port.number, vec![Match { port: Some(port.number), ..Match::default() }]);
    let of_listener = main_port(view, &declared.ports).map(|port| rule(port, Vec::new()));
    declared.ports.iter().map(on_port).chain(of_listener).collect()
}

/// A listener's own port is no service's: what names none of them means the first that speaks HTTP. A sidecar's
/// requests always name the service's port.
fn main_port(view: &View, ports: &[Port]) -> Option<u16> {
    if view.caller.workload.is_some() {
        return None;
    }
    ports.iter().find(|port| port.protocol != Protocol::Tcp).map(|port| port.number)
}

/// The rules of one VirtualService for one host and one caller.
struct Routes<'a, 'p> {
    view: &'a View,
    host: &'a Host,
    seen: &'a Seen,
    object: &'a Object<VirtualService>,
    targeting: &'a [Targeting],
    policies: &'a mut Policies<'p>,
    /// Whether its filters count for this caller.
    allowed: bool,
}

impl Routes<'_, '_> {
    fn rules(&mut self) -> Vec<Rule> {
        let object = self.object;
        let origin = object.meta.origin();
        let whole = self.whole_filters();
        if object.spec.http.is_empty() {
            return defaults(self.view, self.host, self.seen, &whole, &origin);
        }
        let mut rules = Vec::new();
        for route in &object.spec.http {
            let blocks: Vec<&Block> =
                route.blocks.iter().filter(|block| is_for(&block.callers, &self.view.caller)).collect();
            if blocks.is_empty() && !route.blocks.is_empty() {
                continue;
            }
            let rule = self.rule(route, &origin, &whole);
            for (name, matches) in named(route, &blocks) {
                self.expand(Rule { name, matches, ..rule.clone() }, route, &mut rules);
            }
            if blocks.is_empty() || blocks.iter().any(|block| conditions_take_everything(&block.conditions)) {
                break;
            }
        }
        rules
    }

    fn whole_filters(&mut self) -> Vec<FilterKey> {
        let mut chain = Vec::new();
        if self.allowed {
            let namespace = self.object.meta.namespace();
            for attachment in self.object.spec.filters.iter().filter(|a| a.side == Side::Caller) {
                push(&mut chain, self.policies.attach(namespace, attachment));
            }
            for one in self.targeting.iter().filter(|t| t.target.kind == TargetKind::VirtualService(Side::Caller)) {
                push(&mut chain, self.policies.add(&one.filter, None));
            }
        }
        chain
    }

    /// The rule without its matches, and with the destinations still to come.
    fn rule(&mut self, route: &Route, origin: &str, whole: &[FilterKey]) -> Rule {
        let mut filters = whole.to_vec();
        if self.allowed {
            let namespace = self.object.meta.namespace();
            for attachment in &route.filters {
                push(&mut filters, self.policies.attach(namespace, attachment));
            }
            let named = |t: &&Targeting| matches!(&t.target.kind, TargetKind::Route(name) if *name == route.name);
            for one in self.targeting.iter().filter(named) {
                push(&mut filters, self.policies.add(&one.filter, None));
            }
        }
        let action = match &route.action {
            RouteAction::Redirect(redirect) => Action::Redirect(redirect.clone()),
            RouteAction::Direct(direct) => Action::Direct(direct.clone()),
            RouteAction::Forward(forwarding) => Action::Forward(Forward {
                destinations: Vec::new(),
                rewrite: forwarding.rewrite.clone(),
                timeout: forwarding.timeout,
                retry: forwarding.retry.clone(),
            }),
        };
        Rule {
            name: String::new(),
            origin: origin.to_owned(),
            matches: Vec::new(),
            headers: route.headers.clone(),
            action,
            filters,
        }
    }

    /// Fills in the destinations: once, or once per port where a destination with several ports names none.
    fn expand(&mut self, rule: Rule, route: &Route, rules: &mut Vec<Rule>) {
        let RouteAction::Forward(forwarding) = &route.action else {
            rules.push(rule);
            return;
        };
        let open_ports = self.open_ports(forwarding);
        if open_ports.is_empty() {
            rules.push(self.with_destinations(rule, forwarding, None));
            return;
        }
        let on_any_port = |conditions: &&Match| conditions.port.is_none();
        let rest: Vec<Match> = rule.matches.iter().filter(on_any_port).cloned().collect();
        let whole = rule.matches.is_empty();
        for port in open_ports {
            let wanted = |conditions: &Match| conditions.port.is_none_or(|own| own == port);
            let matches: Vec<Match> = if rule.matches.is_empty() {
                vec![Match { port: Some(port), ..Match::default() }]
            } else {
                let kept = rule.matches.iter().filter(|conditions| wanted(conditions));
                kept.map(|conditions| Match { port: Some(port), ..conditions.clone() }).collect()
            };
            if !matches.is_empty() {
                let rule = Rule { matches, ..rule.clone() };
                rules.push(self.with_destinations(rule, forwarding, Some(port)));
            }
        }
        // On a port that no destination has, the request has still met this rule: 503, not the next rule.
        if whole || !rest.is_empty() {
            rules.push(self.with_destinations(Rule { matches: rest, ..rule }, forwarding, None));
        }
    }

    /// The ports among which the app's own choice decides.
    fn open_ports(&self, forwarding: &Forwarding) -> BTreeSet<u16> {
        let open = forwarding.destinations.iter().filter(|destination| destination.port.is_none());
        let several = open.filter_map(|destination| self.view.targets.get(&destination.host));
        let several = several.filter(|target| target.declared.ports.len() > 1);
        several.flat_map(|target| target.declared.ports.iter().map(|port| port.number)).collect()
    }

    fn with_destinations(&mut self, mut rule: Rule, forwarding: &Forwarding, asked: Option<u16>) -> Rule {
        if let Action::Forward(forward) = &mut rule.action {
            forward.destinations = forwarding.destinations.iter().map(|d| self.destination(d, asked)).collect();
        }
        rule
    }

    fn destination(&mut self, written: &RouteDestination, asked: Option<u16>) -> Destination {
        let only = |ports: &[Port]| match ports {
            [port] => Some(port.number),
            _ => None,
        };
        let known = self.view.targets.get(&written.host).map(|target| target.declared.ports.as_slice());
        let port = written.port.or_else(|| known.and_then(only)).or(asked);
        let port = port.or_else(|| known.and_then(|ports| main_port(self.view, ports)));
        // Of an unknown service no port is known; the backend's name shows up in logs all the same.
        let own = || self.seen.declared.as_ref().and_then(|declared| only(&declared.ports));
        let port = port.or_else(own).unwrap_or(0);
        let mut filters = Vec::new();
        if self.allowed {
            for attachment in &written.filters {
                push(&mut filters, self.policies.attach(self.object.meta.namespace(), attachment));
            }
        }
        Destination {
            backend: backend_name(&written.host, port, &written.subset),
            weight: written.weight,
            headers: written.headers.clone(),
            filters,
        }
    }
}

fn is_for(callers: &Callers, caller: &Caller) -> bool {
    match callers {
        Callers::None => false,
        Callers::Sidecars { labels, namespace } => {
            selects(labels, &caller.labels) && namespace.as_ref().is_none_or(|name| *name == caller.namespace)
        }
    }
}

/// Names and matches: one rule for all blocks, or one per block where blocks have names of their own.
fn named(route: &Route, blocks: &[&Block]) -> Vec<(String, Vec<Match>)> {
    if blocks.iter().any(|block| !block.name.is_empty()) {
        let one = |block: &&Block| (joined(&route.name, &block.name), matches(&[block]));
        return blocks.iter().map(one).collect();
    }
    vec![(route.name.clone(), matches(blocks))]
}

fn joined(route: &str, block: &str) -> String {
    match (route.is_empty(), block.is_empty()) {
        (_, true) => route.to_owned(),
        (true, false) => block.to_owned(),
        (false, false) => format!("{route}.{block}"),
    }
}

/// Empty where one of the blocks takes every request.
fn matches(blocks: &[&Block]) -> Vec<Match> {
    if blocks.iter().any(|block| conditions_take_everything(&block.conditions)) {
        return Vec::new();
    }
    blocks.iter().map(|block| block.conditions.clone()).collect()
}
