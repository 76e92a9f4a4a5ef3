//! The control plane: watches configuration, compiles what each proxy is told, publishes it, and is the mesh's CA.
//!
//! ```text
//! source → world (one loop) → stream → proxies        ca, token: who they are        status: what people see
//! ```
//! It does not know how a proxy serves traffic, nor how YAML means what it means (weft-config).

pub mod artifacts;
pub mod ca;
mod app;
mod options;
pub mod source;
pub mod state;
pub mod token;

pub use app::{create_token, rotate_root, run};
pub use options::{LogFormat, Options, RotateOptions, TokenOptions, duration};
