//! Builds a plan from a snapshot and filters that are ready: everything is resolved here, once.
//!
//! It does not load or prepare filters (`publisher`), and it changes nothing: a snapshot that cannot be built leaves
//! the old plan as it is.

use super::backend::Backend;
use super::hosts::Hosts;
use super::inbound::Inbound;
use super::matching::Matcher;
use super::{
    Action, Destination, Discovery, Forward, InboundPort, LocalWorkload, Plan, Problem, RetryPolicy, Route,
    ServicePort, VirtualHost,
};
use crate::filters::{Filter, Filters};
use crate::headers::{Direct, HeaderOps, Redirect, Rewrite, Side};
use crate::telemetry::{Party, ServiceFacts};
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use weft_snapshot::{self as snapshot, BackendName, FilterKey, Host, Key, Snapshot};

/// What is ready before a plan is built.
pub(super) struct Parts {
    pub(super) revision: String,
    pub(super) generation: u64,
    pub(super) discovery: Discovery,
    pub(super) backends: BTreeMap<BackendName, Arc<Backend>>,
    pub(super) filters: BTreeMap<FilterKey, Arc<Filter>>,
}

impl Plan {
    pub(super) fn empty(discovery: Discovery) -> Self {
        Self {
            revision: ArcSwap::default(),
            generation: 0,
            workload: None,
            outbound: snapshot::OutboundPolicy::default(),
            source: Arc::default(),
            inbound: Inbound::default(),
            hosts: Hosts::new(discovery, std::iter::empty(), &BTreeMap::new()),
            backends: BTreeMap::new(),
            filters: BTreeMap::new(),
        }
    }

    pub(super) fn build(snapshot: &Snapshot, parts: Parts) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut builder = Builder { parts: &parts, problems: &mut problems };
        let services: BTreeMap<Host, Arc<VirtualHost>> =
            snapshot.services().map(|s| (s.name.clone(), Arc::new(builder.service(s)))).collect();
        let inbound = snapshot.workload().map(|workload| builder.inbound(workload));
        if !problems.is_empty() {
            return Err(problems);
        }
        let workload = snapshot.workload().map(|workload| LocalWorkload {
            name: workload.name.clone(),
            identity: workload.identity.clone(),
            party: Arc::new(Party::new(workload.labels.clone(), Some(workload.identity.clone()))),
        });
        Ok(Self {
            revision: ArcSwap::from_pointee(parts.revision),
            generation: parts.generation,
            workload,
            outbound: snapshot.workload().map(|workload| workload.outbound).unwrap_or_default(),
            source: Arc::new(snapshot.clone()),
            inbound: inbound.unwrap_or_default(),
            hosts: Hosts::new(parts.discovery, snapshot.answers(), &services),
            backends: parts.backends,
            filters: parts.filters,
        })
    }
}

struct Builder<'a> {
    parts: &'a Parts,
    problems: &'a mut Vec<Problem>,
}

