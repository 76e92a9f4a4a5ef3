//! The pods that Weft has injected, as the cluster shows them.

use super::cluster::{Cluster, Reference};
use anyhow::Result;
use serde_json::Value;

/// Written by injection; kept by the pod for its life.
const STATUS: &str = "sidecar.weft.dev/status";

pub(super) async fn pods(cluster: &Cluster) -> Result<Vec<Value>> {
    let mut pods = cluster.list(&Reference::new("v1", "Pod", None, ""), "", "").await?;
    pods.retain(is_injected);
    Ok(pods)
}

/// Pods whose sidecar is not of this image, as `NAMESPACE/POD IMAGE`.
pub(super) async fn others(cluster: &Cluster, image: &str) -> Result<Vec<String>> {
    let mut others: Vec<_> = pods(cluster).await?.iter().filter_map(|pod| other(pod, image)).collect();
    others.sort();
    Ok(others)
}

pub(super) fn name(pod: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{}/{}", text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]))
}

/// A pod that has ended runs no sidecar any more.
fn is_injected(pod: &Value) -> bool {
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    pod["metadata"]["annotations"][STATUS].is_string() && !ended
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
}
