//! Which of several replicas writes to the cluster: the one that holds the Lease.
//!
//! A compare-and-swap on the Lease's resourceVersion decides; clocks only say when to try. It does not know what the
//! leader does.

use super::{Cluster, Here};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Whether this replica leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Leader,
    Follower,
}

/// Runs until nobody wants to know any more.
pub(super) async fn elect(cluster: Cluster, role: watch::Sender<Role>) {
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), &cluster.here.namespace);
    let mut rival = Rival::default();
    let mut held_until = None;
    while !role.is_closed() {
        let now = Instant::now();
        let answer = turn(&leases, &cluster.here, &mut rival, now).await;
        match answer {
            Ok(Role::Leader) => held_until = Some(now + LEASE),
            Ok(Role::Follower) => held_until = None,
            Err(error) => tracing::warn!(%error, "the Lease cannot be read or written; it is tried again"),
        }
        let leads = if held_until.is_some_and(|until| Instant::now() < until) { Role::Leader } else { Role::Follower };
        role.send_if_modified(|before| {
            let changed = *before != leads;
            if changed {
                tracing::info!(replica = cluster.here.replica, role = ?leads, "leadership");
            }
            *before = leads;
            changed
        });
        tokio::time::sleep(if leads == Role::Leader { RENEW } else { TRY }).await;
    }
}

/// What was seen of another holder, by our own clock: whose clock is right is nobody's to say.
#[derive(Debug, Default)]
struct Rival {
    version: Option<String>,
    since: Option<Instant>,
}

impl Rival {
    /// True where the Lease has not changed for so long that its holder cannot live.
    fn is_gone(&mut self, version: Option<&str>, lease: Duration, now: Instant) -> bool {
        if self.version.as_deref() != version {
            (self.version, self.since) = (version.map(str::to_owned), Some(now));
        }
        self.since.is_some_and(|since| now.saturating_duration_since(since) >= lease)
    }
}

async fn turn(leases: &Api<Lease>, here: &Here, rival: &mut Rival, now: Instant) -> Result<Role, kube::Error> {
    let Some(mut lease) = leases.get_opt(NAME).await? else {
        let lease = Lease {
            metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
            spec: Some(held(here, &LeaseSpec::default())),
        };
        return won(leases.create(&PostParams::default(), &lease).await);
    };
    let spec = lease.spec.take().unwrap_or_default();
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let duration = seconds.map_or(LEASE, Duration::from_secs);
    let is_ours = holder == here.replica;
    if !is_ours && !holder.is_empty() && !rival.is_gone(lease.metadata.resource_version.as_deref(), duration, now) {
        return Ok(Role::Follower);
    }
    lease.spec = Some(held(here, &spec));
    // The resourceVersion goes along: whoever wrote in between has won.
    won(leases.replace(NAME, &PostParams::default(), &lease).await)
}

fn won(answer: Result<Lease, kube::Error>) -> Result<Role, kube::Error> {
    match answer {
        Ok(_) => Ok(Role::Leader),
        Err(kube::Error::Api(status)) if status.code == CONFLICT => Ok(Role::Follower),
        Err(error) => Err(error),
    }
}

fn held(here: &Here, before: &LeaseSpec) -> LeaseSpec {
    let now = MicroTime(Timestamp::now());
    let same = before.holder_identity.as_deref() == Some(here.replica.as_str());
    let turns = before.lease_transitions.unwrap_or(0);
    LeaseSpec {
        holder_identity: Some(here.replica.clone()),
        lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
        acquire_time: if same { before.acquire_time.clone() } else { Some(now.clone()) },
        renew_time: Some(now),
        lease_transitions: Some(if same { turns } else { turns + 1 }),
        ..LeaseSpec::default()
    }
}

const NAME: &str = "weft-controlplane";
const CONFLICT: u16 = 409;
const LEASE: Duration = Duration::from_secs(10);
const RENEW: Duration = Duration::from_secs(3);
const TRY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rival_that_renews_is_there() {
        let start = Instant::now();
        let mut rival = Rival::default();
        for (second, version, want) in
            [(0, "1", false), (9, "1", false), (10, "1", true), (11, "2", false), (20, "2", false), (21, "2", true)]
        {
            let now = start + Duration::from_secs(second);
            assert_eq!(rival.is_gone(Some(version), LEASE, now), want, "{version} after {second} s");
        }
    }
}
