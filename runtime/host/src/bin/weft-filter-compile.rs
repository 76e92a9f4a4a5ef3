//! The compiler of filters as a program of its own.
//!
//! `weft` and `weft-controlplane` carry the same as a hidden subcommand; this one is what a later version of the
//! control plane ships to go on compiling for sidecars of this version.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some(weft_filter_host::compile::SUBCOMMAND) => weft_filter_host::compile::child_main(arguments),
        _ => ExitCode::from(2),
    }
}
