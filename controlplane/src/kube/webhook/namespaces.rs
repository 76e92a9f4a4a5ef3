//! The labels of a namespace, as the API server sees them.

use super::Desk;
use crate::inject::Namespace;
use crate::kube::said;
use k8s_openapi::api::core::v1::Namespace as Stored;
use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::reflector::ObjectRef;
use std::time::Duration;

/// As our own watch saw it last: perhaps a moment old.
pub(super) fn watched(desk: &Desk, name: &str) -> Option<Namespace> {
    desk.cluster.namespaces.get(&ObjectRef::new(name)).map(|namespace| named(name, namespace.labels().clone()))
}

/// As it is now. Needed where our watch would keep a pod out that the API server asks about: it has seen a label that
/// we have not.
pub(super) async fn current(desk: &Desk, name: &str) -> Result<Namespace, String> {
    let api = Api::<Stored>::all(desk.cluster.client.clone());
    match tokio::time::timeout(READ_MAX, api.get_metadata(name)).await {
        Ok(Ok(namespace)) => Ok(named(name, namespace.labels().clone())),
        Ok(Err(error)) => Err(format!("the labels of namespace {name} cannot be read: {}", said(&error))),
        Err(_) => Err(format!("the labels of namespace {name} did not come within {READ_MAX:?}")),
    }
}

fn named(name: &str, labels: std::collections::BTreeMap<String, String>) -> Namespace {
    Namespace { name: name.to_owned(), labels }
}

/// The API server waits 5 s for us.
const READ_MAX: Duration = Duration::from_secs(3);
