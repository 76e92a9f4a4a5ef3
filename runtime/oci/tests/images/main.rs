//! Images pushed and pulled through a real registry (Debian's docker-registry), folders, and other people's tools.
#![allow(clippy::unwrap_used)]

mod guard;
mod kit;
mod refusals;
mod registry;
mod round_trips;
mod tools;
