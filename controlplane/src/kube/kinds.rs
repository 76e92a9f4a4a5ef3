//! Which kinds of the cluster are watched, and how each comes to its watch.
//!
//! Kinds that a CustomResourceDefinition brings are waited for: their definition may come later, go, or change. It does
//! not know what the objects mean.

use super::Here;
use super::custom::{CUSTOM, Custom};
use super::trim::{seen, seen_last_good, seen_name, seen_pod};
use super::watch::{Change, Changes, events, follow};
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion,
};
use kube::api::{Api, ApiResource, DynamicObject, PartialObjectMeta};
use kube::core::GroupVersionKind;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use tokio::task::JoinHandle;

/// ConfigMaps of `last_good`.
pub(super) const LAST_GOOD: &str = "LastGood";
/// Kubernetes' own, as `source` reads them.
const SERVICE: &str = "Service";
const SLICE: &str = "EndpointSlice";
const POD: &str = "Pod";

/// Every kind that has to have been listed before anything counts.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    [SERVICE, SLICE, POD, LAST_GOOD].into_iter().chain(CUSTOM.iter().map(|custom| custom.kind))
}

/// Starts all watches. The store is for whoever else asks for namespaces.
pub(super) fn watch_all(client: &Client, here: &Here, changes: &Changes) -> (Store<Namespace>, Vec<JoinHandle<()>>) {
    let (namespaces, namespace_writer) = reflector::store();
    let pods = Api::<Pod>::all(client.clone());
    let mut tasks = vec![tokio::spawn(follow(pods, watcher::Config::default(), POD, seen_pod, changes.clone()))];
    tasks.push(tokio::spawn(watch_namespaces(client.clone(), namespace_writer)));
    for (kind, group, version, plural) in
        [(SERVICE, "", "v1", "services"), (SLICE, "discovery.k8s.io", "v1", "endpointslices")]
    {
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
        let read = whole(kind, resource.api_version);
        tasks.push(tokio::spawn(follow(api, watcher::Config::default(), kind, read, changes.clone())));
    }
    let kept = Api::<ConfigMap>::namespaced(client.clone(), &here.namespace);
    let selection = watcher::Config::default().labels(super::last_good::LABEL);
    tasks.push(tokio::spawn(follow(kept, selection, LAST_GOOD, seen_last_good, changes.clone())));
    tasks.extend(CUSTOM.iter().map(|custom| tokio::spawn(watch_custom(client.clone(), custom, changes.clone()))));
    (namespaces, tasks)
}

fn whole(kind: &'static str, api_version: String) -> impl Fn(&DynamicObject) -> Option<super::trim::Seen> {
    move |object| Some(seen(kind, &api_version, object))
}

async fn watch_namespaces(client: Client, writer: reflector::store::Writer<Namespace>) {
    let bare = |namespace: &mut Namespace| {
        namespace.managed_fields_mut().clear();
        namespace.spec = None;
    };
    let all = events(Api::<Namespace>::all(client), watcher::Config::default()).modify(bare).reflect(writer);
    let mut all = std::pin::pin!(all.default_backoff());
    while let Some(event) = all.next().await {
        if let Err(error) = event {
            tracing::warn!(kind = "Namespace", %error, "watch broke; what is known counts on, and it is tried again");
        }
    }
}

/// Follows the definition, and the objects while there is one.
async fn watch_custom(client: Client, custom: &'static Custom, changes: Changes) {
    let selection = watcher::Config::default().fields(&format!("metadata.name={}", custom.definition()));
    let definitions = events(Api::<CustomResourceDefinition>::all(client.clone()), selection);
    let mut definitions = std::pin::pin!(definitions.default_backoff());
    let mut following = Following::default();
    while let Some(event) = definitions.next().await {
        let definition = match event {
            Ok(watcher::Event::Init) => {
                following.listed = None;
                continue;
            }
            Ok(watcher::Event::InitApply(definition)) => {
                following.listed = Some(Box::new(definition));
                continue;
            }
            Ok(watcher::Event::InitDone) => following.listed.take(),
            Ok(watcher::Event::Apply(definition)) => Some(Box::new(definition)),
            Ok(watcher::Event::Delete(_)) => None,
            Err(error) => {
                tracing::warn!(kind = custom.kind, %error, "watch of the definition broke; it is tried again");
                continue;
            }
        };
        if !following.turn(&client, custom, definition.as_deref(), &changes).await {
            return;
        }
    }
}

/// What is being followed of one kind.
#[derive(Default)]
struct Following {
    listed: Option<Box<CustomResourceDefinition>>,
    version: Option<&'static str>,
    task: Option<JoinHandle<()>>,
}

impl Drop for Following {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Following {
    /// False where nobody listens any more.
    async fn turn(
        &mut self,
        client: &Client,
        custom: &'static Custom,
        definition: Option<&CustomResourceDefinition>,
        changes: &Changes,
    ) -> bool {
        let version = definition.and_then(|definition| served(definition, custom));
        if let Some((_, filters)) = version
            && changes.send(Change::Schema { kind: custom.kind, filters }).await.is_err()
        {
            return false;
        }
        let version = version.map(|(version, _)| version);
        if version == self.version && (version.is_some() || self.task.is_some()) {
            return true;
        }
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.version = version;
        let Some(version) = version else {
            tracing::info!(kind = custom.kind, "the cluster has no such kind yet; it is waited for");
            return changes.send(Change::Listed { kind: custom.kind, all: Vec::new(), version: 0 }).await.is_ok();
        };
        self.task = Some(tokio::spawn(watch_objects(client.clone(), custom, version, changes.clone())));
        true
    }
}

async fn watch_objects(client: Client, custom: &'static Custom, version: &'static str, changes: Changes) {
    let resource = custom.resource(version);
    let (kind, api_version) = (custom.kind, resource.api_version.clone());
    let selection = watcher::Config::default();
    if custom.counts() {
        let api = Api::<DynamicObject>::all_with(client, &resource);
        follow(api, selection, kind, whole(kind, api_version), changes).await;
    } else {
        // That there is one is all that has to be known.
        let api = Api::<PartialObjectMeta<DynamicObject>>::all_with(client, &resource);
        let name = |object: &PartialObjectMeta<DynamicObject>| Some(seen_name(kind, &api_version, &object.metadata));
        follow(api, selection, kind, name, changes).await;
    }
}

/// The version to read, where the definition is established, and whether its schema keeps the field `filters`.
fn served(definition: &CustomResourceDefinition, custom: &Custom) -> Option<(&'static str, bool)> {
    let conditions = definition.status.as_ref().and_then(|status| status.conditions.as_ref());
    let established =
        |c: &k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinitionCondition| {
            c.type_ == "Established" && c.status == "True"
        };
    if !conditions.is_some_and(|conditions| conditions.iter().any(established)) {
        return None;
    }
    let version =
        |wanted: &&str| definition.spec.versions.iter().find(|version| version.served && version.name == **wanted);
    let name = custom.versions.iter().find(|wanted| version(wanted).is_some())?;
    version(name).map(|version| (*name, keeps_filters(version)))
}

/// Whether `spec.filters` survives a write.
fn keeps_filters(version: &CustomResourceDefinitionVersion) -> bool {
    let Some(schema) = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref()) else {
        return false;
    };
    let Some(spec) = schema.properties.as_ref().and_then(|properties| properties.get("spec")) else { return false };
    let free = [schema, spec].iter().any(|level| level.x_kubernetes_preserve_unknown_fields == Some(true));
    free || spec.properties.as_ref().is_some_and(|properties| properties.contains_key("filters"))
}
