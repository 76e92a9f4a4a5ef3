//! What each kind's spec may hold, as the CRDs say it: the twin of the readers under `kind`.
//!
//! A schema takes whatever the reader knows, what Weft does not support included, and keeps what nobody knows: a field
//! that the API server dropped could never be reported. It does not know CRDs, versions or status. [`asked`] is what
//! holds it to the readers: a test compares the two both ways.

mod destination_rule;
mod example;
mod filter;
mod mesh;
mod peer_authentication;
mod render;
mod service_entry;
mod virtual_service;

pub use crate::fields::Asked;
pub use crate::parse::asked;
pub use example::{Example, Outcome};

/// One node of a spec.
#[derive(Clone, Debug)]
pub struct Schema {
    about: &'static str,
    shape: Shape,
    rules: Vec<Rule>,
    support: Support,
}

#[derive(Clone, Debug)]
enum Shape {
    Object {
        fields: Vec<(&'static str, Schema)>,
        required: Vec<&'static str>,
        /// Not required, and yet in every example.
        exemplary: Vec<&'static str>,
    },
    /// Keys of the user's own, such as this one.
    Map(&'static str, Box<Schema>),
    List {
        items: Box<Schema>,
        items_max: Option<u32>,
        keys: &'static [&'static str],
    },
    Text {
        words: Vec<&'static str>,
        example: &'static str,
    },
    Integer {
        min: i64,
        max: i64,
    },
    Boolean,
    /// A size such as `16Mi`, or a number of bytes.
    Size(&'static str),
    /// A mapping that is passed on as it is.
    Free,
    /// Anything: what Weft does not read.
    Any,
}

/// What the reader says of a field that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Support {
    Read,
    /// An error: `NotSupported`.
    Unsupported,
    /// A warning: `NoEffect`.
    WithoutEffect,
    /// An error here and at the API server.
    Refused,
}

/// What a shape alone cannot say.
#[derive(Clone, Copy, Debug)]
struct Rule {
    cel: &'static str,
    message: &'static str,
}

/// The spec of a kind that Weft reads; `None` for another. Whether it may be left out is [`spec_is_required`].
pub fn spec(kind: &str) -> Option<Schema> {
    Some(match kind {
        "VirtualService" => virtual_service::spec(),
        "DestinationRule" => destination_rule::spec(),
        "ServiceEntry" => service_entry::spec(),
        "WorkloadEntry" => service_entry::workload_entry(),
        "PeerAuthentication" => peer_authentication::spec(),
        "Filter" => filter::spec(),
        "Mesh" => mesh::spec(),
        _ => return None,
    })
}

pub fn spec_is_required(kind: &str) -> bool {
    !matches!(kind, "PeerAuthentication" | "Mesh")
}

impl Schema {
    fn new(about: &'static str, shape: Shape) -> Self {
        Self { about, shape, rules: Vec::new(), support: Support::Read }
    }

    /// Adds a field to an object.
    fn with(mut self, name: &'static str, field: Schema) -> Self {
        if let Shape::Object { fields, .. } = &mut self.shape {
            fields.push((name, field));
        }
        self
    }

    /// A field without which the API server refuses the object, as it does where the CRDs are Istio's.
    fn requires(mut self, name: &'static str, field: Schema) -> Self {
        if let Shape::Object { required, .. } = &mut self.shape {
            required.push(name);
        }
        self.with(name, field)
    }

    /// A field without which the others of its examples would contradict each other.
    fn mostly_with(mut self, name: &'static str, field: Schema) -> Self {
        if let Shape::Object { exemplary, .. } = &mut self.shape {
            exemplary.push(name);
        }
        self.with(name, field)
    }

