//! What can be said of a component's bytes without compiling them.
//!
//! It does not validate: the compiler does.

/// What a component carries besides its code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspected {
    /// JSON Schema of its config: the custom section `weft:config-schema`.
    pub config_schema: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    #[error("it is a core module, not a component; run `weft filter build`, or `wasm-tools component new`")]
    CoreModule,
    #[error("it is no WebAssembly: {reason}")]
    NotWasm { reason: &'static str },
    #[error("it has {bytes} bytes, more than the {max} that are compiled")]
    TooLarge { bytes: usize, max: usize },
}

/// Bytes of a component that is compiled at all.
pub const COMPONENT_BYTES_MAX: usize = 64 << 20;
pub const CONFIG_SCHEMA_SECTION: &str = "weft:config-schema";

pub fn inspect(_component: &[u8]) -> Result<Inspected, InspectError> {
    Err(InspectError::NotWasm { reason: "not written yet" })
}
