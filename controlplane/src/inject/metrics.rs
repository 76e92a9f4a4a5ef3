//! The annotations `prometheus.io/…`: Prometheus scrapes the sidecar, which adds the app's metrics to its own.
//!
//! It does not know how metrics are merged.

use super::probe::variable;
use super::wishes::{Metrics, Wishes};
use serde_json::{Map, Value, json};

/// Environment variable of the proxy: where the app's own metrics are.
pub(super) const VARIABLE: &str = "WEFT_APP_METRICS";

const SCRAPE: &str = "prometheus.io/scrape";
const PORT: &str = "prometheus.io/port";
const PATH: &str = "prometheus.io/path";
const MERGED_PATH: &str = "/stats/prometheus";

/// Points Prometheus at the sidecar, and gives where the app's own metrics are, if it says that it has any.
pub(super) fn merge(pod: &mut Value, wishes: &Wishes) -> Option<Value> {
    if wishes.metrics == Metrics::Apart {
        return None;
    }
    let annotations = annotations(pod)?;
    let text = |key: &str| annotations.get(key).and_then(Value::as_str);
    if text(SCRAPE).is_some_and(|scrape| scrape.eq_ignore_ascii_case("false")) {
        return None;
    }
    let named = [SCRAPE, PORT, PATH].iter().any(|key| annotations.contains_key(*key));
    // Istio's defaults for what such a pod leaves out.
    let own = named.then(|| json!({"port": text(PORT).unwrap_or("80"), "path": text(PATH).unwrap_or("/metrics")}));
    for (key, value) in [(SCRAPE, "true"), (PORT, &wishes.status_port().to_string()), (PATH, MERGED_PATH)] {
        annotations.insert(key.to_owned(), value.into());
    }
    own
}

/// Makes the annotations what they were.
pub(super) fn restore(pod: &mut Value) {
    if !super::metadata::has_status(pod) {
        return;
    }
    let own: Option<Value> = variable(pod, VARIABLE).and_then(|text| serde_json::from_str(text).ok());
    let Some(annotations) = annotations(pod) else { return };
    if annotations.get(PATH).and_then(Value::as_str) != Some(MERGED_PATH) {
        return;
    }
    annotations.retain(|key, _| ![SCRAPE, PORT, PATH].contains(&key.as_str()));
    for (key, value) in own.iter().flat_map(|own| [(PORT, &own["port"]), (PATH, &own["path"])]) {
        annotations.insert(key.to_owned(), value.clone());
    }
}

/// Made where there are none.
fn annotations(pod: &mut Value) -> Option<&mut Map<String, Value>> {
    super::metadata::map(pod, "annotations")
}
