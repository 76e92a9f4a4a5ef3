//! `weft check`: what is wrong with these files, without a mesh.
//!
//! Filters whose image lies in an image-layout folder are looked at as a control plane does; registries are not asked.

use crate::{mesh_files, output::say};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::ExitCode;
use weft_config::{Code, Problem, Severity, World};
use weft_controlplane::artifacts::{Artifacts, ArtifactsOptions, FilterProblem, ProblemKind, Wanted};
use weft_filter_host::{Engine, EngineOptions, artifact_key};

/// Checks YAML files and prints each problem with its place and its remedy
///
/// A problem reads `file:line:column code object: what is wrong; what to do`. Exit code 1 where one of them is an
/// error, 0 where there are only warnings or none. A Filter whose image is an oci-layout: folder is loaded and asked, as
/// a control plane does; registries are not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  weft check mesh/\n  weft check -o json reviews.yaml\n  \
                  weft check mesh/ --image oci://registry.example/authz:1=oci-layout:images/authz:1\n  weft check --explain")]
pub(crate) struct Options {
    /// Files, or folders of .yaml, .yml and .json files
    #[arg(required_unless_present = "explain", value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Where an image lies that Filters name by its registry
    #[arg(long = "image", value_name = "IMAGE=LAYOUT", value_parser = stand_in)]
    images: Vec<StandIn>,
    /// Lists the codes and what each means
    #[arg(long)]
    explain: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Text,
    Json,
}

/// A layout that holds the same as an image in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
struct StandIn {
    image: String,
    layout: String,
}

pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    if options.explain {
        for code in Code::ALL {
            say(format_args!("{:<18} {}", code.name(), code.explanation()));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let world = World::build(&mesh_files::read(&options.paths)?, &World::default());
    let mut problems = world.problems().to_vec();
    problems.extend(of_filters(&world, &options.images).await?);
    problems.sort_by(Problem::reading_order);
    match options.output {
        Output::Text => problems.iter().for_each(|problem| {
            let severity = if problem.is_error() { "error" } else { "warning" };
            say(format_args!("{problem} [{severity}]"));
        }),
        Output::Json => say(serde_json::to_string_pretty(&problems)?),
    }
    let failed = problems.iter().any(Problem::is_error);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What only components can tell: whether they take their configs, and what their manifests mean where they are attached.
async fn of_filters(world: &World, images: &[StandIn]) -> Result<Vec<Problem>> {
    let mut wanted = Wanted::of(world);
    for policy in &mut wanted.policies {
        if let Some(stand_in) = images.iter().find(|stand_in| stand_in.image == policy.image) {
            policy.image.clone_from(&stand_in.layout);
        }
    }
    wanted.policies.retain(|policy| policy.image.starts_with(LAYOUT));
    if wanted.policies.is_empty() {
        return Ok(Vec::new());
    }
    let folder = tempfile::Builder::new().prefix("weft-check-").tempdir().context("cannot make a temporary folder")?;
    let engine = Engine::new(EngineOptions { workers: 1, ..EngineOptions::default() })?;
    let artifacts = Artifacts::start(ArtifactsOptions::new(folder.path().join("filters"), engine)?)?;
    let number = artifacts.want(wanted);
    let facts = artifacts.settled(number).await;
    let mut problems = world.filter_problems(&facts.filter_facts(&artifact_key()));
    problems.extend(facts.problems().map(told));
    Ok(problems)
}

fn told(problem: &FilterProblem) -> Problem {
    let (code, severity) = match problem.kind {
        // It may be made, or mounted, elsewhere.
        ProblemKind::ImageUnavailable | ProblemKind::CredentialsUnavailable => {
            (Code::ImageUnavailable, Severity::Warning)
        }
        ProblemKind::NotAdmitted | ProblemKind::NoCompiler => (Code::NotAdmitted, Severity::Error),
    };
    Problem {
        code,
        severity,
        file: problem.file.clone(),
        line: problem.line,
        column: problem.column,
        object: format!("Filter {}", problem.filter),
        field: "spec.image".to_owned(),
        reason: problem.reason_with_digests(),
        remedy: problem.remedy.clone(),
    }
}

fn stand_in(text: &str) -> Result<StandIn, String> {
    match text.split_once('=') {
        Some((image, layout)) if image.starts_with("oci://") && layout.starts_with(LAYOUT) => {
            Ok(StandIn { image: image.to_owned(), layout: layout.to_owned() })
        }
        _ => Err(format!("{text:?} is not of the form oci://HOST/REPOSITORY:TAG=oci-layout:FOLDER:TAG")),
    }
}

const LAYOUT: &str = "oci-layout:";
