//! What a pod's sidecar was told of its app: where it is, its probes, and where it shows metrics.
//!
//! The injection writes it into the environment. It asks nothing itself (`probe`, `dial`).

use super::probe::{Outcome, Probe};
use super::{dial, health};
use crate::intercept::own_address;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug, Default)]
pub struct App {
    /// The pod's address; `None` where it has none, and so nothing to probe.
    address: Option<IpAddr>,
    /// By the path at which the kubelet asks.
    probes: Arc<BTreeMap<String, Probe>>,
    metrics: Option<Arc<Metrics>>,
}

/// The app's own `prometheus.io/` annotations.
#[derive(Debug, Deserialize)]
struct Metrics {
    port: String,
    path: String,
}

/// What the kubelet is answered.
#[derive(Debug)]
pub struct Probed {
    pub status: StatusCode,
    pub reason: String,
}

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("{variable} is not what injection writes: {error}")]
    Json { variable: &'static str, error: serde_json::Error },
    #[error("POD_IP is {0:?} and no IP address")]
    Address(String),
    #[error("WEFT_APP_METRICS names port {0:?}, which is none")]
    Port(String),
}

impl App {
    pub fn from_environment() -> Result<Self, AppError> {
        let given = |variable: &str| std::env::var(variable).ok().filter(|text| !text.is_empty());
        Self::read(given("POD_IP"), given("WEFT_APP_PROBES"), given("WEFT_APP_METRICS"))
    }

    fn read(address: Option<String>, probes: Option<String>, metrics: Option<String>) -> Result<Self, AppError> {
        let address = match address {
            Some(text) => Some(text.parse().map_err(|_| AppError::Address(text))?),
            None => own_address(true).or_else(|| own_address(false)),
        };
        let probes = probes.map(|text| serde_json::from_str(&text)).transpose();
        let probes = probes.map_err(|error| AppError::Json { variable: "WEFT_APP_PROBES", error })?.unwrap_or_default();
        let metrics: Option<Metrics> = metrics
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|error| AppError::Json { variable: "WEFT_APP_METRICS", error })?;
        if let Some(metrics) = metrics.as_ref().filter(|metrics| metrics.port.parse::<u16>().is_err()) {
            return Err(AppError::Port(metrics.port.clone()));
        }
        Ok(Self { address, probes: Arc::new(probes), metrics: metrics.map(Arc::new) })
    }

    /// `None`: the app has no such probe.
    pub async fn probe(&self, path: &str, headers: &HeaderMap) -> Option<Probed> {
        let probe = self.probes.get(path)?;
        let outcome = match self.address {
            Some(address) => probe.run(address, headers).await,
            None => Outcome::Failed("the pod has no address".to_owned()),
        };
        Some(match outcome {
            Outcome::Passed => Probed { status: StatusCode::OK, reason: "passed\n".to_owned() },
            Outcome::Answered(status) => Probed { status, reason: format!("the app answered {status}\n") },
            Outcome::Failed(reason) => {
                Probed { status: StatusCode::SERVICE_UNAVAILABLE, reason: format!("{reason}\n") }
            }
        })
    }

    /// The app's own metrics, or a comment that says why they are not there.
    pub async fn metrics(&self) -> String {
        let Some((metrics, address)) = self.metrics.as_ref().zip(self.address) else { return String::new() };
        // Checked when it was read.
        let Ok(port) = metrics.port.parse() else { return String::new() };
        let mut request = dial::get(&metrics.path);
        let accept = http::HeaderValue::from_static("text/plain; version=0.0.4");
        request.headers_mut().insert(http::header::ACCEPT, accept);
        match dial::http((SocketAddr::new(address, port), dial::Scheme::Http), request, SCRAPE_MAX).await {
            Ok((status, body)) if status.is_success() => String::from_utf8_lossy(&body).into_owned(),
            Ok((status, _)) => format!("# the app answered {status} to the scrape of its metrics\n"),
            Err(error) => format!("# the app's metrics cannot be read: {error}\n"),
        }
    }
}

impl super::probe::Grpc {
    pub(super) async fn check(&self, address: IpAddr, limit: Duration) -> Outcome {
        health::check(SocketAddr::new(address, self.port), self.service.as_deref().unwrap_or_default(), limit).await
    }
}

/// Under Prometheus' own default of 10 s.
const SCRAPE_MAX: Duration = Duration::from_secs(9);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_injection_writes_is_read_and_nothing_else() {
        let probes = r#"{"/app-health/app/livez": {"httpGet": {"path": "/live", "port": 8080}, "timeoutSeconds": 3}}"#;
        let metrics = r#"{"port": "9102", "path": "/metrics"}"#;
        let some = |text: &str| Some(text.to_owned());
        let app = App::read(some("10.1.2.3"), some(probes), some(metrics)).expect("valid");
        assert!(app.probes.contains_key("/app-health/app/livez"));
        let cases = [
            (App::read(some("pod"), None, None), "POD_IP is \"pod\" and no IP address"),
            (App::read(some("10.1.2.3"), some("{"), None), "WEFT_APP_PROBES is not what injection writes"),
            (App::read(some("10.1.2.3"), some(r#"{"/x": {"exec": {}}}"#), None), "WEFT_APP_PROBES"),
            (
                App::read(some("10.1.2.3"), None, some(r#"{"port": "http", "path": "/"}"#)),
                "WEFT_APP_METRICS names port \"http\"",
            ),
        ];
        for (read, want) in cases {
            let error = read.expect_err(want).to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
