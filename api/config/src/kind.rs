//! The kinds that Weft reads, each as a type that cannot be wrong, and which reader reads which document.
//!
//! It does not know other objects: what shows only beside them is `check`'s.

pub(crate) mod attachment;
pub(crate) mod destination_rule;
pub(crate) mod endpoint_slice;
pub(crate) mod filter;
pub(crate) mod header;
pub(crate) mod matching;
pub(crate) mod mesh;
pub(crate) mod peer_authentication;
pub(crate) mod pod;
pub(crate) mod port;
pub(crate) mod retry;
pub(crate) mod rewrite;
pub(crate) mod route;
pub(crate) mod service;
pub(crate) mod service_entry;
pub(crate) mod virtual_service;
pub(crate) mod workload_entry;

use crate::object::{Kind, Origin};

pub(crate) use attachment::{Attachment, Side};
pub(crate) use destination_rule::DestinationRule;
pub(crate) use endpoint_slice::EndpointSlice;
pub(crate) use filter::Filter;
pub(crate) use peer_authentication::PeerAuthentication;
pub(crate) use service::Service;
pub(crate) use service_entry::ServiceEntry;
pub(crate) use virtual_service::VirtualService;
pub(crate) use workload_entry::WorkloadEntry;

/// What a document's apiVersion and kind mean to Weft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Supported(Kind),
    /// The kind is known, the version is not; these are.
    OtherVersion(&'static str),
    /// Another mesh's or a later Weft's; it would change traffic, so it is an error.
    NotYet,
    /// A Kubernetes object that configures no mesh.
    Foreign,
    Unknown,
}

const NETWORKING: &str = "networking.istio.io/v1, networking.istio.io/v1beta1 or networking.istio.io/v1alpha3";

pub(crate) fn reading(api_version: &str, kind: &str, origin: Origin) -> Reading {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let supported = |kind, versions: &[&str], words| {
        if versions.contains(&version) { Reading::Supported(kind) } else { Reading::OtherVersion(words) }
    };
    let networking = ["v1", "v1beta1", "v1alpha3"];
    match (group, kind) {
        ("networking.istio.io", "VirtualService") => supported(Kind::VirtualService, &networking, NETWORKING),
        ("networking.istio.io", "DestinationRule") => supported(Kind::DestinationRule, &networking, NETWORKING),
        ("networking.istio.io", "ServiceEntry") => supported(Kind::ServiceEntry, &networking, NETWORKING),
        ("networking.istio.io", "WorkloadEntry") => supported(Kind::WorkloadEntry, &networking, NETWORKING),
        ("security.istio.io", "PeerAuthentication") => {
            supported(Kind::PeerAuthentication, &["v1", "v1beta1"], "security.istio.io/v1 or security.istio.io/v1beta1")
        }
        ("weft.dev", "Mesh") => supported(Kind::Mesh, &["v1alpha1"], "weft.dev/v1alpha1"),
        ("weft.dev", "Filter") => supported(Kind::Filter, &["v1alpha1"], "weft.dev/v1alpha1"),
        ("", "Service") => supported(Kind::Service, &["v1"], "v1"),
        // In a folder, what an application brings along: workloads are written as WorkloadEntries there.
        ("", "Pod") if origin == Origin::Cluster => Reading::Supported(Kind::Pod),
        ("discovery.k8s.io", "EndpointSlice") if origin == Origin::Cluster => Reading::Supported(Kind::EndpointSlice),
        (
            "networking.istio.io"
            | "security.istio.io"
            | "telemetry.istio.io"
            | "extensions.istio.io"
            | "gateway.networking.k8s.io"
            | "install.istio.io"
            | "inference.networking.k8s.io",
            _,
        ) => Reading::NotYet,
        ("weft.dev", _) => Reading::Unknown,
        (group, _) if group.is_empty() || group.ends_with(".k8s.io") || !group.contains('.') => Reading::Foreign,
        _ if group.contains("istio.io") || group.contains("weft") => Reading::Unknown,
        _ => Reading::Foreign,
    }
}

/// All kinds of Weft's, for suggestions.
pub(crate) const KIND_NAMES: &[&str] = &[
    "Mesh",
    "Service",
    "ServiceEntry",
    "WorkloadEntry",
    "VirtualService",
    "DestinationRule",
    "PeerAuthentication",
    "Filter",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings() {
        let cases = [
            ("networking.istio.io/v1alpha3", "VirtualService", Reading::Supported(Kind::VirtualService)),
            ("networking.istio.io/v2", "VirtualService", Reading::OtherVersion(NETWORKING)),
            ("networking.istio.io/v1", "Gateway", Reading::NotYet),
            ("security.istio.io/v1", "AuthorizationPolicy", Reading::NotYet),
            ("gateway.networking.k8s.io/v1", "HTTPRoute", Reading::NotYet),
            ("v1", "Service", Reading::Supported(Kind::Service)),
            ("serving.knative.dev/v1", "Service", Reading::Foreign),
            ("v1", "ConfigMap", Reading::Foreign),
            ("apps/v1", "Deployment", Reading::Foreign),
            ("weft.dev/v1alpha1", "Filtre", Reading::Unknown),
            ("weft.dev/v1", "Filter", Reading::OtherVersion("weft.dev/v1alpha1")),
        ];
        for (version, kind, want) in cases {
            assert_eq!(reading(version, kind, Origin::Folder), want, "{version} {kind}");
        }
        for (version, kind, want) in
            [("v1", "Pod", Kind::Pod), ("discovery.k8s.io/v1", "EndpointSlice", Kind::EndpointSlice)]
        {
            assert_eq!(reading(version, kind, Origin::Folder), Reading::Foreign, "{kind} in a folder");
            assert_eq!(reading(version, kind, Origin::Cluster), Reading::Supported(want), "{kind} in a cluster");
        }
    }
}
