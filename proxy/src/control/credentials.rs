//! The proxy's key, SVID, roots and signers: in the state folder, in the cell that handshakes read, and renewed in time.
//!
//! It decides by which proof the next SVID is asked for; asking is `svid`'s, waiting the loop's.

use super::StartError;
use super::backoff::Backoff;
use super::signature::Signers;
use super::svid::{Proof, SignError, Signed, SvidFacts, identity, new_key};
use super::token::JoinToken;
use crate::state::{StateFolder, StoredIdentity, StoredTrust};
use crate::tls::{IdentityCell, IdentityError};
use rustls_pki_types::PrivatePkcs8KeyDer;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use weft_snapshot::{SpiffeId, Trust, WorkloadName};

pub(super) struct Credentials {
    state: Arc<StateFolder>,
    cell: Arc<IdentityCell>,
    token: Option<JoinToken>,
    own: Option<Own>,
    /// When to ask next; `None` while an answer is awaited.
    due: Option<SystemTime>,
    backoff: Backoff,
}

struct Own {
    facts: SvidFacts,
    stored: StoredIdentity,
    trust: StoredTrust,
}

impl Credentials {
    /// What the state folder holds, unless the token is for another identity or mesh.
    pub(super) fn load(
        state: Arc<StateFolder>,
        cell: Arc<IdentityCell>,
        token: Option<JoinToken>,
        backoff: Backoff,
        now: SystemTime,
    ) -> Result<Self, StartError> {
        let mut credentials = Self { state, cell, token, own: None, due: Some(now), backoff };
        match credentials.stored() {
            Ok(own) => credentials.own = own,
            Err(error) if credentials.token.is_none() => return Err(error),
            Err(error) => tracing::error!("{error}; joining anew"),
        }
        match (&credentials.own, &credentials.token) {
            (Some(_), _) => credentials.install().map_err(StartError::Identity)?,
            (None, None) => return Err(StartError::NeverJoined { state: credentials.state.path().to_owned() }),
            (None, Some(token)) if token.expired(now) => {
                return Err(StartError::TokenExpired { identity: token.identity.clone() });
            }
            (None, Some(_)) => {}
        }
        Ok(credentials)
    }

    fn stored(&self) -> Result<Option<Own>, StartError> {
        let (Some(stored), Some(trust)) = (self.state.identity()?, self.state.trust()?) else { return Ok(None) };
        let facts = SvidFacts::read(&stored.chain[0])
            .map_err(|reason| StartError::Svid { state: self.state.path().to_owned(), reason })?;
        if let Some(token) = &self.token {
            let known = trust.roots.iter().any(|root| token.roots.contains(&Sha256::digest(root).into()));
            if token.identity != facts.id || !known {
                let (old, new) = (&facts.id, &token.identity);
                tracing::warn!(
                    "the state folder is {old}'s; the join token gives {new}, maybe in another mesh: joining anew"
                );
                return Ok(None);
            }
        }
        Ok(Some(Own { facts, stored, trust }))
    }

