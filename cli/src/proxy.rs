//! `weft proxy`: one proxy on a folder of YAML, without a control plane.
//!
//! What a control plane does for many proxies is done here for one: the folder is watched, checked and compiled, and
//! filters are pulled and precompiled beside it.

use crate::output::progress;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::sync::watch;
use weft_config::{Hosts, Peers, Subject, Viewpoint, World};
use weft_controlplane::artifacts::{Artifacts, ArtifactsOptions, Facts, Wanted};
use weft_controlplane::source::{FileSet, Folder, Interest, Source};
use weft_filter_host::{Engine, EngineOptions, artifact_key};
use weft_proxy::admin::LogLevel;
use weft_proxy::app::{Addresses, Source as Configuration};
use weft_proxy::files::Files;
use weft_snapshot::{Trust, WorkloadName};

/// Runs one proxy on a folder of YAML, without a control plane
///
/// With --workload it is the sidecar of a WorkloadEntry, in plain text, since nobody gives it an identity; with --listen
/// it takes ordinary requests and routes them by Host. The folder is watched; a broken object keeps its last good
/// version, and its problems are logged.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  weft proxy -f mesh/ --listen 127.0.0.1:8080\n  curl -H 'host: reviews' http://127.0.0.1:8080/reviews/0\n  \
                  weft proxy -f mesh/ --workload default/client --outbound 127.0.0.1:15001"
)]
#[command(group(clap::ArgGroup::new("who").required(true).args(["workload", "listen"])))]
pub(crate) struct Options {
    /// Folder of YAML files
    #[arg(short = 'f', long = "folder", value_name = "DIR")]
    folder: PathBuf,
    /// NAMESPACE/NAME of the WorkloadEntry that this is the sidecar of
    #[arg(long, value_name = "NS/NAME")]
    workload: Option<WorkloadName>,
    /// Takes origin-form requests here and routes them by Host
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// With --workload: where others reach the app
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15006", conflicts_with = "listen")]
    inbound: SocketAddr,
    /// With --workload: where the app sends its requests (its HTTP_PROXY)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15001", conflicts_with = "listen")]
    outbound: SocketAddr,
    /// Keeps pulled and compiled filters here from run to run [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(flatten)]
    serve: weft_proxy::args::ServeArgs,
}

pub(crate) fn run(options: Options) -> Result<ExitCode> {
    anyhow::ensure!(
        options.folder.is_dir(),
        "{} is no folder; name one that holds .yaml files with -f",
        options.folder.display()
    );
    let log = LogLevel::install(&options.serve.log_level, options.serve.process_log())?;
    let temporary =
        tempfile::Builder::new().prefix("weft-proxy-").tempdir().context("cannot make a temporary folder")?;
    let store = options.state.clone().unwrap_or_else(|| temporary.path().join("filters"));
    let (told, files) = watch::channel(None);
    let subject = options.workload.clone().map_or(Subject::Listener, Subject::Workload);
    follow(Folder::new(&options.folder), store, Compiler { subject, told, world: World::default() })?;
    let addresses = match options.listen {
        Some(listen) => Addresses { listen: Some(listen), ..Addresses::default() },
        None => Addresses { inbound: Some(options.inbound), outbound: Some(options.outbound), ..Addresses::default() },
    };
    weft_proxy::run(weft_proxy::app::Options {
        source: Configuration::Files(files),
        addresses,
        serve: options.serve.serve()?,
        log: Some(log),
        command: Vec::new(),
    })
}

/// Everything that ends in another snapshot.
enum Event {
    Files(FileSet),
    Filters(Arc<Facts>),
}

/// Two threads that live as long as the process: one watches the folder, one compiles.
fn follow(folder: Folder, store: PathBuf, compiler: Compiler) -> Result<()> {
    let (sender, events) = tokio::sync::mpsc::unbounded_channel();
    let files = sender.clone();
    std::thread::Builder::new().name("weft-folder".into()).spawn(move || {
        folder.watch(&mut |set| match files.send(Event::Files(set)) {
            Ok(()) => Interest::Wanted,
            Err(_) => Interest::Gone,
        });
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let engine = Engine::new(EngineOptions { workers: 1, ..EngineOptions::default() })?;
    let artifacts = runtime
        .block_on(async { Artifacts::start(ArtifactsOptions::new(store, engine)?).map_err(anyhow::Error::from) })?;
    let mut facts = artifacts.facts();
    std::thread::Builder::new().name("weft-config".into()).spawn(move || {
        runtime.block_on(async move {
            tokio::spawn(async move {
                while facts.changed().await.is_ok() {
                    let now = facts.borrow_and_update().clone();
                    if sender.send(Event::Filters(now)).is_err() {
                        break;
                    }
                }
            });
            compiler.run(events, artifacts).await;
        });
    })?;
    Ok(())
}

/// Turns what lies in the folder into what the proxy is told.
struct Compiler {
    subject: Subject,
    told: watch::Sender<Option<Files>>,
    world: World,
}

impl Compiler {
    async fn run(mut self, mut events: tokio::sync::mpsc::UnboundedReceiver<Event>, artifacts: Artifacts) {
        let mut facts = Arc::new(Facts::default());
        while let Some(event) = events.recv().await {
            match event {
                Event::Files(set) => {
                    self.world = World::build(&set.files, &self.world);
                    self.world.problems().iter().for_each(|problem| match problem.is_error() {
                        true => tracing::error!("{problem}"),
                        false => tracing::warn!("{problem}"),
                    });
                    for problem in &set.problems {
                        tracing::error!(
                            "{} {}: {}; {}",
                            problem.path,
                            problem.code.name(),
                            problem.reason,
                            problem.remedy
                        );
                    }
                    artifacts.want(Wanted::of(&self.world));
                }
                Event::Filters(now) => {
                    now.problems().filter(|problem| !facts.problems().any(|known| known == *problem)).for_each(
                        |problem| {
                            tracing::error!("{}", problem.sentence());
                        },
                    );
                    facts = now;
                }
            }
            self.publish(&facts);
        }
    }

    fn publish(&self, facts: &Facts) {
        let filters = facts.filter_facts(&artifact_key());
        let trust =
            Trust { trust_domain: self.world.mesh().trust_domain.clone(), roots: Vec::new(), signers: Vec::new() };
        let peers = Peers::new();
        let at =
            Viewpoint { subject: &self.subject, hosts: Hosts::All, peers: &peers, filters: &filters, trust: &trust };
        match self.world.view(&at) {
            Ok(view) => {
                let revision = view.hash().to_string();
                let artifacts = facts.artifacts.iter().map(|(digest, artifact)| (*digest, artifact.path.clone()));
                let artifacts: BTreeMap<_, _> = artifacts.collect();
                let files = Files { snapshot: weft_config::compile(&view), revision, artifacts };
                // The proxy ends with the process; until then somebody listens.
                self.told.send_replace(Some(files));
            }
            Err(unknown) => progress(format_args!("error: {unknown}")),
        }
    }
}
