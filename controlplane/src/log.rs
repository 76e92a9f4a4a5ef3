//! What the control plane says of itself while it runs, on standard error.
//!
//! Whoever owns the process starts it; in tests nobody does.

use crate::{LogFormat, Options};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Once for a process.
pub fn log(options: &Options) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&options.log_level)?;
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    match options.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
