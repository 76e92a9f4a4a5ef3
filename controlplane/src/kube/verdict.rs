//! What status says of one object, as a value: conditions, problems, proxies.
//!
//! Pure: no client, and the time is passed in.

use crate::status::ProblemLine;
use crate::world::ObjectStanding;
use serde_json::{Value, json};
use weft_config::{Code, ObjectVersion};

/// The status of one object, without what was there before.
pub(super) fn verdict(standing: &ObjectStanding, before: Option<&Value>, now: &str) -> Value {
    let generation = generation(standing);
    let errors: Vec<&ProblemLine> = standing.problems.iter().filter(|problem| problem.severity == "error").collect();
    let accepted = standing.version == Some(ObjectVersion::Current);
    let mut conditions = vec![accepted_condition(standing, &errors)];
    if let Some((image, digest)) = &standing.running {
        let unready = errors.iter().find(|problem| problem.field == "spec.image");
        conditions.push(match (digest, unready) {
            (Some(_), None) => condition("Resolved", "True", "Running", format!("{image} runs")),
            (_, Some(problem)) => condition("Resolved", "False", &problem.code, sentence(problem)),
            (None, None) => condition("Resolved", "Unknown", "Pending", format!("{image} is being fetched")),
        });
    }
    if standing.running.is_none() && standing.text.path.starts_with("Filter/") && accepted {
        let text = "nothing attaches it, so its image is not fetched".to_owned();
        conditions.push(condition("Resolved", "Unknown", "NotAttached", text));
    }
    let count = standing.count;
    if accepted && count.affected > 0 {
        let all = count.acknowledged == count.affected;
        let (word, reason) = if all { ("True", "Acknowledged") } else { ("False", "Pending") };
        let text = format!("{} of {} proxies run it", count.acknowledged, count.affected);
        conditions.push(condition("Programmed", word, reason, text));
    }
    for condition in &mut conditions {
        date(condition, before, generation, now);
    }
    let problems: Vec<Value> = standing.problems.iter().map(problem).collect();
    let mut status = json!({
        "observedGeneration": generation,
        "conditions": conditions,
        "problems": problems,
        "proxies": {
            "acknowledged": count.acknowledged,
            "affected": count.affected,
            "summary": format!("{}/{}", count.acknowledged, count.affected),
        },
    });
    if let Some((image, digest)) = &standing.running {
        status["image"] = json!(image);
        status["digest"] = json!(digest.map(|digest| digest.to_string()));
    }
    status
}

fn accepted_condition(standing: &ObjectStanding, errors: &[&ProblemLine]) -> Value {
    let reason = errors.first().map_or("Accepted", |problem| problem.code.as_str());
    let text = errors.iter().map(|problem| sentence(problem)).collect::<Vec<_>>().join("; ");
    let forbidden = errors.iter().find(|problem| problem.code == Code::NotAllowed.name());
    match (standing.version, forbidden) {
        // Somebody waits for a filter that will never run.
        (Some(ObjectVersion::Current), Some(problem)) => {
            condition("Accepted", "False", &problem.code, format!("{text}; the rest of it counts"))
        }
        (Some(ObjectVersion::Current), None) if errors.is_empty() => {
            let warnings = standing.problems.len();
            let text = if warnings == 0 { String::new() } else { format!("with {warnings} warning(s), see problems") };
            condition("Accepted", "True", "Accepted", text)
        }
        // It counts, and something else is wrong: a name that leads nowhere, a filter that is refused.
        (Some(ObjectVersion::Current), None) => condition("Accepted", "True", reason, text),
        (Some(ObjectVersion::LastGood), _) => {
            condition("Accepted", "False", reason, format!("{text}; an earlier version counts"))
        }
        (None, _) => condition("Accepted", "False", reason, format!("{text}; no version of it counts")),
    }
}

fn condition(kind: &str, status: &str, reason: &str, message: String) -> Value {
    let message: String = message.chars().take(MESSAGE_MAX).collect();
    json!({"type": kind, "status": status, "reason": reason, "message": message})
}

/// A condition's time is that of its last change of status.
fn date(condition: &mut Value, before: Option<&Value>, generation: i64, now: &str) {
    let known = before.and_then(|status| status["conditions"].as_array()).into_iter().flatten();
    let same = known.filter(|other| other["type"] == condition["type"] && other["status"] == condition["status"]);
    let since = same.filter_map(|other| other["lastTransitionTime"].as_str()).next().unwrap_or(now);
    condition["lastTransitionTime"] = json!(since);
    condition["observedGeneration"] = json!(generation);
}

fn problem(line: &ProblemLine) -> Value {
    json!({"code": line.code, "severity": line.severity, "field": line.field, "reason": line.reason, "remedy": line.remedy})
}

pub(super) fn sentence(line: &ProblemLine) -> String {
    let field = if line.field.is_empty() { String::new() } else { format!("{}: ", line.field) };
    format!("{field}{}; {}", line.reason, line.remedy)
}

fn generation(standing: &ObjectStanding) -> i64 {
    let text: Option<Value> = serde_json::from_slice(&standing.text.bytes).ok();
    text.and_then(|text| text["metadata"]["generation"].as_i64()).unwrap_or(0)
}

/// Kubernetes allows 32768.
const MESSAGE_MAX: usize = 4096;

#[cfg(test)]
mod tests;
