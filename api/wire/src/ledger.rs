//! A snapshot as encoded entries with their hashes: what is compared, sent as a difference, signed and stored.
//!
//! Entries keep the bytes in which they came, so that a hash stays the control plane's own even where a newer one
//! sends fields that this build drops.

use crate::convert::{decode_key, decode_resource, encode_key, encode_resource};
use crate::{ApplyError, DecodeError, LEVEL, LEVEL_MIN, level, proto};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use weft_snapshot::{Key, Resource, Snapshot, Update};

/// SHA-256 of an encoded resource.
pub type Hash = [u8; 32];

/// Hash by which a proxy says what it has of a resource.
pub fn resource_hash(resource: &Resource) -> Hash {
    hash(&encode_resource(resource))
}

/// The revision of a snapshot; the same wherever it is computed.
pub fn revision(snapshot: &Snapshot) -> String {
    Ledger::of(snapshot).revision()
}

fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// What a proxy has, by encoded key: enough to compute a difference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holding(BTreeMap<Vec<u8>, Hash>);

impl Holding {
    /// Fails where a hash has not 32 bytes. The keys stay opaque: one that is not known is a key to remove.
    pub fn of_hello(held: &[proto::Held]) -> Result<Self, DecodeError> {
        let entry = |held: &proto::Held| match Hash::try_from(held.hash.as_slice()) {
            Ok(hash) => Ok((held.key.clone(), hash)),
            Err(_) => Err(DecodeError::Value { field: "Held.hash", value: format!("{} bytes", held.hash.len()) }),
        };
        Ok(Self(held.iter().map(entry).collect::<Result<_, _>>()?))
    }

    pub fn to_hello(&self) -> Vec<proto::Held> {
        self.0.iter().map(|(key, hash)| proto::Held { key: key.clone(), hash: hash.to_vec() }).collect()
    }

    pub fn revision(&self) -> String {
        revision_of(self.0.iter().map(|(key, hash)| (key.as_slice(), hash)))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A snapshot in the form in which it travels. A clone shares the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger(BTreeMap<Vec<u8>, Stored>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    hash: Hash,
    /// Of [`level::needed`].
    level: u32,
    bytes: Arc<[u8]>,
}

/// What an update makes of a ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    pub ledger: Ledger,
    /// The same difference as values.
    pub update: Update,
}

impl Ledger {
    pub fn of(snapshot: &Snapshot) -> Self {
        let entry =
            |(key, resource): (&Key, &Resource)| (encode_key(key), Stored::new(resource, encode_resource(resource)));
        Self(snapshot.iter().map(entry).collect())
    }

    pub fn revision(&self) -> String {
        revision_of(self.0.iter().map(|(key, stored)| (key.as_slice(), &stored.hash)))
    }

