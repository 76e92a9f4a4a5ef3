//! Keeps the API server believing our certificate, and the certificate young.
//!
//! A new certificate is served only when the webhook configurations hold the root that it leads to. The configurations
//! are install's; `caBundle` in them is ours, by a field manager of its own. It also sees whether Istio's injector is
//! there. It answers no request.

use super::tls;
use super::{Desk, INJECTOR, VALIDATOR, bundle};
use crate::ca::{self, Seconds};
use crate::inject::Neighbour;
use crate::kube::{events, said};
use futures_util::{Stream, StreamExt};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Until the task is aborted.
pub(super) async fn keep(desk: Arc<Desk>) {
    let client = desk.cluster.client.clone();
    let own = watcher::Config::default().fields(&format!("metadata.name={VALIDATOR}"));
    let mutating = watched(&client, MUTATING, watcher::Config::default());
    let validating = watched(&client, VALIDATING, own);
    let (mut mutating, mut validating) = (std::pin::pin!(mutating), std::pin::pin!(validating));
    let mut ticks = tokio::time::interval(LOOK_AGAIN);
    let mut keeper =
        Keeper { desk, client: client.clone(), mutating: Seen::default(), validating: Seen::default(), served: None };
    loop {
        tokio::select! {
            Some(event) = mutating.next() => keeper.mutating.take(event),
            Some(event) = validating.next() => keeper.validating.take(event),
            // Certificates age, roots turn, and what failed is tried again.
            _ = ticks.tick() => {}
        }
        keeper.settle(ca::seconds(SystemTime::now())).await;
    }
}

fn watched(
    client: &Client,
    kind: &'static str,
    selection: watcher::Config,
) -> impl Stream<Item = watcher::Event<DynamicObject>> {
    let api = Api::<DynamicObject>::all_with(client.clone(), &resource(kind));
    events(api, selection).default_backoff().filter_map(move |event| {
        std::future::ready(event.map_err(|error| tracing::warn!(%error, "the watch of {kind} broke")).ok())
    })
}

fn resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind))
}

/// A webhook configuration, as far as it matters here.
#[derive(Clone, Debug, PartialEq)]
struct Configuration {
    uid: Option<String>,
    /// By the name of each webhook in it, the bundle.
    bundles: BTreeMap<String, String>,
    /// It carries the mark of Istio's injector.
    istio: bool,
}

impl Configuration {
    fn of(object: &DynamicObject) -> Self {
        let webhooks = object.data["webhooks"].as_array().into_iter().flatten();
        let bundle = |webhook: &serde_json::Value| {
            let bundle = webhook["clientConfig"]["caBundle"].as_str().unwrap_or_default();
            Some((webhook["name"].as_str()?.to_owned(), bundle::decoded(bundle)))
        };
        Self {
            uid: object.uid(),
            bundles: webhooks.filter_map(bundle).collect(),
            istio: object.labels().get("app").is_some_and(|app| app == "sidecar-injector"),
        }
    }
}

/// The configurations of one kind, by name.
#[derive(Default)]
struct Seen {
    held: BTreeMap<String, Configuration>,
    listing: BTreeMap<String, Configuration>,
    complete: bool,
}

impl Seen {
    fn take(&mut self, event: watcher::Event<DynamicObject>) {
        match event {
            watcher::Event::Init => self.listing.clear(),
            watcher::Event::InitApply(object) => {
                self.listing.insert(object.name_any(), Configuration::of(&object));
            }
            watcher::Event::InitDone => {
                self.held = std::mem::take(&mut self.listing);
                self.complete = true;
            }
            watcher::Event::Apply(object) => {
                self.held.insert(object.name_any(), Configuration::of(&object));
            }
            watcher::Event::Delete(object) => {
                self.held.remove(&object.name_any());
            }
        }
    }
}

struct Keeper {
    desk: Arc<Desk>,
    client: Client,
    mutating: Seen,
    validating: Seen,
    /// The root of what is served, and when it is renewed.
    served: Option<(Vec<u8>, Seconds)>,
}

impl Keeper {
    async fn settle(&mut self, now: Seconds) {
        if !self.mutating.complete || !self.validating.complete {
            return;
        }
        let istio = self.mutating.held.iter().any(|(name, configuration)| name != INJECTOR && configuration.istio);
        let neighbour = if istio { Neighbour::Istio } else { Neighbour::None };
        if **self.desk.neighbour.load() != neighbour {
            tracing::info!(?neighbour, "which labels select pods has changed");
            self.desk.neighbour.store(Arc::new(neighbour));
        }
        let issuing = self.desk.shared.authority.issuing();
        let roots = issuing.trust().roots.clone();
        let client = &self.client;
        let told = [
            tell(client, (MUTATING, INJECTOR), &mut self.mutating, &roots).await,
            tell(client, (VALIDATING, VALIDATOR), &mut self.validating, &roots).await,
        ];
        let due = self.served.as_ref().is_none_or(|(root, renew_at)| now >= *renew_at || !issuing.leads_to(root));
        if !due {
            return;
        }
        match tls::certify(&issuing, now) {
            // Where there is no configuration yet, nobody asks.
            Ok(new) if told.iter().all(|bundles| bundles.iter().all(|bundle| bundle::holds(bundle, &new.root))) => {
                tracing::info!(renew_at = new.renew_at, "the webhooks serve a new certificate");
                self.desk.tls.store(Some(new.config));
                self.served = Some((new.root, new.renew_at));
            }
            Ok(_) => tracing::warn!(
                "the API server is not yet told of the root of a new certificate: the one before is served on"
            ),
            Err(error) => {
                tracing::error!(%error, "the certificate of the webhooks cannot be made; the one before is served on")
            }
        }
    }
}

/// Writes our roots into a configuration, and gives the bundles that are in it then.
async fn tell(client: &Client, (kind, name): (&str, &str), seen: &mut Seen, roots: &[Vec<u8>]) -> Vec<String> {
    let Some(configuration) = seen.held.get_mut(name) else { return Vec::new() };
    let wanted: BTreeMap<String, String> =
        configuration.bundles.iter().map(|(webhook, there)| (webhook.clone(), bundle::merged(there, roots))).collect();
    if wanted != configuration.bundles {
        let webhooks: Vec<_> = wanted
            .iter()
            .map(|(webhook, bundle)| json!({"name": webhook, "clientConfig": {"caBundle": bundle::encoded(bundle)}}))
            .collect();
        // With the uid it writes to this object or to none: a configuration that was deleted is not made anew.
        let apply = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": name, "uid": configuration.uid},
            "webhooks": webhooks,
        });
        let api = Api::<DynamicObject>::all_with(client.clone(), &resource(kind));
        let parameters = PatchParams::apply(MANAGER).force();
        match tokio::time::timeout(WRITE_MAX, api.patch(name, &parameters, &Patch::Apply(apply))).await {
            // The watch will say the same.
            Ok(Ok(_)) => configuration.bundles = wanted,
            Ok(Err(error)) => {
                tracing::warn!(
                    reason = said(&error),
                    "caBundle of {kind} {name} cannot be written; the API server may refuse our certificate"
                );
            }
            Err(_) => tracing::warn!("caBundle of {kind} {name} was not written within {WRITE_MAX:?}"),
        }
    }
    configuration.bundles.values().cloned().collect()
}

const MANAGER: &str = "weft-controlplane";
const MUTATING: &str = "MutatingWebhookConfiguration";
const VALIDATING: &str = "ValidatingWebhookConfiguration";
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const WRITE_MAX: Duration = Duration::from_secs(5);
