//! Where components come from and go to: OCI registries and OCI image-layout folders.
//!
//! An [`Images`] resolves a [`Reference`] to a digest, pulls the one component of an image into a file that is
//! verified before anybody sees it, and pushes a component in the CNCF Wasm layout. This crate does not run, compile
//! or admit components (runtime/host), and keeps nothing between calls but connections and tokens.

mod auth;
mod component;
mod credentials;
mod endpoint;
mod error;
mod guard;
mod image;
mod images;
mod layout;
mod reference;
mod registry;
mod settings;
mod spool;

pub use component::{Binary, InvalidComponent, Surface};
pub use error::{Cause, Error, Retry};
pub use image::{Artifact, CONFIG_SCHEMA_ANNOTATION, DESCRIPTION_ANNOTATION, TITLE_ANNOTATION};
pub use images::{Images, Pulled, Pushed};
pub use reference::{InvalidReference, LayoutReference, Reference, RegistryReference};
pub use settings::{Credentials, DockerConfig, Limits, Loopback, PlainHttp, Registries, Registry, Roots};
pub use spool::Spooled;
