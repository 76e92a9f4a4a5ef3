//! The control plane's own metrics, under the names that Istio's control-plane dashboards ask for.
//!
//! Counted where things happen, read as Prometheus text. It does not know what is done with them.

use std::fmt::{Display, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use weft_config::{Code, Making, Problem, World};

pub(crate) struct Metrics {
    started: SystemTime,
    proxies: AtomicU64,
    outdated: AtomicU64,
    pushes: AtomicU64,
    push_seconds: Histogram,
    push_bytes: Histogram,
    converged_seconds: Histogram,
    acks: AtomicU64,
    rejects: AtomicU64,
    triggers: [AtomicU64; Trigger::ALL.len()],
    valid: AtomicU64,
    invalid: AtomicU64,
    services: AtomicU64,
    problems: AtomicU64,
    unsupported: AtomicU64,
    requests: AtomicU64,
    issued: AtomicU64,
    refused: AtomicU64,
    root_expires: AtomicU64,
    compilations: Arc<AtomicU64>,
    views: AtomicU64,
    snapshots: AtomicU64,
    steps: AtomicU64,
    wholes: AtomicU64,
}

/// Why proxies were looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    Configuration,
    Endpoint,
    Filter,
    Trust,
    Proxy,
}

impl Trigger {
    const ALL: [Self; 5] = [Self::Configuration, Self::Endpoint, Self::Filter, Self::Trust, Self::Proxy];

    fn name(self) -> &'static str {
        match self {
            Self::Configuration => "config",
            Self::Endpoint => "endpoint",
            Self::Filter => "filter",
            Self::Trust => "trust",
            Self::Proxy => "proxyrequest",
        }
    }
}

impl Metrics {
    pub(crate) fn new(started: SystemTime) -> Self {
        let seconds = || Histogram::new(&[1e-4, 1e-3, 1e-2, 0.1, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0], 1e-6);
        Self {
            started,
            proxies: AtomicU64::new(0),
            outdated: AtomicU64::new(0),
            pushes: AtomicU64::new(0),
            push_seconds: seconds(),
            push_bytes: Histogram::new(&[1e3, 4e3, 1e4, 1e5, 1e6, 4e6, 1e7, 4e7], 1.0),
            converged_seconds: seconds(),
            acks: AtomicU64::new(0),
            rejects: AtomicU64::new(0),
            triggers: Default::default(),
            valid: AtomicU64::new(0),
            invalid: AtomicU64::new(0),
            services: AtomicU64::new(0),
            problems: AtomicU64::new(0),
            unsupported: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            issued: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            root_expires: AtomicU64::new(0),
            compilations: Arc::default(),
            views: AtomicU64::new(0),
            snapshots: AtomicU64::new(0),
            steps: AtomicU64::new(0),
            wholes: AtomicU64::new(0),
        }
    }

    /// All that are connected, and those of them that are too old to be served.
    pub(crate) fn proxies(&self, count: usize, unsupported: usize) {
        self.proxies.store(count as u64, Relaxed);
        self.outdated.store(unsupported as u64, Relaxed);
    }

    pub(crate) fn pushed(&self, bytes: usize, took: Duration) {
        self.pushes.fetch_add(1, Relaxed);
        self.push_bytes.record(bytes as u64);
        self.push_seconds.record(took.as_micros() as u64);
    }

    /// With the time since the change, where the proxy now runs all that it should.
    pub(crate) fn acked(&self, converged: Option<Duration>) {
        self.acks.fetch_add(1, Relaxed);
        if let Some(took) = converged {
            self.converged_seconds.record(took.as_micros() as u64);
        }
    }

    pub(crate) fn nacked(&self) {
        self.rejects.fetch_add(1, Relaxed);
    }

