//! Looking into a tree, and changing one, without a reader.

use super::{Entry, Node, Position, Value};

impl Node {
    /// The value of a key, where it is there and not null.
    pub(crate) fn entry(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node).filter(|node| node.value != Value::Null)
    }

    pub(crate) fn entry_mut(&mut self, key: &str) -> Option<&mut Self> {
        let Value::Map(entries) = &mut self.value else { return None };
        entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.node)
    }

    /// Replaces the value of a key, or adds it; only a mapping has keys.
    pub(crate) fn insert(&mut self, key: &str, node: Self) {
        let Value::Map(entries) = &mut self.value else { return };
        entries.retain(|entry| entry.key != key);
        entries.push(Entry { key: key.to_owned(), at: node.at, node });
    }

    pub(crate) fn list(&self) -> Option<&[Self]> {
        let Value::List(nodes) = &self.value else { return None };
        Some(nodes)
    }

    pub(crate) fn list_mut(&mut self) -> Option<&mut Vec<Self>> {
        let Value::List(nodes) = &mut self.value else { return None };
        Some(nodes)
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Plain(text) | Value::Quoted(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn is_text(&self, text: &str) -> bool {
        self.text() == Some(text)
    }

    /// A tree that was written inside a text: all of it is where the text is.
    pub(crate) fn moved_to(&mut self, at: Position) {
        self.at = at;
        match &mut self.value {
            Value::List(nodes) => nodes.iter_mut().for_each(|node| node.moved_to(at)),
            Value::Map(entries) => entries.iter_mut().for_each(|entry| {
                entry.at = at;
                entry.node.moved_to(at);
            }),
            _ => {}
        }
    }
}
