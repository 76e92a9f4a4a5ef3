//! How the proxy stands with its control plane, as metrics and as JSON.
//!
//! It reads the facts that the control thread left; it asks nobody.

use crate::control::{Link, StatusCell};
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Name, kind, help, and labels with their values.
type Family<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, u64)]);

pub(super) fn metrics(status: &StatusCell) -> String {
    let (facts, traffic) = (status.load(), status.traffic());
    let connected = u64::from(matches!(facts.link, Link::Connected { .. }));
    let expires = facts.svid_expires.map_or(0, seconds);
    let mut text = String::new();
    let families: [Family<'_>; 6] = [
        ("weft_control_connected", "gauge", "1 while the stream of the control plane is open", &[("", connected)]),
        ("weft_control_received_bytes_total", "counter", "messages of the stream", &[("", traffic.received())]),
        ("weft_control_sent_bytes_total", "counter", "messages of the stream", &[("", traffic.sent())]),
        ("weft_subscriptions", "gauge", "hosts watched for this proxy", &[("", facts.subscriptions as u64)]),
        (
            "weft_updates_total",
            "counter",
            "updates by answer",
            &[("{answer=\"ack\"}", facts.updates_applied), ("{answer=\"nack\"}", facts.updates_refused)],
        ),
        (
            "weft_identity_expires_seconds",
            "gauge",
            "when the SVID expires, since 1970; 0: there is none",
            &[("", expires)],
        ),
    ];
    for (name, kind, help, samples) in families {
        // Writing to a String does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    }
    text
}

pub(super) fn json(status: &StatusCell) -> Value {
    let facts = status.load();
    let link = match &facts.link {
        Link::Away { since, reason } => json!({"connected": false, "since": seconds(*since), "reason": reason}),
        Link::Connected { address, since, current } => {
            json!({"connected": true, "since": seconds(*since), "address": address, "current": current})
        }
    };
    let nack = facts
        .nack
        .as_ref()
        .map(|nack| json!({"at": seconds(nack.at), "revision": nack.revision, "problems": nack.problems}));
    json!({
        "link": link,
        "revision": facts.revision,
        "nack": nack,
        "identity": facts.identity.as_ref().map(|id| id.as_str()),
        "identity_expires": facts.svid_expires.map(seconds),
        "identity_problem": facts.identity_problem,
        "subscriptions": facts.subscriptions,
        "updates": {"applied": facts.updates_applied, "refused": facts.updates_refused},
    })
}

/// Since 1970.
fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn facts_are_shown() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let status = StatusCell::new(at(5));
        assert!(metrics(&status).contains("weft_control_connected 0\n"));
        assert_eq!(json(&status)["link"]["reason"], "not connected yet");
        status.change(|facts| {
            facts.link = Link::Connected { address: "127.0.0.1:1".to_owned(), since: at(7), current: true };
            (facts.svid_expires, facts.updates_applied, facts.updates_refused) = (Some(at(99)), 3, 1);
            facts.nack =
                Some(crate::control::Nacked { at: at(8), revision: "r".to_owned(), problems: vec!["why".to_owned()] });
        });
        let text = metrics(&status);
        for line in [
            "# TYPE weft_control_connected gauge",
            "weft_control_connected 1",
            "weft_control_received_bytes_total 0",
            "weft_updates_total{answer=\"ack\"} 3",
            "weft_updates_total{answer=\"nack\"} 1",
            "weft_identity_expires_seconds 99",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        let shown = json(&status);
        assert_eq!((&shown["link"]["current"], &shown["nack"]["problems"][0]), (&json!(true), &json!("why")));
    }
}
