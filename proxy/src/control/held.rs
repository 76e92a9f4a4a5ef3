//! What this proxy has been told and has published: the ledger, its values, and the signature over both.
//!
//! It checks updates and touches no file or socket; a candidate becomes what is held only after it was published.

use super::signature::Signers;
use std::collections::BTreeSet;
use weft_snapshot::{Digest, FilterKey, Key, Resource, Snapshot, Trust, Update, WorkloadName};
use weft_wire::{Ledger, Seen, SnapshotFile, decode_seen, proto};

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Held {
    pub(super) ledger: Ledger,
    pub(super) snapshot: Snapshot,
    pub(super) signature: Vec<u8>,
    /// How far the cluster had come of which this tells.
    pub(super) seen: Seen,
}

/// An update that was checked, with what it makes of what is held.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) held: Held,
    pub(super) update: Update,
    pub(super) revision: String,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unacceptable {
    #[error("the update is not signed by a control plane that this proxy trusts")]
    Signature,
    #[error(transparent)]
    Apply(#[from] weft_wire::ApplyError),
    #[error("the snapshot is for workload {found}, and this proxy is {own}")]
    Workload { found: WorkloadName, own: WorkloadName },
    #[error("the snapshot is of trust domain {found:?}, and this proxy is in {own:?}")]
    TrustDomain { found: String, own: String },
    #[error("the snapshot would leave this proxy without {0} to trust")]
    NoTrust(&'static str),
}

impl Held {
    pub(super) fn revision(&self) -> String {
        self.ledger.revision()
    }

    /// Checks everything that can be checked without artifacts.
    pub(super) fn check(
        &self,
        update: &proto::Update,
        own: &WorkloadName,
        trust_domain: &str,
        signers: &Signers,
    ) -> Result<Candidate, Unacceptable> {
        if !signers.signed_snapshot(own, &update.revision, &update.signature) {
            return Err(Unacceptable::Signature);
        }
        let applied = self.ledger.apply(update)?;
        let mut snapshot = self.snapshot.clone();
        // The ledger has checked that each resource lies under its own key.
        let _ = snapshot.apply(applied.update.clone());
        check_own(&snapshot, own, trust_domain)?;
        let seen = if update.seen.is_empty() { self.seen.clone() } else { decode_seen(&update.seen) };
        let held = Self { ledger: applied.ledger, snapshot, signature: update.signature.clone(), seen };
        Ok(Candidate { held, update: applied.update, revision: update.revision.clone() })
    }

    /// From the state folder; as strict as if it had just arrived.
    pub(super) fn load(
        file: SnapshotFile,
        own: &WorkloadName,
        trust_domain: &str,
        signers: &Signers,
    ) -> Result<Self, String> {
        if file.workload != *own {
            return Err(format!("it is workload {}'s, and this proxy is {own}", file.workload));
        }
        if !signers.signed_snapshot(own, &file.ledger.revision(), &file.signature) {
            return Err("it is not signed by a control plane that this proxy trusts".to_owned());
        }
        let snapshot = file.ledger.snapshot().map_err(|error| error.to_string())?;
        check_own(&snapshot, own, trust_domain).map_err(|error| error.to_string())?;
        Ok(Self { ledger: file.ledger, snapshot, signature: file.signature, seen: file.seen })
    }

    pub(super) fn file(&self, workload: &WorkloadName) -> SnapshotFile {
        SnapshotFile {
            workload: workload.clone(),
            signature: self.signature.clone(),
            ledger: self.ledger.clone(),
            seen: self.seen.clone(),
        }
    }
}

fn check_own(snapshot: &Snapshot, own: &WorkloadName, trust_domain: &str) -> Result<(), Unacceptable> {
    if let Some(workload) = snapshot.workload().filter(|workload| workload.name != *own) {
        return Err(Unacceptable::Workload { found: workload.name.clone(), own: own.clone() });
    }
    match snapshot.trust() {
        Some(Trust { trust_domain: found, .. }) if found != trust_domain => {
            Err(Unacceptable::TrustDomain { found: found.clone(), own: trust_domain.to_owned() })
        }
        Some(trust) if trust.roots.is_empty() => Err(Unacceptable::NoTrust("a root")),
        Some(trust) if trust.signers.is_empty() => Err(Unacceptable::NoTrust("a signer")),
        _ => Ok(()),
    }
}

/// What runs here, as hello says it.
pub(super) fn running(snapshot: &Snapshot) -> Vec<proto::Running> {
    let running = |filter: &weft_snapshot::Filter| {
        Some(proto::Running {
            filter: filter.key.0.clone(),
            component: filter.component?.to_string(),
            artifact: filter.artifact?.to_string(),
            config: filter.config.clone(),
        })
    };
    snapshot.filters().filter_map(running).collect()
}

/// The artifacts that a snapshot's filters need.
pub(super) fn artifacts(snapshot: &Snapshot) -> BTreeSet<Digest> {
    snapshot.filters().filter_map(|filter| filter.artifact).collect()
}

/// The same snapshot with filters that cannot run: they answer by their failure policy until they can.
pub(super) fn without_artifacts(snapshot: &Snapshot, unready: impl Fn(&FilterKey, &Digest) -> bool) -> Snapshot {
    let mut reduced = snapshot.clone();
    let filters = snapshot.filters().filter(|f| f.artifact.is_some_and(|artifact| unready(&f.key, &artifact)));
    let update = Update {
        set: filters
            .map(|filter| {
                let filter = weft_snapshot::Filter { artifact: None, ..filter.clone() };
                (Key::Filter(filter.key.clone()), Resource::Filter(filter))
            })
            .collect(),
        removed: Vec::new(),
    };
    // Each filter stands under its own key.
    let _ = reduced.apply(update);
    reduced
}
