//! All workers' metrics as one text in Prometheus' exposition format.
//!
//! One thread owns it; equal series of several workers are summed here. It does not know HTTP.

use super::figure::{BOUNDS, Distribution};
use super::labels::Labels;
use super::series::{HttpSeries, Registered, TcpFigures};
use super::{Gauge, Telemetry, WorkerGauges};
use crate::filters::State;
use crate::plan::Plan;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use weft_filter_host::FailureKind;

pub struct Scraper {
    telemetry: Arc<Telemetry>,
    http: Vec<Arc<HttpSeries>>,
    tcp: Vec<Arc<TcpFigures>>,
}

#[derive(Default)]
struct HttpTotals {
    requests: u64,
    messages: (u64, u64),
    milliseconds: Distribution,
    request_bytes: Distribution,
    response_bytes: Distribution,
}

/// Name, help, and which of the totals.
type TcpFamily = (&'static str, &'static str, fn(&TcpTotals) -> u64);

#[derive(Default)]
struct TcpTotals {
    opened: u64,
    closed: u64,
    sent: u64,
    received: u64,
}

impl Scraper {
    pub(super) fn new(telemetry: Arc<Telemetry>) -> Self {
        Self { telemetry, http: Vec::new(), tcp: Vec::new() }
    }

    pub fn text(&mut self, plan: &Plan) -> String {
        while let Some(series) = self.telemetry.registered.pop() {
            match series {
                Registered::Http(series) => self.http.push(series),
                Registered::Tcp(series) => self.tcp.push(series),
            }
        }
        let mut text = Exposition(String::with_capacity(4096 + self.http.len() * 16 * 1024));
        self.http_metrics(&mut text);
        self.tcp_metrics(&mut text);
        text.family("istio_build", "gauge", "the proxy's version");
        text.sample("istio_build", concat!("component=\"proxy\",tag=\"weft-", env!("CARGO_PKG_VERSION"), "\""), 1);
        self.own_metrics(plan, &mut text);
        filter_metrics(plan, &mut text);
        text.0
    }

    fn http_metrics(&self, text: &mut Exposition) {
        let mut all: BTreeMap<&str, HttpTotals> = BTreeMap::new();
        for series in &self.http {
            let totals = all.entry(&series.labels).or_default();
            totals.requests += series.requests.value();
            totals.messages.0 += series.request_messages.value();
            totals.messages.1 += series.response_messages.value();
            series.milliseconds.add_to(&mut totals.milliseconds);
            series.request_bytes.add_to(&mut totals.request_bytes);
            series.response_bytes.add_to(&mut totals.response_bytes);
        }
        if all.is_empty() {
            return;
        }
        text.family("istio_requests_total", "counter", "requests");
        all.iter().for_each(|(labels, totals)| text.sample("istio_requests_total", labels, totals.requests));
        let grpc = || all.iter().filter(|(labels, _)| labels.contains("request_protocol=\"grpc\""));
        if grpc().next().is_some() {
            text.family("istio_request_messages_total", "counter", "gRPC messages from clients");
            grpc().for_each(|(labels, t)| text.sample("istio_request_messages_total", labels, t.messages.0));
            text.family("istio_response_messages_total", "counter", "gRPC messages to clients");
            grpc().for_each(|(labels, t)| text.sample("istio_response_messages_total", labels, t.messages.1));
        }
        text.family("istio_request_duration_milliseconds", "histogram", "from first byte in to last byte out");
        all.iter().for_each(|(labels, t)| {
            text.distribution("istio_request_duration_milliseconds", labels, &t.milliseconds);
        });
        text.family("istio_request_bytes", "histogram", "bytes of request bodies");
        all.iter().for_each(|(labels, t)| text.distribution("istio_request_bytes", labels, &t.request_bytes));
        text.family("istio_response_bytes", "histogram", "bytes of response bodies");
        all.iter().for_each(|(labels, t)| text.distribution("istio_response_bytes", labels, &t.response_bytes));
    }

    fn tcp_metrics(&self, text: &mut Exposition) {
        let mut all: BTreeMap<&str, TcpTotals> = BTreeMap::new();
        for series in &self.tcp {
            let totals = all.entry(&series.labels).or_default();
            totals.opened += series.opened.value();
            totals.closed += series.closed.value();
            totals.sent += series.sent.value();
            totals.received += series.received.value();
        }
        if all.is_empty() {
            return;
        }
        let families: [TcpFamily; 4] = [
            ("istio_tcp_sent_bytes_total", "bytes to clients", |t| t.sent),
            ("istio_tcp_received_bytes_total", "bytes from clients", |t| t.received),
            ("istio_tcp_connections_opened_total", "connections opened", |t| t.opened),
            ("istio_tcp_connections_closed_total", "connections closed", |t| t.closed),
        ];
        for (name, help, value) in families {
            text.family(name, "counter", help);
            all.iter().for_each(|(labels, totals)| text.sample(name, labels, value(totals)));
        }
    }