    pub fn holding(&self) -> Holding {
        Holding(self.0.iter().map(|(key, stored)| (key.clone(), stored.hash)).collect())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of all keys and resources.
    pub fn size(&self) -> usize {
        self.0.iter().map(|(key, stored)| key.len() + stored.bytes.len()).sum()
    }

    /// The level that a proxy has to speak to do all that this says.
    pub(crate) fn level(&self) -> u32 {
        self.0.values().map(|stored| stored.level).max().unwrap_or(LEVEL_MIN)
    }

    /// The values. Fails where an entry cannot be read by this build.
    pub fn snapshot(&self) -> Result<Snapshot, DecodeError> {
        let mut snapshot = Snapshot::default();
        for (key, stored) in &self.0 {
            let (key, resource) = decode_entry(key, &stored.bytes)?;
            snapshot.insert(key, resource).map_err(|key| DecodeError::Misplaced { key: key.to_string() })?;
        }
        Ok(snapshot)
    }

    /// The update that gives a proxy with `held` this ledger. The signature is the caller's to add.
    pub fn update_from(&self, held: &Holding) -> proto::Update {
        let changed = |(key, stored): &(&Vec<u8>, &Stored)| held.0.get(*key) != Some(&stored.hash);
        let entry =
            |(key, stored): (&Vec<u8>, &Stored)| proto::Entry { key: key.clone(), resource: stored.bytes.to_vec() };
        proto::Update {
            base: held.revision(),
            revision: self.revision(),
            level_min: self.level(),
            set: self.0.iter().filter(changed).map(entry).collect(),
            removed: held.0.keys().filter(|key| !self.0.contains_key(*key)).cloned().collect(),
            signature: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// Checks all but the signature, and leaves `self` as it is.
    pub fn apply(&self, update: &proto::Update) -> Result<Applied, ApplyError> {
        if update.level_min > LEVEL {
            return Err(ApplyError::Level { needed: update.level_min, spoken: LEVEL });
        }
        let held = self.revision();
        if !update.base.is_empty() && update.base != held {
            return Err(ApplyError::Base { held, base: update.base.clone() });
        }
        let applied = match update.base.is_empty() {
            true => self.replaced(update)?,
            false => self.changed(update)?,
        };
        let computed = applied.ledger.revision();
        if computed != update.revision {
            return Err(ApplyError::Revision { claimed: update.revision.clone(), computed });
        }
        Ok(applied)
    }

    fn changed(&self, update: &proto::Update) -> Result<Applied, DecodeError> {
        let mut applied = Applied { ledger: self.clone(), update: Update::default() };
        for bytes in &update.removed {
            applied.update.removed.push(canonical(bytes)?);
            applied.ledger.0.remove(bytes);
        }
        for entry in &update.set {
            let (key, resource) = decode_entry(&entry.key, &entry.resource)?;
            check_place(&key, &resource)?;
            applied.ledger.0.insert(entry.key.clone(), Stored::new(&resource, entry.resource.clone()));
            applied.update.set.push((key, resource));
        }
        Ok(applied)
    }

    /// An update on nothing: what it does not set is gone, and what is the same already is no change.
    fn replaced(&self, update: &proto::Update) -> Result<Applied, DecodeError> {
        let mut applied = Self::default().changed(&proto::Update { removed: Vec::new(), ..update.clone() })?;
        let gone = self.0.keys().filter(|key| !applied.ledger.0.contains_key(*key));
        applied.update.removed = gone.map(|key| canonical(key)).collect::<Result<_, _>>()?;
        applied.update.set.retain(|(key, _)| {
            let key = encode_key(key);
            self.0.get(&key) != applied.ledger.0.get(&key)
        });
        Ok(applied)
    }

    pub(crate) fn entries(&self) -> Vec<proto::Entry> {
        let entry =
            |(key, stored): (&Vec<u8>, &Stored)| proto::Entry { key: key.clone(), resource: stored.bytes.to_vec() };
        self.0.iter().map(entry).collect()
    }

    /// Fails where an entry cannot be read by this build.
    pub(crate) fn of_entries(entries: Vec<proto::Entry>) -> Result<Self, DecodeError> {
        let update = proto::Update { set: entries, ..proto::Update::default() };
        Ok(Self::default().changed(&update)?.ledger)
    }
}

impl Stored {
    fn new(resource: &Resource, bytes: Vec<u8>) -> Self {
        Self { hash: hash(&bytes), level: level::needed(resource), bytes: bytes.into() }
    }
}

fn decode_entry(key: &[u8], resource: &[u8]) -> Result<(Key, Resource), DecodeError> {
    Ok((canonical(key)?, decode_resource(resource)?))
}

fn canonical(bytes: &[u8]) -> Result<Key, DecodeError> {
    let key = decode_key(bytes)?;
    if encode_key(&key) == bytes { Ok(key) } else { Err(DecodeError::NotCanonical { key: key.to_string() }) }
}

fn check_place(key: &Key, resource: &Resource) -> Result<(), DecodeError> {
    if resource.belongs_to(key) { Ok(()) } else { Err(DecodeError::Misplaced { key: key.to_string() }) }
}

fn revision_of<'a>(entries: impl Iterator<Item = (&'a [u8], &'a Hash)>) -> String {
    let mut entries = entries.peekable();
    if entries.peek().is_none() {
        return String::new();
    }
    let mut sum = Sha256::new();
    sum.update(b"weft revision 1\n");
    for (key, hash) in entries {
        sum.update((key.len() as u64).to_be_bytes());
        sum.update(key);
        sum.update(hash);
    }
    let mut text = String::with_capacity(64);
    for byte in sum.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
#[path = "ledger/tests.rs"]
mod tests;
