//! The mesh's certificate authority: who it is now, what it signs, and how its keys change.
//!
//! It does not know who may ask (join tokens, current SVIDs: stream/identity.rs) nor how its roots reach the proxies.

mod certificate;
mod given;
mod issuing;
mod keys;
mod vault;

pub use given::GivenCa;
pub use issuing::{Issuing, SvidRequest};
pub use keys::Seconds;
pub use vault::{Record, Vault, VaultError, Version};

use crate::state::StateFolder;
use arc_swap::ArcSwap;
use keys::{Keys, Signer, Turn};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use vault::FolderVault;

/// One per control plane. Readers take [`Authority::issuing`], which is whole and never changes under them.
pub struct Authority {
    vault: Arc<dyn Vault>,
    options: AuthorityOptions,
    current: ArcSwap<Issuing>,
    read: ArcSwap<Option<Version>>,
}

#[derive(Clone, Debug)]
pub struct AuthorityOptions {
    /// Of an SVID; also how long a new root is believed before it signs.
    pub svid_life: Duration,
    /// Of a root of our own.
    pub root_life: Duration,
    pub given: Option<GivenCa>,
}

impl Default for AuthorityOptions {
    fn default() -> Self {
        Self {
            svid_life: Duration::from_secs(24 * 3600),
            root_life: Duration::from_secs(3650 * 24 * 3600),
            given: None,
        }
    }
}

/// Whether readers must look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refreshed {
    Same,
    Changed,
}

#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("the keys of the mesh in {vault} are damaged: {reason}; restore them, or remove them to start a new mesh")]
    Damaged { vault: String, reason: String },
    #[error("the keys of the mesh in {vault} are changed by others all the time; try again")]
    Contended { vault: String },
    #[error("cannot write the certificate: {0}")]
    Write(rcgen::Error),
    #[error("the system gives no random numbers")]
    Random,
    #[error("the certificate request cannot be used: {0}; send a PKCS#10 request in DER, signed by its own key")]
    Request(String),
    #[error("{path}: {reason}")]
    Given { path: PathBuf, reason: String },
    #[error("there is no CA in {path} yet; give the control plane's folder with --state")]
    NoKeys { path: PathBuf },
    #[error("the CA was given with --ca-cert; to change it, start the control plane with the new files")]
    NotOurs,
}

impl Authority {
    /// Reads the keys in a folder, or makes them at the first start.
    pub fn open(folder: &StateFolder, options: AuthorityOptions, now: Seconds) -> Result<Self, CaError> {
        Self::open_in(Arc::new(FolderVault(folder.clone())), options, now)
    }

    /// As [`Authority::open`], wherever the keys lie.
    pub fn open_in(vault: Arc<dyn Vault>, options: AuthorityOptions, now: Seconds) -> Result<Self, CaError> {
        let (keys, version) = change(
            &*vault,
            || create(&options, now),
            |keys| {
                keys.svid_life = options.svid_life.as_secs();
                adopt_given(keys, &options, now)
            },
        )?;
        let issuing = Issuing::new(keys, options.svid_life, now)?;
        let (current, read) = (ArcSwap::from_pointee(issuing), ArcSwap::from_pointee(Some(version)));
        Ok(Self { vault, options, current, read })
    }

    /// What signs and who is believed at the moment.
    pub fn issuing(&self) -> Arc<Issuing> {
        self.current.load_full()
    }

    /// Takes in what others wrote, starts a rotation that is due, and lets turns begin and end.
    pub fn refresh(&self, now: Seconds) -> Result<Refreshed, CaError> {
        let current = self.issuing();
        let due = |keys: &Keys| keys.due(now, self.options.root_life) && !keys.rotating(now);
        let written = self.vault.version();
        if written == **self.read.load() && !due(current.keys()) && current.valid_until().is_none_or(|at| now < at) {
            return Ok(Refreshed::Same);
        }
        self.change(now, |keys| {
            // Another may have begun it meanwhile.
            if due(keys) {
                let root = certificate::new_root(now, self.options.root_life)?;
                keys.rotate(root, issuing::new_signer()?, now);
                tracing::info!("the root of the mesh is due for a change: proxies learn the next one now");
            }
            Ok(())
        })
    }

    /// What `Mesh.spec.trustDomain` says.
    pub fn set_trust_domain(&self, trust_domain: &str, now: Seconds) -> Result<Refreshed, CaError> {
        if self.issuing().trust().trust_domain == trust_domain {
            return Ok(Refreshed::Same);
        }
        self.change(now, |keys| {
            trust_domain.clone_into(&mut keys.trust_domain);
            Ok(())
        })
    }

