//! An object of the mesh that is about to be stored: what `weft check` says of it beside all that is there.
//!
//! What another object's arrival would cure is a warning here, because objects come in any order; status tells the
//! truth later. Everything else that is wrong is refused.

use super::review::{Asked, Verdict};
use super::{Desk, namespaces};
use crate::inject::selects;
use crate::kube::custom::{CUSTOM, Custom};
use crate::kube::trim;
use kube::api::DynamicObject;
use serde_json::Value;
use weft_config::Problem;

pub(super) async fn judge(desk: &Desk, asked: &Asked) -> Result<Verdict, String> {
    let (group, kind) = asked.kind();
    let Some(known) = CUSTOM.iter().find(|custom| custom.is(group, kind)) else { return Ok(Verdict::allowed()) };
    let object = asked.object();
    let going = object.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null());
    if !matches!(asked.operation(), "CREATE" | "UPDATE") || going || same(asked.old(), object) {
        return Ok(Verdict::allowed());
    }
    if known.counts() {
        checked(desk, known, object).await
    } else if known.is_refused() {
        unsupported(desk, asked, kind).await
    } else {
        Ok(Verdict::allowed())
    }
}

/// A write that changes nothing of what counts is never in the way: it may be the one that cures something else.
fn same(old: &Value, new: &Value) -> bool {
    let counts = |object: &Value| {
        let annotation = object.pointer("/metadata/annotations/weft.dev~1filters").cloned();
        let labels = object.pointer("/metadata/labels").cloned();
        (object.get("spec").cloned(), annotation, labels, object["apiVersion"].clone())
    };
    !old.is_null() && counts(old) == counts(new)
}

async fn checked(desk: &Desk, known: &Custom, object: &Value) -> Result<Verdict, String> {
    let version = object["apiVersion"].as_str().unwrap_or_default().to_owned();
    let read: DynamicObject =
        serde_json::from_value(object.clone()).map_err(|error| format!("the object cannot be read: {error}"))?;
    let file = trim::seen(known.kind, &version, &read).file;
    let world = desk.shared.cell.load_full();
    let problems = tokio::task::spawn_blocking(move || world.judge(&file)).await;
    let problems = problems.map_err(|error| format!("the check broke: {error}"))?;
    let (refusing, warning): (Vec<_>, Vec<_>) =
        problems.iter().partition(|problem| problem.is_error() && !problem.code.may_heal());
    let warnings = warning.into_iter().map(sentence).collect();
    if refusing.is_empty() {
        return Ok(Verdict::Allowed { patch: Vec::new(), warnings });
    }
    let reasons: Vec<String> = refusing.into_iter().map(sentence).collect();
    Ok(Verdict::Denied { reason: reasons.join("\n"), warnings })
}

/// `object: field: what; what to do`.
fn sentence(problem: &Problem) -> String {
    let place = if problem.field.is_empty() { String::new() } else { format!("{}: ", problem.field) };
    format!("{}: {place}{}; {}", problem.object, problem.reason, problem.remedy)
}

/// In the mesh a policy that is ignored is a hole; elsewhere it is another's business.
async fn unsupported(desk: &Desk, asked: &Asked, kind: &str) -> Result<Verdict, String> {
    let neighbour = **desk.neighbour.load();
    let name = asked.namespace();
    let everywhere = name == desk.shared.cell.load().mesh().root_namespace;
    if !everywhere && !selects(&namespaces::current(desk, name).await?, neighbour) {
        return Ok(Verdict::allowed());
    }
    let reason = format!(
        "{kind} is not supported by this version of Weft, and would have no effect in namespace {name}, which is in the mesh; leave it out (`weft.dev/filters`, Filters and PeerAuthentication say what Weft can do), or take the namespace out of the mesh"
    );
    Ok(Verdict::Denied { reason, warnings: Vec::new() })
}
