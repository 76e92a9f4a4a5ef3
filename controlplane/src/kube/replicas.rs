//! Which other replicas of this control plane are Ready, and where.
//!
//! It asks once each time; what they have is `replica`'s.

use super::{Cluster, said};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::api::{Api, ListParams};
use std::net::SocketAddr;
use std::time::Duration;

/// Another one, Ready.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Replica {
    /// Of its pod.
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
}

/// Without this one, by name. Where that cannot be known, none: registries may have what is needed.
pub(crate) async fn ready_replicas(cluster: &Cluster, port: u16) -> Vec<Replica> {
    let slices = Api::<EndpointSlice>::namespaced(cluster.client.clone(), &cluster.here.namespace);
    let of_ours = ListParams::default().labels(&format!("kubernetes.io/service-name={SERVICE}"));
    let slices = match tokio::time::timeout(LIST_MAX, slices.list(&of_ours)).await {
        Ok(Ok(slices)) => slices,
        Ok(Err(error)) => {
            tracing::warn!(reason = said(&error), "other replicas cannot be found; filters come from their registries");
            return Vec::new();
        }
        Err(_) => {
            tracing::warn!("other replicas cannot be found: the API server did not answer within {LIST_MAX:?}");
            return Vec::new();
        }
    };
    let mut found: Vec<_> = slices.items.iter().flat_map(|slice| others(slice, &cluster.here.replica, port)).collect();
    found.sort();
    found.dedup();
    found
}

fn others<'a>(slice: &'a EndpointSlice, own: &'a str, port: u16) -> impl Iterator<Item = Replica> + 'a {
    let ready = |endpoint: &&Endpoint| endpoint.conditions.as_ref().is_none_or(|on| on.ready != Some(false));
    slice.endpoints.iter().filter(ready).filter_map(move |endpoint| {
        // One that leads to no pod may be anybody, this replica too, which would then wait for itself.
        let name = endpoint.target_ref.as_ref()?.name.clone()?;
        let address = SocketAddr::new(endpoint.addresses.first()?.parse().ok()?, port);
        (name != own).then_some(Replica { name, address })
    })
}

const LIST_MAX: Duration = Duration::from_secs(5);
const SERVICE: &str = "weft-controlplane";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_others_that_are_ready_count() {
        let endpoint = |name: &str, address: &str, ready: Option<bool>| {
            serde_json::json!({
                "addresses": [address], "conditions": {"ready": ready}, "targetRef": {"kind": "Pod", "name": name},
            })
        };
        let slice: EndpointSlice = serde_json::from_value(serde_json::json!({
            "addressType": "IPv4",
            "metadata": {"name": "s"},
            "endpoints": [
                endpoint("me", "10.0.0.1", Some(true)),
                endpoint("ready", "10.0.0.2", Some(true)),
                endpoint("starting", "10.0.0.3", Some(false)),
                endpoint("unsaid", "10.0.0.4", None),
                serde_json::json!({"addresses": ["10.0.0.5"]}),
            ],
        }))
        .unwrap();
        let found: Vec<String> =
            others(&slice, "me", 15012).map(|replica| format!("{} {}", replica.name, replica.address)).collect();
        assert_eq!(found, ["ready 10.0.0.2:15012", "unsaid 10.0.0.4:15012"]);
    }
}
