//! What a service's port speaks, by Istio's rules: appProtocol, then the name's first word, then the number.
//!
//! It does not know workloads.

use weft_snapshot::Protocol;

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Port {
    pub(crate) number: u16,
    pub(crate) name: String,
    pub(crate) protocol: Protocol,
    pub(crate) target: Target,
}

/// Which port of the workload a service's port means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    Number(u16),
    /// A name in the workload's `ports`.
    Name(String),
}

/// `appProtocol`, or the `protocol` of a ServiceEntry's port, case-insensitive. `None` for a word nobody knows.
pub(crate) fn named_protocol(word: &str) -> Option<Protocol> {
    match word.to_ascii_lowercase().as_str() {
        "http" | "grpc-web" | "kubernetes.io/ws" => Some(Protocol::Http),
        "http2" | "grpc" | "kubernetes.io/h2c" => Some(Protocol::Http2),
        "tcp" | "tls" | "https" | "mongo" | "mysql" | "redis" | "kubernetes.io/wss" => Some(Protocol::Tcp),
        _ => None,
    }
}

/// By the port's name (`http`, `grpc-api`), then by numbers whose protocols let the server speak first.
pub(crate) fn guessed_protocol(name: &str, number: u16) -> Protocol {
    let word = match name.split_once('-') {
        Some(("grpc", rest)) if rest == "web" || rest.starts_with("web-") => "grpc-web",
        Some((word, _)) => word,
        None => name,
    };
    named_protocol(word).unwrap_or(match number {
        25 | 53 | 3306 | 27017 => Protocol::Tcp,
        _ => Protocol::Detect,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_of_ports() {
        let cases = [
            ("http", 80, Protocol::Http),
            ("http-web", 80, Protocol::Http),
            ("http2-api", 80, Protocol::Http2),
            ("grpc", 50051, Protocol::Http2),
            ("grpc-web-ui", 8080, Protocol::Http),
            ("tcp-db", 5432, Protocol::Tcp),
            ("https", 443, Protocol::Tcp),
            ("httpx", 80, Protocol::Detect),
            ("", 3306, Protocol::Tcp),
            ("", 9080, Protocol::Detect),
        ];
        for (name, number, want) in cases {
            assert_eq!(guessed_protocol(name, number), want, "{name} {number}");
        }
    }
}
