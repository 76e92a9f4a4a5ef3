//! The leader's writing: status of each object, Events for what was rejected, and good versions that must outlive us.
//!
//! At most once a second, and only what has changed. What it writes comes back through the watches without its status,
//! and so compiles nothing. It does not judge: the world has done that.

use super::custom::CUSTOM;
use super::last_good::LastGood;
use super::lease::Role;
use super::others::Others;
use super::uninjected::{Missed, Uninjected};
use super::verdict::{sentence, verdict};
use super::{Cluster, Shared};
use crate::inject::{Namespace, Neighbour};
use crate::world::{Event as Told, ObjectStanding, Standing};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Runs until the world loop is gone.
pub(super) async fn write(cluster: Cluster, shared: Shared, mut role: watch::Receiver<Role>) {
    let mut writer = Writer::new(&cluster);
    let mut others = Others::new(&cluster.here, &shared);
    let mut stirred = shared.stirred.subscribe();
    loop {
        let leads = *role.borrow_and_update() == Role::Leader;
        if leads {
            let (answer, standing) = oneshot::channel();
            if shared.events.send(Told::Standing(answer)).await.is_err() {
                return;
            }
            let Ok(mut standing) = standing.await else { return };
            others.look();
            others.add_to(&mut standing);
            writer.uninjected(&standing, **shared.neighbour.load()).await;
            writer.write(standing).await;
        } else {
            writer.forget();
            others.forget();
        }
        tokio::time::sleep(PAUSE).await;
        // What failed is tried again without being told.
        let retry = async {
            match leads && writer.failed {
                true => tokio::time::sleep(AGAIN).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            stirs = stirred.changed(), if leads => if stirs.is_err() { return },
            changed = role.changed() => if changed.is_err() { return },
            () = retry => {}
        }
    }
}

struct Writer {
    cluster: Cluster,
    recorder: Recorder,
    last_good: LastGood,
    /// The status of each object, by path, as it lies there; `None` until it was looked at.
    written: Option<BTreeMap<Arc<str>, Value>>,
    /// What `written` says, where it was judged here.
    judged: HashMap<Arc<str>, ObjectStanding>,
    uninjected: Uninjected,
    failed: bool,
}

impl Writer {
    fn new(cluster: &Cluster) -> Self {
        let reporter =
            Reporter { controller: "weft.dev/controlplane".to_owned(), instance: Some(cluster.here.replica.clone()) };
        Self {
            cluster: cluster.clone(),
            recorder: Recorder::new(cluster.client.clone(), reporter),
            last_good: LastGood::new(cluster),
            written: None,
            judged: HashMap::new(),
            uninjected: Uninjected::default(),
            failed: false,
        }
    }

    /// Another replica writes now.
    fn forget(&mut self) {
        self.written = None;
        self.judged.clear();
        self.last_good.forget();
        self.failed = false;
    }

    async fn write(&mut self, standing: Standing) {
        self.failed = false;
        // Before anyone reads in a status that an earlier version counts, it is kept.
        if let Err(error) = self.last_good.keep(&standing.last_good).await {
            self.fails(&error, "last good versions cannot be kept");
        }
        let mut written = match self.written.take() {
            Some(written) => written,
            None => match self.read(&standing).await {
                Ok(written) => written,
                Err(error) => return self.fails(&error, "the objects' status cannot be read"),
            },
        };
        let there: HashSet<&Arc<str>> = standing.objects.iter().map(|object| &object.text.path).collect();
        written.retain(|path, _| there.contains(path));
        self.judged.retain(|path, _| there.contains(path));
        for object in &standing.objects {
            if self.judged.get(&object.text.path) != Some(object) && self.object(object, &mut written).await {
                self.judged.insert(object.text.path.clone(), object.clone());
            }
        }
        self.written = Some(written);
    }

    /// An Event for each pod that was meant for the mesh and is not in it.
    async fn uninjected(&mut self, standing: &Standing, neighbour: Neighbour) {
        let namespaces = &self.cluster.namespaces;
        let labels = |name: &str| {
            let namespace = namespaces.get(&ObjectRef::new(name))?;
            Some(Namespace { name: name.to_owned(), labels: namespace.labels().clone() })
        };
        for missed in self.uninjected.news(&standing.pods, labels, neighbour) {
            tracing::info!(namespace = missed.namespace, pod = missed.name, reason = missed.note, "has no sidecar");
            let reference = of_pod(&missed);
            self.publish("NotInjected", missed.note, &reference).await;
        }
    }

    /// One that is lost is no reason to write all again.
    async fn publish(&self, reason: &str, note: String, about: &ObjectReference) {
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(note.chars().take(NOTE_MAX).collect()),
            action: "Check".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, about).await {
            tracing::warn!(%error, object = ?about.name, "no Event could be written");
        }
    }

    fn fails(&mut self, error: &kube::Error, what: &str) {
        self.failed = true;
        tracing::warn!(%error, "{what}; it is tried again");
    }

    /// True where its status says how it stands now.
    async fn object(&mut self, object: &ObjectStanding, written: &mut BTreeMap<Arc<str>, Value>) -> bool {
        let before = written.get(&object.text.path);
        let now = Timestamp::now().round(k8s_openapi::jiff::Unit::Second).unwrap_or_default().to_string();
        let status = verdict(object, before, &now);
        if before == Some(&status) {
            return true;
        }
        let Some(target) = Target::of(object) else { return true };
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.cluster.client.clone(), &target.namespace, &target.resource);
        let patch = Patch::Merge(json!({ "status": status }));
        match api.patch_status(&target.name, &PatchParams::default(), &patch).await {
            Ok(_) => {}
            // It is gone, or its kind has no status here.
            Err(kube::Error::Api(answer)) if answer.code == 404 => {}
            Err(error) => {
                self.fails(&error, "a status cannot be written");
                return false;
            }
        }
        self.announce(object, &target, before, &status).await;
        written.insert(object.text.path.clone(), status);
        true
    }

    /// An Event where an object turns bad, or bad in another way.
    async fn announce(&mut self, object: &ObjectStanding, target: &Target, before: Option<&Value>, status: &Value) {
        let rejected = |status: &Value| {
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            let bad = conditions
                .into_iter()
                .find(|condition| condition["status"] == "False" && condition["type"] != "Programmed");
            bad.map(|condition| (condition["reason"].clone(), condition["message"].clone()))
        };
        let Some((Value::String(reason), Value::String(note))) = rejected(status) else { return };
        if before.and_then(rejected) == Some((json!(reason), json!(note))) {
            return;
        }
        let note = object.problems.iter().find(|problem| problem.code == reason).map_or(note, sentence);
        self.publish(&reason, note, &target.reference()).await;
    }

    /// The status of all objects as it lies there, so that a new leader goes on where the old one stopped.
    async fn read(&self, standing: &Standing) -> Result<BTreeMap<Arc<str>, Value>, kube::Error> {
        let mut resources: BTreeMap<String, ApiResource> = BTreeMap::new();
        for target in standing.objects.iter().filter_map(Target::of) {
            resources.entry(target.resource.kind.clone()).or_insert(target.resource);
        }
        let mut written = BTreeMap::new();
        for resource in resources.into_values() {
            let api: Api<DynamicObject> = Api::all_with(self.cluster.client.clone(), &resource);
            for object in api.list(&ListParams::default()).await? {
                let (namespace, name) = (object.metadata.namespace.unwrap_or_default(), object.metadata.name);
                let path = super::trim::path(&resource.kind, &namespace, &name.unwrap_or_default());
                if let Some(status) = object.data.get("status") {
                    written.insert(path, status.clone());
                }
            }
        }
        Ok(written)
    }
}

