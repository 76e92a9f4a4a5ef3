//! ConfigMap `weft-root` in every namespace: by what is in it a pod's sidecar knows its control plane at first contact.
//!
//! Kept by every replica, whatever anybody does to it. Where the control plane of another mesh does the same, it says so:
//! each would undo the other's for ever. It does not know where roots come from.

use super::MANAGER;
use crate::ca::Authority;
use crate::kube::{Here, events, said};
use futures_util::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Error, Resource, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Until the process ends.
pub(crate) async fn keep(client: Client, here: Here, authority: Arc<Authority>) {
    let named = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let namespaces = Api::<PartialObjectMeta<Namespace>>::all(client.clone());
    let namespaces = quiet("namespaces", events(namespaces, watcher::Config::default()));
    let configmaps = quiet(NAME, events(Api::<ConfigMap>::all(client.clone()), named));
    let (mut namespaces, mut configmaps) = (std::pin::pin!(namespaces), std::pin::pin!(configmaps));
    let mut ticks = tokio::time::interval(LOOK_AGAIN);
    let mut kept = Kept::default();
    loop {
        tokio::select! {
            Some(event) = namespaces.next() => kept.namespaces.take(event, |namespace| {
                namespace.metadata.deletion_timestamp.is_none().then(|| (namespace.name_any(), ()))
            }),
            Some(event) = configmaps.next() => kept.configmaps.take(event, |configmap| {
                Some((configmap.namespace().unwrap_or_default(), Shown::of(configmap)))
            }),
            // Roots turn, and what failed is tried again.
            _ = ticks.tick() => kept.patience = Patience::Over,
        }
        let wanted = Shown { root: authority.issuing().roots_pem(), owner: here.namespace.clone() };
        let missing = kept.missing(&wanted);
        kept.meet_rivals(&wanted.owner);
        // Against another's writes ours come once a second, and no faster.
        if !missing.is_empty() && (kept.rivals.is_empty() || kept.patience == Patience::Over) {
            kept.write(&client, &wanted, missing).await;
            kept.patience = Patience::Begun;
        }
    }
}

/// What pods of a namespace are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shown {
    root: String,
    /// The namespace of the control plane that wrote it.
    owner: String,
}

impl Shown {
    fn of(configmap: &ConfigMap) -> Self {
        let root = configmap.data.as_ref().and_then(|data| data.get(KEY)).cloned();
        let owner = configmap.annotations().get(OWNER).cloned();
        Self { root: root.unwrap_or_default(), owner: owner.unwrap_or_default() }
    }
}

fn quiet<K>(
    what: &'static str,
    events: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>>,
) -> impl Stream<Item = watcher::Event<K>> {
    events.default_backoff().filter_map(move |event| {
        std::future::ready(event.map_err(|error| tracing::warn!(%error, "the watch of {what} broke")).ok())
    })
}

/// What the cluster has, as far as the watches have told.
#[derive(Default)]
struct Kept {
    namespaces: Mirror<()>,
    /// By namespace, what is in it.
    configmaps: Mirror<Shown>,
    /// Said already.
    failed: BTreeSet<String>,
    /// Namespaces in which we have written.
    written: BTreeSet<String>,
    /// Namespaces of other control planes that write there too, said already.
    rivals: BTreeSet<String>,
    patience: Patience,
}

/// Since our last write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Patience {
    Begun,
    #[default]
    Over,
}

/// Objects by a key of theirs.
struct Mirror<V> {
    held: BTreeMap<String, V>,
    /// `None` while nothing is being listed.
    listing: Option<BTreeMap<String, V>>,
    complete: Complete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Complete {
    NotYet,
    Once,
}

impl<V> Default for Mirror<V> {
    fn default() -> Self {
        Self { held: BTreeMap::new(), listing: None, complete: Complete::NotYet }
    }
}

impl<V> Mirror<V> {
    /// `entry`: `None` for what does not count.
    fn take<K: Resource>(&mut self, event: watcher::Event<K>, entry: impl Fn(&K) -> Option<(String, V)>) {
        match event {
            watcher::Event::Init => self.listing = Some(BTreeMap::new()),
            watcher::Event::InitApply(object) => self.listing.get_or_insert_default().extend(entry(&object)),
            watcher::Event::InitDone => {
                self.held = self.listing.take().unwrap_or_default();
                self.complete = Complete::Once;
            }
            watcher::Event::Apply(object) => match entry(&object) {
                Some((key, value)) => drop(self.held.insert(key, value)),
                None => drop(self.held.remove(&object.name_any())),
            },
            watcher::Event::Delete(object) => {
                let key = entry(&object).map_or_else(|| object.name_any(), |(key, _)| key);
                self.held.remove(&key);
            }
        }
    }
}

impl Kept {
    /// Namespaces in which there is no such root, or another.
    fn missing(&self, wanted: &Shown) -> Vec<String> {
        if self.namespaces.complete == Complete::NotYet || self.configmaps.complete == Complete::NotYet {
            return Vec::new();
        }
        let lacks = |namespace: &&String| {
            !namespace.starts_with("kube-") && self.configmaps.held.get(*namespace).is_none_or(|held| held != wanted)
        };
        self.namespaces.held.keys().filter(lacks).cloned().collect()
    }