impl Builder<'_> {
    fn service(&mut self, service: &snapshot::Service) -> VirtualHost {
        let key = Key::Service(service.name.clone());
        let routes = service.rules.iter().enumerate().map(|(index, rule)| {
            let place = Place { key: &key, part: format!("rule {} ({})", index + 1, rule.name) };
            Arc::new(self.route(&place, rule))
        });
        let routes: Vec<Arc<Route>> = routes.collect();
        let matcher = Matcher::new(routes, &service.rules).unwrap_or_else(|(index, error)| {
            self.problem(&Place { key: &key, part: format!("rule {}", index + 1) }, &error);
            Matcher::default()
        });
        let ports = service.ports.iter().map(|port| ServicePort {
            port: port.port,
            protocol: port.protocol,
            name: port.backend.clone(),
            backend: self.parts.backends.get(&port.backend).cloned(),
        });
        VirtualHost {
            name: service.name.clone(),
            domains: service.domains.clone(),
            facts: Arc::new(ServiceFacts::new(service.name.as_str(), &service.namespace)),
            ports: ports.collect(),
            matcher,
        }
    }

    fn route(&mut self, place: &Place, rule: &snapshot::Rule) -> Route {
        let action = match &rule.action {
            snapshot::Action::Forward(forward) => Ok(Action::Forward(self.forward(place, forward))),
            snapshot::Action::Redirect(redirect) => Redirect::new(redirect).map(Action::Redirect),
            snapshot::Action::Direct(direct) => Direct::new(direct).map(Action::Direct),
        };
        let action = action.unwrap_or_else(|error| {
            self.problem(place, &error);
            Action::Forward(Forward::new(Vec::new()))
        });
        let (request_headers, response_headers) = self.headers(place, &rule.headers);
        Route {
            name: rule.name.as_str().into(),
            origin: rule.origin.as_str().into(),
            request_headers,
            response_headers,
            filters: self.filters(place, &rule.filters),
            action,
        }
    }

    fn forward(&mut self, place: &Place, forward: &snapshot::Forward) -> Forward {
        let destinations = forward.destinations.iter().map(|destination| {
            let (request_headers, response_headers) = self.headers(place, &destination.headers);
            Destination {
                name: destination.backend.clone(),
                backend: self.parts.backends.get(&destination.backend).cloned(),
                weight: destination.weight,
                request_headers,
                response_headers,
                filters: self.filters(place, &destination.filters),
            }
        });
        let mut built = Forward::new(destinations.collect());
        if built.destinations().is_empty() {
            self.problem(place, &"it forwards to no destination");
        }
        built.timeout = forward.timeout;
        built.retry = forward.retry.as_ref().map(retry);
        built.rewrite = forward.rewrite.as_ref().and_then(|rewrite| match Rewrite::new(rewrite) {
            Ok(rewrite) => Some(rewrite),
            Err(error) => {
                self.problem(place, &error);
                None
            }
        });
        built
    }

    fn headers(&mut self, place: &Place, headers: &snapshot::Headers) -> (HeaderOps, HeaderOps) {
        let mut ops = |ops, side| {
            HeaderOps::new(ops, side).unwrap_or_else(|error| {
                self.problem(place, &error);
                HeaderOps::default()
            })
        };
        (ops(&headers.request, Side::Request), ops(&headers.response, Side::Response))
    }

    fn filters(&mut self, place: &Place, keys: &[FilterKey]) -> Filters {
        let mut filters = Vec::with_capacity(keys.len());
        for key in keys {
            match self.parts.filters.get(key) {
                Some(filter) => filters.push(filter.clone()),
                // To leave it out would let requests past a guard.
                None => self.problem(place, &format!("filter {key} is attached and not part of the snapshot")),
            }
        }
        Filters::new(filters)
    }

    fn inbound(&mut self, workload: &snapshot::Workload) -> Inbound {
        let namespace = &workload.name.namespace;
        let ports = workload.inbound.ports.iter().map(|port| {
            let place = Place { key: &Key::Workload, part: format!("inbound port {}", port.port) };
            let of_port = workload.inbound.services.iter().find(|service| service.target == port.port);
            let service = match of_port {
                Some(service) => ServiceFacts::new(service.host.as_str(), namespace),
                None => ServiceFacts::inbound_passthrough("unknown", namespace),
            };
            Arc::new(InboundPort {
                port: port.port,
                app: port.app,
                protocol: port.protocol,
                mtls: port.mtls,
                filters: self.filters(&place, &port.filters),
                cluster: format!("inbound|{}||", port.port).into(),
                service: Arc::new(service),
            })
        });
        let ports = ports.collect();
        let others = &workload.inbound.others;
        let place = Place { key: &Key::Workload, part: "ports that are not listed".to_owned() };
        let others = InboundPort {
            port: 0,
            app: SocketAddr::from(([0, 0, 0, 0], 0)),
            protocol: snapshot::Protocol::Detect,
            mtls: others.mtls,
            filters: self.filters(&place, &others.filters),
            cluster: "InboundPassthroughCluster".into(),
            service: Arc::new(ServiceFacts::inbound_passthrough("unknown", namespace)),
        };
        Inbound::new(ports, Arc::new(others), &workload.inbound.services, namespace)
    }

    fn problem(&mut self, place: &Place, reason: &dyn Display) {
        let resource = Some(place.key.clone());
        self.problems.push(Problem { resource, part: place.part.clone(), reason: reason.to_string() });
    }
}

struct Place<'k> {
    key: &'k Key,
    part: String,
}

fn retry(policy: &snapshot::RetryPolicy) -> RetryPolicy {
    RetryPolicy {
        attempts: policy.attempts,
        per_try_timeout: policy.per_try_timeout,
        on: policy.on.iter().copied().collect(),
        status_codes: policy.status_codes.as_slice().into(),
        backoff: policy.backoff,
        ignore_previous_hosts: policy.ignore_previous_hosts,
    }
}
