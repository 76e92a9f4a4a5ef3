//! The folder that outlives the control plane: components and artifacts by digest, and what was last good.
//!
//! Names say what a file must hold, and opening checks that it does; a file appears whole, by a rename, and is never
//! written again. It does not know which of them are needed.

use super::facts::Artifact;
use super::good::Good;
use crate::state::{StateError, StateFolder};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use weft_oci::Spooled;
use weft_snapshot::Digest;

/// ```text
/// components/<digest>            artifacts/<digest of the component>/<artifact key>@<digest>
/// spool/                         last-good.json
/// ```
#[derive(Clone, Debug)]
pub(super) struct Store {
    folder: StateFolder,
}

const LAST_GOOD: &str = "last-good.json";

impl Store {
    /// Makes what is missing and drops what is damaged.
    pub(super) fn open(path: &Path) -> Result<Self, StateError> {
        let store = Self { folder: StateFolder::open(path)? };
        let failed = |source| StateError::Io { path: path.to_owned(), doing: "cannot prepare it", source };
        fs::remove_dir_all(store.spool()).or_else(absent_is_fine).map_err(failed)?;
        for part in ["components", "artifacts", "spool"] {
            private_folder(&store.at(part)).map_err(failed)?;
        }
        store.check().map_err(failed)?;
        Ok(store)
    }

    /// For what is being pulled; on the same file system as the rest.
    pub(super) fn spool(&self) -> PathBuf {
        self.at("spool")
    }

    pub(super) fn last_good(&self) -> BTreeMap<String, Good> {
        let read = self.folder.read(LAST_GOOD).ok().flatten();
        let Some(bytes) = read else { return BTreeMap::new() };
        serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(%error, "what was last good of the filters cannot be read; images are resolved anew");
            BTreeMap::new()
        })
    }

    pub(super) fn keep_last_good(&self, good: &BTreeMap<String, Good>) -> Result<(), StateError> {
        let bytes = serde_json::to_vec(good).map_err(|error| self.folder.damaged(LAST_GOOD, error))?;
        self.folder.write(LAST_GOOD, &bytes)
    }

    pub(super) fn component(&self, digest: Digest) -> Option<PathBuf> {
        Some(self.at("components").join(hex(digest))).filter(|path| path.exists())
    }

    pub(super) fn add_component(&self, pulled: Spooled) -> io::Result<PathBuf> {
        let path = self.at("components").join(hex(pulled.digest()));
        File::open(pulled.path())?.sync_all()?;
        pulled.keep(&path)?;
        Ok(path)
    }

    pub(super) fn artifact(&self, component: Digest, key: &str) -> Option<Artifact> {
        self.artifacts_of(component).into_iter().find(|artifact| artifact.key == key)
    }

    pub(super) fn artifacts_of(&self, component: Digest) -> Vec<Artifact> {
        let files = files(&self.at("artifacts").join(hex(component))).unwrap_or_default();
        files.into_iter().filter_map(|(path, bytes)| artifact(component, path, bytes)).collect()
    }

    pub(super) fn add_artifact(&self, component: Digest, key: &str, native: &[u8]) -> io::Result<Artifact> {
        let digest = Digest(Sha256::digest(native).into());
        let mut file = tempfile::NamedTempFile::new_in(self.spool())?;
        file.write_all(native)?;
        file.as_file().sync_all()?;
        let path = self.put(component, Some(key), digest, file)?;
        Ok(Artifact { digest, key: key.to_owned(), component, path, bytes: native.len() as u64 })
    }

    /// A file of the spool whose bytes give `digest`; without a key the component itself.
    pub(super) fn put(
        &self,
        component: Digest,
        key: Option<&str>,
        digest: Digest,
        file: tempfile::NamedTempFile,
    ) -> io::Result<PathBuf> {
        let path = match key {
            None => self.at("components").join(hex(component)),
            Some(key) => {
                let folder = self.at("artifacts").join(hex(component));
                private_folder(&folder)?;
                folder.join(format!("{key}@{}", hex(digest)))
            }
        };
        file.persist(&path).map_err(|error| error.error)?;
        Ok(path)
    }

    pub(super) fn damaged(&self, error: impl ToString) -> StateError {
        self.folder.damaged(LAST_GOOD, error)
    }

    /// Everything that is held, by component, with its bytes on disk.
    pub(super) fn held(&self) -> BTreeMap<Digest, u64> {
        let mut held = BTreeMap::new();
        for (path, bytes) in files(&self.at("components")).unwrap_or_default() {
            if let Some(digest) = named(&path) {
                *held.entry(digest).or_default() += bytes;
            }
        }
        for path in folders(&self.at("artifacts")).unwrap_or_default() {
            if let Some(digest) = named(&path) {
                let bytes: u64 = files(&path).unwrap_or_default().iter().map(|(_, bytes)| bytes).sum();
                *held.entry(digest).or_default() += bytes;
            }
        }
        held
    }

    /// The component and its artifacts. A proxy that is reading one of them reads on.
    pub(super) fn remove(&self, component: Digest) -> io::Result<()> {
        fs::remove_file(self.at("components").join(hex(component))).or_else(absent_is_fine)?;
        fs::remove_dir_all(self.at("artifacts").join(hex(component))).or_else(absent_is_fine)
    }

    fn at(&self, part: &str) -> PathBuf {
        self.folder.path().join(part)
    }

    /// Native code whose bits have rotted would be signed and run.
    fn check(&self) -> io::Result<()> {
        for (path, _) in files(&self.at("components"))? {
            drop_unless(&path, named(&path))?;
        }
        for folder in folders(&self.at("artifacts"))? {
            for (path, _) in files(&folder)? {
                let digest =
                    path.file_name().and_then(|name| name.to_str()?.rsplit_once('@')).and_then(|(_, hex)| parsed(hex));
                drop_unless(&path, digest)?;
            }
        }
        Ok(())
    }
}

fn artifact(component: Digest, path: PathBuf, bytes: u64) -> Option<Artifact> {
    let (key, digest) = path.file_name()?.to_str()?.rsplit_once('@')?;
    Some(Artifact { digest: parsed(digest)?, key: key.to_owned(), component, bytes, path: path.clone() })
}

fn drop_unless(path: &Path, expected: Option<Digest>) -> io::Result<()> {
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hash)?;
    if expected == Some(Digest(hash.finalize().into())) {
        return Ok(());
    }
    tracing::warn!(path = %path.display(), "a file in the filter store is damaged and dropped");
    fs::remove_file(path)
}

fn hex(digest: Digest) -> String {
    digest.to_string().trim_start_matches("sha256:").to_owned()
}

fn parsed(hex: &str) -> Option<Digest> {
    format!("sha256:{hex}").parse().ok()
}

fn named(path: &Path) -> Option<Digest> {
    parsed(path.file_name()?.to_str()?)
}

fn files(folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_file() {
            found.push((entry.path(), meta.len()));
        }
    }
    found.sort();
    Ok(found)
}

fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    Ok(entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
}

fn private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn absent_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
