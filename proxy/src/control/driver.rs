//! The control thread: one loop over one enum of events.
//!
//! It keeps the identity fresh and the stream open, and hands each update to `publication`. It parses nothing itself.

use super::backoff::Backoff;
use super::credentials::Credentials;
use super::event::{Ask, Event};
use super::fetch::{self, FetchError, Fetching};
use super::held::{self, Candidate};
use super::link::Link;
use super::publication::Publication;
use super::session::{self, Opening, Session};
use super::status::{Link as LinkFacts, Nacked, StatusCell};
use super::subscriptions::{Subscriptions, Wish};
use super::svid::{self, Asking, SignError, Signed};
use super::task::Task;
use super::{ControlError, Order, Setting};
use crate::tls::{Alpn, IdentityCell};
use rustls::crypto::CryptoProvider;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::time::Instant;
use weft_snapshot::{Digest, Host};
use weft_wire::proto::{self, from_proxy};

pub(super) struct Core {
    pub(super) setting: Setting,
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) cell: Arc<IdentityCell>,
    pub(super) credentials: Credentials,
    pub(super) publication: Publication,
    pub(super) subscriptions: Subscriptions,
    pub(super) status: Arc<StatusCell>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) link: Link,
    pub(super) backoff: Backoff,
    pub(super) sessions: u64,
    pub(super) sweep_at: Instant,
    pub(super) leaving: Leaving,
}

/// The doors through which events come.
pub(super) struct Inbox {
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) asks: mpsc::Receiver<Ask>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    No,
    /// The workload drains: a control plane that we meet again is told at once.
    Yes,
}

impl Core {
    /// Until its handle is dropped, or joining is refused.
    pub(super) async fn run(mut self, mut inbox: Inbox) -> Result<(), ControlError> {
        self.resume();
        loop {
            let mut asks = Vec::new();
            let event = tokio::select! {
                biased;
                order = inbox.orders.recv() => match order {
                    Some(Order::Leave) => Event::Leave,
                    None => return Ok(()),
                },
                Some(event) = inbox.events.recv() => event,
                // Before the asks: an app that asks without end must not keep the SVID from being renewed.
                () = tokio::time::sleep_until(self.wake_at()) => Event::Due,
                gathered = inbox.asks.recv_many(&mut asks, ASKS_AT_ONCE) => match gathered {
                    0 => return Ok(()),
                    _ => Event::Asked(asks),
                },
            };
            self.on(event)?;
        }
    }

    fn resume(&mut self) {
        if self.credentials.id().is_some() {
            self.credentials.schedule(chance());
            self.publication.resume(self.credentials.trust_domain(), &self.credentials.signers());
        }
        let now = Instant::now();
        for answer in self.publication.held.snapshot.answers() {
            self.subscriptions.want(&answer.asked, now);
        }
        self.tell_facts();
    }

