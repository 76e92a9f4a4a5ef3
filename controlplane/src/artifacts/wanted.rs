//! What is wanted of this side, and how a world says it.
//!
//! It only translates.

use weft_config::{Credentials, Policy, Registry, Transport, World};
use weft_oci::{Loopback, PlainHttp, Registries};

/// What is wanted now; replaces what was wanted before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    pub policies: Vec<Policy>,
    pub registries: Registries,
}

impl Wanted {
    /// All policies of a world, by the registries of its Mesh.
    pub fn of(world: &World) -> Self {
        let registries = Registries {
            entries: world.mesh().registries.iter().map(entry).collect(),
            // A registry on this machine is a developer's.
            loopback: Loopback::PlainHttp,
            docker_config: None,
        };
        Self { policies: world.policies(), registries }
    }
}

fn entry(registry: &Registry) -> weft_oci::Registry {
    let credentials = registry.credentials.clone().map(|credentials| match credentials {
        Credentials::Password { username, password_file } => {
            weft_oci::Credentials::Password { user: username, file: password_file.into() }
        }
        Credentials::DockerConfig { file } => weft_oci::Credentials::DockerConfig(file.into()),
    });
    weft_oci::Registry {
        mirror: registry.mirror.clone(),
        ca: registry.ca.clone().map(Into::into),
        plain_http: match registry.transport {
            Transport::Https => PlainHttp::Refuse,
            Transport::PlainHttp => PlainHttp::Use,
        },
        credentials,
        ..weft_oci::Registry::new(registry.host.clone())
    }
}
