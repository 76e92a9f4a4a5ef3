//! Why a filter cannot be built, and what its author can do about it.

use std::path::PathBuf;

/// Each text names the thing and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("{path} has no Cargo.toml; name the folder of a filter crate")]
    NoManifest { path: PathBuf },
    #[error("cannot run {program}: {source}; install Rust from https://rustup.rs or put it on PATH")]
    NoToolchain { program: String, source: std::io::Error },
    #[error("cargo cannot read the crate in {path}:\n{stderr}")]
    BadManifest { path: PathBuf, stderr: String },
    #[error("{path} is a workspace without a package of its own; name the folder of one filter crate")]
    NoPackage { path: PathBuf },
    #[error("crate {name} is no dynamic library; add `[lib]` with `crate-type = [\"cdylib\"]` to its Cargo.toml")]
    NotCdylib { name: String },
    #[error("the Rust toolchain cannot build for {target}: {detail}; run `rustup target add {target}`")]
    TargetMissing { target: &'static str, detail: String },
    /// The compiler's messages are in `stderr`, which is empty where they were shown already.
    #[error("filter {name} does not compile{}{stderr}", if .stderr.is_empty() { "" } else { ":\n" })]
    Compile { name: String, stderr: String },
    #[error("cargo built {name} but named no .wasm file; is `[lib]` with `crate-type = [\"cdylib\"]` there")]
    NoModule { name: String },
    #[error("cannot read {path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("this is not WebAssembly: it does not start with \\0asm; give a component or a core module")]
    NotWasm,
    #[error("this is a component already; a core module is what gets encoded")]
    AlreadyComponent,
    #[error(
        "this is a core module, not a component; build it with `weft filter build`, which encodes it, or encode it \
         with `wasm-tools component new`"
    )]
    CoreModule,
    #[error(
        "the module carries no component type: call `weft_filter_sdk::export!` (or `wit_bindgen::generate!` and its \
         `export!`) in the crate that is built as a cdylib"
    )]
    NoComponentType,
    #[error("the module cannot become a component: {detail}")]
    Encode { detail: String },
    #[error("the component cannot be read: {detail}")]
    Malformed { detail: String },
    #[error(
        "the filter imports {name}, but a filter may import nothing but weft:filter; {}",
        if .name.starts_with("wasi:") { "build it for wasm32-unknown-unknown, or stub WASI out" }
        else { "remove the dependency that needs it" }
    )]
    ForeignImport { name: String },
    #[error("the filter does not export {name}; implement the world `request-filter` or `filter` of weft:filter")]
    MissingExport { name: &'static str },
    #[error("byte {at}: a section is cut short")]
    Truncated { at: usize },
}
