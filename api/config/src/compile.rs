//! Turns what one proxy may see into what it is told.

use crate::View;
use weft_snapshot::Snapshot;

/// Pure and deterministic: the view's hash is a complete cache key for the snapshot.
pub fn compile(view: &View) -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.set_trust(view.trust.clone());
    snapshot
}
