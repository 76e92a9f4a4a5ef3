//! `weft check`: what is wrong with these files, without a mesh.

use crate::{mesh_files, output::say};
use anyhow::Result;
use std::path::PathBuf;
use std::process::ExitCode;

/// Checks YAML files and prints each problem with its place and its remedy
///
/// A problem reads `file:line:column code object: what is wrong; what to do`. Exit code 1 where one of them is an
/// error, 0 where there are only warnings or none.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  weft check mesh/\n  weft check -o json reviews.yaml\n  weft check --explain")]
pub(crate) struct Options {
    /// Files, or folders of .yaml, .yml and .json files
    #[arg(required_unless_present = "explain", value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Lists the codes and what each means
    #[arg(long)]
    explain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Text,
    Json,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if options.explain {
        for code in weft_config::Code::ALL {
            say(format_args!("{:<18} {}", code.name(), code.explanation()));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let problems = weft_config::check(&mesh_files::read(&options.paths)?);
    match options.output {
        Output::Text => problems.iter().for_each(|problem| {
            let severity = if problem.is_error() { "error" } else { "warning" };
            say(format_args!("{problem} [{severity}]"));
        }),
        Output::Json => say(serde_json::to_string_pretty(&problems)?),
    }
    let failed = problems.iter().any(weft_config::Problem::is_error);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