    /// The namespace of a workload is that of its identity.
    pub(super) fn check_workload(&self, workload: &WorkloadName) -> Result<(), StartError> {
        match self.expected() {
            Some(id) if id.namespace() != workload.namespace => {
                Err(StartError::Namespace { workload: workload.clone(), identity: id.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Whose SVID this proxy has, or will ask for.
    fn expected(&self) -> Option<&SpiffeId> {
        self.id().or(self.token.as_ref().map(|token| &token.identity))
    }

    pub(super) fn id(&self) -> Option<&SpiffeId> {
        self.own.as_ref().map(|own| &own.facts.id)
    }

    pub(super) fn expires(&self) -> Option<SystemTime> {
        self.own.as_ref().map(|own| own.facts.not_after)
    }

    /// The control plane would not let it in.
    pub(super) fn expired(&self, now: SystemTime) -> bool {
        self.own.as_ref().is_some_and(|own| own.facts.expired(now))
    }

    pub(super) fn trust_domain(&self) -> &str {
        self.expected().map_or("", SpiffeId::trust_domain)
    }

    pub(super) fn signers(&self) -> Signers {
        Signers(self.own.as_ref().map(|own| own.trust.signers.clone()).unwrap_or_default())
    }

    pub(super) fn due(&self) -> Option<SystemTime> {
        self.due
    }

    /// Renewal is due at about half life, joining at once.
    pub(super) fn schedule(&mut self, chance: f64) {
        self.due = self.own.as_ref().map(|own| own.facts.renew_at(chance));
    }

    /// Proof and key for the next SVID; until `accept` or `failed` nothing is due.
    pub(super) fn begin(&mut self, now: SystemTime) -> Result<(Proof, PrivatePkcs8KeyDer<'static>), SignError> {
        self.due = None;
        let valid = self.own.as_ref().filter(|own| !own.facts.expired(now));
        if let (Some(own), Some(material)) = (valid, self.cell.load()) {
            return Ok((Proof::Svid { material, id: own.facts.id.clone() }, new_key()?));
        }
        match &self.token {
            Some(token) => Ok((Proof::Token(token.clone()), self.join_key()?)),
            None => Err(SignError::Expired),
        }
    }

    /// One key for all joins: the control plane answers a single-use token again where the key is the same.
    fn join_key(&self) -> Result<PrivatePkcs8KeyDer<'static>, SignError> {
        match self.state.join_key() {
            Ok(Some(key)) => return Ok(key),
            Ok(None) => {}
            Err(error) => {
                tracing::error!("{error}");
                self.state.set_aside(&error);
            }
        }
        let key = new_key()?;
        self.state.save_join_key(&key).map_err(|error| SignError::Request(error.to_string()))?;
        Ok(key)
    }

    pub(super) fn accept(&mut self, signed: Signed, chance: f64) -> Result<(), String> {
        let facts = SvidFacts::read(&signed.identity.chain[0])?;
        let own = Own { facts, stored: signed.identity, trust: signed.trust };
        let before = self.own.replace(own);
        if let Err(error) = self.install() {
            self.own = before;
            return Err(error.to_string());
        }
        self.save();
        self.backoff.reset();
        self.schedule(chance);
        Ok(())
    }

    /// Tries again after a pause; towards the end of the SVID's life these get shorter again, down to a second.
    pub(super) fn failed(&mut self, now: SystemTime, chance: f64) {
        let left = self.expires().and_then(|at| at.duration_since(now).ok());
        let longest = left.map_or(Duration::MAX, |left| (left / 8).max(PAUSE_MIN));
        self.due = Some(now + self.backoff.next(chance).min(longest));
    }

    /// Roots and signers as a snapshot gives them: pinned from now on.
    pub(super) fn trust(&mut self, trust: &Trust) {
        let Some(own) = &mut self.own else { return };
        let roots = trust.roots.iter().map(|root| root.clone().into()).collect();
        let next = StoredTrust { roots, signers: trust.signers.clone() };
        if next == own.trust {
            return;
        }
        let before = std::mem::replace(&mut own.trust, next);
        match self.install() {
            Ok(()) => self.save(),
            Err(error) => {
                tracing::error!("the new roots are not usable: {error}; the old ones stay");
                if let Some(own) = &mut self.own {
                    own.trust = before;
                }
            }
        }
    }

    fn install(&self) -> Result<(), IdentityError> {
        match &self.own {
            Some(own) => self.cell.replace(identity(&own.facts.id, &own.stored, &own.trust)),
            None => Ok(()),
        }
    }

    /// The SVID is in use already; a full disk costs only the next start.
    fn save(&self) {
        let Some(own) = &self.own else { return };
        let saved = self.state.save_trust(&own.trust).and_then(|()| self.state.save_identity(&own.stored));
        if let Err(error) = saved {
            tracing::error!("{error}; a restart would need a new join token");
        }
    }
}

/// However urgent it is.
const PAUSE_MIN: Duration = Duration::from_secs(1);
