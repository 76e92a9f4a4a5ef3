//! The kinds that CustomResourceDefinitions bring: the one table by which they are watched, asked about before they are
//! stored, and allowed to be read.
//!
//! It does not watch anything, and does not know what the objects mean.

use kube::api::ApiResource;
use kube::core::GroupVersionKind;

pub struct Custom {
    pub(super) group: &'static str,
    pub(super) kind: &'static str,
    plural: &'static str,
    /// The best first.
    pub(super) versions: &'static [&'static str],
    role: Role,
}

/// What an object of a kind is to the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// What it says counts.
    Counts,
    /// Not supported, and a hole where somebody relies on it: refused in namespaces of the mesh, listed elsewhere.
    Refused,
    /// Not supported, and no harm: listed, so that nobody takes it for what counts.
    Listed,
}

const fn custom(group: &'static str, kind: &'static str, plural: &'static str, role: Role) -> Custom {
    Custom { group, kind, plural, versions: &["v1", "v1beta1", "v1alpha3", "v1alpha1"], role }
}

pub(super) const CUSTOM: &[Custom] = &[
    custom("networking.istio.io", "VirtualService", "virtualservices", Role::Counts),
    custom("networking.istio.io", "DestinationRule", "destinationrules", Role::Counts),
    custom("networking.istio.io", "ServiceEntry", "serviceentries", Role::Counts),
    custom("networking.istio.io", "WorkloadEntry", "workloadentries", Role::Counts),
    custom("security.istio.io", "PeerAuthentication", "peerauthentications", Role::Counts),
    custom("weft.dev", "Filter", "filters", Role::Counts),
    custom("weft.dev", "Mesh", "meshes", Role::Counts),
    custom("networking.istio.io", "Gateway", "gateways", Role::Refused),
    custom("networking.istio.io", "Sidecar", "sidecars", Role::Refused),
    custom("networking.istio.io", "EnvoyFilter", "envoyfilters", Role::Refused),
    custom("networking.istio.io", "WorkloadGroup", "workloadgroups", Role::Listed),
    custom("networking.istio.io", "ProxyConfig", "proxyconfigs", Role::Listed),
    custom("security.istio.io", "AuthorizationPolicy", "authorizationpolicies", Role::Refused),
    custom("security.istio.io", "RequestAuthentication", "requestauthentications", Role::Refused),
    custom("telemetry.istio.io", "Telemetry", "telemetries", Role::Listed),
    custom("extensions.istio.io", "WasmPlugin", "wasmplugins", Role::Refused),
    custom("extensions.istio.io", "TrafficExtension", "trafficextensions", Role::Refused),
];

/// Each group with all its resources: what is read.
pub fn watched() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    by_group(|_| true)
}

/// Those whose objects count, and have a status that says so.
pub fn counting() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    by_group(Custom::counts)
}

/// Those about which the API server asks before it stores an object.
pub(super) fn judged() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    by_group(|custom| custom.role != Role::Listed)
}

fn by_group(which: impl Fn(&Custom) -> bool) -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    let of = move |group: &'static str| {
        let resources = CUSTOM.iter().filter(|custom| custom.group == group && which(custom));
        (group, resources.map(|custom| custom.plural).collect::<Vec<_>>())
    };
    GROUPS.iter().copied().map(of).filter(|(_, resources)| !resources.is_empty())
}

const GROUPS: &[&str] =
    &["networking.istio.io", "security.istio.io", "telemetry.istio.io", "extensions.istio.io", "weft.dev"];

impl Custom {
    /// True where what it says counts.
    pub(super) fn counts(&self) -> bool {
        self.role == Role::Counts
    }

    /// True where it may not be stored in a namespace of the mesh.
    pub(super) fn is_refused(&self) -> bool {
        self.role == Role::Refused
    }

    pub(super) fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    pub(super) fn definition(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }

    pub(super) fn resource(&self, version: &str) -> ApiResource {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(self.group, version, self.kind), self.plural)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_by_one_rule_and_in_one_group() {
        let read: usize = watched().map(|(_, resources)| resources.len()).sum();
        assert_eq!(read, CUSTOM.len());
        let judged: Vec<&str> = judged().flat_map(|(_, resources)| resources).collect();
        for custom in CUSTOM {
            let asked = judged.contains(&custom.plural);
            assert_eq!(asked, custom.counts() || custom.is_refused(), "{}", custom.kind);
        }
    }
}
