//! The custom resources that Weft acts on, as CustomResourceDefinitions: names, versions, columns, status.
//!
//! What a spec holds is weft-config's to say. The files under deploy/crds are made from here.

use serde_json::{Value, json};
use weft_config::schema;

/// One kind. Istio's kinds have Istio's names and versions, so that its objects apply unchanged.
pub(crate) struct Crd {
    pub(crate) kind: &'static str,
    group: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    categories: &'static [&'static str],
    /// The first is the one that is stored.
    versions: &'static [&'static str],
    columns: &'static [Column],
}

#[derive(Clone, Copy)]
struct Column {
    name: &'static str,
    path: &'static str,
    about: &'static str,
}

const fn column(name: &'static str, path: &'static str, about: &'static str) -> Column {
    Column { name, path, about }
}

const HOSTS: Column = column("Hosts", ".spec.hosts", "The hosts that it speaks of");
const ACCEPTED: Column = column(
    "Accepted",
    r#".status.conditions[?(@.type=="Accepted")].status"#,
    "Whether what is written now is what counts",
);
const PROXIES: Column =
    column("Proxies", ".status.proxies.summary", "How many of the sidecars that it concerns run what is written now");

const NETWORKING: &str = "networking.istio.io";
const ISTIO: &[&str] = &["istio-io", "networking-istio-io"];
const ISTIO_VERSIONS: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const WEFT: &str = "weft.dev";

pub(crate) const ALL: &[Crd] = &[
    Crd {
        kind: "VirtualService",
        group: NETWORKING,
        plural: "virtualservices",
        short: &["vs"],
        categories: ISTIO,
        versions: ISTIO_VERSIONS,
        columns: &[HOSTS, ACCEPTED, PROXIES],
    },
    Crd {
        kind: "DestinationRule",
        group: NETWORKING,
        plural: "destinationrules",
        short: &["dr"],
        categories: ISTIO,
        versions: ISTIO_VERSIONS,
        columns: &[column("Host", ".spec.host", "The host that it speaks of"), ACCEPTED, PROXIES],
    },
    Crd {
        kind: "ServiceEntry",
        group: NETWORKING,
        plural: "serviceentries",
        short: &["se"],
        categories: ISTIO,
        versions: ISTIO_VERSIONS,
        columns: &[
            HOSTS,
            column("Location", ".spec.location", "Inside the mesh or out"),
            column("Resolution", ".spec.resolution", "Where its endpoints come from"),
            ACCEPTED,
        ],
    },
    Crd {
        kind: "WorkloadEntry",
        group: NETWORKING,
        plural: "workloadentries",
        short: &["we"],
        categories: ISTIO,
        versions: ISTIO_VERSIONS,
        columns: &[column("Address", ".spec.address", "Where it listens"), ACCEPTED],
    },
    Crd {
        kind: "PeerAuthentication",
        group: "security.istio.io",
        plural: "peerauthentications",
        short: &["pa"],
        categories: &["istio-io", "security-istio-io"],
        versions: &["v1", "v1beta1"],
        columns: &[column("Mode", ".spec.mtls.mode", "What its workloads take"), ACCEPTED],
    },
    Crd {
        kind: "Filter",
        group: WEFT,
        plural: "filters",
        short: &[],
        categories: &["weft"],
        versions: &["v1alpha1"],
        columns: &[
            column("Image", ".spec.image", "The component's image as written"),
            ACCEPTED,
            column("Digest", ".status.digest", "The digest that the image was resolved to"),
            PROXIES,
        ],
    },
    Crd {
        kind: "Mesh",
        group: WEFT,
        plural: "meshes",
        short: &[],
        categories: &["weft"],
        versions: &["v1alpha1"],
        columns: &[
            column("Trust Domain", ".spec.trustDomain", "Of every identity; cluster.local by default"),
            ACCEPTED,
        ],
    },
];

/// Whether objects of this definition, as the API server has it, keep a field `filters` in each stored version.
pub(crate) fn keeps_filters(definition: &Value) -> bool {
    let keeps = |version: &Value| {
        let spec = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
        spec["properties"]["filters"].is_object() || spec["x-kubernetes-preserve-unknown-fields"] == true
    };
    definition["spec"]["versions"].as_array().is_some_and(|versions| versions.iter().all(keeps))
}

