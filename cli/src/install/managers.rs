//! Who else holds a part of an object, where the API server refuses what an apply would make of it.
//!
//! A server-side apply changes what is ours and leaves what others hold: where both together are wrong, the API server names
//! the field and not the other. Pure: objects as JSON in, sentences out.

use serde_json::Value;

/// Of each manager but `own`, what it holds beside the field that is refused: `helm holds spec.replicas`. `field` is written
/// as the API server writes it, `spec.template.spec.volumes[1].persistentVolumeClaim`; `object` is as it was before.
pub(super) fn beside(object: &Value, field: &str, own: &str) -> Vec<String> {
    let steps = steps(field);
    let Some((refused, around)) = steps.split_last() else { return Vec::new() };
    let place = field.strip_suffix(refused.text()).unwrap_or_default();
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let mut said = Vec::new();
    for entry in entries {
        let Some(manager) = entry["manager"].as_str().filter(|manager| *manager != own) else { continue };
        let Some(held) = at(&entry["fieldsV1"], object, around) else { continue };
        let fields = held.keys().filter_map(|key| key.strip_prefix("f:")).filter(|name| !IDENTITY.contains(name));
        said.extend(fields.map(|name| format!("{manager} holds {place}{name}")));
    }
    said.sort();
    said.dedup();
    said
}

/// What to do, for a person who reads [`beside`].
pub(super) fn remedy(object: &str) -> String {
    format!("change these with the tool that wrote them, or delete {object} and run this again")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step<'a> {
    Field(&'a str),
    /// Of a list.
    Item(usize),
}

impl<'a> Step<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::Field(name) => name,
            Self::Item(_) => "",
        }
    }
}

fn steps(field: &str) -> Vec<Step<'_>> {
    let step = |text| {
        let field = Some(Step::Field(text)).filter(|_| !str::is_empty(text));
        text.parse().map_or(field, |index| Some(Step::Item(index)))
    };
    field.split(['.', '[', ']']).filter_map(step).collect()
}

/// The part of a manager's fields at this place.
fn at<'a>(fields: &'a Value, object: &Value, steps: &[Step<'_>]) -> Option<&'a serde_json::Map<String, Value>> {
    let (mut fields, mut value) = (fields, object);
    for step in steps {
        match step {
            Step::Field(name) => {
                fields = fields.get(format!("f:{name}"))?;
                value = &value[name];
            }
            Step::Item(index) => {
                value = &value[index];
                let items = fields.as_object()?.iter();
                fields = items.filter(|(key, _)| names(key, value)).map(|(_, held)| held).next()?;
            }
        }
    }
    fields.as_object()
}

/// Whether `k:{"name":"state"}` is the key of this item.
fn names(key: &str, item: &Value) -> bool {
    let key = key.strip_prefix("k:").and_then(|key| serde_json::from_str::<Value>(key).ok());
    let key = key.as_ref().and_then(Value::as_object);
    key.is_some_and(|key| key.iter().all(|(name, value)| item[name] == *value))
}

/// By which items are told apart.
const IDENTITY: &[&str] = &["name"];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn others_are_named_with_what_they_hold_there() {
        let state = r#"k:{"name":"state"}"#;
        let volumes = |held: Value| json!({"f:spec": {"f:template": {"f:spec": {"f:volumes": {state: held}}}}});
        let object = json!({
            "metadata": {"managedFields": [
                {"manager": "weft-install", "fieldsV1": volumes(json!({".": {}, "f:name": {}, "f:emptyDir": {}}))},
                {"manager": "helm", "fieldsV1": volumes(json!({".": {}, "f:name": {}, "f:emptyDir": {}}))},
                {"manager": "scaler", "fieldsV1": {"f:spec": {"f:replicas": {}, "f:paused": {}}}},
            ]},
            "spec": {"template": {"spec": {"volumes": [{"name": "tmp"}, {"name": "state"}]}}},
        });
        let cases: [(&str, &[&str]); 5] = [
            (
                "spec.template.spec.volumes[1].persistentVolumeClaim",
                &["helm holds spec.template.spec.volumes[1].emptyDir"],
            ),
            ("spec.template.spec.volumes[0].persistentVolumeClaim", &[]),
            ("spec.replicas", &["helm holds spec.template", "scaler holds spec.paused", "scaler holds spec.replicas"]),
            ("metadata.labels", &[]),
            ("", &[]),
        ];
        for (field, want) in cases {
            assert_eq!(beside(&object, field, "weft-install"), want, "{field}");
        }
    }
}
