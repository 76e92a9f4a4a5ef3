//! `weft`, the one binary that people type: arguments in, the right library called, exit code out.

mod check;
mod demo;
mod filter;
mod inject;
mod install;
mod mesh_files;
mod output;
mod proxy;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A service mesh whose sidecar is programmable with WebAssembly components
#[derive(Debug, Parser)]
#[command(name = "weft", version, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Options),
    Check(check::Options),
    Proxy(proxy::Options),
    Sidecar(Box<weft_proxy::args::SidecarArgs>),
    Controlplane(Box<weft_controlplane::Options>),
    /// Makes tokens with which sidecars join the mesh
    #[command(subcommand)]
    Token(TokenCommand),
    /// Changes the mesh's root of trust
    #[command(subcommand)]
    Root(RootCommand),
    /// Builds, pushes, pulls and inspects filters
    #[command(subcommand)]
    Filter(filter::Command),
    Inject(inject::Options),
    Status(weft_controlplane::status::StatusOptions),
    Install(install::InstallOptions),
    Upgrade(install::UpgradeOptions),
    Uninstall(install::UninstallOptions),
    /// Bookinfo's services, for the demo
    #[command(subcommand, hide = true)]
    Bookinfo(bookinfo::Service),
    /// Component on standard input, precompiled artifact on standard output, within limits
    #[command(hide = true)]
    FilterCompile {
        /// The artifact key that is wanted, another program's is refused; or --artifact-key, to be told it
        #[arg(allow_hyphen_values = true)]
        key: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    Create(weft_controlplane::TokenOptions),
}

#[derive(Debug, Subcommand)]
enum RootCommand {
    Rotate(weft_controlplane::RotateOptions),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            output::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Demo(options) => on_runtime(demo::run(options)),
        Command::Check(options) => on_runtime(check::run(options)),
        Command::Proxy(options) => proxy::run(options),
        Command::Sidecar(options) => sidecar(*options),
        Command::Controlplane(options) => {
            weft_controlplane::log(&options)?;
            weft_controlplane::run(*options).map(|()| ExitCode::SUCCESS)
        }
        Command::Token(TokenCommand::Create(options)) => answer(weft_controlplane::create_token(&options)),
        Command::Root(RootCommand::Rotate(options)) => answer(weft_controlplane::rotate_root(&options)),
        Command::Filter(command) => on_runtime(filter::run(command)).map(|()| ExitCode::SUCCESS),
        Command::Inject(options) => inject::run(&options),
        Command::Status(options) => {
            on_runtime(async { Ok(weft_controlplane::status::show(&options).await?) }).map(answered)
        }
        Command::Install(options) => on_runtime(install::install(options)),
        Command::Upgrade(options) => on_runtime(install::upgrade(options)),
        Command::Uninstall(options) => on_runtime(install::uninstall(options)),
        Command::Bookinfo(command) => on_runtime(bookinfo::run(command)).map(|()| ExitCode::SUCCESS),
        Command::FilterCompile { key } => Ok(weft_filter_host::compile::child_main(key.into_iter())),
    }
}

fn on_runtime<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("cannot start")?.block_on(work)
}

fn answer(text: Result<String>) -> Result<ExitCode> {
    text.map(answered)
}

fn answered(text: String) -> ExitCode {
    output::say(text.trim_end());
    ExitCode::SUCCESS
}

fn sidecar(arguments: weft_proxy::args::SidecarArgs) -> Result<ExitCode> {
    let log = weft_proxy::admin::LogLevel::install(&arguments.serve.log_level, arguments.serve.process_log())?;
    weft_proxy::run(weft_proxy::app::Options { log: Some(log), ..arguments.options()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn no_two_arguments_clash() {
        Arguments::command().debug_assert();
    }
}