impl Crd {
    /// `PLURAL.GROUP`.
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }

    /// Istio has a CRD of this name too.
    pub(crate) fn is_istios(&self) -> bool {
        self.group != WEFT
    }

    /// The object, with one schema for all versions.
    pub(crate) fn definition(&self) -> Value {
        let (schema, columns) = (self.schema(), self.columns());
        let version = |(index, name): (usize, &&str)| {
            json!({
                "name": name,
                "served": true,
                "storage": index == 0,
                "additionalPrinterColumns": columns,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": schema},
            })
        };
        let mut names = json!({
            "kind": self.kind,
            "listKind": format!("{}List", self.kind),
            "plural": self.plural,
            "singular": self.kind.to_ascii_lowercase(),
            "categories": self.categories,
        });
        if !self.short.is_empty() {
            names["shortNames"] = json!(self.short);
        }
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {
                "name": self.name(),
                "labels": super::objects::labels(),
                // An uninstalled chart must not take everybody's configuration with it.
                "annotations": {"helm.sh/resource-policy": "keep"},
            },
            "spec": {
                "group": self.group,
                "names": names,
                "scope": "Namespaced",
                "conversion": {"strategy": "None"},
                "versions": self.versions.iter().enumerate().map(version).collect::<Vec<_>>(),
            },
        })
    }

    fn columns(&self) -> Vec<Value> {
        let age = column("Age", ".metadata.creationTimestamp", "When it was created");
        let written = |column: &Column| {
            let kind = if column.name == "Age" { "date" } else { "string" };
            json!({"name": column.name, "type": kind, "jsonPath": column.path, "description": column.about})
        };
        self.columns.iter().chain([&age]).map(written).collect()
    }

    fn schema(&self) -> Value {
        let spec = schema::spec(self.kind).expect("weft-config has a schema for each kind of the table");
        let mut root = json!({
            "type": "object",
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": {"type": "object"},
                "spec": spec.to_json(),
                "status": status(),
            },
        });
        if schema::spec_is_required(self.kind) {
            root["required"] = json!(["spec"]);
        }
        root
    }
}

/// What the control plane writes. Another mesh that reads the same kinds may keep fields of its own beside it.
fn status() -> Value {
    let condition = json!({
        "type": "object",
        "required": ["type", "status"],
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "type": {"type": "string"},
            "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
            "reason": {"type": "string"},
            "message": {"type": "string"},
            "observedGeneration": {"type": "integer", "format": "int64"},
            "lastTransitionTime": {"type": "string", "format": "date-time"},
        },
    });
    let problem = json!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "code": {"type": "string", "description": "weft check --explain says what each means."},
            "severity": {"type": "string", "enum": ["error", "warning"]},
            "field": {"type": "string", "description": "Such as spec.http[0].route[1].weight."},
            "reason": {"type": "string", "description": "What is wrong."},
            "remedy": {"type": "string", "description": "What to do."},
        },
    });
    let proxies = json!({
        "type": "object",
        "description": "The sidecars that it concerns.",
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "acknowledged": {"type": "integer", "format": "int32", "description": "They run what is written now."},
            "affected": {"type": "integer", "format": "int32", "description": "All of them."},
            "summary": {"type": "string", "description": "As ACKNOWLEDGED/AFFECTED."},
        },
    });
    json!({
        "type": "object",
        "description": "Written by Weft's control plane.",
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "observedGeneration": {"type": "integer", "format": "int64"},
            "conditions": {
                "type": "array",
                "items": condition,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
            "problems": {"type": "array", "items": problem, "x-kubernetes-list-type": "atomic"},
            "proxies": proxies,
            "image": {"type": "string", "description": "Of a Filter: the reference that was looked up."},
            "digest": {"type": "string", "description": "Of a Filter: what the image was resolved to."},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds")
    }

    /// `UPDATE=1` rewrites them; what changed is then read in the diff.
    #[test]
    fn the_files_are_what_the_code_says() {
        let update = std::env::var_os("UPDATE").is_some();
        for crd in ALL {
            let path = folder().join(format!("{}.yaml", crd.name()));
            let text =
                format!("# Made by `UPDATE=1 cargo test -p weft crd`.\n{}", weft_config::to_yaml(&crd.definition()));
            if update {
                std::fs::write(&path, &text).expect("deploy/crds can be written");
            }
            let written = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(written == text, "{} is stale: UPDATE=1 cargo test -p weft crd", path.display());
        }
        let files = std::fs::read_dir(folder()).expect("deploy/crds").count();
        assert_eq!(files, ALL.len(), "deploy/crds holds a file of a kind that is no more");
    }
}
