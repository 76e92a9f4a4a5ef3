//! A pod that is about to be made: its sidecar as a patch, or why it may not be.

use super::review::{Asked, Verdict};
use super::{Desk, namespaces};
use crate::inject::{Decision, Namespace, Neighbour, Outcome, Settings, Subject, decide, inject};
use serde_json::Value;

/// An error is no verdict: the API server then goes by the failure policy, and whoever makes the pod tries again.
pub(super) async fn judge(desk: &Desk, asked: &Asked) -> Result<Verdict, String> {
    if asked.kind() != ("", "Pod") || asked.operation() != "CREATE" {
        return Ok(Verdict::allowed());
    }
    let neighbour = **desk.neighbour.load();
    let pod = asked.object();
    let namespace = namespace(desk, asked.namespace(), pod, neighbour).await?;
    let trust_domain = desk.shared.cell.load().mesh().trust_domain.clone();
    let settings = Settings { neighbour, trust_domain, ..desk.settings.clone() };
    let subject = Subject { pod, namespace: &namespace, workload: None };
    let verdict = match inject(subject, &settings) {
        Outcome::Injected(injected) => {
            tracing::debug!(namespace = namespace.name, pod = name(pod), "injected");
            Verdict::Allowed { patch: patch(pod, &injected.pod), warnings: injected.not_supported }
        }
        Outcome::Skipped(skip) => {
            tracing::info!(namespace = namespace.name, pod = name(pod), %skip, "not injected");
            Verdict::allowed()
        }
        Outcome::Refused(refused) => {
            tracing::warn!(namespace = namespace.name, pod = name(pod), %refused, "refused");
            Verdict::Denied { reason: refused.to_string(), warnings: Vec::new() }
        }
    };
    Ok(verdict)
}

async fn namespace(desk: &Desk, name: &str, pod: &Value, neighbour: Neighbour) -> Result<Namespace, String> {
    let watched = namespaces::watched(desk, name);
    match watched.filter(|namespace| decide(pod, namespace, neighbour) == Decision::Inject) {
        Some(namespace) => Ok(namespace),
        None => namespaces::current(desk, name).await,
    }
}

fn patch(before: &Value, after: &Value) -> Vec<Value> {
    let patch = json_patch::diff(before, after);
    patch.0.iter().filter_map(|step| serde_json::to_value(step).ok()).collect()
}

fn name(pod: &Value) -> &str {
    let metadata = &pod["metadata"];
    metadata["name"].as_str().or_else(|| metadata["generateName"].as_str()).unwrap_or_default()
}
