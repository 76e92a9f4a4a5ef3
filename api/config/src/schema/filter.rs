//! Filter: `spec` as the CRD says it. Its reader is `kind::filter`.

use super::{Schema, Shape, duration, integer, list, object, selector, text, words};

pub(super) fn spec() -> Schema {
    let image = text("oci://HOST/REPOSITORY:TAG.", "oci://registry.example/filters/canary:1.2")
        .rule("self.startsWith('oci://') || self.startsWith('oci-layout:')", "write oci://HOST/REPOSITORY:TAG");
    let digest = text("Pins the image: another digest is refused.", EXAMPLE_DIGEST)
        .rule("self.matches('^sha256:[0-9a-f]{64}$')", "write sha256: and 64 hexadecimal digits");
    object("A policy as a WebAssembly component, and where it runs.")
        .requires("image", image)
        .with("digest", digest)
        .with("refresh", duration("How often a tag is looked up again; by default only when this object changes."))
        .with("imagePullSecret", text("A Secret of this namespace that holds a docker config.", "regcred"))
        .with("config", Schema::new("What the component is configured with.", Shape::Free))
        .with("limits", limits())
        .with(
            "failurePolicy",
            words("What a failing filter does to a request; Closed by default.", &["Closed", "Open"]),
        )
        .with("nonUtf8", words("What the filter is told of a header that is no UTF-8.", &["Refuse", "Absent"]))
        .with(
            "isolation",
            words("Which instance a call gets: one that is reused, by default, or a fresh one.", &["Reuse", "Request"]),
        )
        .with(
            "priority",
            integer("The higher, the earlier, among filters by selector.", i64::from(i32::MIN), i64::from(i32::MAX)),
        )
        .with("selector", selector("Workloads of this namespace in whose own sidecars it runs.", "matchLabels"))
        .with("targetRefs", list("What it is attached to, in this namespace.", target()).items_max(64))
}

fn limits() -> Schema {
    let deadline = duration("For one call; 2ms by default, 100us to 1s.")
        .rule("duration(self) >= duration('100us') && duration(self) <= duration('1s')", "write 100us to 1s")
        .example("5ms");
    let memory = Schema::new("For one instance; 16Mi by default, 64Ki to 1Gi.", Shape::Size("32Mi")).rule(
        "isQuantity(string(self)) && !quantity(string(self)).isLessThan(quantity('64Ki')) \
         && !quantity(string(self)).isGreaterThan(quantity('1Gi'))",
        "write a size from 64Ki to 1Gi, such as 16Mi",
    );
    object("What it may use.").with("deadline", deadline).with("memory", memory)
}

fn target() -> Schema {
    object("One object.")
        .mostly_with(
            "group",
            text("networking.istio.io for a VirtualService, none for a Service.", "networking.istio.io"),
        )
        .requires("kind", text("VirtualService, or Service.", "VirtualService"))
        .requires("name", text("Its name.", "reviews"))
        .with("sectionName", text("One route of a VirtualService, by its name.", "canary"))
        .with("at", words("For a VirtualService as a whole: whose sidecar runs it.", &["Caller", "Destination"]))
        .with("namespace", text("May be written, and must be this namespace.", "default"))
        .rule(
            "!has(self.sectionName) || !has(self.at) || self.at != 'Destination'",
            "the caller chooses routes: remove sectionName, or at",
        )
        .rule(
            "self.kind != 'Service' || (!has(self.sectionName) && (!has(self.at) || self.at == 'Destination'))",
            "a Service is protected as a whole, in its own sidecars: remove sectionName and at",
        )
}

const EXAMPLE_DIGEST: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
