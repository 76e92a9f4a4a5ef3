//! The labels by which namespaces and pods choose: Weft's own, and Istio's.
//!
//! It does not weigh them: `decision` does.

/// Whether another project's injector is in the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Neighbour {
    #[default]
    None,
    /// A MutatingWebhookConfiguration with label `app=sidecar-injector` exists: Istio's labels mean Istio.
    Istio,
}

/// One project's names for the same choices.
#[derive(Debug)]
pub struct Family {
    /// Ends the names of its webhooks.
    pub domain: &'static str,
    /// On a namespace.
    pub namespace: &'static str,
    /// Its values that say yes; any other says no.
    pub enabled: &'static [&'static str],
    /// On a pod, as a label or as an annotation.
    pub pod: &'static str,
    /// On either.
    pub revision: &'static str,
}

impl Family {
    /// Those that count, the strongest first.
    pub fn known(neighbour: Neighbour) -> &'static [Self] {
        match neighbour {
            Neighbour::None => &FAMILIES,
            Neighbour::Istio => &FAMILIES[..1],
        }
    }
}

static FAMILIES: [Family; 2] = [
    Family {
        domain: "inject.weft.dev",
        namespace: "weft.dev/inject",
        enabled: &["enabled", "true"],
        pod: "weft.dev/inject",
        revision: "weft.dev/rev",
    },
    Family {
        domain: "istio.inject.weft.dev",
        namespace: "istio-injection",
        enabled: &["enabled"],
        pod: "sidecar.istio.io/inject",
        revision: "istio.io/rev",
    },
];