fn of_pod(missed: &Missed) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(missed.namespace.clone()),
        name: Some(missed.name.clone()),
        uid: Some(missed.uid.clone()),
        ..ObjectReference::default()
    }
}

/// Which object a standing is of.
struct Target {
    resource: ApiResource,
    api_version: String,
    namespace: String,
    name: String,
    uid: Option<String>,
}

impl Target {
    /// `None` for kinds that are only listed.
    fn of(object: &ObjectStanding) -> Option<Self> {
        let mut parts = object.text.path.splitn(3, '/');
        let (kind, namespace, name) = (parts.next()?, parts.next()?, parts.next()?);
        let custom = CUSTOM.iter().find(|custom| custom.kind == kind && custom.counts())?;
        let text: Value = serde_json::from_slice(&object.text.bytes).ok()?;
        let api_version = text["apiVersion"].as_str()?.to_owned();
        let (_, version) = api_version.rsplit_once('/')?;
        Some(Self {
            resource: custom.resource(version),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: text["metadata"]["uid"].as_str().map(str::to_owned),
            api_version,
        })
    }

    fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some(self.api_version.clone()),
            kind: Some(self.resource.kind.clone()),
            namespace: Some(self.namespace.clone()),
            name: Some(self.name.clone()),
            uid: self.uid.clone(),
            ..ObjectReference::default()
        }
    }
}

/// Between two rounds: no object's status is written more often.
const PAUSE: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_secs(5);
/// Kubernetes allows 1 kB.
const NOTE_MAX: usize = 900;
