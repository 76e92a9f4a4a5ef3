//! The guests of these tests, built and compiled once, and a message to call them with.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use weft_filter_build::{BuildOptions, CargoOutput};
use weft_filter_host::{
    Attribute, Component, Engine, EngineOptions, Failure, Isolation, Message, NonUtf8, OnFailure, Policy,
    PolicySettings, PrepareError, ResponseVerdict, Runner, Verdict, compile,
};

pub(crate) fn component() -> &'static [u8] {
    static COMPONENT: OnceLock<Vec<u8>> = OnceLock::new();
    COMPONENT.get_or_init(|| {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/hostile");
        let options = BuildOptions { cargo_output: CargoOutput::Kept, ..BuildOptions::default() };
        weft_filter_build::build(&dir, &options).unwrap().component
    })
}

/// The hostile filter, compiled.
pub(crate) fn artifact() -> &'static Path {
    static ARTIFACT: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = ARTIFACT.get_or_init(|| {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("hostile");
        std::fs::write(&path, compile::compile(component()).unwrap()).unwrap();
        (dir, path)
    });
    path
}

/// An engine for one worker, a runner on this thread and the component.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) runner: Runner,
    pub(crate) component: Component,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(EngineOptions { workers: 1, policies_max: 16, ..EngineOptions::default() })
    }

    pub(crate) fn with(options: EngineOptions) -> Self {
        let engine = Engine::new(options).unwrap();
        let component = Component::load(&engine, artifact()).unwrap();
        Self { runner: Runner::new(&engine, 0), engine, component }
    }

    pub(crate) fn prepare(&self, settings: PolicySettings) -> Result<Policy, PrepareError> {
        Policy::prepare(&self.engine, &self.component, settings, 1)
    }

    pub(crate) fn policy(&self, config: &str) -> Policy {
        self.prepare(settings(config)).unwrap()
    }

    /// Only for policies on the worker or in the pool: blocks until there is an answer.
    pub(crate) fn request(&self, policy: &Policy, message: &Head) -> Result<Verdict, Failure> {
        block_on(self.runner.on_request(policy, message))
    }

    /// A request and its response.
    pub(crate) fn exchange(
        &self,
        policy: &Policy,
        message: &Head,
    ) -> (Result<Verdict, Failure>, Result<ResponseVerdict, Failure>) {
        (self.request(policy, message), block_on(self.runner.on_response(policy, message, None)))
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Unhurried limits: these tests share their cores with others.
pub(crate) fn settings(config: &str) -> PolicySettings {
    PolicySettings {
        key: "default/hostile".to_owned(),
        component: "sha256:test".to_owned(),
        config: config.to_owned(),
        deadline: Duration::from_millis(50),
        memory_max: 16 << 20,
        on_failure: OnFailure::Refuse,
        non_utf8: NonUtf8::Refuse,
        isolation: Isolation::Reuse,
    }
}

/// Waits until it is so, for at most ten seconds.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what} did not come true");
        std::thread::yield_now();
    }
}

/// A request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) path: &'static str,
    pub(crate) headers: Vec<(&'static str, &'static [u8])>,
}

impl Head {
    pub(crate) fn new(path: &'static str, headers: &[(&'static str, &'static str)]) -> Self {
        Self { path, headers: headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect() }
    }
}

impl Message for Head {
    fn attribute(&self, attribute: &Attribute) -> Option<Cow<'_, [u8]>> {
        match attribute {
            Attribute::Path => Some(Cow::Borrowed(self.path.as_bytes())),
            Attribute::Status => Some(Cow::Borrowed(b"200")),
            Attribute::Header(name) => {
                self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| Cow::Borrowed(*value))
            }
            _ => None,
        }
    }

    fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
        self.headers.iter().filter(|(known, _)| *known == name).map(|(_, value)| value.to_vec()).collect()
    }

    fn header_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.headers.iter().map(|(name, _)| (*name).to_owned()).collect();
        names.dedup();
        names
    }
}
