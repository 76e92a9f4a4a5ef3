//! PeerAuthentication: `spec` as the CRD says it. Its reader is `kind::peer_authentication`.

use super::{Schema, map, object, selector, words};

pub(super) fn spec() -> Schema {
    object("Which workloads take plain text.")
        .with(
            "selector",
            selector("Its workloads; none: the whole namespace, in the root namespace the mesh.", "matchLabels"),
        )
        .with("mtls", mode("For all their ports."))
        .with("portLevelMtls", ports())
}

fn ports() -> Schema {
    map("By port of the workload; counts only beside a selector.", "8080", mode("")).rule(
        "self.all(port, port.matches('^[0-9]{1,5}$') && int(port) >= 1 && int(port) <= 65535)",
        "a key must be a port, from 1 to 65535",
    )
}

fn mode(about: &'static str) -> Schema {
    object(about).with(
        "mode",
        words(
            "STRICT refuses plain text, PERMISSIVE takes both, DISABLE takes only plain text, UNSET inherits.",
            &["STRICT", "PERMISSIVE", "DISABLE", "UNSET"],
        ),
    )
}
