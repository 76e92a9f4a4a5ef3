//! The control plane's heart: one loop over one enum of events, on a thread of its own.
//!
//! ```text
//! events ─▶ take (all that wait) ─▶ settle: adopt a world ─ views ─ snapshots ─ differences ─▶ outboxes
//! ```
//! Everything that has happened is taken in before anything is sent, so that a burst of changes costs one update.
//! It does not know sockets, files or YAML.

mod adopt;
mod audience;
mod event;
mod joined;
mod proxy;
mod report;
mod standing;
mod streams;
mod support;
mod tellings;

pub(crate) use event::{Event, Joining, Line, Running, StreamId};
pub(crate) use standing::{Count, ObjectStanding, Standing, Tallies, Tally};

use crate::artifacts::{Artifacts, Facts, Wanted};
use crate::ca::{self, Authority, Seconds};
use crate::source::FileSet;
use crate::state::{StateError, StateFolder};
use crate::status::{Metrics, Trigger};
use adopt::{Adoption, Step};
use arc_swap::ArcSwap;
use audience::Audience;
use joined::{Change, Joined};
use proxy::Proxy;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime};
use tellings::{Ground, Question, Tellings};
use tokio::sync::{mpsc, watch};
use tonic::Status;
use weft_config::{FilterFacts, Making, Peers, Touched, World};
use weft_snapshot::{Trust, WorkloadName};

/// The newest world, for those who only ask who is a member.
pub(crate) type WorldCell = Arc<ArcSwap<World>>;

/// What the loop works with.
pub(crate) struct Surroundings {
    pub(crate) state: StateFolder,
    pub(crate) authority: Arc<Authority>,
    pub(crate) artifacts: Artifacts,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) cell: WorldCell,
    /// Told when what [`Standing`] says may have changed.
    pub(crate) stirred: watch::Sender<()>,
    /// For what the loop has done beside itself.
    pub(crate) events: mpsc::WeakSender<Event>,
}

pub(crate) struct Loop {
    around: Surroundings,
    adoption: Adoption,
    files: FileSet,
    /// Read, and not taken in yet: of several only the last counts.
    incoming: Option<FileSet>,
    joined: Joined,
    /// Writes who has joined.
    keeping: Option<JoinHandle<()>>,
    peers: Peers,
    facts: Arc<Facts>,
    /// By artifact key.
    filter_facts: BTreeMap<String, Arc<FilterFacts>>,
    filters: report::FilterHistory,
    trust: Arc<Trust>,
    proxies: BTreeMap<StreamId, Proxy>,
    /// How many of them are too old to be told anything.
    outdated: usize,
    audience: Audience,
    /// To whom something may have to be sent.
    due: BTreeSet<StreamId>,
    stale: Stale,
    tellings: Tellings,
    issued: BTreeMap<WorkloadName, Seconds>,
    stirred: Stirred,
}

/// Whether anything has happened that people are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stirred {
    Yes,
    No,
}

