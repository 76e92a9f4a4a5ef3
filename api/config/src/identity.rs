//! Who a workload is, and what metrics say of it.
//!
//! It does not know certificates or sidecars.

use crate::kind::WorkloadEntry;
use crate::names::LabelSet;
use crate::object::Object;
use weft_snapshot::{InvalidName, Labels, SpiffeId, WorkloadName};

pub(crate) fn name(entry: &Object<WorkloadEntry>) -> WorkloadName {
    WorkloadName { namespace: entry.meta.id.namespace.clone(), name: entry.meta.id.name.clone() }
}

pub(crate) fn spiffe_id(trust_domain: &str, entry: &Object<WorkloadEntry>) -> Result<SpiffeId, InvalidName> {
    SpiffeId::new(trust_domain, entry.meta.namespace(), &entry.spec.service_account)
}

pub(crate) fn labels(entry: &Object<WorkloadEntry>) -> Labels {
    let id = &entry.meta.id;
    let workload = entry.spec.pod.as_ref().map_or(id.name.as_str(), |pod| pod.controller.as_str());
    labelled(workload, &id.namespace, &entry.spec.labels)
}

/// Istio's order for canonical name and revision.
pub(crate) fn labelled(workload: &str, namespace: &str, labels: &LabelSet) -> Labels {
    let first = |keys: &[&str]| keys.iter().find_map(|key| labels.get(*key)).filter(|value| !value.is_empty()).cloned();
    let unknown = || "unknown".to_owned();
    let name = ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"];
    let revision = ["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"];
    Labels {
        workload: workload.to_owned(),
        namespace: namespace.to_owned(),
        canonical_service: first(&name).unwrap_or_else(|| workload.to_owned()),
        canonical_revision: first(&revision).unwrap_or_else(|| "latest".to_owned()),
        app: first(&["app"]).unwrap_or_else(unknown),
        version: first(&["version"]).unwrap_or_else(unknown),
        cluster: "Kubernetes".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_names_and_revisions() {
        let cases = [
            ("", "reviews-v1", "latest"),
            ("app=reviews version=v1", "reviews", "v1"),
            ("app=a app.kubernetes.io/name=b app.kubernetes.io/version=2", "b", "2"),
            ("service.istio.io/canonical-name=c service.istio.io/canonical-revision=r", "c", "r"),
        ];
        for (labels, name, revision) in cases {
            let pairs = labels.split_whitespace().filter_map(|pair| pair.split_once('='));
            let labels: LabelSet = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            let got = labelled("reviews-v1", "default", &labels);
            assert_eq!(
                (got.canonical_service.as_str(), got.canonical_revision.as_str()),
                (name, revision),
                "{labels:?}"
            );
        }
    }
}
