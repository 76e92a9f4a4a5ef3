//! The streams of the proxies, as the loop keeps them: who comes, answers and goes, and what is sent to whom.
//!
//! It does not know what proxies are told; that is compiled elsewhere.

use super::proxy::{Answer, Proxy};
use super::support::Support;
use super::{Joining, Loop, SUBSCRIPTIONS_MAX, StreamId};
use crate::artifacts::Artifact;
use crate::status::Trigger;
use prost::Message as _;
use std::collections::BTreeSet;
use std::time::Instant;
use tonic::Status;
use weft_snapshot::{Digest, Host, SpiffeId, WorkloadName};
use weft_wire::{proto, snapshot_payload};

impl Loop {
    pub(super) fn hello(&mut self, joining: Joining, now: Instant) {
        let (stream, workload) = (joining.stream, joining.workload.clone());
        // Where a pod is reached, its EndpointSlices say; of a pod only that it drains is kept.
        match self.is_pod(&workload) {
            true => self.joined.back(&workload),
            false => self.joined.join(&workload, joining.inbound),
        }
        for older in self.audience.of_workload(&workload) {
            self.close(older, Status::aborted(format!("a newer stream of {workload} took the place of this one")));
        }
        tracing::info!(%workload, version = joining.version, remote = %joining.remote, "proxy connected");
        self.around.metrics.triggered(Trigger::Proxy);
        self.around.artifacts.demand(&joining.artifact_key);
        self.audience.add(stream, &workload);
        let proxy = Proxy::new(joining, now);
        if proxy.support == Support::Unsupported {
            self.outdated += 1;
            tracing::warn!(%workload, version = proxy.version, "this sidecar is too old to be told anything; it keeps what it has");
        }
        self.proxies.insert(stream, proxy);
        self.mark(stream);
    }

    pub(super) fn subscribe(&mut self, stream: StreamId, add: BTreeSet<Host>, remove: &BTreeSet<Host>) {
        let Some(proxy) = self.proxies.get_mut(&stream) else { return };
        proxy.asked.retain(|host| !remove.contains(host));
        proxy.asked.extend(add);
        if proxy.asked.len() > SUBSCRIPTIONS_MAX {
            let refusal = format!("a proxy may ask for {SUBSCRIPTIONS_MAX} hosts at most");
            return self.close(stream, Status::resource_exhausted(refusal));
        }
        self.mark(stream);
    }

    pub(super) fn ack(&mut self, stream: StreamId, revision: &str, now: Instant) {
        let Some(proxy) = self.proxies.get_mut(&stream) else { return };
        let behind = proxy.behind;
        match proxy.ack(revision, now) {
            Answer::Expected(_) => {
                let settled = behind.filter(|_| proxy.behind.is_none());
                self.around.metrics.acked(settled.map(|since| now.saturating_duration_since(since)));
                self.audience.hears(stream, proxy.hears());
                self.due.insert(stream);
            }
            Answer::Unexpected => self.confused(stream, revision),
        }
    }

    pub(super) fn nack(&mut self, stream: StreamId, revision: String, problems: Vec<String>, now: Instant) {
        let Some(proxy) = self.proxies.get_mut(&stream) else { return };
        tracing::warn!(workload = %proxy.workload, revision, ?problems, "proxy refused an update and runs on as it was");
        match proxy.nack(revision.clone(), problems, now) {
            Answer::Expected(_) => {
                self.around.metrics.nacked();
                self.due.insert(stream);
            }
            Answer::Unexpected => self.confused(stream, &revision),
        }
    }

    fn confused(&mut self, stream: StreamId, revision: &str) {
        let what = format!("no update to revision {revision:?} is under way; connect again and say what you hold");
        self.close(stream, Status::failed_precondition(what));
    }

    pub(super) fn leaving(&mut self, stream: StreamId) {
        let Some(proxy) = self.proxies.get(&stream) else { return };
        tracing::info!(workload = %proxy.workload, "proxy is leaving; callers send it nothing new");
        match self.is_pod(&proxy.workload) {
            true => self.joined.drain(&proxy.workload),
            false => self.joined.leave(&proxy.workload),
        }
    }

    fn is_pod(&self, workload: &WorkloadName) -> bool {
        self.adoption.newest().member(workload).is_some_and(|member| member.uid.is_some())
    }

    pub(super) fn gone(&mut self, stream: StreamId) {
        if let Some(proxy) = self.remove(stream) {
            tracing::info!(workload = %proxy.workload, "stream ended; the workload stays in the mesh");
        }
    }

    fn remove(&mut self, stream: StreamId) -> Option<Proxy> {
        let proxy = self.proxies.remove(&stream)?;
        self.audience.remove(stream, &proxy.workload);
        self.outdated -= usize::from(proxy.support == Support::Unsupported);
        Some(proxy)
    }

    /// A workload without a WorkloadEntry: it may be in a world that is not taken in yet, or its file is being renamed.
    pub(super) fn unknown(&mut self, stream: StreamId, unknown: &weft_config::UnknownWorkload) {
        if self.joined.has(&unknown.0) || self.adoption.newest().member(&unknown.0).is_some() {
            self.mark(stream);
        } else {
            self.close(stream, Status::not_found(unknown.to_string()));
        }
    }

    /// To those that may have to be told something; who must wait for something is looked at again next time.
    pub(super) fn send_due(&mut self, now: Instant) {
        for stream in std::mem::take(&mut self.due) {
            self.send_next(stream, now);
            if self.proxies.get(&stream).is_some_and(Proxy::is_due) {
                self.due.insert(stream);
            }
        }
    }

    fn send_next(&mut self, stream: StreamId, now: Instant) {
        let Some(proxy) = self.proxies.get_mut(&stream) else { return };
        // It must not refuse plain text before its callers can know of it.
        if self.peers.get(&proxy.workload) != self.joined.peer(&proxy.workload).as_ref() {
            return;
        }
        if proxy.is_early(self.adoption.facts(), now) && self.around.artifacts.serves(&proxy.artifact_key) {
            return;
        }
        let Some(mut update) = proxy.next_update(self.adoption.seen(), now) else { return };
        let payload = snapshot_payload(&proxy.workload, &update.revision);
        update.signature = self.around.authority.issuing().sign(&payload);
        tracing::debug!(
            workload = %proxy.workload, revision = update.revision, set = update.set.len(), removed = update.removed.len(),
            "update"
        );
        let message = proto::FromControlPlane { message: Some(proto::from_control_plane::Message::Update(update)) };
        self.around.metrics.pushed(message.encoded_len(), now.elapsed());
        if proxy.line.outbox.try_send(Ok(message)).is_err() {
            // It takes nothing, or is gone.
            self.remove(stream);
        }
    }

    pub(super) fn close(&mut self, stream: StreamId, status: Status) {
        let Some(proxy) = self.remove(stream) else { return };
        tracing::info!(workload = %proxy.workload, reason = status.message(), "stream closed");
        // A full outbox closes without a reason.
        let _ = proxy.line.outbox.try_send(Err(status));
    }

    /// What is named by a snapshot of this identity's proxies, and nothing else.
    pub(super) fn may_fetch(&self, identity: &SpiffeId, artifact: &Digest) -> Option<Artifact> {
        let named = |proxy: &Proxy| proxy.tellings().any(|telling| telling.artifacts.contains(artifact));
        let granted = self.proxies.values().any(|proxy| proxy.identity == *identity && named(proxy));
        if granted { self.facts.artifacts.get(artifact).cloned() } else { None }
    }
}
