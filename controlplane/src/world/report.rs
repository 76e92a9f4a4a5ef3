//! What the loop knows, as people are shown it.
//!
//! It only reads.

use super::Loop;
use super::proxy::Proxy;
use super::support::Support;
use crate::artifacts::Facts;
use crate::artifacts::{FilterProblem, FilterStatus, Progress, Version};
use crate::source::FileProblem;
use crate::status::{
    AuthorityLine, Configuration, FilterLine, FilterVersion, ObjectLine, ObjectState, ProblemLine, ProxyLine,
    ProxyState, Refusal, Report,
};
use std::collections::BTreeMap;
use weft_config::{ObjectVersion, Problem, Severity};
use weft_snapshot::WorkloadName;

/// What each filter runs and ran before.
#[derive(Default)]
pub(super) struct FilterHistory {
    versions: BTreeMap<String, (Option<Version>, Option<Version>)>,
}

impl FilterHistory {
    pub(super) fn saw(&mut self, facts: &Facts) {
        self.versions.retain(|name, _| facts.filters.contains_key(name));
        for (name, filter) in &facts.filters {
            let (running, before) = self.versions.entry(name.clone()).or_default();
            if *running != filter.running {
                if let (Some(old), Some(new)) = (*running, filter.running) {
                    tracing::info!(filter = name, old = %old.image, new = %new.image, "the filter's tag moved");
                }
                *before = running.take().or(*before);
                *running = filter.running;
            }
        }
    }
}

impl Loop {
    pub(super) fn report(&self) -> Report {
        let world = self.adoption.newest();
        let issuing = self.around.authority.issuing();
        let objects = world.objects().map(|object| ObjectLine {
            kind: object.kind.to_owned(),
            name: format!("{}/{}", object.namespace, object.name),
            file: object.file,
            line: object.line,
            state: match object.version {
                ObjectVersion::Current => ObjectState::Accepted,
                ObjectVersion::LastGood => ObjectState::LastGood,
            },
        });
        Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            trust_domain: issuing.trust().trust_domain.clone(),
            configuration: Configuration {
                revision: world.revision(),
                files: self.files.files.len(),
                objects: objects.collect(),
                waiting_for: self.adoption.untried(&self.facts),
            },
            problems: self.problems(),
            filters: self.facts.filters.iter().map(|(name, filter)| self.filter(name, filter)).collect(),
            proxies: self.proxy_lines(),
            authority: AuthorityLine {
                roots: issuing.root_hashes().iter().map(|hash| crate::token::hex(hash)).collect(),
                expires: issuing.root_expires(),
                svid_life_seconds: issuing.svid_life().as_secs(),
            },
        }
    }

    fn problems(&self) -> Vec<ProblemLine> {
        let world = self.adoption.newest();
        let facts = self.facts.filter_facts(&weft_filter_host::artifact_key());
        let config = world.problems().iter().map(of_config);
        let filters = world.filter_problems(&facts);
        let filters = filters.iter().map(of_config);
        let files = self.files.problems.iter().map(of_file);
        let proxies = self.proxies.values().filter_map(|proxy| unserved(proxy, &self.facts));
        files.chain(config).chain(filters).chain(self.facts.problems().map(of_filter)).chain(proxies).collect()
    }

    fn filter(&self, name: &str, filter: &FilterStatus) -> FilterLine {
        let before = self.filters.versions.get(name).and_then(|(_, before)| *before);
        FilterLine {
            name: name.to_owned(),
            image: filter.image.clone(),
            running: filter.running.map(version),
            before: before.map(version),
            progress: match filter.progress {
                Progress::Settled => "settled",
                Progress::Working => "working",
            }
            .to_owned(),
            problems: filter.problems.iter().map(FilterProblem::sentence).collect(),
        }
    }

    fn proxy_lines(&self) -> Vec<ProxyLine> {
        let connected: BTreeMap<&WorkloadName, &Proxy> =
            self.proxies.values().map(|proxy| (&proxy.workload, proxy)).collect();
        let world = self.adoption.newest();
        let names: std::collections::BTreeSet<&WorkloadName> =
            self.joined.workloads().chain(connected.keys().copied()).chain(world.injected()).collect();
        names.into_iter().map(|name| self.proxy_line(name, connected.get(name).copied())).collect()
    }

    fn proxy_line(&self, workload: &WorkloadName, proxy: Option<&Proxy>) -> ProxyLine {
        let issued = self.issued.get(workload).copied();
        let common = ProxyLine {
            workload: workload.to_string(),
            inbound: self.joined.inbound(workload).map(|address| address.to_string()),
            svid_expires: issued.max(proxy.map(|proxy| proxy.svid_expires)),
            state: if self.joined.is_leaving(workload) { ProxyState::Leaving } else { ProxyState::Away },
            ..ProxyLine::default()
        };
        let Some(proxy) = proxy else { return common };
        let has = proxy.has.revision();
        let target = proxy.target.as_ref();
        let served = proxy.support == Support::Served;
        let pending = target.map(|target| target.revision.clone()).filter(|revision| served && revision != has);
        let state = match &proxy.refused {
            _ if self.joined.is_leaving(workload) => ProxyState::Leaving,
            _ if !served => ProxyState::Unsupported,
            Some(refused) if pending.as_ref() == Some(&refused.revision) => ProxyState::Refused,
            _ if pending.is_some() || proxy.is_waiting() => ProxyState::Updating,
            _ => ProxyState::Current,
        };
        let refused = proxy.refused.as_ref();
        ProxyLine {
            state,
            identity: Some(proxy.identity.to_string()),
            version: Some(proxy.version.clone()),
            level: Some(proxy.level),
            remote: Some(proxy.remote.to_string()),
            subscriptions: proxy.asked.iter().map(ToString::to_string).collect(),
            revision: Some(has.to_owned()),
            pending,
            refused: refused.map(|r| Refusal { revision: r.revision.clone(), problems: r.problems.clone() }),
            snapshot_bytes: target.map(|target| target.bytes() as u64),
            ..common
        }
    }
}

