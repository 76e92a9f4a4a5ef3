//! All that can happen to the control plane, as the one loop takes it.

use super::{Standing, Tallies};
use crate::artifacts::{Artifact, Facts};
use crate::ca::Seconds;
use crate::source::FileSet;
use crate::state::StateError;
use crate::status::Report;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;
use weft_snapshot::{Digest, FilterKey, Host, SpiffeId, WorkloadName};
use weft_wire::{Holding, Seen, proto};

/// One stream of one proxy; a number is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StreamId(pub(crate) u64);

/// The loop's end of one stream. Dropping it ends the stream.
pub(crate) struct Line {
    pub(crate) outbox: mpsc::Sender<Result<proto::FromControlPlane, Status>>,
    /// Dropped with the line: then whoever listens to the proxy stops.
    #[allow(dead_code, reason = "held for its drop")]
    pub(crate) ends: oneshot::Sender<()>,
}

pub(crate) enum Event {
    /// A source has read something else.
    Files(FileSet),
    /// A stream began; its identity is checked already.
    Hello(Box<Joining>),
    Subscribe {
        stream: StreamId,
        add: BTreeSet<Host>,
        remove: BTreeSet<Host>,
    },
    Ack {
        stream: StreamId,
        revision: String,
    },
    Nack {
        stream: StreamId,
        revision: String,
        problems: Vec<String>,
    },
    /// The proxy drains: callers must send it nothing new.
    Leaving {
        stream: StreamId,
    },
    /// The stream ended, for whatever reason. The workload stays in the mesh.
    Gone {
        stream: StreamId,
    },
    /// The filters' side has something else.
    Facts(Arc<Facts>),
    /// Other roots or signers count.
    Authority,
    Issued {
        workload: WorkloadName,
        expires: Seconds,
    },
    MayFetch {
        identity: SpiffeId,
        artifact: Digest,
        answer: oneshot::Sender<Option<Artifact>>,
    },
    Status(oneshot::Sender<Report>),
    /// What becomes of each object of a cluster.
    Standing(oneshot::Sender<Standing>),
    /// What each comes to at the proxies that are connected here.
    Tallies(oneshot::Sender<Tallies>),
    /// Who has joined was written, or could not be.
    Kept(Result<(), StateError>),
    /// Time has passed.
    Tick,
    Stop,
}

/// What a proxy says of itself at the beginning of a stream.
pub(crate) struct Joining {
    pub(crate) stream: StreamId,
    pub(crate) workload: WorkloadName,
    pub(crate) identity: SpiffeId,
    /// Of the certificate with which it connected.
    pub(crate) svid_expires: Seconds,
    pub(crate) remote: SocketAddr,
    pub(crate) version: String,
    pub(crate) level: u32,
    pub(crate) artifact_key: String,
    pub(crate) inbound: Option<SocketAddr>,
    pub(crate) asked: BTreeSet<Host>,
    pub(crate) held: Holding,
    /// Filters with the artifacts that it runs.
    pub(crate) running: BTreeMap<FilterKey, Running>,
    /// How far the cluster had come of which it was told last.
    pub(crate) seen: Seen,
    pub(crate) line: Line,
}

/// What one filter of a proxy runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) component: Digest,
    pub(crate) artifact: Digest,
    pub(crate) config: String,
}