    fn on(&mut self, event: Event) -> Result<(), ControlError> {
        match event {
            Event::Asked(asks) => self.asked(asks),
            Event::Leave => self.leave(),
            Event::Signed(outcome) => self.signed(outcome)?,
            Event::Connected(session) => self.connected(session),
            Event::Update { session, update } if self.link.is_current(session) => self.update(&update),
            Event::Fetched { session, outcome } if self.link.is_current(session) => self.fetched(outcome),
            Event::Closed { session, reason } if self.link.is_current(session) => self.closed(&reason),
            // Of a session that is gone.
            Event::Update { .. } | Event::Fetched { .. } | Event::Closed { .. } => {}
            Event::Due => self.due(),
        }
        Ok(())
    }

    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        // Looked at again now and then: the wall clock may be set, and a suspended machine stops the other one.
        let mut at = self.sweep_at.min(now + SLEEP_MAX);
        if let Some(due) = self.credentials.due() {
            at = at.min(now + due.duration_since(SystemTime::now()).unwrap_or_default());
        }
        match self.link {
            Link::Down { retry_at } if self.credentials.id().is_some() => at.min(retry_at),
            _ if self.link.waits() || self.publication.owes() => at.min(now + ROOM_AGAIN),
            _ => at,
        }
    }

    fn due(&mut self) {
        let now = Instant::now();
        if self.credentials.due().is_some_and(|at| at <= SystemTime::now()) {
            self.ask_for_svid();
        }
        if matches!(self.link, Link::Down { retry_at } if retry_at <= now) {
            self.open();
        }
        if self.sweep_at <= now {
            self.sweep_at = now + self.setting.pace.sweep_every;
            let unused = self.subscriptions.expire(now);
            self.subscribe(&[], &unused);
        }
        if !self.link.is_applying() {
            self.publication.tidy();
        }
        let flushed = self.link.flush();
        self.close_unless(flushed);
    }

    fn ask_for_svid(&mut self) {
        let (proof, key) = match self.credentials.begin(SystemTime::now()) {
            Ok(begun) => begun,
            Err(error) => return self.sign_failed(&error),
        };
        let asking = Asking {
            addresses: self.setting.addresses.clone(),
            reach: self.setting.pace.reach,
            proof,
            key,
            workload: self.setting.workload.clone(),
            provider: Arc::clone(&self.provider),
        };
        let events = self.events.clone();
        tokio::spawn(async move {
            let _ = events.send(Event::Signed(Box::pin(svid::sign(asking)).await)).await;
        });
    }

    fn signed(&mut self, outcome: Result<Signed, SignError>) -> Result<(), ControlError> {
        match outcome.and_then(|signed| {
            let id = signed.id.clone();
            self.credentials.accept(signed, chance()).map_err(SignError::Answer).map(|()| id)
        }) {
            Ok(id) => {
                tracing::info!(%id, "got an SVID");
                if let Link::Down { retry_at } = &mut self.link {
                    *retry_at = Instant::now();
                }
                self.status.change(|facts| facts.identity_problem = None);
                self.tell_facts();
                Ok(())
            }
            Err(error) if self.credentials.gives_up(&error) => Err(ControlError::Join(error)),
            Err(error) => {
                self.sign_failed(&error);
                Ok(())
            }
        }
    }

    fn sign_failed(&mut self, error: &SignError) {
        let what = if self.credentials.id().is_none() { "joining" } else { "renewing the SVID" };
        tracing::warn!("{what} failed, trying again: {error}");
        self.status.change(|facts| facts.identity_problem = Some(error.to_string()));
        self.credentials.failed(SystemTime::now(), chance());
    }

    fn open(&mut self) {
        let Some(material) = self.cell.load() else { return };
        if self.credentials.expired(SystemTime::now()) {
            return self.closed("this proxy's SVID has expired");
        }
        let tls = super::authority::controlplane_id(self.credentials.trust_domain())
            .map_err(|error| error.to_string())
            .and_then(|id| material.client(&id, Alpn::H2).map_err(|error| error.to_string()));
        let tls = match tls {
            Ok(tls) => tls,
            Err(reason) => return self.closed(&reason),
        };
        self.sessions += 1;
        let opening = Opening {
            number: self.sessions,
            addresses: self.setting.addresses.clone(),
            reach: self.setting.pace.reach,
            tls,
            hello: self.hello(),
            events: self.events.clone(),
            status: Arc::clone(&self.status),
        };
        self.link = Link::opening(self.sessions, session::open(opening));
    }

    fn hello(&self) -> proto::Hello {
        proto::Hello {
            level: weft_wire::LEVEL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            artifact_key: self.setting.artifact_key.clone(),
            workload: self.setting.workload.to_string(),
            inbound_address: self.setting.inbound.map(|address| address.to_string()).unwrap_or_default(),
            subscriptions: self.subscriptions.hosts().map(ToString::to_string).collect(),
            held: self.publication.held.ledger.holding().to_hello(),
            running: held::running(&self.publication.held.snapshot),
            seen: weft_wire::encode_seen(&self.publication.held.seen),
        }
    }

    fn connected(&mut self, session: Session) {
        let address = session.address.clone();
        if !self.link.opened(session, Instant::now()) {
            return;
        }
        tracing::info!(address, "connected to the control plane");
        self.status.change(|facts| {
            facts.link = LinkFacts::Connected { address, since: SystemTime::now(), current: false };
        });
        let flushed = self.link.flush();
        self.close_unless(flushed);
        if self.leaving == Leaving::Yes {
            self.send(from_proxy::Message::Leaving(proto::Leaving {}));
        }
    }

    fn closed(&mut self, reason: &str) {
        if self.link.is_stable(self.setting.pace.stable_after) {
            self.backoff.reset();
        }
        self.credentials.look_at_roots(SystemTime::now());
        let pause = self.backoff.next(chance());
        self.link = Link::Down { retry_at: Instant::now() + pause };
        tracing::warn!("no control plane: {reason}; serving on, trying again in {pause:.1?}");
        self.status.change(|facts| {
            let since = match facts.link {
                LinkFacts::Away { since, .. } => since,
                LinkFacts::Connected { .. } => SystemTime::now(),
            };
            facts.link = LinkFacts::Away { since, reason: reason.to_owned() };
        });
    }

    fn send(&mut self, message: from_proxy::Message) {
        let sent = self.link.send(message);
        self.close_unless(sent);
    }

    fn close_unless(&mut self, said: Result<(), String>) {
        if let Err(reason) = said {
            self.closed(&reason);
        }
    }

    fn leave(&mut self) {
        self.leaving = Leaving::Yes;
        self.send(from_proxy::Message::Leaving(proto::Leaving {}));
    }

    fn asked(&mut self, asks: Vec<Ask>) {
        let now = Instant::now();
        let (mut add, mut remove) = (Vec::new(), Vec::new());
        for ask in asks {
            match ask {
                Ask::Used(host) => self.subscriptions.used(&host, now),
                Ask::Wanted(host) => {
                    if let Wish::New { instead_of } = self.subscriptions.want(&host, now) {
                        remove.extend(instead_of);
                        add.push(host);
                    }
                }
            }
        }
        self.subscribe(&add, &remove);
    }

    fn subscribe(&mut self, add: &[Host], remove: &[Host]) {
        if add.is_empty() && remove.is_empty() {
            return;
        }
        let subscriptions = self.subscriptions.len();
        self.status.change(|facts| facts.subscriptions = subscriptions);
        let said = self.link.subscribe(add, remove);
        self.close_unless(said);
    }

    fn update(&mut self, update: &proto::Update) {
        let Link::Up(up) = &self.link else { return };
        if up.applying.is_some() {
            return self.closed("the control plane sent an update before the last one was answered");
        }
        let signers = self.credentials.signers();
        let candidate = match self.publication.check(update, self.credentials.trust_domain(), &signers) {
            Ok(candidate) => candidate,
            Err(problems) => return self.nack(&update.revision, problems),
        };
        let missing = self.publication.missing(&candidate, &signers);
        if missing.is_empty() {
            return self.commit(candidate);
        }
        self.fetch(candidate, missing);
    }

    fn fetch(&mut self, candidate: Candidate, missing: Vec<Digest>) {
        let signers = self.credentials.signers();
        let Link::Up(up) = &mut self.link else { return };
        let fetching = Fetching {
            channel: up.session.channel.clone(),
            folder: self.publication.artifacts(),
            signers,
            artifact_key: self.setting.artifact_key.clone(),
            answer_max: self.setting.pace.reach.answer_max,
        };
        let (events, session) = (self.events.clone(), up.session.number);
        let task = Task::spawn(async move {
            let outcome = fetch::fetch_all(fetching, missing).await;
            let _ = events.send(Event::Fetched { session, outcome }).await;
        });
        up.applying = Some((candidate, task));
    }

    fn fetched(&mut self, outcome: Result<Vec<Digest>, FetchError>) {
        let Link::Up(up) = &mut self.link else { return };
        let Some((candidate, _)) = up.applying.take() else { return };
        match outcome {
            Ok(artifacts) => {
                self.publication.fetched(artifacts);
                self.commit(candidate);
            }
            Err(error) => self.nack(&candidate.revision, vec![error.to_string()]),
        }
    }

    fn commit(&mut self, candidate: Candidate) {
        let revision = candidate.revision.clone();
        if let Err(problems) = self.publication.commit(candidate) {
            return self.nack(&revision, problems);
        }
        if let Some(trust) = self.publication.held.snapshot.trust() {
            self.credentials.trust(trust);
        }
        tracing::debug!(revision, "update applied");
        self.status.change(|facts| {
            (facts.nack, facts.updates_applied) = (None, facts.updates_applied + 1);
            if let LinkFacts::Connected { current, .. } = &mut facts.link {
                *current = true;
            }
        });
        self.tell_facts();
        self.send(from_proxy::Message::Ack(proto::Ack { revision }));
    }

    fn nack(&mut self, revision: &str, problems: Vec<String>) {
        tracing::error!("update {revision} refused, the last one stays: {}", problems.join("; "));
        let nacked = Nacked { at: SystemTime::now(), revision: revision.to_owned(), problems: problems.clone() };
        self.status.change(|facts| {
            (facts.nack, facts.updates_refused) = (Some(nacked), facts.updates_refused + 1);
        });
        self.send(from_proxy::Message::Nack(proto::Nack { revision: revision.to_owned(), problems }));
    }

    fn tell_facts(&self) {
        let (id, expires) = (self.credentials.id().cloned(), self.credentials.expires());
        let (revision, subscriptions) = (self.publication.held.revision(), self.subscriptions.len());
        self.status.change(|facts| {
            (facts.identity, facts.svid_expires) = (id, expires);
            (facts.revision, facts.subscriptions) = (revision, subscriptions);
        });
    }
}

/// A number in 0..1, for what must not happen to all proxies at once.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

const ASKS_AT_ONCE: usize = 256;
const SLEEP_MAX: Duration = Duration::from_secs(60);
/// When to look again whether the control plane has room, or the disk has what was written.
const ROOM_AGAIN: Duration = Duration::from_millis(50);
