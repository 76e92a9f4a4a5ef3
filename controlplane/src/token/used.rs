//! Which single-use tokens have been used, kept until they would have expired anyway.
//!
//! It does not check tokens; it answers once for each id.

use super::Claims;
use crate::ca::Seconds;
use crate::state::{StateError, StateFolder};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub struct UsedTokens {
    folder: StateFolder,
    used: BTreeMap<String, Use>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Use {
    /// SHA-256 of the public key that the token signed for: the same key may ask again when the answer was lost.
    key: String,
    expires: Seconds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstUse {
    Yes,
    /// By another key.
    No,
}

impl UsedTokens {
    pub fn open(folder: &StateFolder) -> Result<Self, StateError> {
        let used = match folder.read(FILE)? {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| folder.damaged(FILE, error))?,
            None => BTreeMap::new(),
        };
        Ok(Self { folder: folder.clone(), used })
    }

    /// Remembers the use on disk before it answers, so that a crash cannot make a token good twice.
    pub fn claim(&mut self, claims: &Claims, key: &[u8; 32], now: Seconds) -> Result<FirstUse, StateError> {
        let id = super::hex(&claims.id);
        let key = super::hex(key);
        if let Some(earlier) = self.used.get(&id) {
            return Ok(if earlier.key == key { FirstUse::Yes } else { FirstUse::No });
        }
        self.used.retain(|_, used| used.expires > now);
        self.used.insert(id.clone(), Use { key, expires: claims.expires });
        let bytes = serde_json::to_vec(&self.used).map_err(|error| self.folder.damaged(FILE, error))?;
        if let Err(error) = self.folder.write(FILE, &bytes) {
            self.used.remove(&id);
            return Err(error);
        }
        Ok(FirstUse::Yes)
    }
}

const FILE: &str = "used-tokens.json";
