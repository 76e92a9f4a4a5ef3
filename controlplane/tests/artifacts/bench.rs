//! The bench on which filters are tried: components, what is wanted of them, and a loop with a state folder.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tempfile::TempDir;
use weft_config::Policy;
use weft_controlplane::artifacts::{Artifacts, ArtifactsOptions, Facts, FilterProblem, NoPeers, Peers, Wanted};
use weft_filter_host::{Engine, EngineOptions, artifact_key, compile::keys};
use weft_oci::{Artifact, Images, Limits, Loopback, Pushed, Reference, Registries};
use weft_snapshot::FilterKey;

pub(crate) const FILTER: &str = "default/headers";
pub(crate) const CONFIG: &str = r#"{"request":{"set":{"x-test":"one"}}}"#;
pub(crate) const OTHER_CONFIG: &str = r#"{"request":{"set":{"x-test":"two"}}}"#;
pub(crate) const BAD_CONFIG: &str = r#"{"no":"such field"}"#;

/// The standard filter `headers`, in as many versions as there are numbers: a custom section tells them apart.
pub(crate) fn headers(version: u8) -> Vec<u8> {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    numbered(COMPONENT.get_or_init(|| weft_tests::filter_component("filters/headers")), version)
}

/// A component that refuses the config of `headers`.
pub(crate) fn canary() -> Vec<u8> {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    COMPONENT.get_or_init(|| weft_tests::filter_component("filters/canary")).clone()
}

fn numbered(component: &[u8], version: u8) -> Vec<u8> {
    let section = [0, 6, 4, b't', b'e', b's', b't', version];
    [component, &section].concat()
}

pub(crate) fn engine() -> Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(EngineOptions::default()).unwrap()).clone()
}

pub(crate) fn registries() -> Registries {
    Registries { loopback: Loopback::PlainHttp, ..Registries::default() }
}

pub(crate) async fn push(image: &str, component: Vec<u8>) -> Pushed {
    let artifact = Artifact { component, annotations: Default::default() };
    let reference: Reference = image.parse().unwrap();
    Images::new(registries(), Limits::default()).push(&reference, artifact).await.unwrap()
}

pub(crate) fn policy(image: &str, config: &str, refresh: Option<Duration>) -> Policy {
    Policy {
        key: FilterKey(FILTER.to_owned()),
        filter: FILTER.to_owned(),
        image: image.to_owned(),
        digest: None,
        refresh,
        pull_secret: None,
        config: config.to_owned(),
        deadline: Duration::from_millis(50),
        memory_max: 16 << 20,
        file: "filters.yaml".to_owned(),
        line: 3,
        column: 5,
    }
}

pub(crate) fn wanted(policies: Vec<Policy>) -> Wanted {
    Wanted { policies, registries: registries(), ..Wanted::default() }
}

/// A state folder, and whoever works on it.
pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    artifacts: Option<Artifacts>,
    peers: Arc<dyn Peers>,
    compilations: Arc<AtomicU64>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::beside(Arc::new(NoPeers))
    }

    /// Of one replica of several.
    pub(crate) fn beside(peers: Arc<dyn Peers>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut bench = Self { folder, artifacts: None, peers, compilations: Arc::default() };
        bench.restart();
        bench
    }

    pub(crate) fn compilations(&self) -> u64 {
        self.compilations.load(Ordering::Relaxed)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("filters")
    }

    pub(crate) fn images(&self, tag: &str) -> String {
        format!("oci-layout:{}:{tag}", self.folder.path().join("images").display())
    }

    pub(crate) fn restart(&mut self) {
        self.artifacts = None;
        let mut options = ArtifactsOptions::new(self.store(), engine()).unwrap();
        let compiler = PathBuf::from(env!("CARGO_BIN_EXE_weft-controlplane"));
        options.compilers = keys().into_iter().map(|key| (key, compiler.clone())).collect();
        options.limits = Limits { attempts_max: 1, ..Limits::default() };
        options.peers = Arc::clone(&self.peers);
        options.compilations = Arc::clone(&self.compilations);
        self.artifacts = Some(Artifacts::start(options).unwrap());
    }

    pub(crate) fn artifacts(&self) -> &Artifacts {
        self.artifacts.as_ref().unwrap()
    }

    /// Facts when everything wanted has been tried.
    pub(crate) async fn want(&self, wanted: Wanted) -> Arc<Facts> {
        let number = self.artifacts().want(wanted);
        tokio::time::timeout(PATIENCE, self.artifacts().settled(number)).await.expect("everything wanted is tried")
    }

    /// The first facts that satisfy, from now on.
    pub(crate) async fn facts(&self, what: &str, satisfy: impl Fn(&Facts) -> bool) -> Arc<Facts> {
        let mut facts = self.artifacts().facts();
        let found = tokio::time::timeout(PATIENCE, facts.wait_for(|facts| satisfy(facts))).await;
        let found = found.map(|facts| Arc::clone(&facts.unwrap()));
        found.unwrap_or_else(|_| panic!("{what}: {:#?}", self.artifacts().facts().borrow()))
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

/// What runs under the one key of these tests.
pub(crate) fn running(facts: &Facts) -> (weft_snapshot::Digest, String) {
    let policy = &facts.policies[&FilterKey(FILTER.to_owned())];
    let artifact = &facts.artifacts[&policy.artifacts[&artifact_key()]];
    assert_eq!(artifact.key, artifact_key());
    assert_eq!(std::fs::metadata(&artifact.path).unwrap().len(), artifact.bytes);
    weft_filter_host::Component::load(&engine(), &artifact.path).unwrap();
    (policy.component, policy.config.clone())
}

/// Problems as a person reads them.
pub(crate) fn told(facts: &Facts) -> String {
    facts.problems().map(FilterProblem::to_string).collect::<Vec<_>>().join("\n")
}

/// Every file and folder below, with its mode.
pub(crate) fn modes(folder: &Path) -> Vec<(PathBuf, u32)> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut found = vec![(folder.to_owned(), std::fs::metadata(folder).unwrap().permissions().mode() & 0o777)];
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        if entry.path().is_dir() {
            found.extend(modes(&entry.path()));
        } else {
            found.push((entry.path(), mode));
        }
    }
    found
}
