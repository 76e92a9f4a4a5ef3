//! Mesh: `spec` as the CRD says it. Its reader is `kind::mesh`.

use super::{Schema, boolean, list, object, text, words};

pub(super) fn spec() -> Schema {
    let outbound = object("What becomes of requests to hosts that the mesh does not know.").with(
        "mode",
        words("ALLOW_ANY lets them pass (the default); REGISTRY_ONLY refuses them.", &["ALLOW_ANY", "REGISTRY_ONLY"]),
    );
    object("What holds for all of the mesh.")
        .with("trustDomain", text("Of every identity; cluster.local by default.", "cluster.local"))
        .with("rootNamespace", text("Where policy for the whole mesh lies; weft-system by default.", "weft-system"))
        .with("outboundTrafficPolicy", outbound)
        .with(
            "registries",
            list("How registries of filters are spoken to.", registry()).keyed_by(&["host"]).items_max(64),
        )
}

fn registry() -> Schema {
    object("One registry.")
        .requires("host", text("HOST[:PORT], as image references write it.", "registry.example:5000"))
        .with("mirror", text("HOST[:PORT] that is asked instead.", "mirror.example"))
        .with("ca", text("File with the roots, in PEM, that its certificate may end in.", "ca.pem"))
        .with("caRef", ca_ref())
        .with("plainHttp", boolean("Spoken to without TLS."))
        .with("credentials", credentials())
        .rule(
            "(has(self.ca) ? 1 : 0) + (has(self.caRef) ? 1 : 0) + (has(self.plainHttp) && self.plainHttp ? 1 : 0) <= 1",
            "ca, caRef and plainHttp exclude each other",
        )
}

fn ca_ref() -> Schema {
    object("The same in a cluster: key ca.crt of an object in this namespace.")
        .requires("kind", words("Its kind.", &["ConfigMap", "Secret"]))
        .requires("name", text("Its name.", "registry-ca"))
}

fn credentials() -> Schema {
    object("Who Weft is there.")
        .with("dockerConfig", text("File of docker's form.", "config.json"))
        .with("username", text("With passwordFile.", "weft"))
        .with("passwordFile", text("File that holds the password.", "password"))
        .refused(
            "password",
            text("Refused: name a file in passwordFile.", "secret"),
            "!has(self.password)",
            "never write a password here: write it into a file, and name that in passwordFile",
        )
        .with("secret", text("A Secret of this namespace that holds a docker config.", "regcred"))
        .rule(
            "(has(self.dockerConfig) ? 1 : 0) + (has(self.username) ? 1 : 0) + (has(self.secret) ? 1 : 0) <= 1",
            "dockerConfig, username and secret exclude each other",
        )
}
