//! The annotation `proxy.istio.io/config`: what of Istio's ProxyConfig a sidecar of Weft's acts on.

use super::decision::Refused;
use super::wishes::wrong;
use serde_json::Value;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProxyConfig {
    /// Of terminationDrainDuration, in milliseconds.
    pub(super) drain: Option<u64>,
    /// Of concurrency.
    pub(super) workers: Option<u64>,
}

impl ProxyConfig {
    pub(super) fn read(key: &str, text: &str, not_supported: &mut Vec<String>) -> Result<Self, Refused> {
        let form = || wrong(key, text, "YAML such as `terminationDrainDuration: 10s`");
        let documents = weft_config::from_yaml(text).map_err(|_| form())?;
        let mut config = Self::default();
        let fields = match documents.as_slice() {
            [] => return Ok(config),
            [Value::Object(fields)] => fields,
            _ => return Err(form()),
        };
        for (field, value) in fields {
            match field.as_str() {
                "terminationDrainDuration" => {
                    let drain = value.as_str().and_then(milliseconds);
                    config.drain =
                        Some(drain.ok_or_else(|| wrong(key, &format!("{field}: {value}"), "a duration such as 10s"))?);
                }
                "concurrency" => match value.as_u64() {
                    // As many as there are CPUs, which is what a sidecar does unasked.
                    Some(0) => {}
                    Some(workers) => config.workers = Some(workers),
                    None => return Err(wrong(key, &format!("{field}: {value}"), "a whole number")),
                },
                // A native sidecar is always ready before the app starts.
                "holdApplicationUntilProxyStarts" if value.as_bool() == Some(true) => {}
                other => not_supported.push(format!(
                    "{other} in annotation {key} has no effect: this version of Weft does not act on it"
                )),
            }
        }
        Ok(config)
    }
}

/// As Go and protobuf write durations: `5s`, `1m30s`, `1.5s`, `250ms`.
fn milliseconds(text: &str) -> Option<u64> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let scale = match unit {
            "ms" => 1.0,
            "s" => 1e3,
            "m" => 60e3,
            "h" => 3600e3,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = next;
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded on the line above")]
    (0.0..=DAY_MILLISECONDS).contains(&total).then(|| total.round() as u64)
}

const DAY_MILLISECONDS: f64 = 24.0 * 3600e3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let cases = [
            ("5s", Some(5_000)),
            ("1m30s", Some(90_000)),
            ("1.5s", Some(1_500)),
            ("250ms", Some(250)),
            ("0s", Some(0)),
            ("5", None),
            ("", None),
            ("s", None),
            ("5d", None),
            ("100h", None),
        ];
        for (text, want) in cases {
            assert_eq!(milliseconds(text), want, "duration {text:?}");
        }
    }

    #[test]
    fn fields_are_acted_on_or_named() {
        let cases = [
            ("terminationDrainDuration: 10s\nconcurrency: 4", Some((Some(10_000), Some(4), 0))),
            ("holdApplicationUntilProxyStarts: true\nconcurrency: 0", Some((None, None, 0))),
            ("holdApplicationUntilProxyStarts: false\ntracing: {sampling: 10}", Some((None, None, 2))),
            (r#"{"terminationDrainDuration": "1s"}"#, Some((Some(1_000), None, 0))),
            ("", Some((None, None, 0))),
            ("terminationDrainDuration: 10", None),
            ("concurrency: many", None),
            ("- a", None),
            ("a: [", None),
        ];
        for (text, want) in cases {
            let mut lacking = Vec::new();
            let got = ProxyConfig::read("proxy.istio.io/config", text, &mut lacking).ok();
            assert_eq!(got.map(|config| (config.drain, config.workers, lacking.len())), want, "{text:?}");
        }
    }
}