fn version(version: Version) -> FilterVersion {
    FilterVersion { image: version.image.to_string(), component: version.component.to_string() }
}

pub(super) fn of_config(problem: &Problem) -> ProblemLine {
    ProblemLine {
        code: problem.code.to_string(),
        severity: match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
        .to_owned(),
        file: problem.file.clone(),
        line: problem.line,
        column: problem.column,
        object: problem.object.clone(),
        field: problem.field.clone(),
        reason: problem.reason.clone(),
        remedy: problem.remedy.clone(),
    }
}

fn of_file(problem: &FileProblem) -> ProblemLine {
    ProblemLine {
        code: problem.code.name().to_owned(),
        severity: "error".to_owned(),
        file: problem.path.clone(),
        // Of a cluster's object, or of a file as a whole.
        line: u32::from(!problem.code.is_of_cluster()),
        column: u32::from(!problem.code.is_of_cluster()),
        object: if problem.code.is_of_cluster() { problem.path.clone() } else { String::new() },
        reason: problem.reason.clone(),
        remedy: problem.remedy.to_owned(),
        ..ProblemLine::default()
    }
}

/// A sidecar that is not told all of what there is.
fn unserved(proxy: &Proxy, facts: &Facts) -> Option<ProblemLine> {
    match proxy.support {
        Support::Served => no_compiler(proxy, facts),
        Support::Unsupported => {
            Some(of_sidecar(proxy, "Unsupported", too_old(proxy), "it keeps what it was told last"))
        }
    }
}

fn too_old(proxy: &Proxy) -> String {
    format!(
        "it is of release {}, and this control plane ({}) serves its own and the two minor releases before it",
        proxy.version,
        env!("CARGO_PKG_VERSION")
    )
}

fn of_sidecar(proxy: &Proxy, code: &str, reason: String, until_then: &str) -> ProblemLine {
    let WorkloadName { namespace, name } = &proxy.workload;
    let remedy = format!(
        "restart it with the sidecar of this release (a pod: kubectl -n {namespace} delete pod {name}); {until_then}"
    );
    ProblemLine {
        code: code.to_owned(),
        severity: "error".to_owned(),
        object: format!("sidecar {}", proxy.workload),
        reason,
        remedy,
        ..ProblemLine::default()
    }
}

/// A sidecar of another build, for which nothing here compiles.
fn no_compiler(proxy: &Proxy, facts: &Facts) -> Option<ProblemLine> {
    let (on, out) = proxy.unserved(facts);
    if on.is_empty() && out.is_empty() {
        return None;
    }
    let mut reason = format!(
        "it loads filters compiled for {}, and this control plane has no compiler for that",
        proxy.artifact_key
    );
    for (names, what) in [(on, "go on there as they run now"), (out, "answer there by their failurePolicy")] {
        if !names.is_empty() {
            reason += &format!("; {} {what}", names.join(", "));
        }
    }
    Some(of_sidecar(proxy, "NoCompiler", reason, "all other changes reach it"))
}

pub(super) fn of_filter(problem: &FilterProblem) -> ProblemLine {
    ProblemLine {
        code: format!("{:?}", problem.kind),
        severity: "error".to_owned(),
        file: problem.file.clone(),
        line: problem.line,
        column: problem.column,
        object: format!("Filter {}", problem.filter),
        field: "spec.image".to_owned(),
        reason: problem.reason_with_digests(),
        remedy: problem.remedy.clone(),
    }
}