    /// Where the record is gone, what this process holds takes its place again.
    fn change(&self, now: Seconds, edit: impl Fn(&mut Keys) -> Result<(), CaError>) -> Result<Refreshed, CaError> {
        let held = || Ok(self.issuing().keys().clone());
        let (keys, version) = change(&*self.vault, held, |keys| {
            edit(keys)?;
            keys.expire(now);
            Ok(())
        })?;
        self.read.store(Arc::new(Some(version)));
        self.current.store(Arc::new(Issuing::new(keys, self.options.svid_life, now)?));
        Ok(Refreshed::Changed)
    }
}

/// `weft ca rotate`: the running control plane sees the file change. Gives the moment from which the new root signs.
pub fn rotate(folder: &StateFolder, now: Seconds) -> Result<Seconds, CaError> {
    let options = AuthorityOptions::default();
    let none = || Err(CaError::NoKeys { path: folder.path().to_owned() });
    let (keys, _) = change(&FolderVault(folder.clone()), none, |keys| {
        if keys.roots.last().is_some_and(|turn| turn.key.given) {
            return Err(CaError::NotOurs);
        }
        keys.rotate(certificate::new_root(now, options.root_life)?, issuing::new_signer()?, now);
        Ok(())
    })?;
    Ok(keys.roots.last().map_or(now, |turn| turn.signs_from))
}

/// The keys as the CLI needs them, made if there are none yet: a token may be created before the first start.
pub fn issuing_from(folder: &StateFolder, now: Seconds) -> Result<Issuing, CaError> {
    let options = AuthorityOptions::default();
    let (keys, _) = change(&FolderVault(folder.clone()), || create(&options, now), |_| Ok(()))?;
    Issuing::new(keys, options.svid_life, now)
}

pub fn seconds(at: SystemTime) -> Seconds {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Reads (or, where there is nothing, makes), edits, and writes if that changed something; again while others are
/// quicker.
fn change(
    vault: &dyn Vault,
    make: impl Fn() -> Result<Keys, CaError>,
    edit: impl Fn(&mut Keys) -> Result<(), CaError>,
) -> Result<(Keys, Version), CaError> {
    for _ in 0..TRIES_MAX {
        let record = vault.read()?;
        let before = record.as_ref().map(|record| parse(vault, &record.bytes)).transpose()?;
        let mut keys = match &before {
            Some(keys) => keys.clone(),
            None => make()?,
        };
        edit(&mut keys)?;
        if let (Some(record), true) = (&record, before.as_ref() == Some(&keys)) {
            return Ok((keys, record.version.clone()));
        }
        let bytes = serde_json::to_vec_pretty(&keys).map_err(|error| damaged(vault, &error))?;
        if let Some(version) = vault.write(&bytes, record.as_ref().map(|record| &record.version))? {
            return Ok((keys, version));
        }
    }
    Err(CaError::Contended { vault: vault.name() })
}

fn parse(vault: &dyn Vault, bytes: &[u8]) -> Result<Keys, CaError> {
    let keys: Keys = serde_json::from_slice(bytes).map_err(|error| damaged(vault, &error))?;
    if keys.roots.is_empty() || keys.signers.is_empty() {
        return Err(damaged(vault, &"there is no root or no signer"));
    }
    Ok(keys)
}

fn damaged(vault: &dyn Vault, reason: &dyn std::fmt::Display) -> CaError {
    CaError::Damaged { vault: vault.name(), reason: reason.to_string() }
}

fn create(options: &AuthorityOptions, now: Seconds) -> Result<Keys, CaError> {
    let root = match &options.given {
        Some(given) => given::load(given, now)?,
        None => certificate::new_root(now, options.root_life)?,
    };
    Ok(Keys {
        trust_domain: TRUST_DOMAIN.to_owned(),
        svid_life: options.svid_life.as_secs(),
        roots: vec![Turn { signs_from: now, dropped_at: None, key: root }],
        signers: vec![Turn { signs_from: now, dropped_at: None, key: issuing::new_signer()? }],
    })
}

/// A CA that the user gives signs from now on; what signed before is believed until its SVIDs have expired.
fn adopt_given(keys: &mut Keys, options: &AuthorityOptions, now: Seconds) -> Result<(), CaError> {
    let Some(given) = &options.given else { return Ok(()) };
    let root = given::load(given, now)?;
    if keys.roots.last().is_some_and(|turn| turn.key == root) {
        return Ok(());
    }
    let signer: Signer = issuing::new_signer()?;
    keys.rotate(root, signer, now);
    Ok(())
}

/// Each means that another writer was quicker.
const TRIES_MAX: usize = 16;
/// Istio's default, until a Mesh says otherwise.
const TRUST_DOMAIN: &str = "cluster.local";

#[cfg(test)]
mod tests;
