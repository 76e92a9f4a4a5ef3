//! The configuration that people write: parsing, checks, and compilation into what one proxy is told.
//!
//! Text in, values out: it opens no file, knows no network and no clock, and is the only crate that sees a YAML parser.
//!
//! ```text
//! SourceFile ─ World::build ─▶ World ─ view(Viewpoint) ─▶ View ─ compile ─▶ Snapshot
//!                                └─ problems()
//! ```

mod check;
mod compile;
mod fields;
mod identity;
mod kind;
mod names;
mod object;
mod parse;
mod problem;
mod quantity;
mod render;
pub mod schema;
mod source;
mod suggest;
mod view;
mod world;
mod yaml;

pub use compile::compile;
pub use kind::mesh::{CaRef, Credentials, Mesh, Registry, Transport};
pub use problem::{Code, Problem, Severity};
pub use render::{render, render_resource};
pub use source::SourceFile;
pub use view::{FilterFact, FilterFacts, Hosts, ManifestFact, Peer, Peers, Subject, UnknownWorkload, View, Viewpoint};
pub use world::{Making, Member, ObjectState, ObjectVersion, Policy, Touched, World};
pub use yaml::{YamlFault, from_yaml, to_yaml, to_yaml_documents};

/// Every problem of these files, in reading order, as `weft check` prints them.
pub fn check(files: &[SourceFile]) -> Vec<Problem> {
    World::build(files, &World::default()).problems().to_vec()
}