    pub(crate) fn triggered(&self, trigger: Trigger) {
        self.triggers[trigger as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn configuration(&self, world: &World) {
        let errors = world.problems().iter().filter(|problem| problem.is_error()).count();
        let read = if errors == 0 { &self.valid } else { &self.invalid };
        read.fetch_add(1, Relaxed);
        self.problems.store(world.problems().len() as u64, Relaxed);
        let of_kinds = |problem: &&Problem| problem.code == Code::NotSupported && problem.field == "kind";
        self.unsupported.store(world.problems().iter().filter(of_kinds).count() as u64, Relaxed);
        self.services.store(world.services() as u64, Relaxed);
        match world.making() {
            Making::Step => self.steps.fetch_add(1, Relaxed),
            Making::Whole => self.wholes.fetch_add(1, Relaxed),
        };
    }

    /// So many proxies were looked at again, and so many snapshots compiled for what they see now.
    pub(crate) fn answered(&self, views: usize, snapshots: usize) {
        self.views.fetch_add(views as u64, Relaxed);
        self.snapshots.fetch_add(snapshots as u64, Relaxed);
    }

    /// What [`Metrics::answered`] was told, in all.
    pub(crate) fn work(&self) -> (u64, u64) {
        (self.views.load(Relaxed), self.snapshots.load(Relaxed))
    }

    pub(crate) fn certificate_asked(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub(crate) fn certificate_issued(&self) {
        self.issued.fetch_add(1, Relaxed);
    }

    pub(crate) fn certificate_refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(crate) fn root_expires(&self, at: u64) {
        self.root_expires.store(at, Relaxed);
    }

    /// Counted where filters are compiled.
    pub(crate) fn compilations(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.compilations)
    }

    /// Prometheus text.
    pub(crate) fn text(&self) -> String {
        let mut text = Text(String::with_capacity(8192));
        let read = |value: &AtomicU64| value.load(Relaxed);
        let version = env!("CARGO_PKG_VERSION");
        text.one(
            "istio_build",
            "gauge",
            "Version of the control plane.",
            &format!("component=\"pilot\",tag=\"{version}\""),
            1,
        );
        text.one(
            "pilot_xds",
            "gauge",
            "Proxies that are connected.",
            &format!("version=\"{version}\""),
            read(&self.proxies),
        );
        let outdated = "Proxies that are connected and of a release too old to be told anything.";
        text.one("weft_unsupported_proxies", "gauge", outdated, "", read(&self.outdated));
        text.one("pilot_xds_pushes", "counter", "Updates sent to proxies.", WEFT, read(&self.pushes));
        text.one("pilot_total_xds_rejects", "counter", "Updates that proxies refused.", WEFT, read(&self.rejects));
        text.one("weft_acks_total", "counter", "Updates that proxies applied.", "", read(&self.acks));
        text.histogram("pilot_xds_push_time", "Seconds to make one update.", WEFT, &self.push_seconds);
        text.histogram("pilot_xds_config_size_bytes", "Bytes of one update.", WEFT, &self.push_bytes);
        let converged = "Seconds from a change to its acknowledgement by one proxy that it concerns.";
        text.histogram("pilot_proxy_convergence_time", converged, "", &self.converged_seconds);
        text.head("pilot_push_triggers", "counter", "Why proxies were looked at again.");
        for trigger in Trigger::ALL {
            let labels = format!("type=\"{}\"", trigger.name());
            text.line("pilot_push_triggers", &labels, read(&self.triggers[trigger as usize]));
        }
        text.head("weft_worlds_total", "counter", "Configurations taken in: by the change alone, or made anew.");
        text.line("weft_worlds_total", "making=\"step\"", read(&self.steps));
        text.line("weft_worlds_total", "making=\"whole\"", read(&self.wholes));
        let (views, snapshots) = self.work();
        text.one("weft_views_total", "counter", "Times that a proxy was looked at again.", "", views);
        text.one("weft_snapshots_total", "counter", "Snapshots compiled: for views that no proxy had.", "", snapshots);
        text.one("pilot_services", "gauge", "Services and ServiceEntries.", "", read(&self.services));
        text.one("galley_validation_passed", "counter", "Configurations read without an error.", "", read(&self.valid));
        text.one("galley_validation_failed", "counter", "Configurations read with errors.", "", read(&self.invalid));
        text.one("weft_configuration_problems", "gauge", "Problems of what is written.", "", read(&self.problems));
        let unsupported = "Objects of kinds on which nobody acts.";
        text.one("weft_unsupported_objects", "gauge", unsupported, "", read(&self.unsupported));
        text.one("citadel_server_csr_count", "counter", "Certificates asked for.", "", read(&self.requests));
        let issued = "citadel_server_success_cert_issuance_count";
        text.one(issued, "counter", "Certificates issued.", "", read(&self.issued));
        let refused = "citadel_server_authentication_failure_count";
        text.one(refused, "counter", "Certificates refused.", "", read(&self.refused));
        let expires = "citadel_server_root_cert_expiry_timestamp";
        text.one(
            expires,
            "gauge",
            "When the root that signs expires, in seconds since 1970.",
            "",
            read(&self.root_expires),
        );
        let compiled = "Filters compiled by this replica, one for each component and artifact key.";
        text.one("weft_filter_compilations_total", "counter", compiled, "", read(&self.compilations));
        self.process(&mut text);
        text.0
    }

    fn process(&self, text: &mut Text) {
        let started = self.started.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        text.one("process_start_time_seconds", "gauge", "Start, in seconds since 1970.", "", started);
        // Linux only; absent elsewhere.
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let mut pages = statm.split(' ').filter_map(|pages| pages.parse::<u64>().ok());
        if let (Some(all), Some(resident)) = (pages.next(), pages.next()) {
            text.one("process_virtual_memory_bytes", "gauge", "Address space.", "", all * PAGE_BYTES);
            text.one("process_resident_memory_bytes", "gauge", "Memory in use.", "", resident * PAGE_BYTES);
        }
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let ticks = after_name.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok());
        let ticks: Vec<u64> = ticks.collect();
        if let [user, system] = ticks[..] {
            let seconds = (user + system) as f64 / TICKS_PER_SECOND;
            text.one("process_cpu_seconds_total", "counter", "CPU used.", "", seconds);
        }
    }
}

/// Fixed buckets; a value is counted in whole units, which `unit` turns into what is shown.
struct Histogram {
    bounds: &'static [f64],
    unit: f64,
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [f64], unit: f64) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, unit, counts, sum: AtomicU64::new(0) }
    }

    fn record(&self, value: u64) {
        let shown = value as f64 * self.unit;
        let bucket = self.bounds.partition_point(|bound| *bound < shown);
        self.counts[bucket].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }
}

