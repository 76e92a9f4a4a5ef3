//! Registries as a Filter sees them: what its Mesh says, and what its Secrets hold at this moment.
//!
//! It does not know what is pulled.

use super::cupboard::{Cupboard, Needs, Place, Shut};
use std::collections::BTreeMap;
use std::sync::Arc;
use weft_oci::{Credentials, DockerConfig, Images, Limits, Reference, Registries, Registry, Roots};

/// Shared by all jobs until the Mesh changes.
pub(super) struct Sources {
    /// With connections and tokens that are kept, for registries that need nothing from the cluster.
    plain: Arc<Images>,
    registries: Registries,
    /// By host.
    needs: BTreeMap<String, Needs>,
    limits: Limits,
    cupboard: Arc<dyn Cupboard>,
}

impl Sources {
    pub(super) fn new(
        registries: Registries,
        needs: BTreeMap<String, Needs>,
        limits: Limits,
        cupboard: Arc<dyn Cupboard>,
    ) -> Self {
        let plain = Arc::new(Images::new(registries.clone(), limits.clone()));
        Self { plain, registries, needs, limits, cupboard }
    }

    /// Read anew each time, so that rotated Secrets are seen.
    pub(super) async fn images(&self, reference: &Reference, pull_secret: Option<&Place>) -> Result<Arc<Images>, Shut> {
        let Reference::Registry(image) = reference else { return Ok(self.plain.clone()) };
        let mut hosts = vec![image.host.to_ascii_lowercase()];
        let entry = self.registries.entries.iter().find(|entry| entry.host.eq_ignore_ascii_case(&image.host));
        hosts.extend(entry.and_then(|entry| entry.mirror.clone()));
        if pull_secret.is_none() && !hosts.iter().any(|host| self.needs.contains_key(host)) {
            return Ok(self.plain.clone());
        }
        let mut registries = self.registries.clone();
        for (host, needs) in hosts.iter().filter_map(|host| Some((host, self.needs.get(host)?))) {
            let entry = registries.entries.iter_mut().find(|entry| entry.host.eq_ignore_ascii_case(host));
            if let Some(entry) = entry {
                self.fill(entry, needs).await?;
            }
        }
        if let Some(place) = pull_secret {
            registries.pull_secret = Some(self.docker_config(place).await?);
        }
        Ok(Arc::new(Images::new(registries, self.limits.clone())))
    }

    async fn fill(&self, entry: &mut Registry, needs: &Needs) -> Result<(), Shut> {
        if let Some(place) = &needs.credentials {
            entry.credentials = Some(Credentials::DockerConfig(self.docker_config(place).await?));
        }
        if let Some(place) = &needs.roots {
            entry.ca = Some(Roots::Text { origin: place.origin(), pem: self.cupboard.open(place).await? });
        }
        Ok(())
    }

    async fn docker_config(&self, place: &Place) -> Result<DockerConfig, Shut> {
        Ok(DockerConfig::Text { origin: place.origin(), json: self.cupboard.open(place).await? })
    }
}
