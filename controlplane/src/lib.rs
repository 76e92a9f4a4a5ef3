//! The control plane: watches configuration, compiles what each proxy is told, publishes it, and is the mesh's CA.
//!
//! ```text
//! source → world (one loop) → stream → proxies        ca, token: who they are        status: what people see
//!             ↑ artifacts: the filters' native code
//! ```
//! It does not know how a proxy serves traffic, nor how YAML means what it means (weft-config).

mod app;
pub mod artifacts;
pub mod ca;
pub mod inject;
pub mod kube;
mod log;
mod options;
mod origin;
mod replica;
mod rpc;
pub mod source;
pub mod state;
pub mod status;
mod stream;
pub mod token;
mod world;

pub use app::{ControlPlane, create_token, rotate_root, run};
pub use log::log;
pub use options::{LogFormat, Options, Origin, RotateOptions, TokenOptions, duration};
