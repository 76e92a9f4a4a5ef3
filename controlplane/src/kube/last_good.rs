//! Good versions of objects that are broken now, kept in ConfigMaps: for replicas that never saw them.
//!
//! The leader writes them, all replicas read them through `source`. It does not know what is broken, nor why.

use super::Cluster;
use super::trim::Meta;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;
use weft_config::SourceFile;

/// The leader's side.
pub(super) struct LastGood {
    maps: Api<ConfigMap>,
    /// What lies there, by path; `None` until it was looked at.
    written: Option<BTreeMap<String, SourceFile>>,
}

pub(super) const LABEL: &str = "weft.dev/last-good";

impl LastGood {
    pub(super) fn new(cluster: &Cluster) -> Self {
        Self { maps: Api::namespaced(cluster.client.clone(), &cluster.here.namespace), written: None }
    }

    /// Another replica may have written since.
    pub(super) fn forget(&mut self) {
        self.written = None;
    }

    /// Brings what lies there to `wanted`.
    pub(super) async fn keep(&mut self, wanted: &[SourceFile]) -> Result<(), kube::Error> {
        let mut written = match self.written.take() {
            Some(written) => written,
            None => self.read().await?,
        };
        let new: Vec<&SourceFile> = wanted.iter().filter(|file| written.get(&*file.path) != Some(file)).collect();
        for file in new {
            let patch = Patch::Apply(config_map(file));
            self.maps.patch(&name(&file.path), &PatchParams::apply(MANAGER).force(), &patch).await?;
            tracing::info!(object = %file.path, "its last good version is kept");
            written.insert(file.path.to_string(), file.clone());
        }
        let gone: Vec<String> =
            written.keys().filter(|path| !wanted.iter().any(|file| *file.path == ***path)).cloned().collect();
        for path in gone {
            match self.maps.delete(&name(&path), &DeleteParams::default()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
            written.remove(&path);
        }
        self.written = Some(written);
        Ok(())
    }

    async fn read(&self) -> Result<BTreeMap<String, SourceFile>, kube::Error> {
        let all = self.maps.list(&ListParams::default().labels(LABEL)).await?;
        Ok(all.items.iter().filter_map(read).map(|file| (file.path.to_string(), file)).collect())
    }
}

/// `None` for a ConfigMap that somebody else has changed into something else.
pub(super) fn read(map: &ConfigMap) -> Option<SourceFile> {
    let field = |key: &str| map.data.as_ref()?.get(key).cloned();
    Some(SourceFile::of_cluster(field("path")?, field("object")?, field("created")?))
}

fn config_map(file: &SourceFile) -> ConfigMap {
    let data = [
        ("path", file.path.to_string()),
        ("created", file.created.as_deref().unwrap_or_default().to_owned()),
        ("object", String::from_utf8_lossy(&file.bytes).into_owned()),
    ];
    ConfigMap {
        metadata: Meta {
            name: Some(name(&file.path)),
            labels: Some(BTreeMap::from([
                (LABEL.to_owned(), "true".to_owned()),
                ("app.kubernetes.io/part-of".to_owned(), "weft".to_owned()),
            ])),
            ..Meta::default()
        },
        data: Some(data.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ..ConfigMap::default()
    }
}

fn name(path: &str) -> String {
    let mut name = "weft-last-good-".to_owned();
    for byte in &Sha256::digest(path.as_bytes())[..10] {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

const MANAGER: &str = "weft-controlplane";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_kept_is_read_back_whole() {
        let text = json!({"kind": "VirtualService", "spec": {"hosts": ["ümlaut"]}}).to_string();
        let file = SourceFile::of_cluster("VirtualService/default/reviews", text, "2026-01-01T00:00:00Z");
        let map = config_map(&file);
        assert_eq!(read(&map), Some(file));
        assert!(map.metadata.name.unwrap().len() <= 63);
        assert_eq!(read(&ConfigMap::default()), None);
    }
}
