//! The custom sections of a module or component: what travels inside a filter beside its code.
//!
//! It reads the outer layer alone, and does not know what the other sections mean.

use std::ops::Range;

use crate::BuildError;

/// JSON Schema of the filter's config.
pub const CONFIG_SCHEMA: &str = "weft:config-schema";
/// Documentation of the filter, Markdown.
pub const DOC: &str = "weft:doc";

const PREAMBLE: usize = 8;
const CUSTOM: u8 = 0;

/// One section: where it lies, header included, and for a custom one its name and bytes.
pub(crate) struct Section<'a> {
    pub(crate) whole: Range<usize>,
    pub(crate) custom: Option<(&'a str, &'a [u8])>,
}

/// The custom section `name` of a component or module, if it has one and is well formed so far.
pub fn section<'a>(wasm: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let sections = read(wasm).ok()?;
    sections.into_iter().filter_map(|section| section.custom).find(|(found, _)| *found == name).map(|(_, bytes)| bytes)
}

/// All sections of the outer layer.
pub(crate) fn read(wasm: &[u8]) -> Result<Vec<Section<'_>>, BuildError> {
    if wasm.len() < PREAMBLE || !wasm.starts_with(b"\0asm") {
        return Err(BuildError::NotWasm);
    }
    let mut sections = Vec::new();
    let mut at = PREAMBLE;
    while at < wasm.len() {
        let start = at;
        let id = wasm[at];
        let (size, body) = leb128(wasm, at + 1)?;
        at = body.checked_add(size).filter(|end| *end <= wasm.len()).ok_or(BuildError::Truncated { at: start })?;
        let custom = if id == CUSTOM { Some(named(wasm, body..at)?) } else { None };
        sections.push(Section { whole: start..at, custom });
    }
    Ok(sections)
}

/// Moves the `weft:` sections out: the module without them, and they as bytes to append to the component. The encoder
/// would leave them inside, on the core module, where only a disassembler finds them.
pub(crate) fn split(module: &[u8]) -> Result<(Vec<u8>, Vec<u8>), BuildError> {
    let mut rest = module.get(..PREAMBLE).ok_or(BuildError::NotWasm)?.to_vec();
    let mut moved = Vec::new();
    for section in read(module)? {
        let ours = section.custom.is_some_and(|(name, _)| name.starts_with("weft:"));
        let kept = if ours { &mut moved } else { &mut rest };
        kept.extend_from_slice(&module[section.whole]);
    }
    Ok((rest, moved))
}

fn named(wasm: &[u8], body: Range<usize>) -> Result<(&str, &[u8]), BuildError> {
    let (len, name) = leb128(wasm, body.start)?;
    let end = name.checked_add(len).filter(|end| *end <= body.end).ok_or(BuildError::Truncated { at: body.start })?;
    let text = std::str::from_utf8(&wasm[name..end])
        .map_err(|_| BuildError::Malformed { detail: format!("byte {name}: a section's name is not UTF-8") })?;
    Ok((text, &wasm[end..body.end]))
}

/// An unsigned number of at most 32 bits and where it ends.
fn leb128(wasm: &[u8], start: usize) -> Result<(usize, usize), BuildError> {
    let mut value = 0_usize;
    for shift in 0..5 {
        let byte = *wasm.get(start + shift).ok_or(BuildError::Truncated { at: start })?;
        value |= usize::from(byte & 0x7f) << (7 * shift);
        if byte & 0x80 == 0 {
            return Ok((value, start + shift + 1));
        }
    }
    Err(BuildError::Truncated { at: start })
}
