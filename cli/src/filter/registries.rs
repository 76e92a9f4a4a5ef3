//! How `weft filter` reaches a registry: flags, and docker's own login.

use std::path::PathBuf;
use weft_oci::{Images, Limits, Loopback, PlainHttp, Registries, Registry};

#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct RegistryOptions {
    /// PEM file with the CA of the registry, trusted beside the system's roots
    #[arg(long, value_name = "FILE")]
    registry_ca: Option<PathBuf>,
    /// Speak HTTP without TLS to this registry; loopback addresses are spoken to so anyway
    #[arg(long, value_name = "HOST[:PORT]")]
    plain_http: Option<String>,
    /// User and password as `docker login` leaves them [default: $DOCKER_CONFIG/config.json or ~/.docker/config.json]
    #[arg(long, value_name = "FILE")]
    docker_config: Option<PathBuf>,
}

impl RegistryOptions {
    /// `host` is that of the image which the command names, where it names a registry.
    pub(crate) fn images(&self, host: Option<&str>) -> Images {
        let mut entries = Vec::new();
        if let (Some(ca), Some(host)) = (&self.registry_ca, host) {
            entries.push(Registry { ca: Some(ca.clone().into()), ..Registry::new(host) });
        }
        if let Some(host) = &self.plain_http {
            entries.push(Registry { plain_http: PlainHttp::Use, ..Registry::new(host) });
        }
        // A registry with a CA speaks TLS, on loopback too.
        let loopback = if self.registry_ca.is_some() { Loopback::Tls } else { Loopback::PlainHttp };
        let docker_config = self.docker_config.clone().or_else(docker_config);
        Images::new(
            Registries { entries, loopback, pull_secret: None, docker_config: docker_config.map(Into::into) },
            Limits::default(),
        )
    }
}

fn docker_config() -> Option<PathBuf> {
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker")))?;
    Some(folder.join("config.json")).filter(|path| path.is_file())
}
