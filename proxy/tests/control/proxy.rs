//! A control thread under test: its state folder, and what it published.

use super::plane::{ARTIFACT_KEY, WORKLOAD};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use weft_proxy::control::{self, Control, ControlOptions, Facts, JoinToken, Pace, Publish, Reach, StartError};
use weft_proxy::plan::{Artifacts, Next, Problem};
use weft_proxy::state::StateFolder;
use weft_proxy::tls::{self, IdentityCell};
use weft_snapshot::{Key, Snapshot};

/// Stands where the plan stands: remembers what it was given, and refuses when told to.
#[derive(Clone, Default)]
pub struct Recorder {
    pub published: Arc<Mutex<Vec<Publication>>>,
    pub refusal: Arc<Mutex<Option<Problem>>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    pub revision: String,
    pub snapshot: Snapshot,
    /// Keys that the update set; `None` where anything may have changed.
    pub set: Option<Vec<Key>>,
    /// Where the artifacts of the snapshot's filters lie.
    pub artifacts: Vec<PathBuf>,
}

impl Publish for Recorder {
    fn publish(&mut self, next: &Next<'_>, artifacts: &dyn Artifacts) -> Result<(), Vec<Problem>> {
        if let Some(problem) = self.refusal.lock().unwrap().clone() {
            return Err(vec![problem]);
        }
        let path = |filter: &weft_snapshot::Filter| {
            filter.artifact.map(|digest| artifacts.path(&digest).expect("an artifact that was verified"))
        };
        self.published.lock().unwrap().push(Publication {
            revision: next.revision.to_owned(),
            snapshot: next.snapshot.clone(),
            set: next.update.map(|update| update.set.iter().map(|(key, _)| key.clone()).collect()),
            artifacts: next.snapshot.filters().filter_map(path).collect(),
        });
        Ok(())
    }
}

pub struct Proxy {
    pub control: Control,
    pub cell: Arc<IdentityCell>,
    pub recorder: Recorder,
}

pub fn pace() -> Pace {
    Pace {
        reach: Reach { answer_max: Duration::from_secs(10), ping_every: Duration::from_secs(5) },
        retry_first: Duration::from_millis(20),
        retry_max: Duration::from_millis(100),
        stable_after: Duration::from_secs(1),
        unused_max: Duration::from_secs(600),
        sweep_every: Duration::from_secs(30),
    }
}

pub fn options(state: &Path, addresses: &[String], token: Option<JoinToken>) -> ControlOptions {
    ControlOptions {
        addresses: addresses.to_vec(),
        first: token.map(Into::into),
        workload: WORKLOAD.parse().unwrap(),
        inbound: Some("127.0.0.1:4444".parse().unwrap()),
        artifact_key: ARTIFACT_KEY.to_owned(),
        state: StateFolder::open(state).unwrap(),
        pace: pace(),
    }
}

impl Proxy {
    pub fn start(state: &Path, address: impl ToString, token: Option<JoinToken>) -> Self {
        Self::with(options(state, &[address.to_string()], token)).unwrap()
    }

    pub fn with(options: ControlOptions) -> Result<Self, StartError> {
        let cell = IdentityCell::new(tls::provider());
        let recorder = Recorder::default();
        let control = control::start(options, cell.clone(), Box::new(recorder.clone()))?;
        Ok(Self { control, cell, recorder })
    }

    pub fn published(&self) -> Vec<Publication> {
        self.recorder.published.lock().unwrap().clone()
    }

    pub fn last(&self) -> Option<Publication> {
        self.published().pop()
    }

    pub fn facts(&self) -> Arc<Facts> {
        self.control.status().load()
    }

    pub fn generation(&self) -> u64 {
        self.cell.load().map_or(0, |material| material.generation)
    }

    /// The sentence with which the thread gave up.
    pub fn failure(&mut self) -> String {
        let mut failure = self.control.failure().expect("not taken yet");
        eventually("the control thread gives up", || failure.try_recv().ok()).to_string()
    }
}

/// Polls until there is an answer; fails with the name of what did not happen.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "did not happen: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    eventually(what, || holds().then_some(()));
}
