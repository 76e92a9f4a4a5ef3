//! The process's own log (not the access log): where it begins, and how its level changes while the proxy runs.
//!
//! Levels are written in RUST_LOG's syntax: `info`, or `warn,weft_proxy::plan=debug`.

use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt as lines, reload};

/// How lines of the process's log look; they go to standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProcessLog {
    #[default]
    Text,
    Json,
}

/// A handle on the level of the process's log.
#[derive(Clone)]
pub struct LogLevel {
    handle: reload::Handle<EnvFilter, Registry>,
    shown: Arc<arc_swap::ArcSwap<String>>,
}

#[derive(Debug, thiserror::Error)]
pub enum InvalidLevel {
    #[error("{level:?} is no log level: {reason}; write for instance info, or warn,weft_proxy=debug")]
    Syntax { level: String, reason: String },
    #[error("the process has a log already")]
    Installed,
}

impl LogLevel {
    /// Begins the process's log; once per process.
    pub fn install(level: &str, format: ProcessLog) -> Result<Self, InvalidLevel> {
        let (filter, handle) = reload::Layer::new(parse(level)?);
        let lines = match format {
            ProcessLog::Text => {
                lines::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr).boxed()
            }
            ProcessLog::Json => lines::layer().json().with_writer(std::io::stderr).boxed(),
        };
        let installed = Registry::default().with(filter).with(lines).try_init();
        installed.map_err(|_| InvalidLevel::Installed)?;
        Ok(Self { handle, shown: Arc::new(arc_swap::ArcSwap::from_pointee(level.to_owned())) })
    }

    pub fn set(&self, level: &str) -> Result<(), InvalidLevel> {
        self.handle.reload(parse(level)?).map_err(|_| InvalidLevel::Installed)?;
        self.shown.store(Arc::new(level.to_owned()));
        Ok(())
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown.load())
    }
}

fn parse(level: &str) -> Result<EnvFilter, InvalidLevel> {
    EnvFilter::try_new(level)
        .map_err(|error| InvalidLevel::Syntax { level: level.to_owned(), reason: error.to_string() })
}
