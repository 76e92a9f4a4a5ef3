//! The mesh's certificate authority: who it is now, what it signs, and how its keys change.
//!
//! It does not know who may ask (join tokens, current SVIDs: stream/identity.rs) nor how its roots reach the proxies.

mod certificate;
mod given;
mod issuing;
mod keys;

pub use given::GivenCa;
pub use issuing::{Issuing, SvidRequest};
pub use keys::Seconds;

use crate::state::{Stamp, StateError, StateFolder};
use arc_swap::ArcSwap;
use keys::{Keys, Signer, Turn};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One per control plane. Readers take [`Authority::issuing`], which is whole and never changes under them.
pub struct Authority {
    folder: StateFolder,
    options: AuthorityOptions,
    current: ArcSwap<Issuing>,
    read: ArcSwap<Option<Stamp>>,
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
    State(#[from] StateError),
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
    /// Reads the keys, or makes them at the first start.
    pub fn open(folder: &StateFolder, options: AuthorityOptions, now: Seconds) -> Result<Self, CaError> {
        let _lock = folder.lock_changes()?;
        let before = load(folder)?;
        let mut keys = match &before {
            Some(keys) => keys.clone(),
            None => create(&options, now)?,
        };
        keys.svid_life = options.svid_life.as_secs();
        adopt_given(&mut keys, &options, now)?;
        if before.as_ref() != Some(&keys) {
            save(folder, &keys)?;
        }
        let issuing = Issuing::new(keys, options.svid_life, now)?;
        Ok(Self {
            folder: folder.clone(),
            options,
            current: ArcSwap::from_pointee(issuing),
            read: ArcSwap::from_pointee(folder.stamp(FILE)),
        })
    }

    /// What signs and who is believed at the moment.
    pub fn issuing(&self) -> Arc<Issuing> {
        self.current.load_full()
    }

    /// Takes in what `weft ca rotate` wrote, starts a rotation that is due, and lets turns begin and end.
    pub fn refresh(&self, now: Seconds) -> Result<Refreshed, CaError> {
        let current = self.issuing();
        let written = self.folder.stamp(FILE);
        let rotate = current.keys().due(now, self.options.root_life) && !current.keys().rotating(now);
        if written == **self.read.load() && !rotate && current.valid_until().is_none_or(|at| now < at) {
            return Ok(Refreshed::Same);
        }
        self.change(now, |keys| {
            if rotate {
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

    fn change(&self, now: Seconds, edit: impl FnOnce(&mut Keys) -> Result<(), CaError>) -> Result<Refreshed, CaError> {
        let _lock = self.folder.lock_changes()?;
        let before = load(&self.folder)?.unwrap_or_else(|| self.issuing().keys().clone());
        let mut keys = before.clone();
        edit(&mut keys)?;
        keys.expire(now);
        if keys != before {
            save(&self.folder, &keys)?;
        }
        self.read.store(Arc::new(self.folder.stamp(FILE)));
        self.current.store(Arc::new(Issuing::new(keys, self.options.svid_life, now)?));
        Ok(Refreshed::Changed)
    }
}

/// `weft ca rotate`: the running control plane sees the file change. Gives the moment from which the new root signs.
pub fn rotate(folder: &StateFolder, now: Seconds) -> Result<Seconds, CaError> {
    let _lock = folder.lock_changes()?;
    let options = AuthorityOptions::default();
    let Some(mut keys) = load(folder)? else {
        return Err(CaError::NoKeys { path: folder.path().to_owned() });
    };
    if keys.roots.last().is_some_and(|turn| turn.key.given) {
        return Err(CaError::NotOurs);
    }
    let root = certificate::new_root(now, options.root_life)?;
    keys.rotate(root, issuing::new_signer()?, now);
    save(folder, &keys)?;
    Ok(keys.roots.last().map_or(now, |turn| turn.signs_from))
}

/// The keys as the CLI needs them, made if there are none yet: a token may be created before the first start.
pub fn issuing_from(folder: &StateFolder, now: Seconds) -> Result<Issuing, CaError> {
    let options = AuthorityOptions::default();
    let life = options.svid_life;
    let authority = Authority::open_existing(folder, options, now)?;
    Issuing::new(authority, life, now)
}

impl Authority {
    fn open_existing(folder: &StateFolder, options: AuthorityOptions, now: Seconds) -> Result<Keys, CaError> {
        let _lock = folder.lock_changes()?;
        if let Some(keys) = load(folder)? {
            return Ok(keys);
        }
        let keys = create(&options, now)?;
        save(folder, &keys)?;
        Ok(keys)
    }
}

pub fn seconds(at: SystemTime) -> Seconds {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn load(folder: &StateFolder) -> Result<Option<Keys>, CaError> {
    let Some(bytes) = folder.read(FILE)? else { return Ok(None) };
    let keys: Keys = serde_json::from_slice(&bytes).map_err(|error| folder.damaged(FILE, error))?;
    if keys.roots.is_empty() || keys.signers.is_empty() {
        return Err(folder.damaged(FILE, "it has no root or no signer").into());
    }
    Ok(Some(keys))
}

fn save(folder: &StateFolder, keys: &Keys) -> Result<(), CaError> {
    let bytes = serde_json::to_vec_pretty(keys).map_err(|error| folder.damaged(FILE, error))?;
    Ok(folder.write(FILE, &bytes)?)
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

const FILE: &str = "authority.json";
/// Istio's default, until a Mesh says otherwise.
const TRUST_DOMAIN: &str = "cluster.local";

#[cfg(test)]
mod tests;