/// Whose views have to be looked at again.
enum Stale {
    All,
    Some(BTreeSet<StreamId>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Going {
    On,
    Stop,
}

impl Loop {
    /// With the files as they were read at the start, so that whoever asks first finds a world.
    pub(crate) fn new(around: Surroundings, files: FileSet) -> Result<Self, StateError> {
        let joined = Joined::open(&around.state)?;
        let facts = around.artifacts.facts().borrow().clone();
        let mut this = Self {
            adoption: Adoption::default(),
            files: FileSet::default(),
            incoming: None,
            peers: joined.peers(),
            joined,
            keeping: None,
            facts: facts.clone(),
            filter_facts: BTreeMap::new(),
            filters: report::FilterHistory::default(),
            trust: Arc::new(around.authority.issuing().trust().clone()),
            proxies: BTreeMap::new(),
            outdated: 0,
            audience: Audience::default(),
            due: BTreeSet::new(),
            stale: Stale::All,
            tellings: Tellings::default(),
            issued: BTreeMap::new(),
            stirred: Stirred::Yes,
            around,
        };
        this.files_changed(files, Instant::now());
        this.facts_changed(facts);
        Ok(this)
    }

    /// Runs until [`Event::Stop`], or until nobody can send events any more.
    pub(crate) fn run(mut self, mut events: mpsc::Receiver<Event>) {
        self.settle();
        while let Some(first) = events.blocking_recv() {
            let waiting = std::iter::once(first).chain(std::iter::from_fn(|| events.try_recv().ok()));
            for event in waiting.take(EVENTS_AT_ONCE_MAX) {
                if self.take(event) == Going::Stop {
                    events.close();
                    return self.stop();
                }
            }
            self.settle();
        }
    }

    fn take(&mut self, event: Event) -> Going {
        let now = Instant::now();
        if !matches!(
            event,
            Event::Tick | Event::Status(_) | Event::Standing(_) | Event::Tallies(_) | Event::MayFetch { .. }
        ) {
            self.stirred = Stirred::Yes;
        }
        match event {
            Event::Files(files) => self.incoming = Some(files),
            Event::Hello(joining) => self.hello(*joining, now),
            Event::Subscribe { stream, add, remove } => self.subscribe(stream, add, &remove),
            Event::Ack { stream, revision } => self.ack(stream, &revision, now),
            Event::Nack { stream, revision, problems } => self.nack(stream, revision, problems, now),
            Event::Leaving { stream } => self.leaving(stream),
            Event::Gone { stream } => self.gone(stream),
            Event::Facts(facts) => self.facts_changed(facts),
            Event::Authority => self.authority_changed(),
            Event::Issued { workload, expires } => {
                self.issued.insert(workload, expires);
            }
            Event::MayFetch { identity, artifact, answer } => {
                // Whoever asked may have gone meanwhile.
                let _ = answer.send(self.may_fetch(&identity, &artifact));
            }
            Event::Status(answer) => {
                let _ = answer.send(self.report());
            }
            Event::Standing(answer) => {
                let _ = answer.send(self.standing());
            }
            Event::Tallies(answer) => {
                let _ = answer.send(self.tallies());
            }
            Event::Kept(outcome) => self.kept(&outcome),
            Event::Tick => self.tick(now),
            Event::Stop => return Going::Stop,
        }
        Going::On
    }

    /// Brings every proxy that is concerned to what holds now.
    fn settle(&mut self) {
        let now = Instant::now();
        if let Some(files) = self.incoming.take() {
            self.files_changed(files, now);
        }
        self.adopt(now);
        self.keep();
        self.answer(now);
        self.send_due(now);
        self.around.metrics.proxies(self.proxies.len(), self.outdated);
        if std::mem::replace(&mut self.stirred, Stirred::No) == Stirred::Yes {
            self.around.stirred.send_replace(());
        }
    }

    fn files_changed(&mut self, files: FileSet, now: Instant) {
        if Arc::ptr_eq(&files.files, &self.files.files) && files.is_like(&self.files) {
            // The source has only come further; who waits for that need not wait longer.
            self.adoption.saw(&files);
            self.files = files;
            return;
        }
        let world = Arc::new(World::build_after(&files.files, self.adoption.newest(), &files.last_good));
        self.files = files;
        self.around.metrics.configuration(&world);
        self.around.cell.store(world.clone());
        self.trust_domain(&world.mesh().trust_domain);
        let wanted = Wanted::of(&world);
        let policies = wanted.policies.clone();
        let wanted = self.around.artifacts.want(wanted);
        let making = world.making();
        self.adoption.propose(world, &self.files, (wanted, policies), now);
        // By a step nobody comes or goes.
        if making == Making::Whole {
            self.forget(now);
        }
    }

    fn trust_domain(&mut self, domain: &str) {
        match self.around.authority.set_trust_domain(domain, ca::seconds(SystemTime::now())) {
            Ok(ca::Refreshed::Same) => {}
            Ok(ca::Refreshed::Changed) => self.authority_changed(),
            Err(error) => tracing::error!(%error, domain, "the trust domain could not be changed"),
        }
    }

    fn adopt(&mut self, now: Instant) {
        let before = self.adoption.current().map(|world| world.revision());
        let facts = Arc::clone(self.adoption.facts());
        let step = self.adoption.step(&self.facts, now);
        self.stale_by_facts(&facts);
        let (step, touched) = match step {
            Step::World => (step, self.adoption.take_touched()),
            Step::Nothing => (self.adoption.discover(&self.files), Touched::Everyone),
            Step::Facts => (step, Touched::Everyone),
        };
        let Some(world) = self.adoption.current().filter(|_| step == Step::World) else { return };
        if before.as_ref() != Some(&world.revision()) {
            tracing::info!(revision = world.revision(), problems = world.problems().len(), "configuration taken in");
            self.stale_where(&touched);
        } // else another text, the same meaning
    }

    /// Those whom a step from one world to the next may concern. Who has no target yet is stale as it is.
    fn stale_where(&mut self, touched: &Touched) {
        let Touched::Some { hosts, workloads } = touched else { return self.stale_by(Trigger::Configuration) };
        self.around.metrics.triggered(Trigger::Endpoint);
        self.audience.concerned(hosts, workloads).into_iter().for_each(|stream| self.mark(stream));
    }

    /// Those that run or should run a filter of which something else is known than before.
    fn stale_by_facts(&mut self, before: &Arc<Facts>) {
        let now = self.adoption.facts().clone();
        if Arc::ptr_eq(&now, before) {
            return;
        }
        let keys: BTreeSet<_> = before.policies.keys().chain(now.policies.keys()).collect();
        let changed: Vec<_> =
            keys.into_iter().filter(|key| before.policies.get(key) != now.policies.get(key)).collect();
        if !changed.is_empty() {
            self.filter_facts.clear();
            self.around.metrics.triggered(Trigger::Filter);
            self.audience.of_filters(changed).into_iter().for_each(|stream| self.mark(stream));
        }
    }

    fn facts_changed(&mut self, facts: Arc<Facts>) {
        self.filters.saw(&facts);
        self.facts = facts;
    }

    fn authority_changed(&mut self) {
        let trust = self.around.authority.issuing().trust().clone();
        if trust != *self.trust {
            self.trust = Arc::new(trust);
            self.stale_by(Trigger::Trust);
        }
    }

    /// Workloads whose WorkloadEntry went away and stayed away.
    fn forget(&mut self, now: Instant) {
        let world = self.adoption.newest().clone();
        if self.joined.forget(|workload| world.member(workload).is_some(), now) == Change::Some {
            self.issued.retain(|workload, _| world.member(workload).is_some());
        }
    }

    fn tick(&mut self, now: Instant) {
        self.joined.try_again();
        if self.joined.misses() {
            self.forget(now);
        }
        let silent: Vec<StreamId> =
            self.proxies.values().filter(|proxy| proxy.is_silent(now)).map(|proxy| proxy.stream).collect();
        for stream in silent {
            self.close(stream, Status::deadline_exceeded("an update was not answered; connect again"));
        }
    }

    /// Beside the loop: a disk that takes seconds must not keep proxies waiting for what it does not concern.
    fn keep(&mut self) {
        let writing = match self.joined.next_write() {
            Ok(Some(writing)) => writing,
            Ok(None) => return,
            Err(error) => return tracing::error!(%error, "{UNKEPT}"),
        };
        let events = self.around.events.clone();
        let body = move || {
            let outcome = writing.write();
            if let Some(events) = events.upgrade() {
                // A loop that has ended asks no more.
                let _ = events.blocking_send(Event::Kept(outcome));
            }
        };
        match std::thread::Builder::new().name("weft-joined".to_owned()).spawn(body) {
            Ok(thread) => self.keeping = Some(thread),
            Err(source) => {
                let (path, doing) = (self.around.state.path().to_owned(), "cannot start the thread that writes to it");
                self.kept(&Err(StateError::Io { path, doing, source }));
            }
        }
    }

    fn kept(&mut self, outcome: &Result<(), StateError>) {
        if let Err(error) = outcome {
            tracing::error!(%error, "{UNKEPT}");
        }
        let Some(peers) = self.joined.written(outcome) else { return };
        let names: BTreeSet<_> = self.peers.keys().chain(peers.keys()).collect();
        let changed = names.into_iter().filter(|name| self.peers.get(name) != peers.get(name));
        let touched = self.adoption.current().map(|world| world.touched_by(changed));
        self.peers = peers;
        // Before the first world all are stale as they are.
        if let Some(touched) = touched {
            self.stale_where(&touched);
        }
    }

    fn stale_by(&mut self, trigger: Trigger) {
        self.around.metrics.triggered(trigger);
        self.stale = Stale::All;
    }

    fn mark(&mut self, stream: StreamId) {
        if let Stale::Some(streams) = &mut self.stale {
            streams.insert(stream);
        }
    }

    /// Looks at the views of stale proxies, and aims each at what its view compiles to.
    fn answer(&mut self, now: Instant) {
        let stale: Vec<StreamId> = match std::mem::replace(&mut self.stale, Stale::Some(BTreeSet::new())) {
            Stale::All => self.proxies.keys().copied().collect(),
            Stale::Some(streams) => streams.into_iter().collect(),
        };
        let Some(world) = self.adoption.current().cloned() else {
            self.stale = Stale::All;
            return;
        };
        for proxy in stale.iter().filter_map(|stream| self.proxies.get(stream)) {
            let facts = || Arc::new(self.adoption.facts().filter_facts(&proxy.artifact_key));
            self.filter_facts.entry(proxy.artifact_key.clone()).or_insert_with(facts);
        }
        let (proxies, facts) = (&self.proxies, &self.filter_facts);
        let question = |proxy: &'_ Proxy| (proxy.stream, proxy.with_running(&facts[&proxy.artifact_key]));
        let asked: Vec<_> = stale.iter().filter_map(|stream| proxies.get(stream)).map(question).collect();
        let questions: Vec<Question<'_>> = asked
            .iter()
            .map(|(stream, filters)| Question {
                workload: &proxies[stream].workload,
                asked: &proxies[stream].asked,
                filters,
            })
            .collect();
        let ground = Ground { world: &world, peers: &self.peers, trust: &self.trust };
        let (answers, work) = self.tellings.answer(ground, &questions);
        self.around.metrics.answered(work.views, work.compiled);
        drop(questions);
        for ((stream, _), telling) in asked.into_iter().zip(answers) {
            match telling {
                Ok(telling) => self.aim(stream, telling, now),
                Err(unknown) => self.unknown(stream, &unknown),
            }
        }
    }

    fn aim(&mut self, stream: StreamId, telling: Arc<tellings::Telling>, now: Instant) {
        let Some(proxy) = self.proxies.get_mut(&stream) else { return };
        proxy.aim(telling, now);
        self.audience.hears(stream, proxy.hears());
        self.due.insert(stream);
    }

    fn stop(mut self) {
        for stream in self.proxies.keys().copied().collect::<Vec<_>>() {
            self.close(stream, Status::unavailable("the control plane stops; serve on and connect again"));
        }
        if let Some(thread) = self.keeping.take() {
            let _ = thread.join();
        }
        // What the last write did not have yet.
        self.joined.written(&Ok(()));
        let kept = self.joined.next_write().and_then(|writing| writing.map_or(Ok(()), |writing| writing.write()));
        if let Err(error) = kept {
            tracing::error!(%error, "{UNKEPT}");
        }
    }
}

const UNKEPT: &str = "who has joined could not be written; a restart now would not know it";

/// A busy start must not keep anyone waiting for ever.
const EVENTS_AT_ONCE_MAX: usize = 4096;
pub(crate) const SUBSCRIPTIONS_MAX: usize = 10_000;

#[cfg(test)]
mod tests;
