//! What registries want to see, where it lies in a cluster: named here, read when a lookup needs it.
//!
//! It does not know the cluster, nor what a registry does with it.

use weft_config::{CaRef, Credentials, Policy, Registry};

/// One value of a Secret or a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub kind: PlaceKind,
    pub namespace: String,
    pub name: String,
    pub key: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceKind {
    Secret,
    ConfigMap,
}

/// Why a place cannot be looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shut {
    pub reason: String,
    pub remedy: String,
}

/// Whoever can look into places.
#[tonic::async_trait]
pub trait Cupboard: Send + Sync {
    /// The value as it is now.
    async fn open(&self, place: &Place) -> Result<String, Shut>;
}

/// Of a control plane on a folder.
pub struct NoCluster;

/// What one registry wants to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub credentials: Option<Place>,
    pub roots: Option<Place>,
}

impl Place {
    pub(super) fn of_filter(policy: &Policy) -> Option<Self> {
        let (namespace, _) = policy.filter.split_once('/')?;
        let name = policy.pull_secret.clone()?;
        Some(Self { kind: PlaceKind::Secret, namespace: namespace.to_owned(), name, key: DOCKER_CONFIG })
    }

    /// For messages.
    pub fn origin(&self) -> String {
        format!("{:?} {}/{}", self.kind, self.namespace, self.name)
    }
}

impl Needs {
    /// `namespace`: the Mesh object's.
    pub(super) fn of_registry(registry: &Registry, namespace: &str) -> Self {
        let place = |kind, name: &str, key| Place { kind, namespace: namespace.to_owned(), name: name.to_owned(), key };
        let credentials = match &registry.credentials {
            Some(Credentials::Secret { name }) => Some(place(PlaceKind::Secret, name, DOCKER_CONFIG)),
            _ => None,
        };
        let roots = registry.ca_ref.as_ref().map(|ca| match ca {
            CaRef::ConfigMap(name) => place(PlaceKind::ConfigMap, name, ROOTS),
            CaRef::Secret(name) => place(PlaceKind::Secret, name, ROOTS),
        });
        Self { credentials, roots }
    }
}

#[tonic::async_trait]
impl Cupboard for NoCluster {
    async fn open(&self, place: &Place) -> Result<String, Shut> {
        Err(Shut {
            reason: format!("{} is named, and this control plane runs on a folder", place.origin()),
            remedy: "name files in Mesh.registries instead (credentials.dockerConfig, ca)".to_owned(),
        })
    }
}

/// Of a Secret of type kubernetes.io/dockerconfigjson.
const DOCKER_CONFIG: &str = ".dockerconfigjson";
const ROOTS: &str = "ca.crt";
