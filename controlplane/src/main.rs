//! The binary `weft-controlplane`: the control plane and nothing else.

use clap::Parser;
use std::process::ExitCode;
use weft_controlplane::Options;
use weft_filter_host::compile;

// musl's own takes ten times as long.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "weft-controlplane", version, about)]
struct Line {
    #[command(flatten)]
    options: Options,
}

fn main() -> anyhow::Result<ExitCode> {
    // What the control plane calls itself for: no command of a person's.
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(compile::SUBCOMMAND) {
        return Ok(compile::child_main(arguments));
    }
    let options = Line::parse().options;
    weft_controlplane::log(&options)?;
    weft_controlplane::run(options)?;
    Ok(ExitCode::SUCCESS)
}
