//! The pods that Weft has injected, and those that it would, as the cluster shows them.

use super::cluster::{Cluster, Reference};
use anyhow::Result;
use serde_json::Value;
use std::collections::BTreeMap;
use weft_controlplane::inject::{Decision, Namespace, Neighbour, decide};

/// Written by injection; kept by the pod for its life.
const STATUS: &str = "sidecar.weft.dev/status";

pub(super) async fn pods(cluster: &Cluster) -> Result<Vec<Value>> {
    let mut pods = all(cluster, "Pod").await?;
    pods.retain(is_injected);
    Ok(pods)
}

/// Pods whose sidecar is not of this image, as `NAMESPACE/POD IMAGE`.
pub(super) async fn others(cluster: &Cluster, image: &str) -> Result<Vec<String>> {
    let mut others: Vec<_> = pods(cluster).await?.iter().filter_map(|pod| other(pod, image)).collect();
    others.sort();
    Ok(others)
}

/// Pods that labels put into the mesh and that have no sidecar, as `NAMESPACE/POD`: made before the label, or while Weft was
/// not there.
pub(super) async fn lacking(cluster: &Cluster, neighbour: Neighbour) -> Result<Vec<String>> {
    let of = |namespace: &Value| Namespace {
        name: text(&namespace["metadata"]["name"]),
        labels: serde_json::from_value(namespace["metadata"]["labels"].clone()).unwrap_or_default(),
    };
    let namespaces: BTreeMap<_, _> =
        all(cluster, "Namespace").await?.iter().map(of).map(|namespace| (namespace.name.clone(), namespace)).collect();
    let mut lacking = all(cluster, "Pod").await?;
    lacking.retain(|pod| {
        let namespace = pod["metadata"]["namespace"].as_str().and_then(|name| namespaces.get(name));
        namespace.is_some_and(|namespace| lacks(pod, namespace, neighbour))
    });
    let mut lacking: Vec<_> = lacking.iter().map(name).collect();
    lacking.sort();
    Ok(lacking)
}

async fn all(cluster: &Cluster, kind: &'static str) -> Result<Vec<Value>> {
    cluster.list(&Reference::new("v1", kind, None, ""), "", "").await
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(super) fn name(pod: &Value) -> String {
    format!("{}/{}", text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]))
}

/// A pod that has ended runs no sidecar any more.
fn is_injected(pod: &Value) -> bool {
    pod["metadata"]["annotations"][STATUS].is_string() && !has_ended(pod)
}

fn has_ended(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// One that is being deleted is replaced already.
fn lacks(pod: &Value, namespace: &Namespace, neighbour: Neighbour) -> bool {
    let metadata = &pod["metadata"];
    let stays = !has_ended(pod) && metadata["deletionTimestamp"].is_null() && metadata["annotations"][STATUS].is_null();
    stays && decide(pod, namespace, neighbour) == Decision::Inject
}

fn other(pod: &Value, image: &str) -> Option<String> {
    let spec = &pod["spec"];
    let mut containers =
        [&spec["initContainers"], &spec["containers"]].into_iter().filter_map(Value::as_array).flatten();
    let own = containers.find(|container| container["name"] == "weft-proxy")?["image"].as_str()?;
    (own != image).then(|| format!("{} {own}", name(pod)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn injected_pods_and_their_sidecars() {
        let pod = |annotations: Value, phase: &str, image: &str| {
            json!({
                "metadata": {"namespace": "shop", "name": "a", "annotations": annotations},
                "spec": {"initContainers": [{"name": "weft-init", "image": "x"}, {"name": "weft-proxy", "image": image}]},
                "status": {"phase": phase},
            })
        };
        let ours = json!({STATUS: "{}"});
        let cases = [
            (pod(ours.clone(), "Running", "weft.dev/weft-proxy:1"), true, Some("shop/a weft.dev/weft-proxy:1")),
            (pod(ours.clone(), "Pending", "weft.dev/weft-proxy:2"), true, None),
            (pod(ours, "Succeeded", "weft.dev/weft-proxy:2"), false, None),
            (pod(json!({"sidecar.istio.io/status": "{}"}), "Running", "weft.dev/weft-proxy:2"), false, None),
        ];
        for (pod, injected, wanted) in cases {
            assert_eq!(is_injected(&pod), injected, "{pod}");
            assert_eq!(other(&pod, "weft.dev/weft-proxy:2").as_deref(), wanted, "{pod}");
        }
    }

    #[test]
    fn pods_that_lack_a_sidecar() {
        let label = |value: &str| BTreeMap::from([("istio-injection".to_owned(), value.to_owned())]);
        let shop = Namespace { name: "shop".to_owned(), labels: label("enabled") };
        let other = Namespace { name: "other".to_owned(), labels: BTreeMap::new() };
        let pod = |metadata: Value| json!({"metadata": metadata, "spec": {"containers": [{"name": "app"}]}});
        let mut ended = pod(json!({}));
        ended["status"]["phase"] = "Succeeded".into();
        let cases = [
            ("made before the label", pod(json!({})), &shop, true),
            ("in no mesh", pod(json!({})), &other, false),
            ("by its own label", pod(json!({"labels": {"weft.dev/inject": "true"}})), &other, true),
            ("left out", pod(json!({"labels": {"sidecar.istio.io/inject": "false"}})), &shop, false),
            ("injected", pod(json!({"annotations": {STATUS: "{}"}})), &shop, false),
            ("on its way out", pod(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})), &shop, false),
            ("ended", ended, &shop, false),
        ];
        for (what, pod, namespace, want) in cases {
            assert_eq!(lacks(&pod, namespace, Neighbour::None), want, "{what}");
        }
    }
}