/// Prometheus text under construction.
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, labels: &str, value: impl Display) {
        self.head(name, kind, help);
        self.line(name, labels, value);
    }

    fn histogram(&mut self, name: &str, help: &str, labels: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        let separated = if labels.is_empty() { String::new() } else { format!("{labels},") };
        let mut total = 0;
        let infinity = [f64::INFINITY];
        for (bound, count) in histogram.bounds.iter().chain(&infinity).zip(&histogram.counts) {
            total += count.load(Relaxed);
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
            self.line(&format!("{name}_bucket"), &format!("{separated}le=\"{bound}\""), total);
        }
        self.line(&format!("{name}_sum"), labels, histogram.sum.load(Relaxed) as f64 * histogram.unit);
        self.line(&format!("{name}_count"), labels, total);
    }
}

/// Weft has one kind of update where xDS has several.
const WEFT: &str = "type=\"weft\"";
const PAGE_BYTES: u64 = 4096;
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_a_bound_is_inside() {
        let metrics = Metrics::new(UNIX_EPOCH);
        for bytes in [10, 1000, 1001, 50_000_000] {
            metrics.pushed(bytes, Duration::from_millis(1));
        }
        let text = metrics.text();
        let rows = [
            "pilot_xds_pushes{type=\"weft\"} 4",
            "pilot_xds_config_size_bytes_bucket{type=\"weft\",le=\"1000\"} 2",
            "pilot_xds_config_size_bytes_bucket{type=\"weft\",le=\"40000000\"} 3",
            "pilot_xds_config_size_bytes_bucket{type=\"weft\",le=\"+Inf\"} 4",
            "pilot_xds_config_size_bytes_sum{type=\"weft\"} 50002011",
            "pilot_xds_push_time_bucket{type=\"weft\",le=\"0.001\"} 4",
            "pilot_push_triggers{type=\"endpoint\"} 0",
        ];
        for row in rows {
            assert!(text.lines().any(|line| line == row), "{row} in\n{text}");
        }
    }

    #[test]
    fn every_name_has_one_type() {
        let text = Metrics::new(UNIX_EPOCH).text();
        let types: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let names: std::collections::BTreeSet<&str> = types.iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(names.len(), types.len());
    }
}
