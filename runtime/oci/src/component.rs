//! What a binary is, by its bytes: a component, a core module or neither; and what a component's surface is.
//!
//! Does not validate or compile (runtime/host admits); the surface only fills in the image's config.

use wasmparser::{ComponentExternalKind, Parser, Payload};

/// What the first eight bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    Component,
    CoreModule,
    Unknown,
}

impl Binary {
    pub fn of(bytes: &[u8]) -> Self {
        match bytes {
            [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Self::Component,
            [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Self::CoreModule,
            _ => Self::Unknown,
        }
    }

    /// For the sentence "it holds …, not a component".
    pub(crate) fn described(self, start: &[u8]) -> String {
        match self {
            Self::Component => "a component".to_owned(),
            Self::CoreModule => "a core WebAssembly module".to_owned(),
            Self::Unknown if start.starts_with(b"\0asm") => {
                format!("WebAssembly of an unknown kind (header {:02x?})", &start[4..start.len().min(8)])
            }
            Self::Unknown => "no WebAssembly".to_owned(),
        }
    }
}

/// Names of what a component exports and imports, in its own order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surface {
    pub exports: Vec<String>,
    pub imports: Vec<String>,
    /// Custom sections of the component itself, not of the modules in it.
    pub sections: Vec<(String, Vec<u8>)>,
}

/// Why bytes are no component that can be pushed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is {found}, not a component")]
pub struct InvalidComponent {
    pub found: String,
}

impl Surface {
    pub fn of(component: &[u8]) -> Result<Self, InvalidComponent> {
        let binary = Binary::of(component);
        if binary != Binary::Component {
            return Err(InvalidComponent { found: binary.described(component) });
        }
        let malformed =
            |error: wasmparser::BinaryReaderError| InvalidComponent { found: format!("malformed: {error}") };
        let mut surface = Self::default();
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(component) {
            match payload.map_err(malformed)? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        surface.imports.push(import.map_err(malformed)?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        let export = export.map_err(malformed)?;
                        if export.kind != ComponentExternalKind::Type {
                            surface.exports.push(export.name.name.to_owned());
                        }
                    }
                }
                Payload::CustomSection(section) if depth == 0 => {
                    surface.sections.push((section.name().to_owned(), section.data().to_vec()));
                }
                _ => {}
            }
        }
        Ok(surface)
    }
}
