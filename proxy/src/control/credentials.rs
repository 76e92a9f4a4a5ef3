//! The proxy's key, SVID, roots and signers: in the state folder, in the cell that handshakes read, and renewed in time.
//!
//! It decides by which proof the next SVID is asked for; asking is `svid`'s, waiting the loop's.

use super::StartError;
use super::backoff::Backoff;
use super::first::{FirstContact, Introduction};
use super::signature::Signers;
use super::svid::{Proof, SignError, Signed, SvidFacts, identity, new_key};
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
    first: Option<FirstContact>,
    own: Option<Own>,
    /// When to ask next; `None` while an answer is awaited.
    due: Option<SystemTime>,
    proof: Next,
    /// Who this proxy is by what it joins with.
    given: Option<SpiffeId>,
    /// SHA-256 of the roots with which it joined last.
    joined_to: Vec<[u8; 32]>,
    backoff: Backoff,
}

/// By what the next SVID is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The current SVID, while it is valid.
    Renewal,
    /// As at first contact: the mesh has other roots than those that are pinned.
    Join,
}

struct Own {
    facts: SvidFacts,
    stored: StoredIdentity,
    trust: StoredTrust,
}

impl Credentials {
    /// What the state folder holds, unless what there is to join with is for another identity or mesh.
    pub(super) fn load(
        state: Arc<StateFolder>,
        cell: Arc<IdentityCell>,
        first: Option<FirstContact>,
        backoff: Backoff,
        now: SystemTime,
    ) -> Result<Self, StartError> {
        let mut credentials = Self {
            state,
            cell,
            first,
            own: None,
            due: Some(now),
            proof: Next::Renewal,
            given: None,
            joined_to: Vec::new(),
            backoff,
        };
        let introduction = credentials.first.as_ref().map(FirstContact::read).transpose();
        let given = introduction.as_ref().ok().and_then(Option::as_ref);
        match credentials.stored(given) {
            Ok(own) => credentials.own = own,
            Err(error) if credentials.first.is_none() => return Err(error),
            Err(error) => tracing::error!("{error}; joining anew"),
        }
        match (&credentials.own, introduction) {
            (None, Ok(None)) => return Err(StartError::NeverJoined { state: credentials.state.path().to_owned() }),
            (None, Err(error)) => return Err(error.into()),
            (None, Ok(Some(given))) if credentials.first.as_ref().is_some_and(|first| first.expired(now)) => {
                return Err(StartError::TokenExpired { identity: given.identity });
            }
            (_, Ok(given)) => credentials.given = given.map(|given| given.identity),
            (Some(_), Err(error)) => tracing::warn!("{error}; serving with the identity in the state folder"),
        }
        credentials.install().map_err(StartError::Identity)?;
        Ok(credentials)
    }

    fn stored(&self, introduction: Option<&Introduction>) -> Result<Option<Own>, StartError> {
        let (Some(stored), Some(trust)) = (self.state.identity()?, self.state.trust()?) else { return Ok(None) };
        let facts = SvidFacts::read(&stored.chain[0])
            .map_err(|reason| StartError::Svid { state: self.state.path().to_owned(), reason })?;
        if let Some(given) = introduction {
            let known = trust.roots.iter().any(|root| given.roots.contains(&Sha256::digest(root).into()));
            if given.identity != facts.id || !known {
                let (old, new) = (&facts.id, &given.identity);
                tracing::warn!(
                    "the state folder is {old}'s; the token gives {new}, maybe in another mesh: joining anew"
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
        self.id().or(self.given.as_ref())
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
        let valid = self.own.as_ref().filter(|own| self.proof == Next::Renewal && !own.facts.expired(now));
        if let (Some(own), Some(material)) = (valid, self.cell.load()) {
            return Ok((Proof::Svid { material, id: own.facts.id.clone() }, new_key()?));
        }
        let introduction = self.first.as_ref().ok_or(SignError::Expired)?.read()?;
        self.joined_to.clone_from(&introduction.roots);
        let key = if self.may_change() { new_key()? } else { self.join_key()? };
        Ok((Proof::Introduction(introduction), key))
    }

    /// Whether a proxy that has never joined should end. A root file may be replaced by that of the mesh; what a
    /// control plane that is believed refuses, it will refuse again.
    pub(super) fn gives_up(&self, error: &SignError) -> bool {
        let may_change = self.may_change() && matches!(error, SignError::Dial(_));
        self.own.is_none() && error.is_final() && !may_change
    }

    fn may_change(&self) -> bool {
        self.first.as_ref().is_some_and(FirstContact::may_change)
    }

    /// After a failure to connect. Where the root file has a root that was neither pinned nor joined to, the mesh has
    /// changed its roots while this proxy could not be told: it joins anew.
    pub(super) fn look_at_roots(&mut self, now: SystemTime) {
        let (Some(first), Some(own)) = (self.first.as_ref().filter(|first| first.may_change()), &self.own) else {
            return;
        };
        let Ok(Introduction { roots, .. }) = first.read() else { return };
        let pinned: Vec<[u8; 32]> = own.trust.roots.iter().map(|root| Sha256::digest(root).into()).collect();
        if roots.iter().any(|root| !pinned.contains(root) && !self.joined_to.contains(root)) {
            tracing::info!("the root file has another root: joining anew");
            self.joined_to = roots;
            self.proof = Next::Join;
            self.due = Some(now);
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
        self.proof = Next::Renewal;
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
