//! From core module to component, and what a component exports, imports and carries.
//!
//! It does not run the component: whether its `configure` answers is the host's question.

use wit_component::{ComponentEncoder, DecodedWasm, decode};

use crate::BuildError;
use crate::section::{self, CONFIG_SCHEMA, DOC};

/// The package that filters implement and may import.
const PACKAGE: &str = "weft:filter/";
const POLICY: &str = "policy";
const REQUEST_PHASE: &str = "request-phase";

/// What can be read off a component without running it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The version of weft:filter that it was built against, such as `0.1.0`.
    pub contract: String,
    /// Interfaces of weft:filter that it exports, without package and version, such as `request-phase`.
    pub exports: Vec<String>,
    /// Interfaces that it imports, in full.
    pub imports: Vec<String>,
    /// JSON Schema of its config.
    pub config_schema: Option<String>,
    /// Its documentation, Markdown.
    pub doc: Option<String>,
    pub size: usize,
}

/// Encodes a core module that carries a component type, and moves its `weft:` custom sections to the component.
pub fn encode(module: &[u8]) -> Result<Vec<u8>, BuildError> {
    match Layer::of(module)? {
        Layer::Module => {}
        Layer::Component => return Err(BuildError::AlreadyComponent),
    }
    let typed = section::read(module)?
        .iter()
        .any(|section| section.custom.is_some_and(|(name, _)| name.starts_with("component-type")));
    if !typed {
        return Err(BuildError::NoComponentType);
    }
    let (module, sections) = section::split(module)?;
    let mut component = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|problem| BuildError::Encode { detail: format!("{problem:#}") })?;
    component.extend_from_slice(&sections);
    Ok(component)
}

/// Reads a component; an error where it is no filter.
pub fn inspect(component: &[u8]) -> Result<Inspection, BuildError> {
    match Layer::of(component)? {
        Layer::Component => {}
        Layer::Module => return Err(BuildError::CoreModule),
    }
    let decoded = decode(component).map_err(|problem| BuildError::Malformed { detail: format!("{problem:#}") })?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(BuildError::Malformed { detail: "it is a WIT package, not code".into() });
    };
    let world = &resolve.worlds[world];
    let imports: Vec<String> = world.imports.keys().map(|key| resolve.name_world_key(key)).collect();
    if let Some(foreign) = imports.iter().find(|name| !name.starts_with(PACKAGE)) {
        return Err(BuildError::ForeignImport { name: foreign.clone() });
    }
    let mut contract = String::new();
    let mut exports = Vec::new();
    for key in world.exports.keys() {
        let full = resolve.name_world_key(key);
        let Some(name) = full.strip_prefix(PACKAGE) else { continue };
        let (name, version) = name.split_once('@').unwrap_or((name, ""));
        version.clone_into(&mut contract);
        exports.push(name.to_owned());
    }
    exports.sort();
    for required in [POLICY, REQUEST_PHASE] {
        if !exports.iter().any(|export| export == required) {
            return Err(BuildError::MissingExport { name: required });
        }
    }
    let text = |name| section::section(component, name).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    Ok(Inspection {
        contract,
        exports,
        imports,
        config_schema: text(CONFIG_SCHEMA),
        doc: text(DOC),
        size: component.len(),
    })
}

enum Layer {
    Module,
    Component,
}

impl Layer {
    /// By the preamble: bytes 4 and 5 are the version, 6 and 7 the layer.
    fn of(wasm: &[u8]) -> Result<Self, BuildError> {
        match wasm.get(..8) {
            Some([0, b'a', b's', b'm', _, _, 0, 0]) => Ok(Self::Module),
            Some([0, b'a', b's', b'm', _, _, 1, 0]) => Ok(Self::Component),
            _ => Err(BuildError::NotWasm),
        }
    }
}
