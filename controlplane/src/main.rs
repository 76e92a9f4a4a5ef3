//! The binary `weft-controlplane`: the control plane and nothing else.

use clap::{Parser, Subcommand};
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use weft_controlplane::{LogFormat, Options};

// musl's own takes ten times as long.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "weft-controlplane", version, about, args_conflicts_with_subcommands = true)]
struct Line {
    #[command(subcommand)]
    inner: Option<Inner>,
    #[command(flatten)]
    options: Option<Options>,
}

/// What the control plane calls itself for.
#[derive(Subcommand)]
enum Inner {
    /// Compiles one filter, from standard input to standard output
    #[command(hide = true)]
    FilterCompile { arguments: Vec<String> },
}

fn main() -> anyhow::Result<ExitCode> {
    let line = Line::parse();
    match (line.inner, line.options) {
        (Some(Inner::FilterCompile { arguments }), _) => {
            Ok(weft_filter_host::compile::child_main(arguments.into_iter()))
        }
        (None, Some(options)) => {
            log(&options)?;
            weft_controlplane::run(options)?;
            Ok(ExitCode::SUCCESS)
        }
        (None, None) => anyhow::bail!("give a folder of YAML (weft-controlplane -f DIR), or --kubernetes"),
    }
}

fn log(options: &Options) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&options.log_level)?;
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    match options.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
