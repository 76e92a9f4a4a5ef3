//! The lean sidecar: `weft sidecar` without everything that a data plane does not need.

mod allocator;

use clap::Parser;
use std::process::ExitCode;
use weft_proxy::admin::LogLevel;
use weft_proxy::args::{STATUS_PORT, SidecarArgs};

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

/// Weft's sidecar.
#[derive(Parser)]
#[command(name = "weft-proxy", version)]
struct Cli {
    #[command(flatten)]
    sidecar: SidecarArgs,
}

/// Tells the sidecar of this pod to drain: no new connections from peers, and those that are open end (preStop).
#[derive(Parser)]
#[command(name = "weft-proxy drain")]
struct Drain {
    /// Its --status-port
    #[arg(long, value_name = "PORT", env = "WEFT_STATUS_PORT", default_value_t = STATUS_PORT)]
    status_port: u16,
}

fn main() -> ExitCode {
    // Not clap's own subcommand: beside the sidecar's arguments, flattened in two steps, it takes them for absent.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "drain") {
        return drain(Drain::parse_from(std::env::args_os().skip(1)).status_port);
    }
    run(Cli::parse().sidecar)
}

#[allow(clippy::print_stderr, reason = "the kubelet shows what a hook prints")]
fn drain(status_port: u16) -> ExitCode {
    match weft_proxy::status::drain(status_port) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weft-proxy drain: port {status_port} of this pod: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(sidecar: SidecarArgs) -> ExitCode {
    let outcome = LogLevel::install(&sidecar.serve.log_level, sidecar.serve.process_log())
        .map_err(anyhow::Error::from)
        .and_then(|log| {
            let mut options = sidecar.options()?;
            options.log = Some(log);
            options.serve.settings.worker_begins = allocator::keep_buffers;
            options.serve.settings.relief = allocator::give_back;
            weft_proxy::run(options)
        });
    outcome.unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        ExitCode::FAILURE
    })
}
