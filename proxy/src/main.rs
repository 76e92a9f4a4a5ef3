//! The lean sidecar: `weft sidecar` without everything that a data plane does not need.

use clap::Parser;
use mimalloc::MiMalloc;
use std::process::ExitCode;
use weft_proxy::admin::LogLevel;
use weft_proxy::args::SidecarArgs;

/// A request makes a dozen allocations, some of them of 8 KiB: a tenth of what it costs on glibc's allocator, whose
/// caches hold few of each size and none so large; musl's takes a lock for each.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Weft's sidecar.
#[derive(Parser)]
#[command(name = "weft-proxy", version)]
struct Cli {
    #[command(flatten)]
    sidecar: SidecarArgs,
}

fn main() -> ExitCode {
    let sidecar = Cli::parse().sidecar;
    let outcome = LogLevel::install(&sidecar.serve.log_level, sidecar.serve.process_log())
        .map_err(anyhow::Error::from)
        .and_then(|log| {
            let mut options = sidecar.options()?;
            options.log = Some(log);
            weft_proxy::run(options)
        });
    outcome.unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        ExitCode::FAILURE
    })
}
