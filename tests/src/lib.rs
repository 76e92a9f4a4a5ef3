//! What the end-to-end suites share: real processes of Weft, real apps behind them, and clients that count.
//!
//! It knows nothing of Weft's crates but the names of its binaries and flags: what it tests is what a user runs.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod app;
mod believer;
mod binaries;
mod client;
mod eventually;
mod mesh;
mod pods;
mod process;
mod registry;
mod variant;
pub mod yaml;

pub use app::{App, Seen};
pub use believer::believing;
pub use binaries::{filter_component, filter_component_with, weft, weft_init, weft_proxy, weft_proxy_dist};
pub use client::{Answer, Client, Load, Tally, Version};
pub use eventually::{eventually, eventually_async, within};
pub use mesh::{Mesh, MeshOptions, Sidecar};
pub use pods::{Namespace, Pod, Pods};
pub use process::Process;
pub use registry::{PASSWORD, Registry, USER};
pub use variant::{push, push_with, pushed_component, variant};
