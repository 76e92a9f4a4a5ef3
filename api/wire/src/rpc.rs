//! The gRPC services as a table: what a build script needs to generate clients and servers.
//!
//! This crate may not see tonic. proxy/build.rs and controlplane/build.rs read the table with `tonic_build::manual`.

/// All services of `proto/weft.proto`.
pub const SERVICES: &[Service] = crate::proto::SERVICES;

/// Whose messages [`Method::input`] and [`Method::output`] are.
pub const MESSAGES_PATH: &str = "::weft_wire::proto";

pub struct Service {
    pub package: &'static str,
    pub name: &'static str,
    pub methods: &'static [Method],
}

pub struct Method {
    /// As a Rust function.
    pub name: &'static str,
    /// As in the path of a request.
    pub route: &'static str,
    /// A message below [`MESSAGES_PATH`].
    pub input: &'static str,
    pub output: &'static str,
    pub client_streams: bool,
    pub server_streams: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_every_method() {
        let rows: Vec<String> = SERVICES
            .iter()
            .flat_map(|s| s.methods.iter().map(move |m| (s, m)))
            .map(|(s, m)| {
                let stream = |streams| if streams { "stream " } else { "" };
                let (input, output) = (stream(m.client_streams), stream(m.server_streams));
                format!("/{}.{}/{} {input}{} -> {output}{}", s.package, s.name, m.route, m.input, m.output)
            })
            .collect();
        let want = [
            "/weft.v1.Discovery/Stream stream FromProxy -> stream FromControlPlane",
            "/weft.v1.Artifacts/Fetch FetchRequest -> stream FetchChunk",
            "/weft.v1.Identity/Sign SignRequest -> SignResponse",
            "/weft.v1.Replicas/Stock StockRequest -> StockResponse",
            "/weft.v1.Replicas/Copy StockItem -> stream CopyChunk",
            "/weft.v1.Replicas/Count CountRequest -> stream Counts",
            "/weft.v1.Replicas/Connected ConnectedRequest -> ConnectedResponse",
            "/weft.v1.Replicas/Make MakeRequest -> StockItem",
        ];
        assert_eq!(rows, want);
    }
}
