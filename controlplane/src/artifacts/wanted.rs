//! What is wanted of this side, and how a world says it.
//!
//! It only translates.

use super::cupboard::Needs;
use std::collections::BTreeMap;
use weft_config::{Credentials, Policy, Registry, Transport, World};
use weft_oci::{Loopback, PlainHttp, Registries};

/// What is wanted now; replaces what was wanted before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    pub policies: Vec<Policy>,
    pub registries: Registries,
    /// By host, what of `registries` lies in a cluster.
    pub needs: BTreeMap<String, Needs>,
}

impl Wanted {
    /// All policies of a world, by the registries of its Mesh.
    pub fn of(world: &World) -> Self {
        let registries = Registries {
            entries: world.mesh().registries.iter().map(entry).collect(),
            // A registry on this machine is a developer's.
            loopback: Loopback::PlainHttp,
            pull_secret: None,
            docker_config: None,
        };
        let namespace = &world.mesh().root_namespace;
        let needs = world
            .mesh()
            .registries
            .iter()
            .map(|registry| (registry.host.clone(), Needs::of_registry(registry, namespace)));
        let needs = needs.filter(|(_, needs)| *needs != Needs::default()).collect();
        Self { policies: world.policies().to_vec(), registries, needs }
    }
}

fn entry(registry: &Registry) -> weft_oci::Registry {
    let credentials = registry.credentials.clone().and_then(|credentials| match credentials {
        Credentials::Password { username, password_file } => {
            Some(weft_oci::Credentials::Password { user: username, file: password_file.into() })
        }
        Credentials::DockerConfig { file } => {
            Some(weft_oci::Credentials::DockerConfig(weft_oci::DockerConfig::File(file.into())))
        }
        // Among the needs.
        Credentials::Secret { .. } => None,
    });
    weft_oci::Registry {
        mirror: registry.mirror.clone(),
        ca: registry.ca.clone().map(|file| weft_oci::Roots::File(file.into())),
        plain_http: match registry.transport {
            Transport::Https => PlainHttp::Refuse,
            Transport::PlainHttp => PlainHttp::Use,
        },
        credentials,
        ..weft_oci::Registry::new(registry.host.clone())
    }
}
