//! Values with holes, `%{NAME}`, that are filled from the exchange. It knows attributes only as slots.

/// A value, cut at its holes.
pub(crate) struct Template<Attribute> {
    parts: Vec<Part<Attribute>>,
}

enum Part<Attribute> {
    Text(String),
    /// The attribute, or else the text after `?`, or else no value at all.
    Hole(Attribute, Option<String>),
}

impl<Attribute: Copy> Template<Attribute> {
    /// The value; none where an attribute without a default is absent, and then the operation is left out.
    pub(crate) fn fill<'a>(&self, value: impl Fn(Attribute) -> Option<&'a str>) -> Option<String> {
        if let [Part::Text(text)] = self.parts.as_slice() {
            return Some(text.clone());
        }
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Hole(attribute, default) => match value(*attribute).or(default.as_deref()) {
                    Some(value) => push_visible(&mut filled, value),
                    None => return None,
                },
            }
        }
        let trimmed = filled.trim_matches([' ', '\t']);
        match trimmed.len() == filled.len() {
            true => Some(filled),
            false => Some(trimmed.to_owned()),
        }
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
            parts.push(Part::Hole(declare(&attribute_name(name)), default));
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

/// A decoded query parameter can hold what a header must not.
fn push_visible(filled: &mut String, value: &str) {
    match value.bytes().any(is_control) {
        false => filled.push_str(value),
        true => filled.extend(value.chars().filter(|letter| !letter.is_ascii() || !is_control(*letter as u8))),
    }
}

fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}
