//! All configuration that counts at one moment: immutable, made from files and the world before.
//!
//! It does not know where files come from, nor what a proxy makes of the configuration.

use crate::view::{FilterFacts, UnknownWorkload, View, Viewpoint};
use crate::{Problem, SourceFile};
use std::time::Duration;
use weft_snapshot::{Digest, FilterKey, Labels, OutboundPolicy, SpiffeId, WorkloadName};

/// All configuration that counts at one moment.
#[derive(Clone, Debug, Default)]
pub struct World {
    mesh: Mesh,
    problems: Vec<Problem>,
}

/// The Mesh object, or its defaults.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mesh {
    /// `cluster.local`.
    pub trust_domain: String,
    /// `weft-system`.
    pub root_namespace: String,
    pub outbound: OutboundPolicy,
    pub registries: Vec<Registry>,
}

impl Default for Mesh {
    fn default() -> Self {
        Self {
            trust_domain: "cluster.local".into(),
            root_namespace: "weft-system".into(),
            outbound: OutboundPolicy::AllowAny,
            registries: Vec::new(),
        }
    }
}

/// How one registry is spoken to. Paths are already joined to the folder of the Mesh object's file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Registry {
    /// `HOST[:PORT]`, as image references write it.
    pub host: String,
    /// `HOST[:PORT]` that is asked instead.
    pub mirror: Option<String>,
    /// PEM file with the roots that its certificate may end in; `None`: the system's.
    pub ca: Option<String>,
    pub transport: Transport,
    pub credentials: Option<Credentials>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    Https,
    PlainHttp,
}

/// Where the password is read; never the password itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Credentials {
    Password {
        username: String,
        password_file: String,
    },
    /// A docker config.json.
    DockerConfig {
        file: String,
    },
}

/// One policy that some object attaches: a Filter with one config. What has to be resolved, admitted and compiled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    pub key: FilterKey,
    /// `NAMESPACE/NAME` of the Filter.
    pub filter: String,
    /// `oci://…` or `oci-layout:PATH[:TAG]`, PATH already joined to the folder of the Filter's file.
    pub image: String,
    /// Pins the component's manifest.
    pub digest: Option<Digest>,
    /// How often a tag is looked up again; `None`: only when the object changes.
    pub refresh: Option<Duration>,
    /// JSON.
    pub config: String,
    pub deadline: Duration,
    pub memory_max: u64,
    /// Place of the Filter, for problems.
    pub file: String,
    pub line: u32,
}

/// What the control plane has to know of a workload that wants to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: WorkloadName,
    pub identity: SpiffeId,
    pub labels: Labels,
}

/// One object and whether it counts as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectState {
    pub kind: &'static str,
    pub namespace: String,
    pub name: String,
    pub file: String,
    pub line: u32,
    pub version: ObjectVersion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectVersion {
    /// As written now.
    Current,
    /// What is written now is broken; an earlier version counts.
    LastGood,
}

impl World {
    /// Reads all files. What is broken keeps its version of `previous`; what is gone goes. Unchanged files are not
    /// parsed again.
    pub fn build(files: &[SourceFile], previous: &World) -> World {
        let _ = files;
        previous.clone()
    }

    /// Hash of all that counts: the same for the same content, wherever and whenever it was read.
    pub fn revision(&self) -> &str {
        ""
    }

    /// In reading order. Those that need the filters' manifests are [`World::filter_problems`].
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// What only shows when the manifests are known: guards at the caller, nothing to pick from.
    pub fn filter_problems(&self, _facts: &FilterFacts) -> Vec<Problem> {
        Vec::new()
    }

    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// Every policy that is attached somewhere, by key.
    pub fn policies(&self) -> Vec<Policy> {
        Vec::new()
    }

    pub fn members(&self) -> impl Iterator<Item = Member> {
        std::iter::empty()
    }

    pub fn member(&self, _name: &WorkloadName) -> Option<Member> {
        None
    }

    pub fn objects(&self) -> impl Iterator<Item = ObjectState> {
        std::iter::empty()
    }

    /// Collects what the subject may see of the hosts that it asked for.
    pub fn view(&self, at: &Viewpoint<'_>) -> Result<View, UnknownWorkload> {
        Ok(View { trust: at.trust.clone() })
    }
}
