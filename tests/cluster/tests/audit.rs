//! Least privilege, judged by what was asked: nothing that was forbidden, and no right that was never used.
//!
//! It judges the suites that ran before it on the same node; on another cluster there is no log to read.

use serde_json::Value;
use std::collections::BTreeSet;
use weft_cluster_tests::{audit, own_node};

#[test]
fn nothing_was_forbidden() {
    let forbidden: Vec<_> = audit::requests()
        .into_iter()
        .filter(|event| audit::was_forbidden(event) && !was_meant(event))
        .map(|event| format!("{} {} {}", event["user"]["username"], event["verb"], event["requestURI"]))
        .collect();
    assert!(forbidden.is_empty(), "{forbidden:#?}");
}

/// Suite `filters` asks for pull secrets that may not be read, to see what status says then.
fn was_meant(event: &Value) -> bool {
    let object = &event["objectRef"];
    object["resource"] == "secrets" && object["namespace"].as_str().unwrap_or_default().starts_with("filters-locked")
}

#[test]
fn no_right_was_never_used() {
    if own_node().is_none() {
        println!("passed over: the audit log of this cluster is out of reach");
        return;
    }
    let used: BTreeSet<_> = audit::requests().iter().flat_map(audit::asked).collect();
    assert!(used.len() > 5, "the audit log shows hardly anything: {used:?}");
    let unused: Vec<_> = audit::rights().difference(&used).map(ToString::to_string).collect();
    assert!(unused.is_empty(), "granted and never used: {unused:#?}");
}
