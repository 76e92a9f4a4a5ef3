//! The few threads for policies that may not run on the workers any more.
//!
//! A worker hands a call over together with a copy of all that the filter may see, and waits without blocking. It
//! does not know which policies come here.

use crate::instance::{Fault, Instance, Leash};
use crate::policy;
use crate::watch::Watch;
use crate::{Attribute, Failure, FailureKind, Message, Place, check};
use crate::{ResponseVerdict, Verdict};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// Calls that may wait.
const QUEUE_MAX: usize = 256;
/// Calls of one policy that may wait or run, so that one cannot keep the others out.
const PER_POLICY_MAX: u32 = 32;

pub(crate) struct Pool {
    jobs: SyncSender<Job>,
}

/// A call, with all that it needs.
pub(crate) struct Call {
    pub(crate) message: Copied,
    pub(crate) attributes: Vec<Option<String>>,
    pub(crate) phase: Phase,
}

pub(crate) enum Phase {
    Request(oneshot::Sender<Result<Verdict, Failure>>),
    Response { state: Option<Vec<u8>>, answer: oneshot::Sender<Result<ResponseVerdict, Failure>> },
}

struct Job {
    policy: Arc<policy::Inner>,
    call: Call,
}

/// A message that no longer belongs to a worker.
#[derive(Default)]
pub(crate) struct Copied {
    names: Vec<String>,
    values: HashMap<String, Vec<Vec<u8>>>,
}

impl Pool {
    pub(crate) const THREADS: usize = 2;

    /// The threads use the watchdog's slots from `slot` on.
    pub(crate) fn start(watch: &Arc<Watch>, slot: usize) -> Self {
        let (jobs, queue) = sync_channel(QUEUE_MAX);
        let queue = Arc::new(Mutex::new(queue));
        for slot in slot..slot + Self::THREADS {
            let (watch, queue) = (Arc::clone(watch), Arc::clone(&queue));
            let thread = std::thread::Builder::new().name("weft-filter-pool".to_owned());
            let started = thread.spawn(move || {
                watch.claim(slot);
                work(&queue, slot);
            });
            if let Err(error) = started {
                tracing::error!(%error, "a thread for slow filters could not be started");
            }
        }
        Self { jobs }
    }

    /// False where the policy has too many calls here already, or all have.
    pub(crate) fn run(&self, policy: &Arc<policy::Inner>, call: Call) -> bool {
        if policy.pooled_now.fetch_add(1, Ordering::Relaxed) < PER_POLICY_MAX
            && self.jobs.try_send(Job { policy: Arc::clone(policy), call }).is_ok()
        {
            return true;
        }
        policy.pooled_now.fetch_sub(1, Ordering::Relaxed);
        false
    }
}

fn work(queue: &Mutex<Receiver<Job>>, slot: usize) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        call(&job.policy, job.call, slot);
        job.policy.pooled_now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer that nobody waits for any more is dropped.
fn call(policy: &Arc<policy::Inner>, call: Call, slot: usize) {
    let Call { message, attributes, phase } = call;
    let attributes: Vec<Option<&str>> = attributes.iter().map(Option::as_deref).collect();
    match phase {
        Phase::Request(answer) => {
            let verdict = run(policy, slot, |instance, leash| instance.on_request(leash, &message, &attributes))
                .and_then(|raw| check::verdict(raw, &policy.origin.manifest).map_err(|error| nonsense(policy, &error)));
            drop(answer.send(verdict));
        }
        Phase::Response { state, answer } => {
            let verdict = run(policy, slot, |instance, leash| {
                instance.on_response(leash, &message, &attributes, state.as_deref())
            })
            .and_then(|raw| {
                check::response_verdict(raw, &policy.origin.manifest).map_err(|error| nonsense(policy, &error))
            });
            drop(answer.send(verdict));
        }
    }
}

fn run<Raw>(
    policy: &Arc<policy::Inner>,
    slot: usize,
    handler: impl FnOnce(&mut Instance, Leash<'_>) -> Result<Raw, Fault>,
) -> Result<Raw, Failure> {
    if policy.place() == Place::Refused {
        return Err(policy.refused());
    }
    let mut instance = policy.take_pooled(slot)?;
    policy.ledger.pooled.fetch_add(1, Ordering::Relaxed);
    let leash = Leash { watch: &policy.engine().watch, slot, deadline: policy.settings.deadline };
    match handler(&mut instance, leash) {
        Ok(raw) => {
            policy.give_to_pool(instance);
            Ok(raw)
        }
        Err(fault) => {
            policy.failed(instance, fault.kind, Place::Pool);
            Err(policy.ledger.failure(fault.kind, fault.reason))
        }
    }
}

fn nonsense(policy: &policy::Inner, error: &check::OutputError) -> Failure {
    policy.ledger.failure(FailureKind::Output, error.to_string())
}

impl Copied {
    pub(crate) fn of(message: &dyn Message) -> Self {
        let names = message.header_names();
        let values = names.iter().map(|name| (name.clone(), message.header_values(name))).collect();
        Self { names, values }
    }
}

impl Message for Copied {
    /// Attributes are passed with the call; a guest cannot ask for more.
    fn attribute(&self, _: &Attribute) -> Option<Cow<'_, [u8]>> {
        None
    }

    fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
        self.values.get(name).cloned().unwrap_or_default()
    }

    fn header_names(&self) -> Vec<String> {
        self.names.clone()
    }
}
