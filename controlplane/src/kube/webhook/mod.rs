//! The webhooks that the API server asks before it stores a pod or a piece of mesh configuration.

mod rules;

pub use rules::{INJECTOR, VALIDATOR, configurations};
