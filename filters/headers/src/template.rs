//! Values with holes, `%{NAME}`, that are filled from the exchange. It knows attributes only as slots.

/// Bytes of a part, more or less: room for most values at the first attempt.
const LIKELY_BYTES: usize = 32;

/// A value, cut at its holes.
pub(crate) struct Template<Attribute> {
    parts: Vec<Part<Attribute>>,
}

enum Part<Attribute> {
    Text(String),
    Hole(Hole<Attribute>),
}

struct Hole<Attribute> {
    attribute: Attribute,
    /// Stands in where the attribute is absent; without it there is no value at all.
    default: Option<String>,
    /// A decoded query parameter can hold what no header may.
    decoded: bool,
}

impl<Attribute: Copy> Template<Attribute> {
    /// The value; none where an attribute without a default is absent, and then the operation is left out.
    pub(crate) fn fill<'a>(&'a self, value: impl Fn(Attribute) -> Option<&'a str>) -> Option<String> {
        let mut filled = match self.parts.as_slice() {
            [Part::Text(text)] => return Some(text.clone()),
            [Part::Hole(hole)] if !hole.decoded => return Some(hole.fill(value)?.to_owned()),
            parts => String::with_capacity(LIKELY_BYTES * parts.len()),
        };
        let mut clean = true;
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Hole(hole) => {
                    filled.push_str(hole.fill(&value)?);
                    clean &= !hole.decoded;
                }
            }
        }
        Some(if clean { filled } else { visible(&filled) })
    }
}

impl<Attribute: Copy> Hole<Attribute> {
    fn fill<'a>(&'a self, value: impl Fn(Attribute) -> Option<&'a str>) -> Option<&'a str> {
        value(self.attribute).or(self.default.as_deref())
    }
}

impl<Attribute> Template<Attribute> {
    /// Reads `text`; `declare` gives the slot of an attribute.
    pub(crate) fn parse(text: &str, mut declare: impl FnMut(&str) -> Attribute) -> Result<Self, String> {
        if text.bytes().any(is_control) {
            return Err("holds a control character, which no header may".into());
        }
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text.trim_matches([' ', '\t']);
        while let Some((before, after)) = rest.split_once('%') {
            plain.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                plain.push('%');
                rest = after;
                continue;
            }
            let hole = after.strip_prefix('{').and_then(|after| after.split_once('}'));
            let (hole, after) = hole.ok_or("has a `%` that begins no `%{NAME}`; write `%%` for the sign itself")?;
            let (name, default) = match hole.split_once('?') {
                Some((name, default)) => (name, Some(default.to_owned())),
                None => (hole, None),
            };
            if name.is_empty() {
                return Err("has `%{}` without a name; write one such as `%{:path}`".into());
            }
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            let decoded = name.strip_prefix("req:").unwrap_or(name).starts_with("@query:");
            parts.push(Part::Hole(Hole { attribute: declare(&attribute_name(name)), default, decoded }));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() || parts.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }
}

/// Header names are written in any case and declared in lower case; parameters and cookies keep theirs.
fn attribute_name(name: &str) -> String {
    match name.contains('@') {
        true => name.to_owned(),
        false => name.to_ascii_lowercase(),
    }
}

/// Without control characters, and without blanks at the ends.
fn visible(text: &str) -> String {
    let kept: String = text.chars().filter(|letter| !letter.is_ascii() || !is_control(*letter as u8)).collect();
    kept.trim_matches([' ', '\t']).to_owned()
}

fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}
