//! A worker's way to run filters: one per worker thread, no locks.
//!
//! It does not know chains of filters or what a failure means; the caller does.

use crate::instance::{Fault, Instance, Leash};
use crate::pool::{Call, Copied, Phase};
use crate::{Attribute, Engine, Failure, FailureKind, Message, NonUtf8, Place, Policy, check, policy};
use crate::{ResponseVerdict, Verdict};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

/// Belongs to one worker thread.
pub struct Runner {
    worker: usize,
    /// A watchdog slot is one thread's.
    not_send: PhantomData<*const ()>,
}

/// The attributes of one call; most filters ask for a handful.
type Attributes<'a> = SmallVec<[Option<Cow<'a, str>>; 8]>;

impl Runner {
    /// `worker` is below the engine's `workers`; each number has one runner at a time, made on its own thread.
    ///
    /// # Panics
    /// If `worker` is not.
    pub fn new(engine: &Engine, worker: usize) -> Self {
        assert!(worker < engine.inner.options.workers, "the engine is built for fewer workers");
        engine.inner.watch.claim(worker);
        Self { worker, not_send: PhantomData }
    }

    /// What the policy decides about a request. Completes at once; suspends only for a policy in the pool.
    pub async fn on_request<M: Message>(&self, policy: &Policy, message: &M) -> Result<Verdict, Failure> {
        let _ = self.not_send;
        let policy = &policy.inner;
        let attributes = read_request(policy, message)?;
        if policy.place() == Place::Worker {
            let raw =
                self.run(policy, &attributes, |instance, leash, views| instance.on_request(leash, message, views))?;
            return check::verdict(raw, &policy.origin.manifest).map_err(|error| nonsense(policy, &error));
        }
        let (answer, verdict) = oneshot::channel();
        hand_over(policy, message, &attributes, Phase::Request(answer))?;
        drop(attributes);
        verdict.await.unwrap_or_else(|_| Err(lost(policy)))
    }

    /// What the policy decides about a response; `state` is what its verdict on the request left. Passes at once where
    /// the manifest has no response attributes.
    pub async fn on_response<M: Message>(
        &self,
        policy: &Policy,
        message: &M,
        state: Option<Vec<u8>>,
    ) -> Result<ResponseVerdict, Failure> {
        let policy = &policy.inner;
        if policy.origin.manifest.response.is_empty() {
            return Ok(ResponseVerdict::Pass);
        }
        let attributes = read_response(policy, message);
        if policy.place() == Place::Worker {
            let raw = self.run(policy, &attributes, |instance, leash, views| {
                instance.on_response(leash, message, views, state.as_deref())
            })?;
            return check::response_verdict(raw, &policy.origin.manifest).map_err(|error| nonsense(policy, &error));
        }
        let (answer, verdict) = oneshot::channel();
        hand_over(policy, message, &attributes, Phase::Response { state, answer })?;
        drop(attributes);
        verdict.await.unwrap_or_else(|_| Err(lost(policy)))
    }

    /// Calls a handler on this worker's instance.
    #[inline]
    fn run<Raw>(
        &self,
        policy: &Arc<policy::Inner>,
        attributes: &Attributes<'_>,
        handler: impl FnOnce(&mut Instance, Leash<'_>, &[Option<&str>]) -> Result<Raw, Fault>,
    ) -> Result<Raw, Failure> {
        let mut instance = policy.take(self.worker)?;
        let views: SmallVec<[Option<&str>; 8]> = attributes.iter().map(Option::as_deref).collect();
        let leash = Leash { watch: &policy.engine().watch, slot: self.worker, deadline: policy.settings.deadline };
        match handler(&mut instance, leash, &views) {
            Ok(raw) => {
                policy.give_back(self.worker, instance);
                Ok(raw)
            }
            Err(fault) => {
                policy.failed(instance, fault.kind, Place::Worker);
                Err(policy.ledger.failure(fault.kind, fault.reason))
            }
        }
    }
}

fn read_request<'a>(policy: &policy::Inner, message: &'a impl Message) -> Result<Attributes<'a>, Failure> {
    let mut attributes = Attributes::new();
    for attribute in &policy.origin.manifest.request {
        match message.attribute(attribute).map(text) {
            Some(None) if policy.settings.non_utf8 == NonUtf8::Refuse => return Err(not_utf8(policy, attribute)),
            value => attributes.push(value.flatten()),
        }
    }
    Ok(attributes)
}

fn read_response<'a>(policy: &policy::Inner, message: &'a impl Message) -> Attributes<'a> {
    let read = |attribute| match message.attribute(attribute).map(text) {
        Some(None) => {
            policy.ledger.not_utf8.fetch_add(1, Ordering::Relaxed);
            None
        }
        value => value.flatten(),
    };
    policy.origin.manifest.response.iter().map(read).collect()
}

fn text(value: Cow<'_, [u8]>) -> Option<Cow<'_, str>> {
    match value {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

/// Gives a call to the pool, with a copy of what the filter may see.
#[cold]
fn hand_over(
    policy: &Arc<policy::Inner>,
    message: &dyn Message,
    attributes: &Attributes<'_>,
    phase: Phase,
) -> Result<(), Failure> {
    if policy.place() == Place::Refused {
        return Err(policy.refused());
    }
    let call = Call {
        message: if policy.reads_lazily() { Copied::of(message) } else { Copied::default() },
        attributes: attributes.iter().map(|value| value.as_deref().map(str::to_owned)).collect(),
        phase,
    };
    if policy.engine().pool().run(policy, call) {
        return Ok(());
    }
    Err(policy
        .ledger
        .failure(FailureKind::Unavailable, "too many of its calls wait: it is slow and was taken off the workers"))
}

#[cold]
fn not_utf8(policy: &policy::Inner, attribute: &Attribute) -> Failure {
    policy.ledger.failure(FailureKind::NotUtf8, format!("{attribute} is not UTF-8"))
}

#[cold]
fn nonsense(policy: &policy::Inner, error: &check::OutputError) -> Failure {
    policy.ledger.failure(FailureKind::Output, error.to_string())
}

#[cold]
fn lost(policy: &policy::Inner) -> Failure {
    policy.ledger.failure(FailureKind::Unavailable, "the pool for slow filters has ended")
}
