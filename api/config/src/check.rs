//! What is wrong between objects that are each whole: names that lead nowhere, rules that are never reached,
//! policies that do not count.
//!
//! It changes nothing: what such a problem means for traffic is the compilation's.

mod authentication;
mod destination;
mod filter;
mod manifest;
mod route;
mod service;

pub(crate) use manifest::with_manifests;

use crate::Problem;
use crate::fields::Place;
use crate::kind::mesh::Mesh;
use crate::kind::{DestinationRule, VirtualService};
use crate::object::{Meta, Object};
use crate::parse::Any;
use crate::problem::{Code, Severity};
use crate::world::Index;
use std::sync::Arc;

/// `objects` by age.
pub(crate) fn across_objects(index: &Index, objects: &[&Any], mesh: &Mesh) -> Vec<Problem> {
    let mut findings = Findings::default();
    for any in objects {
        match any {
            Any::Mesh(_) | Any::Pod(_) | Any::EndpointSlice(_) => {}
            Any::Service(object) => service::service(index, object, &mut findings),
            Any::ServiceEntry(object) => service::entry(index, object, &mut findings),
            Any::WorkloadEntry(object) => service::workload(index, object, &mut findings),
            Any::VirtualService(object) => route::virtual_service(index, object, &mut findings),
            Any::DestinationRule(object) => destination::rule(index, object, &mut findings),
            Any::PeerAuthentication(object) => authentication::policy(index, mesh, object, &mut findings),
            Any::Filter(object) => filter::filter(index, object, &mut findings),
        }
    }
    filter::attachments(index, &mut findings);
    findings.problems
}

/// What [`across_objects`] finds at one VirtualService, its filters aside.
pub(crate) fn virtual_service(index: &Index, object: &Arc<Object<VirtualService>>) -> Vec<Problem> {
    let mut findings = Findings::default();
    route::virtual_service(index, object, &mut findings);
    findings.problems
}

/// What [`across_objects`] finds at one DestinationRule.
pub(crate) fn rule(index: &Index, object: &Arc<Object<DestinationRule>>) -> Vec<Problem> {
    let mut findings = Findings::default();
    destination::rule(index, object, &mut findings);
    findings.problems
}

#[derive(Default)]
pub(crate) struct Findings {
    problems: Vec<Problem>,
}

impl Findings {
    fn error(&mut self, meta: &Meta, code: Code, place: &Place, text: (String, &str)) {
        let (reason, remedy) = text;
        self.problems.push(meta.problem((code, Severity::Error), (place.at, &place.path), reason, remedy));
    }

    fn warn(&mut self, meta: &Meta, code: Code, place: &Place, text: (String, &str)) {
        let (reason, remedy) = text;
        self.problems.push(meta.problem((code, Severity::Warning), (place.at, &place.path), reason, remedy));
    }

    /// The object as a whole.
    fn warn_whole(&mut self, meta: &Meta, code: Code, text: (String, &str)) {
        let (reason, remedy) = text;
        self.problems.push(meta.problem((code, Severity::Warning), (meta.at, ""), reason, remedy));
    }
}
