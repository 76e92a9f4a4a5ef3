//! A report as text that a person reads.
//!
//! Problems first: they are why one looks. It does not colour and does not know how wide the screen is.

use super::{FilterVersion, ObjectState, ProblemLine, ProxyLine, ProxyState, Report};
use std::fmt::Write;

pub fn render(report: &Report) -> String {
    let mut out = String::new();
    head(&mut out, report);
    problems(&mut out, report);
    filters(&mut out, report);
    proxies(&mut out, report);
    out
}

fn head(out: &mut String, report: &Report) {
    let configuration = &report.configuration;
    let _ = writeln!(out, "weft {}, trust domain {}", report.version, report.trust_domain);
    let objects = configuration.objects.len();
    let old = configuration.objects.iter().filter(|object| object.state == ObjectState::LastGood).count();
    let _ = write!(
        out,
        "configuration {}: {objects} objects in {} files",
        short(&configuration.revision),
        configuration.files
    );
    if old > 0 {
        let _ = write!(out, ", {old} of them broken now and counting in their last good version");
    }
    out.push('\n');
    if !configuration.waiting_for.is_empty() {
        let _ = writeln!(out, "waiting for filters before it is sent out: {}", configuration.waiting_for.join(", "));
    }
    let _ = writeln!(out, "{} root(s) believed", report.authority.roots.len());
}

fn problems(out: &mut String, report: &Report) {
    if report.problems.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nPROBLEMS");
    for problem in &report.problems {
        let _ = writeln!(out, "{}", problem_text(problem));
    }
}

/// As `weft check` prints it.
fn problem_text(problem: &ProblemLine) -> String {
    let ProblemLine { code, severity, file, line, column, object, field, reason, remedy } = problem;
    let mut text = if *line > 0 { format!("{file}:{line}:{column} {code}") } else { code.clone() };
    if severity == "warning" {
        text += " (warning)";
    }
    if !object.is_empty() {
        let _ = write!(text, " {object}");
    }
    text += ": ";
    if !field.is_empty() {
        let _ = write!(text, "{field}: ");
    }
    let _ = write!(text, "{reason}; {remedy}");
    text
}

fn filters(out: &mut String, report: &Report) {
    if report.filters.is_empty() {
        return;
    }
    out.push('\n');
    let running = |version: &Option<FilterVersion>, none: &str| {
        version.as_ref().map_or(none.to_owned(), |version| short(&version.image).to_owned())
    };
    let rows = report.filters.iter().map(|filter| {
        let state = match filter.problems.is_empty() {
            true => filter.progress.clone(),
            false => format!("{} problem(s)", filter.problems.len()),
        };
        [
            filter.name.clone(),
            filter.image.clone(),
            running(&filter.running, "never ready"),
            running(&filter.before, "-"),
            state,
        ]
    });
    columns(out, ["FILTER", "IMAGE", "RUNNING", "BEFORE", "STATE"], rows);
}

fn proxies(out: &mut String, report: &Report) {
    out.push('\n');
    if report.proxies.is_empty() {
        out.push_str("no sidecar has joined\n");
        return;
    }
    let rows = report.proxies.iter().map(|proxy| {
        let revision = proxy
            .revision
            .as_deref()
            .map_or("-", |revision| if revision.is_empty() { "none" } else { short(revision) });
        let version = proxy.version.clone().unwrap_or_else(|| "-".to_owned());
        let inbound = proxy.inbound.clone().unwrap_or_else(|| "-".to_owned());
        [proxy.workload.clone(), state(proxy), revision.to_owned(), inbound, version]
    });
    columns(out, ["SIDECAR", "STATE", "REVISION", "INBOUND", "VERSION"], rows);
    for proxy in &report.proxies {
        for problem in proxy.refused.iter().flat_map(|refused| &refused.problems) {
            let _ = writeln!(out, "{} refused its last update: {problem}", proxy.workload);
        }
    }
}

fn state(proxy: &ProxyLine) -> String {
    let word = match proxy.state {
        ProxyState::Current => "current",
        ProxyState::Updating => "updating",
        ProxyState::Refused => "refused",
        ProxyState::Unsupported => "unsupported",
        ProxyState::Away => "away",
        ProxyState::Leaving => "leaving",
    };
    match &proxy.pending {
        Some(pending) => format!("{word} to {}", short(pending)),
        None => word.to_owned(),
    }
}

/// Enough of a digest to tell two apart.
fn short(digest: &str) -> &str {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.get(..12).unwrap_or(hex)
}

fn columns<const N: usize>(out: &mut String, head: [&str; N], rows: impl Iterator<Item = [String; N]>) {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ", width = *width);
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Configuration, FilterLine, ObjectLine, Refusal};

    #[test]
    fn a_report_reads_as_a_page() {
        let digest = |c: char| format!("sha256:{}", String::from(c).repeat(64));
        let version = |c| Some(FilterVersion { image: digest(c), component: digest('c') });
        let object = ObjectLine {
            kind: "VirtualService".to_owned(),
            name: "default/reviews".to_owned(),
            file: "mesh/reviews.yaml".to_owned(),
            line: 1,
            state: ObjectState::LastGood,
        };
        let report = Report {
            version: "0.1.0".to_owned(),
            trust_domain: "cluster.local".to_owned(),
            configuration: Configuration {
                revision: "a".repeat(64),
                files: 2,
                objects: vec![object],
                waiting_for: vec![],
            },
            problems: vec![ProblemLine {
                code: "UnknownField".to_owned(),
                severity: "error".to_owned(),
                file: "mesh/reviews.yaml".to_owned(),
                line: 9,
                column: 5,
                object: "VirtualService default/reviews".to_owned(),
                field: "spec.hots".to_owned(),
                reason: "no field \"hots\"".to_owned(),
                remedy: "did you mean \"hosts\"?".to_owned(),
            }],
            filters: vec![FilterLine {
                name: "default/canary".to_owned(),
                image: "oci-layout:images:1".to_owned(),
                running: version('d'),
                before: version('e'),
                progress: "settled".to_owned(),
                problems: vec![],
            }],
            proxies: vec![
                ProxyLine { workload: "default/ratings".to_owned(), ..ProxyLine::default() },
                ProxyLine {
                    workload: "default/reviews-v1".to_owned(),
                    state: ProxyState::Refused,
                    revision: Some("1".repeat(64)),
                    pending: Some("2".repeat(64)),
                    inbound: Some("127.0.0.1:4000".to_owned()),
                    version: Some("0.1.0".to_owned()),
                    refused: Some(Refusal { revision: "2".repeat(64), problems: vec!["disk full".to_owned()] }),
                    ..ProxyLine::default()
                },
            ],
            authority: super::super::AuthorityLine { roots: vec!["r".to_owned()], ..Default::default() },
        };
        let want = "\
weft 0.1.0, trust domain cluster.local
configuration aaaaaaaaaaaa: 1 objects in 2 files, 1 of them broken now and counting in their last good version
1 root(s) believed

PROBLEMS
mesh/reviews.yaml:9:5 UnknownField VirtualService default/reviews: spec.hots: no field \"hots\"; did you mean \"hosts\"?

FILTER          IMAGE                RUNNING       BEFORE        STATE
default/canary  oci-layout:images:1  dddddddddddd  eeeeeeeeeeee  settled

SIDECAR             STATE                    REVISION      INBOUND         VERSION
default/ratings     away                     -             -               -
default/reviews-v1  refused to 222222222222  111111111111  127.0.0.1:4000  0.1.0
default/reviews-v1 refused its last update: disk full
";
        assert_eq!(render(&report), want);
    }
}
