//! YAML text as trees in which every node knows its line and column.
//!
//! It does not know what the nodes mean. The only file, with its `fault`, that sees the YAML parser.

mod fault;
mod json;
mod node;
mod write;

pub use json::{YamlFault, from_yaml};

use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput, options};
use std::collections::HashMap;
use std::hash::{Hash, Hasher};

pub use write::{to_yaml, to_yaml_documents};

/// Where something is written: line and column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// A moved object is the same object: positions count in no hash.
impl Hash for Position {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Position {
    pub(crate) const START: Self = Self { line: 1, column: 1 };

    fn of(marker: &Marker) -> Self {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self { line: number(marker.line()).max(1), column: number(marker.col()).saturating_add(1) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    /// Without quotes: may stand for a number, a boolean or a text.
    Plain(String),
    /// In quotes, a block, or tagged `!!str`: a text and nothing else.
    Quoted(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Position,
    pub(crate) node: Node,
}

/// What keeps a document from being read as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: Position,
    pub(crate) kind: FaultKind,
    pub(crate) reason: String,
    pub(crate) remedy: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// Parsing stopped; the tree holds what came before.
    Syntax,
    DuplicateKey,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) root: Node,
    pub(crate) faults: Vec<Fault>,
}

/// Nodes of one file, those counted that aliases stand for: a guard against aliases of aliases of aliases.
const NODES_MAX: usize = 1_000_000;

/// Collections inside each other, those counted that aliases stand for: readers of a tree recurse.
const DEPTH_MAX: usize = 512;

/// All documents of a text, empty ones left out. A broken one does not hide those after the next `---`.
pub(crate) fn documents(text: &str) -> Vec<Document> {
    let options = options! { emit_comments: false };
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder::default();
    let mut documents = Vec::new();
    loop {
        match parser.next_event() {
            None | Some(Ok((Event::StreamEnd, _))) => break,
            Some(Ok((Event::DocumentEnd, _))) => documents.extend(builder.finish()),
            Some(Ok((event, span))) => {
                if let Err(fault) = builder.accept(event, &span) {
                    builder.faults.push(fault);
                    documents.extend(builder.finish());
                    if !resume(&mut parser, &mut builder, &mut documents) {
                        break;
                    }
                }
            }
            Some(Err(error)) => {
                builder.fail(&error, text);
                documents.extend(builder.finish());
                if !resume(&mut parser, &mut builder, &mut documents) {
                    break;
                }
            }
        }
    }
    documents.extend(builder.finish());
    documents
}

/// Skips to the next document; false at the end of the text.
fn resume<'a>(parser: &mut Parser<'a, StrInput<'a>>, builder: &mut Builder, documents: &mut Vec<Document>) -> bool {
    match parser.proceed_next_document() {
        Ok(more) => more,
        Err(error) => {
            builder.fail(&error, "");
            documents.extend(builder.finish());
            false
        }
    }
}

/// A collection that is not closed yet.
struct Open {
    at: Position,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    /// The key whose value is still to come.
    Map {
        entries: Vec<Entry>,
        key: Option<(String, Position)>,
    },
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    faults: Vec<Fault>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl Builder {
    fn accept(&mut self, event: Event<'_>, span: &Span) -> Result<(), Fault> {
        let at = Position::of(&span.start);
        if let Some(tag) = event.tag()
            && !tag.is_yaml_core_schema()
        {
            return Err(syntax(at, format!("the tag {} means nothing here", tag.original()), "remove the tag"));
        }
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let quoted = style != ScalarStyle::Plain || tag.is_some_and(|t| t.is_yaml_core_schema_tag("str"));
                let value = match &*text {
                    _ if quoted => Value::Quoted(text.into_owned()),
                    "" | "~" | "null" | "Null" | "NULL" => Value::Null,
                    _ => Value::Plain(text.into_owned()),
                };
                self.place(Node { at, value }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.open(at, anchor, Content::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => self.open(at, anchor, Content::Map { entries: Vec::new(), key: None }),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(node) => {
                    let (size, depth) = extent(node);
                    let value = node.value.clone();
                    self.nodes += size;
                    self.bounded(at)?;
                    if self.open.len() + depth > DEPTH_MAX {
                        let reason = format!("more than {DEPTH_MAX} collections inside each other, by aliases");
                        return Err(syntax(at, reason, "write it flatter"));
                    }
                    self.place(Node { at, value }, 0)
                }
                None => Err(syntax(at, "this alias lies inside the node that it names".into(), "write the value out")),
            },
            _ => Ok(()),
        }
    }

    fn bounded(&self, at: Position) -> Result<(), Fault> {
        if self.nodes <= NODES_MAX {
            return Ok(());
        }
        let reason = format!("more than {NODES_MAX} values, those counted that aliases stand for");
        Err(syntax(at, reason, "split the file, and write aliases out"))
    }

    fn open(&mut self, at: Position, anchor: usize, content: Content) -> Result<(), Fault> {
        if let Some(Open { content: Content::Map { key: None, .. }, .. }) = self.open.last() {
            return Err(syntax(
                at,
                "a mapping or list as a key".into(),
                "use a text as the key; quote a text that starts with { or [",
            ));
        }
        self.open.push(Open { at, anchor, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        let Some(Open { at, anchor, content }) = self.open.pop() else { return Ok(()) };
        let value = match content {
            Content::List(nodes) => Value::List(nodes),
            Content::Map { entries, .. } => Value::Map(self.merged(entries)),
        };
        self.place(Node { at, value }, anchor)
    }

    /// Puts a whole node into what is open around it.
    fn place(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        self.nodes += 1;
        self.bounded(node.at)?;
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(nodes)) => nodes.push(node),
            Some(Content::Map { entries, key }) => match (key.take(), node.value) {
                (Some((key, at)), value) => entries.push(Entry { key, at, node: Node { at: node.at, value } }),
                (None, Value::Plain(text) | Value::Quoted(text)) => *key = Some((text, node.at)),
                (None, Value::Null) => *key = Some((String::new(), node.at)),
                (None, Value::List(_) | Value::Map(_)) => {
                    let reason = "a mapping or list as a key".into();
                    return Err(syntax(node.at, reason, "use a text as the key"));
                }
            },
        }
        Ok(())
    }

    /// Reports keys that occur twice, and resolves `<<`: what stands in the mapping itself beats what is merged.
    fn merged(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        let mut own: Vec<Entry> = Vec::with_capacity(entries.len());
        let mut seen: HashMap<String, Position> = HashMap::with_capacity(entries.len());
        let mut merges = Vec::new();
        for entry in entries {
            if entry.key == "<<" {
                merges.push(entry.node);
            } else if let Some(first) = seen.get(&entry.key) {
                let reason = format!("the key {:?} occurs twice, first in line {}", entry.key, first.line);
                let remedy = "remove one of the two".to_owned();
                self.faults.push(Fault { at: entry.at, kind: FaultKind::DuplicateKey, reason, remedy });
            } else {
                seen.insert(entry.key.clone(), entry.at);
                own.push(entry);
            }
        }
        for node in merges {
            let at = node.at;
            let sources = match node.value {
                Value::List(nodes) => nodes,
                value => vec![Node { at, value }],
            };
            for source in sources {
                let Value::Map(entries) = source.value else {
                    let reason = "<< merges mappings, and this is none".into();
                    self.faults.push(syntax(source.at, reason, "name a mapping, as in `<<: *base`"));
                    continue;
                };
                for entry in entries {
                    if !seen.contains_key(&entry.key) {
                        seen.insert(entry.key.clone(), entry.at);
                        own.push(entry);
                    }
                }
            }
        }
        own
    }

    fn fail(&mut self, error: &ScanError, text: &str) {
        let (reason, remedy) = fault::explain(error.kind());
        let mut at = Position::of(error.marker());
        // The parser names the token before the tab, which may lie lines above.
        if fault::is_tab(error.kind())
            && let Some(tab) = fault::indenting_tab(text, at.line)
        {
            at = tab;
        }
        self.faults.push(Fault { at, kind: FaultKind::Syntax, reason, remedy: remedy.to_owned() });
    }

    /// The document so far, open collections closed; the builder is as new.
    fn finish(&mut self) -> Option<Document> {
        let mut faults = std::mem::take(&mut self.faults);
        let broken = faults.iter().any(|fault| fault.kind == FaultKind::Syntax);
        while broken && !self.open.is_empty() {
            // A fault of this late closing would repeat the one that is already there.
            if self.close().is_err() {
                break;
            }
        }
        faults.append(&mut self.faults);
        self.open.clear();
        self.anchors.clear();
        let at = faults.first().map_or(Position::START, |fault| fault.at);
        let root = self.root.take().unwrap_or(Node { at, value: Value::Null });
        let empty = root.value == Value::Null && faults.is_empty();
        (!empty).then_some(Document { root, faults })
    }
}

fn syntax(at: Position, reason: String, remedy: &str) -> Fault {
    Fault { at, kind: FaultKind::Syntax, reason, remedy: remedy.to_owned() }
}

/// How many nodes there are, and how many lie inside each other.
fn extent(node: &Node) -> (usize, usize) {
    let nested = |nodes: &mut dyn Iterator<Item = &Node>| {
        nodes.map(extent).fold((1, 0), |(size, depth), (own, below)| (size + own, depth.max(below)))
    };
    let (size, below) = match &node.value {
        Value::List(nodes) => nested(&mut nodes.iter()),
        Value::Map(entries) => nested(&mut entries.iter().map(|entry| &entry.node)),
        _ => (1, 0),
    };
    (size, below + 1)
}

#[cfg(test)]
mod tests;
