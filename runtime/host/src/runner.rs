//! A worker's way to run filters: one per worker thread, no locks.
//!
//! It does not know chains of filters or what a failure means; the caller does.

use crate::{Engine, Failure, FailureKind, Message, Policy, ResponseVerdict, Verdict};
use std::marker::PhantomData;

/// Belongs to one worker thread.
pub struct Runner {
    _worker: usize,
    not_send: PhantomData<*const ()>,
}

impl Runner {
    /// `worker` is below the engine's `workers`; each number has one runner at a time, made on its own thread.
    pub fn new(_engine: &Engine, worker: usize) -> Self {
        Self { _worker: worker, not_send: PhantomData }
    }

    /// What the policy decides about a request. Completes at once; suspends only for a policy in the pool.
    pub async fn on_request<M: Message>(&self, policy: &Policy, _message: &M) -> Result<Verdict, Failure> {
        let _ = self.not_send;
        Err(Failure {
            kind: FailureKind::Unavailable,
            filter: policy.settings().key.clone(),
            reason: "not written yet".to_owned(),
        })
    }

    /// What the policy decides about a response; `state` is what its verdict on the request left.
    /// A policy whose manifest has no response attributes is not to be called.
    pub async fn on_response<M: Message>(
        &self,
        policy: &Policy,
        _message: &M,
        _state: Option<Vec<u8>>,
    ) -> Result<ResponseVerdict, Failure> {
        Err(Failure {
            kind: FailureKind::Unavailable,
            filter: policy.settings().key.clone(),
            reason: "not written yet".to_owned(),
        })
    }
}