    fn own_metrics(&self, plan: &Plan, text: &mut Exposition) {
        let mut revision = Labels::default();
        revision.push("revision", &plan.revision());
        text.family("weft_plan_generation", "gauge", "plans since the proxy started; 0: none yet");
        text.sample("weft_plan_generation", "", plan.generation);
        text.family("weft_plan_info", "gauge", "the revision that is served");
        text.sample("weft_plan_info", &revision.0, 1);
        let sum = |gauge: fn(&WorkerGauges) -> &Gauge| self.telemetry.workers.iter().map(|w| gauge(w).value()).sum();
        text.family("weft_connections", "gauge", "open connections");
        text.sample("weft_connections", "direction=\"downstream\"", sum(|w| &w.downstream_connections));
        text.sample("weft_connections", "direction=\"upstream\"", sum(|w| &w.upstream_connections));
        text.family("weft_upstream_idle_connections", "gauge", "connections to upstreams without a request");
        text.sample("weft_upstream_idle_connections", "", sum(|w| &w.upstream_idle));
        text.family("weft_exchanges", "gauge", "exchanges that run");
        text.sample("weft_exchanges", "", sum(|w| &w.exchanges));
        text.family("weft_metrics_overflow_total", "counter", "exchanges counted under labels that say overflow");
        text.sample("weft_metrics_overflow_total", "", sum(|w| &w.series_overflow));
        if let Some(log) = &self.telemetry.log {
            text.family(
                "weft_access_log_lost_total",
                "counter",
                "log lines that found no room or could not be written",
            );
            text.sample("weft_access_log_lost_total", "", log.lost());
        }
    }
}

/// Of the filters of the current plan.
fn filter_metrics(plan: &Plan, text: &mut Exposition) {
    let filters: Vec<_> = plan
        .filters()
        .map(|filter| {
            let mut labels = Labels::default();
            labels.push("filter", &filter.key.0);
            labels.push("component", &filter.component.map_or_else(|| "unknown".to_owned(), |d| d.to_string()));
            let figures = match &filter.state {
                State::Ready(ready) => Some((ready.policy.figures(), &ready.policy.manifest().counters)),
                State::Unready { .. } => None,
            };
            (labels.0, figures)
        })
        .collect();
    if filters.is_empty() {
        return;
    }
    text.family("weft_filter_ready", "gauge", "1 for a filter that runs, 0 for one that has never been ready");
    filters.iter().for_each(|(labels, f)| text.sample("weft_filter_ready", labels, u64::from(f.is_some())));
    let ready = || filters.iter().filter_map(|(labels, f)| f.as_ref().map(|f| (labels, &f.0, f.1)));
    text.family("weft_filter_calls_total", "counter", "calls of the filter's handlers");
    ready().for_each(|(labels, f, _)| text.sample("weft_filter_calls_total", labels, f.calls));
    text.family("weft_filter_failures_total", "counter", "calls that ended without a verdict");
    for (labels, figures, _) in ready() {
        for kind in FailureKind::ALL {
            let labels = format!("{labels},kind=\"{kind}\"");
            text.sample("weft_filter_failures_total", &labels, figures.failures_of(kind));
        }
    }
    text.family("weft_filter_pooled_calls_total", "counter", "calls that ran in the pool and not on a worker");
    ready().for_each(|(labels, f, _)| text.sample("weft_filter_pooled_calls_total", labels, f.pooled));
    text.family("weft_filter_instances_total", "counter", "instances made");
    ready().for_each(|(labels, f, _)| text.sample("weft_filter_instances_total", labels, f.instances));
    text.family("weft_filter_recycled_total", "counter", "instances replaced for their age or size");
    ready().for_each(|(labels, f, _)| text.sample("weft_filter_recycled_total", labels, f.recycled));
    text.family("weft_filter_log_lines_dropped_total", "counter", "lines that the filter logged and nobody sees");
    ready().for_each(|(labels, f, _)| text.sample("weft_filter_log_lines_dropped_total", labels, f.lines_dropped));
    text.family("weft_filter_counter_total", "counter", "the filter's own counters, by name");
    for (labels, figures, names) in ready() {
        for (name, value) in names.iter().zip(&figures.counters) {
            text.sample("weft_filter_counter_total", &format!("{labels},counter=\"{name}\""), *value);
        }
    }
}

struct Exposition(String);

impl Exposition {
    // Writing to a String does not fail.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: u64) {
        let _ = if labels.is_empty() {
            writeln!(self.0, "{name} {value}")
        } else {
            writeln!(self.0, "{name}{{{labels}}} {value}")
        };
    }

    fn distribution(&mut self, name: &str, labels: &str, seen: &Distribution) {
        let mut count = 0;
        for (bucket, bound) in seen.buckets.iter().zip(BOUNDS) {
            count += bucket;
            let _ = writeln!(self.0, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
        }
        count += seen.buckets[BOUNDS.len()];
        let _ = writeln!(self.0, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
        let _ = writeln!(self.0, "{name}_sum{{{labels}}} {}", seen.sum);
        let _ = writeln!(self.0, "{name}_count{{{labels}}} {count}");
    }
}
