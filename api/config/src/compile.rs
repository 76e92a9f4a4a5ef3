//! Turns what one proxy may see into what it is told.
//!
//! It reads the view and nothing else: no world, no clock, no order of files.

mod backend;
mod inbound;
mod policy;
mod rule;

pub(crate) use backend::{effective, workload_port};

use crate::View;
use policy::Policies;
use std::collections::BTreeSet;
use weft_snapshot::{Action, Answer, BackendName, Service, Snapshot};

/// Pure and deterministic: the view's hash is a complete cache key for the snapshot.
pub fn compile(view: &View) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let mut policies = Policies::new(view);
    snapshot.set_trust(view.trust.clone());
    if let Some(workload) = inbound::workload(view, &mut policies) {
        snapshot.set_workload(workload);
    }
    for (asked, meant) in &view.answers {
        snapshot.add_answer(Answer { asked: asked.clone(), service: meant.clone() });
    }
    let mut backends = BTreeSet::new();
    for (host, seen) in &view.services {
        let service = rule::service(view, host, seen, &mut policies);
        backends.extend(sent_to(&service));
        snapshot.add_service(service);
    }
    for name in backends {
        // A backend that cannot be made is left out: the proxy answers 503 NC, as Istio does for an unknown cluster.
        if let Some((backend, endpoints)) = backend::backend(view, &name) {
            snapshot.add_backend(backend);
            snapshot.set_endpoints(name, endpoints);
        }
    }
    for filter in policies.into_filters() {
        snapshot.add_filter(filter);
    }
    snapshot
}

/// Every backend that a service's ports and rules name.
fn sent_to(service: &Service) -> BTreeSet<BackendName> {
    let by_rules = service.rules.iter().flat_map(|rule| match &rule.action {
        Action::Forward(forward) => forward.destinations.as_slice(),
        Action::Redirect(_) | Action::Direct(_) => &[],
    });
    let by_ports = service.ports.iter().map(|port| port.backend.clone());
    by_rules.map(|destination| destination.backend.clone()).chain(by_ports).collect()
}
