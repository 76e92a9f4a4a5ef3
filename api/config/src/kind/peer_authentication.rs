//! PeerAuthentication (security.istio.io): which workloads take plain text.
//!
//! It does not know workloads, nor which of several policies counts.

use super::workload_entry::selector;
use crate::fields::{Cursor, Fields, Place};
use crate::names::LabelSet;
use crate::problem::Code;
use std::collections::BTreeMap;
use weft_snapshot::MtlsMode;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PeerAuthentication {
    /// `None`: the whole namespace, or in the root namespace the whole mesh.
    pub(crate) selector: Option<LabelSet>,
    /// `None`: as the level above says.
    pub(crate) mode: Option<MtlsMode>,
    /// By the workload's port.
    pub(crate) ports: BTreeMap<u16, (Option<MtlsMode>, Place)>,
    pub(crate) place: Place,
}

pub(crate) fn read(fields: &mut Fields<'_>) -> Option<PeerAuthentication> {
    let Some(spec) = fields.get("spec") else {
        let place = fields.cursor().place();
        return Some(PeerAuthentication { selector: None, mode: None, ports: BTreeMap::new(), place });
    };
    spec.object(|fields| {
        let selector = selector(fields, "selector", "matchLabels").filter(|labels| !labels.is_empty());
        let mode = fields.get("mtls").and_then(|c| mode(&c));
        let ports_at = fields.get("portLevelMtls");
        let mut ports = ports_at.as_ref().map(ports).unwrap_or_default();
        if let (None, Some(cursor)) = (&selector, &ports_at) {
            // No error: the policy's own mode must not fall with them.
            cursor.warn(
                Code::IgnoredPolicy,
                "portLevelMtls counts only in a policy with a selector",
                "add a selector: the ports are those of the workloads",
            );
            ports.clear();
        }
        PeerAuthentication { selector, mode, ports, place: spec.place() }
    })
}

/// Of a broken policy that says STRICT: just that, for the same workloads.
pub(crate) fn closed(root: &Cursor<'_>) -> Option<PeerAuthentication> {
    let spec = root.find("spec")?;
    if !spec.find("mtls")?.find("mode")?.is_exactly("STRICT") {
        return None;
    }
    let selector = match spec.find("selector") {
        Some(selector) => Some(selector.find("matchLabels")?.text_map()),
        None => None,
    };
    Some(PeerAuthentication { selector, mode: Some(MtlsMode::Strict), ports: BTreeMap::new(), place: spec.place() })
}

fn ports(cursor: &Cursor<'_>) -> BTreeMap<u16, (Option<MtlsMode>, Place)> {
    let mut ports = BTreeMap::new();
    for (key, value) in cursor.entries() {
        match key.parse::<u16>() {
            Ok(port) if port > 0 => {
                ports.insert(port, (mode(&value), value.place()));
            }
            _ => {
                value.error(Code::BadValue, format!("{key:?} is no port"), "write the number of a port of the workload")
            }
        }
    }
    ports
}

/// `None`: unset, which inherits.
fn mode(cursor: &Cursor<'_>) -> Option<MtlsMode> {
    cursor.object(|fields| {
        fields.get("mode")?.one_of(&[
            ("STRICT", Some(MtlsMode::Strict)),
            ("PERMISSIVE", Some(MtlsMode::Permissive)),
            ("DISABLE", Some(MtlsMode::Disable)),
            ("UNSET", None),
        ])?
    })?
}
