//! A probe of the app as Kubernetes writes it, asked by the sidecar in the kubelet's place.
//!
//! Fields are those of core/v1 Probe; `exec` never comes here, since the kubelet runs that in the app's container.

use super::dial::{self, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Written")]
pub(super) struct Probe {
    asks: Asks,
    limit: Duration,
}

#[derive(Clone, Debug)]
enum Asks {
    Http(HttpGet),
    Tcp(TcpSocket),
    Grpc(Grpc),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    http_get: Option<HttpGet>,
    tcp_socket: Option<TcpSocket>,
    grpc: Option<Grpc>,
    timeout_seconds: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpGet {
    #[serde(default)]
    path: String,
    port: u16,
    scheme: Option<String>,
    #[serde(default)]
    http_headers: Vec<Header>,
}

#[derive(Clone, Debug, Deserialize)]
struct Header {
    name: String,
    value: String,
}

#[derive(Clone, Debug, Deserialize)]
struct TcpSocket {
    port: u16,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Grpc {
    pub(super) port: u16,
    pub(super) service: Option<String>,
}

/// What the kubelet is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    /// The app's own answer to httpGet.
    Answered(StatusCode),
    Failed(String),
}

impl TryFrom<Written> for Probe {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let asks = match (written.http_get, written.tcp_socket, written.grpc) {
            (Some(get), None, None) => Asks::Http(get),
            (None, Some(socket), None) => Asks::Tcp(socket),
            (None, None, Some(grpc)) => Asks::Grpc(grpc),
            _ => return Err("a probe has one of httpGet, tcpSocket and grpc"),
        };
        // Kubernetes' default is 1.
        Ok(Self { asks, limit: Duration::from_secs(written.timeout_seconds.unwrap_or(1).max(1)) })
    }
}

impl Probe {
    /// `headers` are the kubelet's.
    pub(super) async fn run(&self, address: IpAddr, headers: &HeaderMap) -> Outcome {
        match &self.asks {
            Asks::Http(get) => get.run(address, headers, self.limit).await,
            Asks::Tcp(socket) => {
                let connected =
                    tokio::time::timeout(self.limit, dial::tcp(SocketAddr::new(address, socket.port))).await;
                match connected {
                    Ok(Ok(_)) => Outcome::Passed,
                    Ok(Err(error)) => Outcome::Failed(error.to_string()),
                    Err(_) => Outcome::Failed(format!("no connection within {:?}", self.limit)),
                }
            }
            Asks::Grpc(grpc) => grpc.check(address, self.limit).await,
        }
    }
}

impl HttpGet {
    async fn run(&self, address: IpAddr, headers: &HeaderMap, limit: Duration) -> Outcome {
        let mut request = dial::get(&self.path);
        for name in [header::USER_AGENT, header::ACCEPT] {
            if let Some(value) = headers.get(&name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        for Header { name, value } in &self.http_headers {
            let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) else {
                return Outcome::Failed(format!("header {name:?} of the probe cannot be sent"));
            };
            request.headers_mut().append(name, value);
        }
        let scheme = match self.scheme.as_deref() {
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => Scheme::HttpsUnverified,
            _ => Scheme::Http,
        };
        match dial::http((SocketAddr::new(address, self.port), scheme), request, limit).await {
            Ok((status, _)) if (200..400).contains(&status.as_u16()) => Outcome::Passed,
            Ok((status, _)) => Outcome::Answered(status),
            Err(error) => Outcome::Failed(error),
        }
    }
}

#[cfg(test)]
mod tests;
