//! What one replica has of filters, as another copies it: components, native code, and what was last good.
//!
//! A file counts only when its bytes give its digest. It does not know how it travels.

use super::StateError;
use super::facts::Artifact;
use super::peers::LastGood;
use super::store::Store;
use sha2::{Digest as _, Sha256};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use weft_snapshot::Digest;

/// Handed to whoever serves another replica, and to whoever fills a new one before its loop starts.
#[derive(Clone, Debug)]
pub struct Stock {
    store: Store,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub component: Digest,
    /// `None`: the component itself; else native code made of it, for this key.
    pub key: Option<String>,
    pub digest: Digest,
    pub bytes: u64,
}

/// A file on its way in.
pub struct Intake {
    store: Store,
    item: Item,
    file: tempfile::NamedTempFile,
    sum: Sha256,
    written: u64,
}

impl Stock {
    /// Of a replica whose loop does not run yet.
    pub fn open(folder: &Path) -> Result<Self, StateError> {
        Ok(Self { store: Store::open(folder)? })
    }

    pub(super) fn of(store: &Store) -> Self {
        Self { store: store.clone() }
    }

    pub fn items(&self) -> Vec<Item> {
        let mut items = Vec::new();
        for component in self.store.held().into_keys() {
            let whole = self.store.component(component).and_then(|path| Some(path.metadata().ok()?.len()));
            items.extend(whole.map(|bytes| Item { component, key: None, digest: component, bytes }));
            items.extend(self.store.artifacts_of(component).into_iter().map(|artifact| Item {
                component,
                key: Some(artifact.key),
                digest: artifact.digest,
                bytes: artifact.bytes,
            }));
        }
        items
    }

    /// Where it lies, if it does.
    pub fn path(&self, item: &Item) -> Option<PathBuf> {
        match &item.key {
            None => self.store.component(item.component),
            Some(key) => {
                let artifact = self.store.artifact(item.component, key);
                artifact.filter(|artifact| artifact.digest == item.digest).map(|artifact| artifact.path)
            }
        }
    }

    /// JSON, for [`Stock::take_last_good`] of the same or a later release.
    pub fn last_good(&self) -> io::Result<Vec<u8>> {
        serde_json::to_vec(&self.store.last_good()).map_err(io::Error::other)
    }

    /// The other's word counts where both have one: it has been running.
    pub fn take_last_good(&self, json: &[u8]) -> Result<(), StateError> {
        let mut all = self.store.last_good();
        all.extend(self.read_last_good(json)?.0);
        self.store.keep_last_good(&all)
    }

    /// What [`Stock::last_good`] of another says.
    pub fn read_last_good(&self, json: &[u8]) -> Result<LastGood, StateError> {
        serde_json::from_slice(json).map(LastGood).map_err(|error| self.store.damaged(error))
    }

    /// Native code of a component that is here.
    pub fn artifact(&self, component: Digest, key: &str) -> Option<Item> {
        let Artifact { digest, key, component, bytes, .. } = self.store.artifact(component, key)?;
        Some(Item { component, key: Some(key), digest, bytes })
    }

    pub fn intake(&self, item: Item) -> io::Result<Intake> {
        let file = tempfile::NamedTempFile::new_in(self.store.spool())?;
        Ok(Intake { store: self.store.clone(), item, file, sum: Sha256::new(), written: 0 })
    }
}

impl Intake {
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        if self.written > self.item.bytes {
            return Err(io::Error::other(format!("{} is longer than was said", self.item.digest)));
        }
        self.sum.update(bytes);
        self.file.write_all(bytes)
    }

    pub fn finish(self) -> io::Result<()> {
        let found = Digest(self.sum.finalize().into());
        if found != self.item.digest {
            return Err(io::Error::other(format!("{} has other bytes than its digest says", self.item.digest)));
        }
        self.file.as_file().sync_all()?;
        self.store.put(self.item.component, self.item.key.as_deref(), self.item.digest, self.file).map(drop)
    }
}