    /// Which control planes of other meshes have put their root where ours should be.
    fn meet_rivals(&mut self, own: &str) {
        let held = self.configmaps.held.iter();
        // What lay there before our first write may be left of a mesh that is gone.
        let over_ours = held.filter(|(namespace, shown)| {
            !shown.owner.is_empty() && shown.owner != own && self.written.contains(*namespace)
        });
        for rival in over_ours.map(|(_, shown)| &shown.owner) {
            if self.rivals.insert(rival.clone()) {
                tracing::error!(
                    rival,
                    "the control plane in namespace {rival} writes ConfigMap {NAME} too: two meshes in one cluster undo each other's root, and pods start with either; uninstall one of them"
                );
            }
        }
    }

    async fn write(&mut self, client: &Client, shown: &Shown, namespaces: Vec<String>) {
        let apply = |namespace: String| async move {
            let wanted = serde_json::json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": NAME,
                    "labels": {"app.kubernetes.io/part-of": "weft"},
                    "annotations": {OWNER: shown.owner},
                },
                "data": {KEY: shown.root},
            });
            let api = Api::<ConfigMap>::namespaced(client.clone(), &namespace);
            let parameters = PatchParams::apply(MANAGER).force();
            let applied = tokio::time::timeout(WRITE_MAX, api.patch(NAME, &parameters, &Patch::Apply(wanted))).await;
            (namespace, applied)
        };
        let mut applied = stream::iter(namespaces).map(apply).buffer_unordered(AT_ONCE_MAX);
        while let Some((namespace, outcome)) = applied.next().await {
            let reason = match outcome {
                Ok(Ok(_)) => {
                    self.failed.remove(&namespace);
                    self.written.insert(namespace.clone());
                    // The watch will say the same.
                    self.configmaps.held.insert(namespace, shown.clone());
                    continue;
                }
                // The namespace is gone.
                Ok(Err(Error::Api(status))) if status.is_not_found() => continue,
                Ok(Err(error)) => said(&error),
                Err(_) => format!("no answer within {WRITE_MAX:?}"),
            };
            if self.failed.insert(namespace.clone()) {
                tracing::warn!(namespace, reason, "ConfigMap {NAME} cannot be written; new pods there wait for it");
            }
        }
    }
}

const NAME: &str = "weft-root";
const KEY: &str = "root.pem";
const OWNER: &str = "weft.dev/controlplane-namespace";
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const WRITE_MAX: Duration = Duration::from_secs(5);
const AT_ONCE_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};

    fn namespace(name: &str) -> Namespace {
        Namespace {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            ..Default::default()
        }
    }

    fn shown(root: &str, owner: &str) -> Shown {
        Shown { root: root.to_owned(), owner: owner.to_owned() }
    }

    #[test]
    fn another_mesh_is_met_once() {
        let mut kept = Kept::default();
        for (namespace, owner) in [("a", "weft-system"), ("b", ""), ("c", "weft-two"), ("d", "weft-two"), ("e", "gone")]
        {
            kept.configmaps.held.insert(namespace.to_owned(), shown("r", owner));
        }
        kept.written = ["a", "b", "c", "d"].map(str::to_owned).into();
        kept.meet_rivals("weft-system");
        assert_eq!(kept.rivals, BTreeSet::from(["weft-two".to_owned()]));
    }

    #[test]
    fn what_is_missing_follows_the_watches() {
        let mut kept = Kept::default();
        let entry = |namespace: &Namespace| Some((namespace.name_any(), ()));
        for name in ["a", "kube-system"] {
            kept.namespaces.take(Apply(namespace(name)), entry);
        }
        assert_eq!(
            kept.missing(&shown("r", "weft-system")),
            Vec::<String>::new(),
            "nothing is missing before all was listed"
        );
        let steps = [
            ("listed", vec![Init, InitApply(namespace("a")), InitApply(namespace("kube-system")), InitDone], vec!["a"]),
            ("another", vec![Apply(namespace("b"))], vec!["a", "b"]),
            ("gone", vec![Delete(namespace("b"))], vec!["a"]),
            ("listed again", vec![Init, InitApply(namespace("c")), InitDone], vec!["c"]),
        ];
        kept.configmaps.complete = Complete::Once;
        for (row, events, want) in steps {
            events.into_iter().for_each(|event| kept.namespaces.take(event, entry));
            assert_eq!(kept.missing(&shown("r", "weft-system")), want, "{row}");
        }
        kept.configmaps.held.insert("c".to_owned(), shown("r", "weft-system"));
        assert_eq!(kept.missing(&shown("r", "weft-system")), Vec::<String>::new(), "written");
        assert_eq!(kept.missing(&shown("r2", "weft-system")), ["c"], "the root turned");
    }
}
