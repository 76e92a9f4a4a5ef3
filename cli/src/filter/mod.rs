//! `weft filter`: from a filter's source to a component in a registry, and back to what it says of itself.

mod build;
mod inspect;
mod pull;
mod push;
mod registries;

use anyhow::Result;

pub(crate) use build::component;
pub(crate) use push::{artifact, push};
pub(crate) use registries::RegistryOptions;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Build(build::Options),
    Push(push::Options),
    Pull(pull::Options),
    Inspect(inspect::Options),
}

pub(crate) async fn run(command: Command) -> Result<()> {
    match command {
        Command::Build(options) => build::run(&options),
        Command::Push(options) => push::run(options).await,
        Command::Pull(options) => pull::run(options).await,
        Command::Inspect(options) => inspect::run(options).await,
    }
}
