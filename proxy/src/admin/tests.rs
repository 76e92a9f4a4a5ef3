//! The admin port over real connections.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::plan::Discovery;
use crate::samples::{self, Stand};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;

struct Port {
    admin: Admin,
    sources: Sources,
}

impl Port {
    fn new(stand: &Stand) -> Self {
        let telemetry = Telemetry::new(1, None).unwrap();
        let sources = Sources { plan: stand.cell.clone(), telemetry, stages: Arc::default(), control: None, log: None };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Self { admin: Admin::start(listener, sources.clone()).unwrap(), sources }
    }

    /// Status and body.
    fn call(&self, method: &str, path: &str, headers: &str) -> (u16, String) {
        let host = if headers.to_ascii_lowercase().contains("host:") { "" } else { "host: localhost:15000\r\n" };
        let mut stream = TcpStream::connect(self.admin.address()).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\n{host}{headers}connection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

#[test]
fn readiness_follows_plan_and_stage() {
    let mut stand = Stand::new(Discovery::Complete);
    let port = Port::new(&stand);
    let ready = |port: &Port| port.call("GET", "/healthz/ready", "");
    assert_eq!(ready(&port), (503, "starting\n".to_owned()));
    port.sources.stages.reach(Stage::Serving);
    assert_eq!(ready(&port), (503, "waiting for a plan\n".to_owned()));
    stand.publish(&samples::snapshot(), None).unwrap();
    assert_eq!(ready(&port), (200, "ready\n".to_owned()));
    assert_eq!(port.call("POST", "/drain", ""), (200, "draining\n".to_owned()));
    assert_eq!(ready(&port), (503, "draining\n".to_owned()));
    port.sources.stages.reach(Stage::Serving);
    assert_eq!(port.sources.stages.now(), Stage::Draining, "what drains does not serve again");
    assert_eq!(port.call("POST", "/quitquitquit", "").0, 200);
    assert_eq!(*port.sources.stages.watch().borrow(), Stage::Leaving);
    port.admin.stop();
}

#[test]
fn pages() {
    let mut snapshot = samples::snapshot();
    snapshot.add_filter(samples::filter("canary"));
    let stand = Stand::with(&snapshot);
    let port = Port::new(&stand);
    let rows = [
        ("GET", "/", "", 200, "/stats/prometheus"),
        ("GET", "/nowhere", "", 404, "/config_dump"),
        ("GET", "/metrics", "", 200, "weft_plan_generation 1"),
        ("GET", "/stats/prometheus", "host: proxy.example\r\n", 200, "istio_build"),
        ("GET", "/logging", "", 200, "not changeable here"),
        ("POST", "/logging", "", 400, "level=debug"),
        ("POST", "/logging?level=debug", "", 409, "level of its own"),
        ("GET", "/drain", "", 405, "POST"),
        ("POST", "/quitquitquit", "origin: http://evil.example\r\n", 403, "not for web pages"),
        ("GET", "/config_dump", "host: evil.example\r\n", 403, "IP address"),
        ("GET", "/config_dump", "sec-fetch-site: cross-site\r\n", 403, "IP address"),
        ("GET", "/config_dump", "host: [::1]:15000\r\n", 200, "\"revision\""),
    ];
    for (method, path, headers, status, says) in rows {
        let (got, body) = port.call(method, path, headers);
        assert_eq!(got, status, "{method} {path} {headers}: {body}");
        assert!(body.contains(says), "{method} {path}: {body}");
    }
    assert_eq!(port.sources.stages.now(), Stage::Starting);
}

#[test]
fn the_dump_shows_what_the_proxy_was_told() {
    let mut snapshot = samples::snapshot();
    snapshot.add_filter(samples::filter("canary"));
    let stand = Stand::with(&snapshot);
    let port = Port::new(&stand);
    let dump: Value = serde_json::from_str(&port.call("GET", "/config_dump", "").1).unwrap();
    let rows = [
        ("/revision", Value::from("r1")),
        ("/workload/identity", Value::from("spiffe://cluster.local/ns/default/sa/productpage")),
        ("/services/0/rules/0/forward/destinations/1/weight", Value::from(10)),
        ("/backends/1/name", Value::from("outbound|9080|v1|reviews.default.svc.cluster.local")),
        ("/backends/1/endpoints/0/address", Value::from("127.0.0.1:1")),
        ("/backends/1/connect_timeout", Value::from("10s")),
        ("/answers/0/asked", Value::from("nowhere.example")),
        ("/answers/0/service", Value::Null),
        ("/filters/0/key", Value::from("default/canary")),
        ("/filters/0/deadline", Value::from("2ms")),
    ];
    for (pointer, want) in rows {
        assert_eq!(dump.pointer(pointer), Some(&want), "{pointer} of {dump:#}");
    }
    let filters: Value = serde_json::from_str(&port.call("GET", "/filters", "").1).unwrap();
    assert_eq!(filters.pointer("/filters/0/state"), Some(&Value::from("unready")), "{filters:#}");
}

#[test]
fn the_level_changes_while_the_process_runs() {
    // The one test of this process that installs a log.
    let log = LogLevel::install("warn", ProcessLog::Text).unwrap();
    let stand = Stand::new(Discovery::Complete);
    let mut sources = Port::new(&stand).sources;
    sources.log = Some(log);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = Port { admin: Admin::start(listener, sources.clone()).unwrap(), sources };
    let rows = [
        ("GET", "/logging", 200, "warn\n"),
        ("POST", "/logging?level=error,weft_proxy%3Dwarn", 200, "error,weft_proxy=warn\n"),
        ("GET", "/logging", 200, "error,weft_proxy=warn\n"),
    ];
    for (method, path, status, body) in rows {
        assert_eq!(port.call(method, path, ""), (status, body.to_owned()), "{method} {path}");
    }
    let (status, body) = port.call("POST", "/logging?level=a=b=c", "");
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("is no log level"), "{body}");
    assert!(matches!(LogLevel::install("info", ProcessLog::Json), Err(InvalidLevel::Installed)));
}
