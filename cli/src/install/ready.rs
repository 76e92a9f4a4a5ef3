//! Waiting until what was applied works, with progress, and with the reason where it does not.

use super::choice::Choice;
use super::cluster::{Cluster, Reference};
use super::objects::{NAME, NAMESPACE};
use crate::output::progress;
use anyhow::{Result, bail};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// How often it looks.
const AGAIN: Duration = Duration::from_millis(500);

/// Until the API server serves these kinds.
pub(super) async fn established(cluster: &Cluster, crds: &[Value], within: Duration) -> Result<()> {
    let until = Instant::now() + within;
    for crd in crds {
        let reference = Reference::of(crd);
        loop {
            let conditions = cluster.get(&reference).await?.unwrap_or_default()["status"]["conditions"].clone();
            if condition(&conditions, "Established") == Some("True") {
                break;
            }
            if Instant::now() > until {
                bail!("{reference} is not served after {within:?}: {conditions}");
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
    Ok(())
}

/// Until these are away; what is being deleted takes nothing new.
pub(super) async fn gone(cluster: &Cluster, references: &[Reference], within: Duration) -> Result<()> {
    let until = Instant::now() + within;
    for reference in references {
        let mut said = false;
        while cluster.get(reference).await?.is_some_and(|object| object["metadata"]["deletionTimestamp"].is_string()) {
            if !said {
                progress(format!("{reference} is being deleted: waiting"));
                said = true;
            }
            if Instant::now() > until {
                bail!(
                    "{reference} is still being deleted after {within:?}: see its status.conditions for what it waits for"
                );
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
    Ok(())
}

/// Until no replica runs: each ends in order, with the rights that it has until then.
pub(super) async fn ended(cluster: &Cluster, within: Duration) -> Result<()> {
    let until = Instant::now() + within;
    let mut said = 0;
    loop {
        let left = replicas(cluster).await?.len();
        if left == 0 {
            return Ok(());
        }
        if left != said {
            progress(format!("control plane: {left} replicas are ending"));
            said = left;
        }
        if Instant::now() > until {
            bail!("{left} replicas still run after {within:?}: see kubectl -n {NAMESPACE} get pods, then run it again");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The control plane's pods.
async fn replicas(cluster: &Cluster) -> Result<Vec<Value>> {
    let labels = format!("app.kubernetes.io/name={NAME}");
    cluster.list(&Reference::new("v1", "Pod", Some(NAMESPACE), ""), &labels, "").await
}

/// Until every replica is of this version and ready, and those before have ended: till then they may be asked about pods.
pub(super) async fn control_plane(cluster: &Cluster, choice: &Choice, within: Duration) -> Result<()> {
    let until = Instant::now() + within;
    let reference = Reference::new("apps/v1", "Deployment", Some(NAMESPACE), NAME);
    let mut said = String::new();
    loop {
        let deployment = cluster.get(&reference).await?.unwrap_or_default();
        let rollout = Rollout::of(&deployment);
        let pods = replicas(cluster).await?;
        let ending = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_string()).count();
        let hindrance = if rollout.is_done() { None } else { pods.iter().find_map(reason) };
        let ready = format!("control plane: {} of {} replicas ready", rollout.ready, choice.replicas);
        let now = match &hindrance {
            Some(why) => format!("{ready}; {why}"),
            None if ending > 0 => format!("{ready}, {ending} of before ending"),
            None => ready,
        };
        if now != said {
            progress(&now);
            said = now;
        }
        if rollout.is_done() && ending == 0 {
            return Ok(());
        }
        if Instant::now() > until {
            let why = hindrance.unwrap_or(said);
            bail!(
                "the control plane is not ready after {within:?}: {why}; see kubectl -n {NAMESPACE} describe pods, then run it again"
            );
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// How far a Deployment is.
#[derive(Debug, PartialEq, Eq)]
struct Rollout {
    wanted: u64,
    total: u64,
    updated: u64,
    ready: u64,
    observed: bool,
}

impl Rollout {
    fn of(deployment: &Value) -> Self {
        let (spec, status) = (&deployment["spec"], &deployment["status"]);
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        Self {
            wanted: number(&spec["replicas"]),
            total: number(&status["replicas"]),
            updated: number(&status["updatedReplicas"]),
            ready: number(&status["readyReplicas"]).min(number(&status["updatedReplicas"])),
            observed: status["observedGeneration"] == deployment["metadata"]["generation"],
        }
    }

    /// Old replicas are gone, new ones ready.
    fn is_done(&self) -> bool {
        self.observed && self.wanted > 0 && [self.total, self.updated, self.ready] == [self.wanted; 3]
    }
}

/// What keeps a pod from being ready, in its own words.
fn reason(pod: &Value) -> Option<String> {
    let name = pod["metadata"]["name"].as_str()?;
    let status = &pod["status"];
    let entries = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for container in entries(&status["containerStatuses"]) {
        let waiting = &container["state"]["waiting"];
        let Some(reason) = waiting["reason"].as_str().filter(|reason| *reason != "ContainerCreating") else { continue };
        let last = container["lastState"]["terminated"]["message"].as_str();
        let message = last.or(waiting["message"].as_str()).unwrap_or_default().trim();
        let message = message.lines().last().unwrap_or_default();
        return Some(format!("pod {name}: {reason}: {message}"));
    }
    for condition in entries(&status["conditions"]) {
        if condition["type"] == "PodScheduled" && condition["status"] == "False" {
            return Some(format!("pod {name}: {}", condition["message"].as_str().unwrap_or("not scheduled")));
        }
    }
    None
}

/// Until the control plane has put its certificate into each: without one the API server refuses what they match.
pub(super) async fn webhooks(cluster: &Cluster, webhooks: &[Value], within: Duration) -> Result<()> {
    let until = Instant::now() + within;
    for webhook in webhooks {
        let reference = Reference::of(webhook);
        loop {
            let now = cluster.get(&reference).await?.unwrap_or_default();
            let all = now["webhooks"].as_array().cloned().unwrap_or_default();
            if !all.is_empty() && all.iter().all(|one| one["clientConfig"]["caBundle"].is_string()) {
                break;
            }
            if Instant::now() > until {
                bail!(
                    "{reference} has no certificate after {within:?}: see kubectl -n {NAMESPACE} logs deployment/{NAME}"
                );
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
    if !webhooks.is_empty() {
        progress("webhooks: served");
    }
    Ok(())
}

fn condition<'a>(conditions: &'a Value, kind: &str) -> Option<&'a str> {
    conditions.as_array()?.iter().find(|condition| condition["type"] == kind)?["status"].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rollout_is_done_when_only_new_replicas_serve() {
        let cases = [
            ("nothing yet", json!({}), false),
            ("done", json!({"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "observedGeneration": 3}), true),
            (
                "old seen",
                json!({"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "observedGeneration": 2}),
                false,
            ),
            (
                "old one left",
                json!({"replicas": 3, "updatedReplicas": 2, "readyReplicas": 3, "observedGeneration": 3}),
                false,
            ),
            (
                "new not ready",
                json!({"replicas": 2, "updatedReplicas": 2, "readyReplicas": 1, "observedGeneration": 3}),
                false,
            ),
        ];
        for (name, status, want) in cases {
            let deployment = json!({"metadata": {"generation": 3}, "spec": {"replicas": 2}, "status": status});
            assert_eq!(Rollout::of(&deployment).is_done(), want, "{name}");
        }
    }

    #[test]
    fn reasons_are_the_pods_own() {
        let waiting =
            json!({"state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}});
        let crashed = json!({
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
            "lastState": {"terminated": {"message": "starting\nerror: no Secret weft-ca\n"}},
        });
        let creating = json!({"state": {"waiting": {"reason": "ContainerCreating"}}});
        let unscheduled = json!([{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]);
        let cases = [
            (json!({"containerStatuses": [waiting]}), Some("pod a: ImagePullBackOff: Back-off pulling image")),
            (json!({"containerStatuses": [crashed]}), Some("pod a: CrashLoopBackOff: error: no Secret weft-ca")),
            (json!({"containerStatuses": [creating]}), None),
            (json!({"conditions": unscheduled}), Some("pod a: 0/1 nodes are available")),
        ];
        for (status, want) in cases {
            let pod = json!({"metadata": {"name": "a"}, "status": status});
            assert_eq!(reason(&pod).as_deref(), want, "{pod}");
        }
    }
}
