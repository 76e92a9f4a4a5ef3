//! Events for pods of the mesh's namespaces that have no sidecar: on the pod, with the reason and what to do.
//!
//! It sees pods as `trim` leaves them, and asks `inject` whether they were meant. Whose own label keeps a pod out is not
//! told what he has said himself.

use crate::inject::{Decision, Namespace, Neighbour, Skip, decide, selects};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weft_config::SourceFile;

/// All pods, and of which of them it was said that they have no sidecar.
#[derive(Default)]
pub(super) struct Uninjected {
    /// As each was read, and what it says where it has no sidecar.
    pods: BTreeMap<Arc<str>, (SourceFile, Option<Value>)>,
    /// By uid.
    told: BTreeSet<String>,
}

/// One to tell of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missed {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) note: String,
}

impl Uninjected {
    /// Those that nobody was told of. `labels`: of a namespace; `None` where it is not known, or gone.
    pub(super) fn news(
        &mut self,
        pods: &[SourceFile],
        labels: impl Fn(&str) -> Option<Namespace>,
        neighbour: Neighbour,
    ) -> Vec<Missed> {
        let mut before = std::mem::take(&mut self.pods);
        for file in pods {
            let known = before.remove(&file.path).filter(|(read, _)| read == file);
            let kept = known.unwrap_or_else(|| (file.clone(), bare(file)));
            self.pods.insert(file.path.clone(), kept);
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let missed = |pod: &Value| {
            let metadata = &pod["metadata"];
            let (namespace, name, uid) =
                (text(&metadata["namespace"]), text(&metadata["name"]), text(&metadata["uid"]));
            let note = reason(pod, &labels(&namespace)?, neighbour)?;
            Some(Missed { namespace, name, uid, note })
        };
        let missed: Vec<Missed> = self.pods.values().filter_map(|(_, pod)| pod.as_ref()).filter_map(missed).collect();
        let there: BTreeSet<String> = missed.iter().map(|missed| missed.uid.clone()).collect();
        self.told.retain(|uid| there.contains(uid));
        missed.into_iter().filter(|missed| self.told.insert(missed.uid.clone())).collect()
    }
}

/// A pod that stays, and has no sidecar.
fn bare(file: &SourceFile) -> Option<Value> {
    let pod: Value = serde_json::from_slice(&file.bytes).ok()?;
    let metadata = &pod["metadata"];
    let injected = metadata["annotations"].get(crate::inject::STATUS).is_some();
    (!injected && metadata["deletionTimestamp"].is_null()).then_some(pod)
}

/// `None`: it was not meant to have one.
fn reason(pod: &Value, namespace: &Namespace, neighbour: Neighbour) -> Option<String> {
    match decide(pod, namespace, neighbour) {
        Decision::Inject | Decision::Refuse(_) => Some(
            "it was made before its namespace had the label, or while nobody asked Weft; restart its workload"
                .to_owned(),
        ),
        Decision::Skip(Skip::NeverNamespace(_) | Skip::NotSelected(_)) => None,
        Decision::Skip(Skip::NamespaceSaysNo { .. } | Skip::PodSaysNo { .. }) => None,
        Decision::Skip(skip @ (Skip::HostNetwork | Skip::Windows)) => selects(namespace, neighbour)
            .then(|| format!("{skip}; give it its own network, or keep it out with label weft.dev/inject=false")),
        Decision::Skip(skip @ (Skip::OtherRevision { .. } | Skip::IstioSidecar(_))) => Some(skip.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, metadata: &Value, spec: &Value) -> SourceFile {
        let mut pod =
            json!({"metadata": {"namespace": "shop", "name": name, "uid": format!("u-{name}")}, "spec": spec});
        if let (Some(all), Some(more)) = (pod["metadata"].as_object_mut(), metadata.as_object()) {
            all.extend(more.clone());
        }
        SourceFile::of_cluster(format!("Pod/shop/{name}"), pod.to_string(), "")
    }

    #[test]
    fn who_was_meant_is_told_once() {
        let meshed = |name: &str| {
            let labels = [("istio-injection".to_owned(), "enabled".to_owned())].into();
            Some(Namespace { name: name.to_owned(), labels })
        };
        let pods = [
            pod("injected", &json!({"annotations": {crate::inject::STATUS: ""}}), &json!({})),
            pod("early", &json!({}), &json!({})),
            pod("on-the-node", &json!({}), &json!({"hostNetwork": true})),
            pod("says-no", &json!({"labels": {"sidecar.istio.io/inject": "false"}}), &json!({})),
            pod("says-no-too", &json!({"annotations": {"sidecar.istio.io/inject": "false"}}), &json!({})),
            pod("leaves", &json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), &json!({})),
        ];
        let mut uninjected = Uninjected::default();
        let news = uninjected.news(&pods, meshed, Neighbour::None);
        let told: Vec<_> = news.iter().map(|missed| (missed.name.as_str(), missed.uid.as_str())).collect();
        assert_eq!(told, [("early", "u-early"), ("on-the-node", "u-on-the-node")]);
        assert!(news[0].note.contains("restart") && news[1].note.contains("hostNetwork"), "{news:?}");
        assert_eq!(uninjected.news(&pods, meshed, Neighbour::None), []);
        let out = |name: &str| Some(Namespace { name: name.to_owned(), labels: BTreeMap::new() });
        assert_eq!(Uninjected::default().news(&pods, out, Neighbour::None), []);
    }
}
