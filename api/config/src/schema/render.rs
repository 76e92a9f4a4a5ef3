//! A schema as OpenAPI in the structural form that CRDs need.
//!
//! Every object keeps fields that it does not name: what the API server prunes reaches neither status nor last good.

use super::{Schema, Shape};
use serde_json::{Map, Value, json};

const KEEP: &str = "x-kubernetes-preserve-unknown-fields";

impl Schema {
    pub fn to_json(&self) -> Value {
        let mut node = Map::new();
        if !self.about.is_empty() {
            node.insert("description".into(), self.about.into());
        }
        self.shape(&mut node);
        if !self.rules.is_empty() {
            let rule = |rule: &super::Rule| json!({"message": rule.message, "rule": rule.cel});
            node.insert("x-kubernetes-validations".into(), self.rules.iter().map(rule).collect());
        }
        Value::Object(node)
    }

    fn shape(&self, node: &mut Map<String, Value>) {
        let mut add = |entries: Value| match entries {
            Value::Object(entries) => node.extend(entries),
            _ => unreachable!("every shape is written as an object"),
        };
        match &self.shape {
            Shape::Object { fields, required, .. } => {
                let properties: Map<_, _> =
                    fields.iter().map(|(name, field)| ((*name).to_owned(), field.to_json())).collect();
                add(json!({"type": "object", KEEP: true, "properties": properties}));
                if !required.is_empty() {
                    add(json!({"required": required}));
                }
            }
            Shape::Map(_, values) => add(json!({"type": "object", "additionalProperties": values.to_json()})),
            Shape::List { items, items_max, keys } => {
                add(json!({"type": "array", "items": items.to_json()}));
                if let Some(most) = items_max {
                    add(json!({"maxItems": most}));
                }
                if !keys.is_empty() {
                    add(json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys}));
                }
            }
            Shape::Text { words, .. } if words.is_empty() => add(json!({"type": "string"})),
            Shape::Text { words, .. } => add(json!({"type": "string", "enum": words})),
            Shape::Integer { min, max } => {
                add(json!({"type": "integer", "format": "int32", "minimum": min, "maximum": max}));
            }
            Shape::Boolean => add(json!({"type": "boolean"})),
            Shape::Size(_) => add(json!({"x-kubernetes-int-or-string": true})),
            Shape::Free => add(json!({"type": "object", KEEP: true})),
            Shape::Any => add(json!({KEEP: true})),
        }
    }
}
