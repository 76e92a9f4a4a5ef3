//! A compiled component, mapped from its artifact, and whether its shape is that of a filter.
//!
//! It does not know configs: one component serves many policies.

use crate::contract;
use crate::host::Host;
use crate::{Engine, artifact_key};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wasmtime::Precompiled;
use wasmtime::component::{ComponentExportIndex, InstancePre};

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("reading {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is no compiled component", path.display())]
    NotAnArtifact { path: PathBuf },
    #[error("{} does not fit this engine ({key}): {reason}", path.display())]
    WrongKey { path: PathBuf, key: String, reason: String },
    #[error("the component imports {imports}, which filters may not have; build it without WASI, or stub it out")]
    Imports { imports: String },
    #[error("the component does not export {interface}; build it for a world of weft:filter")]
    Exports { interface: &'static str },
    #[error("the component does not fit the contract: {reason}")]
    Contract { reason: String },
}

/// A clone is another handle.
#[derive(Clone)]
pub struct Component {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) pre: InstancePre<Host>,
    pub(crate) configure: ComponentExportIndex,
    pub(crate) on_request: ComponentExportIndex,
    pub(crate) on_response: Option<ComponentExportIndex>,
    /// It imports lazy access to the message.
    pub(crate) reads_lazily: bool,
}

impl Component {
    /// Maps an artifact. It is native code: the caller has verified its digest and the control plane's signature, and
    /// nobody may write to the file while it is mapped.
    pub fn load(engine: &Engine, path: &Path) -> Result<Self, LoadError> {
        let read = |source| LoadError::Read { path: path.to_owned(), source };
        std::fs::File::open(path).map_err(read)?;
        match wasmtime::Engine::detect_precompiled_file(path) {
            Ok(Some(Precompiled::Component)) => {}
            _ => return Err(LoadError::NotAnArtifact { path: path.to_owned() }),
        }
        // SAFETY: that these are bytes of our own compiler is what the caller vouches for; wasmtime itself checks that
        // they were made by the same version with the same settings, which our key is part of.
        #[allow(unsafe_code)]
        let component = unsafe { wasmtime::component::Component::deserialize_file(&engine.inner.wasm, path) };
        let component = component.map_err(|error| LoadError::WrongKey {
            path: path.to_owned(),
            key: artifact_key(),
            reason: format!("{error:#}"),
        })?;
        Self::link(engine, &component)
    }

    /// True if it exports `response-phase`.
    pub fn has_response_phase(&self) -> bool {
        self.inner.on_response.is_some()
    }

    fn link(engine: &Engine, component: &wasmtime::component::Component) -> Result<Self, LoadError> {
        let wasm = &engine.inner.wasm;
        let shape = component.component_type();
        let imports: Vec<&str> = shape.imports(wasm).map(|(name, _)| name).collect();
        let foreign: Vec<&str> = imports.iter().copied().filter(|name| !is_ours(name)).collect();
        if !foreign.is_empty() {
            return Err(LoadError::Imports { imports: foreign.join(", ") });
        }
        let export = |interface: &'static str, function: &str| {
            let (_, instance) = component.get_export(None, interface)?;
            component.get_export_index(Some(&instance), function)
        };
        let required = |interface, function| export(interface, function).ok_or(LoadError::Exports { interface });
        let pre = engine.inner.linker.instantiate_pre(component);
        Ok(Self {
            inner: Arc::new(Inner {
                pre: pre.map_err(|error| LoadError::Contract { reason: format!("{error:#}") })?,
                configure: required(contract::POLICY, "configure")?,
                on_request: required(contract::REQUEST_PHASE, "on-request")?,
                on_response: export(contract::RESPONSE_PHASE, "on-response"),
                reads_lazily: imports.iter().any(|name| name.starts_with("weft:filter/request@")),
            }),
        })
    }
}

/// Ours by package; whether by version and type too, the linker checks. `types` holds types alone.
fn is_ours(import: &str) -> bool {
    ["weft:filter/host@", "weft:filter/request@", "weft:filter/types@"].iter().any(|ours| import.starts_with(ours))
}