    /// Fields that Istio has and Weft refuses by name.
    fn unsupported(mut self, names: &[&'static str]) -> Self {
        for name in names {
            self = self.lacks(name, "Istio has it; not supported by this version of Weft, and reported.");
        }
        self
    }

    /// One field that Weft refuses by name.
    fn lacks(self, name: &'static str, about: &'static str) -> Self {
        self.with(name, Self { support: Support::Unsupported, ..Self::new(about, Shape::Any) })
    }

    fn without_effect(self, name: &'static str) -> Self {
        let field = Self::new("Istio has it; changes nothing in this version of Weft, and is reported.", Shape::Any);
        self.with(name, Self { support: Support::WithoutEffect, ..field })
    }

    /// All fields of another object.
    fn with_all(mut self, other: Schema) -> Self {
        if let (Shape::Object { fields, .. }, Shape::Object { fields: more, .. }) = (&mut self.shape, other.shape) {
            fields.extend(more);
        }
        self
    }

    /// A rule in CEL, `self` being this node.
    fn rule(mut self, cel: &'static str, message: &'static str) -> Self {
        self.rules.push(Rule { cel, message });
        self
    }

    fn items_max(mut self, most: u32) -> Self {
        if let Shape::List { items_max, .. } = &mut self.shape {
            *items_max = Some(most);
        }
        self
    }

    /// The fields that tell the entries of a list apart.
    fn keyed_by(mut self, names: &'static [&'static str]) -> Self {
        if let Shape::List { keys, .. } = &mut self.shape {
            *keys = names;
        }
        self
    }

    /// A field that is known only so that it can be refused with a reason; `cel` refuses it.
    fn refused(self, name: &'static str, field: Schema, cel: &'static str, message: &'static str) -> Self {
        self.with(name, Self { support: Support::Refused, ..field }).rule(cel, message)
    }

    fn example(mut self, other: &'static str) -> Self {
        if let Shape::Text { example, .. } = &mut self.shape {
            *example = other;
        }
        self
    }

    fn about(self, about: &'static str) -> Self {
        Self { about, ..self }
    }
}

fn object(about: &'static str) -> Schema {
    Schema::new(about, Shape::Object { fields: Vec::new(), required: Vec::new(), exemplary: Vec::new() })
}

fn list(about: &'static str, items: Schema) -> Schema {
    Schema::new(about, Shape::List { items: Box::new(items), items_max: None, keys: &[] })
}

fn map(about: &'static str, example: &'static str, values: Schema) -> Schema {
    Schema::new(about, Shape::Map(example, Box::new(values)))
}

fn text(about: &'static str, example: &'static str) -> Schema {
    Schema::new(about, Shape::Text { words: Vec::new(), example })
}

fn texts(about: &'static str, example: &'static str) -> Schema {
    list(about, text("", example))
}

/// Labels and their like: texts by keys of the user's own.
fn text_map(about: &'static str, key: &'static str, value: &'static str) -> Schema {
    map(about, key, text("", value))
}

fn words(about: &'static str, words: &[&'static str]) -> Schema {
    Schema::new(about, Shape::Text { words: words.to_vec(), example: words[0] })
}

fn integer(about: &'static str, min: i64, max: i64) -> Schema {
    Schema::new(about, Shape::Integer { min, max })
}

/// From 0 to 2^31 - 1.
fn count(about: &'static str) -> Schema {
    integer(about, 0, i64::from(i32::MAX))
}

fn port(about: &'static str) -> Schema {
    integer(about, 1, 65535)
}

fn boolean(about: &'static str) -> Schema {
    Schema::new(about, Shape::Boolean)
}

/// Istio's form: `2ms`, `1.5s`, `1h30m`.
fn duration(about: &'static str) -> Schema {
    text(about, "2s").rule("duration(self) >= duration('0s')", "write a number and a unit, such as 2ms, 1.5s or 1h30m")
}

/// Which DestinationRules, VirtualServices and ServiceEntries say it the same way.
fn export_to() -> Schema {
    texts("Namespaces whose callers see it: * for all (the default), . for its own, or a name.", ".")
}

fn selector(about: &'static str, labels: &'static str) -> Schema {
    object(about).with(labels, text_map("Labels that all must be there, with these values.", "app", "reviews"))
}

#[cfg(test)]
mod tests;
