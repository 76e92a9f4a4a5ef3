//! Which other replicas of this control plane are Ready, and where.
//!
//! It asks once each time; what they have is `replica`'s.

use super::{Cluster, said};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::api::{Api, ListParams};
use std::net::SocketAddr;

/// Without this one. Where that cannot be known, none: registries may have what is needed.
pub(crate) async fn ready_replicas(cluster: &Cluster, port: u16) -> Vec<SocketAddr> {
    let slices = Api::<EndpointSlice>::namespaced(cluster.client.clone(), &cluster.here.namespace);
    let of_ours = ListParams::default().labels(&format!("kubernetes.io/service-name={SERVICE}"));
    let slices = match slices.list(&of_ours).await {
        Ok(slices) => slices,
        Err(error) => {
            tracing::warn!(reason = said(&error), "other replicas cannot be found; filters come from their registries");
            return Vec::new();
        }
    };
    let mut found: Vec<SocketAddr> =
        slices.items.iter().flat_map(|slice| others(slice, &cluster.here.replica, port)).collect();
    found.sort();
    found.dedup();
    found
}

fn others<'a>(slice: &'a EndpointSlice, own: &'a str, port: u16) -> impl Iterator<Item = SocketAddr> + 'a {
    let ready = |endpoint: &&Endpoint| endpoint.conditions.as_ref().is_none_or(|on| on.ready != Some(false));
    // One that leads to no pod may be anybody, this replica too, which would then wait for itself.
    let pod = |endpoint: &Endpoint| endpoint.target_ref.as_ref().and_then(|target| target.name.clone());
    let other = move |endpoint: &&Endpoint| pod(endpoint).is_some_and(|name| name != own);
    let addresses = slice.endpoints.iter().filter(ready).filter(other);
    addresses.filter_map(move |endpoint| Some(SocketAddr::new(endpoint.addresses.first()?.parse().ok()?, port)))
}

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
        let found: Vec<String> = others(&slice, "me", 15012).map(|address| address.to_string()).collect();
        assert_eq!(found, ["10.0.0.2:15012", "10.0.0.4:15012"]);
    }
}
