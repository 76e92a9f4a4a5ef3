//! What Weft's accounts asked of the API server, beside what they may ask.
//!
//! It reads the audit log of our own node; another cluster's is out of reach.

use crate::{get, own_node};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;

const ACCOUNTS: &str = "system:serviceaccount:weft-system:";

/// One request, or one right. `resource` has its subresource: `pods/status`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Access {
    pub verb: String,
    pub group: String,
    pub resource: String,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot = if self.group.is_empty() { "" } else { "." };
        write!(f, "{} {}{dot}{}", self.verb, self.resource, self.group)
    }
}

/// The requests so far; none where the node is not ours.
pub fn requests() -> Vec<Value> {
    let Some(node) = own_node() else { return Vec::new() };
    let log = std::fs::read_to_string(node.join("log/audit.json")).unwrap();
    log.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|event: &Value| event["user"]["username"].as_str().is_some_and(|user| user.starts_with(ACCOUNTS)))
        .collect()
}

pub fn was_forbidden(event: &Value) -> bool {
    event["annotations"]["authorization.k8s.io/decision"] == "forbid"
}

/// What a request asked; nothing for URLs that name no resource. An apply that made its object took a right more.
pub fn asked(event: &Value) -> Vec<Access> {
    let object = &event["objectRef"];
    let (Some(verb), Some(resource)) = (event["verb"].as_str(), object["resource"].as_str()) else { return Vec::new() };
    let subresource = object["subresource"].as_str().map(|name| format!("/{name}")).unwrap_or_default();
    let made = (verb == "patch" && event["responseStatus"]["code"] == 201).then_some("create");
    let access = |verb: &str| Access {
        verb: verb.to_owned(),
        group: object["apiGroup"].as_str().unwrap_or_default().to_owned(),
        resource: format!("{resource}{subresource}"),
    };
    [Some(verb), made].into_iter().flatten().map(access).collect()
}

/// Every verb on every resource that a binding gives to an account of Weft's.
pub fn rights() -> BTreeSet<Access> {
    let bindings = get(["clusterrolebindings,rolebindings", "-A"]);
    let roles: BTreeSet<(String, String)> = bindings["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|binding| binding["subjects"].as_array().into_iter().flatten().any(is_ours))
        .map(|binding| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let namespaced = binding["roleRef"]["kind"] == "Role";
            let namespace = if namespaced { text(&binding["metadata"]["namespace"]) } else { String::new() };
            (namespace, text(&binding["roleRef"]["name"]))
        })
        .collect();
    let rules = roles.iter().flat_map(|(namespace, name)| match namespace.as_str() {
        "" => rules(&get(["clusterrole", name])),
        namespace => rules(&get(["-n", namespace, "role", name])),
    });
    rules.collect()
}

fn is_ours(subject: &Value) -> bool {
    subject["kind"] == "ServiceAccount" && subject["namespace"] == "weft-system"
}

fn rules(role: &Value) -> Vec<Access> {
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let mut all = Vec::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        for group in strings(&rule["apiGroups"]) {
            for resource in strings(&rule["resources"]) {
                for verb in strings(&rule["verbs"]) {
                    all.push(Access { verb, group: group.clone(), resource: resource.clone() });
                }
            }
        }
    }
    all
}
