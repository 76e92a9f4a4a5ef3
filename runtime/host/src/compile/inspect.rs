//! What can be said of a component's bytes without compiling them.
//!
//! It reads the outermost sections alone and does not validate: the compiler does.

/// What a component carries besides its code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspected {
    /// JSON Schema of its config: the custom section `weft:config-schema`.
    pub config_schema: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    #[error("it is a core module, not a component; build it with `weft filter build`")]
    CoreModule,
    #[error("it is no WebAssembly component: {reason}")]
    NotWasm { reason: &'static str },
    #[error("it has {bytes} bytes, more than the {max} that are compiled")]
    TooLarge { bytes: usize, max: usize },
}

/// Bytes of a component that is compiled at all.
pub const COMPONENT_BYTES_MAX: usize = 64 << 20;
pub const CONFIG_SCHEMA_SECTION: &str = "weft:config-schema";

const MAGIC: &[u8] = b"\0asm";
const CORE_MODULE: [u8; 4] = [1, 0, 0, 0];
/// Version 0x0d in layer 1, the components'.
const COMPONENT: [u8; 4] = [0x0d, 0, 1, 0];
const CUSTOM: u8 = 0;

/// Tells a component from anything else, and reads its custom sections.
pub fn inspect(component: &[u8]) -> Result<Inspected, InspectError> {
    if component.len() > COMPONENT_BYTES_MAX {
        return Err(InspectError::TooLarge { bytes: component.len(), max: COMPONENT_BYTES_MAX });
    }
    let not_wasm = |reason| InspectError::NotWasm { reason };
    let after_magic = component.strip_prefix(MAGIC).ok_or(not_wasm("it does not begin with \\0asm"))?;
    let (version, sections) = after_magic.split_first_chunk::<4>().ok_or(not_wasm("it ends after four bytes"))?;
    match *version {
        COMPONENT => {}
        CORE_MODULE => return Err(InspectError::CoreModule),
        _ => return Err(not_wasm("its version of the component format is not the current one")),
    }
    let mut inspected = Inspected::default();
    let mut rest = sections;
    while let Some((id, after)) = rest.split_first() {
        let cut = not_wasm("a section is cut off");
        let (size, body) = number(after).ok_or(cut.clone())?;
        let (body, next) = body.split_at_checked(size).ok_or(cut)?;
        if *id == CUSTOM {
            custom(body, &mut inspected);
        }
        rest = next;
    }
    Ok(inspected)
}

/// A custom section that is broken or unknown says nothing.
fn custom(section: &[u8], inspected: &mut Inspected) {
    let named = number(section).and_then(|(size, rest)| rest.split_at_checked(size));
    if let Some((name, content)) = named
        && name == CONFIG_SCHEMA_SECTION.as_bytes()
    {
        inspected.config_schema = std::str::from_utf8(content).ok().map(str::to_owned);
    }
}

/// An unsigned LEB128 number of at most 32 bits, and what follows it.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().enumerate().take(5) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(sections: &[u8]) -> Vec<u8> {
        [MAGIC, &COMPONENT, sections].concat()
    }

    #[test]
    fn it_tells_what_the_bytes_are() {
        let schema: &[u8] = &[&[CUSTOM, 21, 18][..], CONFIG_SCHEMA_SECTION.as_bytes(), b"{}"].concat();
        let told = |schema: &str| Ok(Inspected { config_schema: Some(schema.to_owned()) });
        let silent = Ok(Inspected::default());
        let cut = Err(InspectError::NotWasm { reason: "a section is cut off" });
        let cases = [
            ("empty component", component(&[]), silent.clone()),
            ("core module", [MAGIC, &CORE_MODULE].concat(), Err(InspectError::CoreModule)),
            ("text", b"(component)".to_vec(), Err(InspectError::NotWasm { reason: "it does not begin with \\0asm" })),
            ("schema", component(schema), told("{}")),
            ("schema after another section", component(&[&[7, 1, 0][..], schema].concat()), told("{}")),
            ("other custom section", component(&[CUSTOM, 3, 1, b'a', b'b']), silent.clone()),
            ("custom section without its name", component(&[CUSTOM, 1, 9]), silent),
            ("cut off", component(&[7, 9, 0]), cut.clone()),
            ("size cut off", component(&[7, 0x80]), cut.clone()),
            ("size too long", component(&[7, 0x80, 0x80, 0x80, 0x80, 0x80, 1]), cut),
        ];
        for (row, bytes, want) in cases {
            assert_eq!(inspect(&bytes), want, "{row}");
        }
    }
}
