//! What the world wants of the filters' side, in that side's words.
//!
//! It only translates; it does not know how images are pulled.

use crate::artifacts::Wanted;
use weft_config::{Credentials, Registry, Transport, World};
use weft_oci::{Loopback, PlainHttp, Registries};

pub(super) fn wanted(world: &World) -> Wanted {
    let registries = Registries {
        entries: world.mesh().registries.iter().map(entry).collect(),
        // A registry on this machine is a developer's.
        loopback: Loopback::PlainHttp,
        docker_config: None,
    };
    Wanted { policies: world.policies(), registries }
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
