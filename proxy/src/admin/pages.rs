//! The pages of the admin port.
//!
//! They read what others own and answer; nothing is kept here but the scrape's list of series.

use super::{Sources, Stage, control, dump};
use crate::headers::{normal_host, split_port};
use crate::telemetry::Scraper;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use std::cell::RefCell;
use std::fmt::Write;
use std::net::IpAddr;

pub(super) struct Pages {
    sources: Sources,
    scraper: RefCell<Scraper>,
}

/// Paths, methods, and what they do: the text of the index.
const INDEX: [(&str, &str, &str); 11] = [
    ("/ready", "GET", "200 while a plan is served and the listeners are up, else 503"),
    ("/healthz/ready", "GET", "the same"),
    ("/stats/prometheus", "GET", "metrics"),
    ("/metrics", "GET", "the same"),
    ("/config_dump", "GET", "what this proxy was told, as JSON"),
    ("/control", "GET", "how it stands with the control plane, as JSON; null for a proxy on files"),
    ("/filters", "GET", "the filters, their state and their figures, as JSON"),
    ("/logging", "GET", "the level of the process's log"),
    ("/logging?level=LEVEL", "POST", "changes it, as in RUST_LOG: info, or warn,weft_proxy=debug"),
    ("/drain", "POST", "not ready any more; connections are asked to end"),
    ("/quitquitquit", "POST", "the same, and then the proxy ends"),
];

pub(super) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

pub(super) type Answer = Response<Full<Bytes>>;

impl Pages {
    pub(super) fn new(sources: Sources) -> Self {
        let scraper = RefCell::new(sources.telemetry.scraper());
        Self { sources, scraper }
    }

    /// At the admin port itself.
    pub(super) fn admin<B>(&self, request: &Request<B>) -> Answer {
        let (path, method) = (request.uri().path(), request.method());
        let known = INDEX.iter().any(|(shown, ..)| shown.split('?').next() == Some(path));
        if !known {
            let status = if path == "/" { StatusCode::OK } else { StatusCode::NOT_FOUND };
            return page(status, TEXT, index());
        }
        let open_to_all = matches!(path, "/ready" | "/healthz/ready" | "/stats/prometheus" | "/metrics");
        if !open_to_all && from_a_web_page(request) {
            let text = "this page is not for web pages: call it by an IP address or localhost, without Origin\n";
            return page(StatusCode::FORBIDDEN, TEXT, text.to_owned());
        }
        match (path, method) {
            ("/ready" | "/healthz/ready", &Method::GET | &Method::HEAD) => self.ready(),
            ("/stats/prometheus" | "/metrics", &Method::GET) => self.metrics(),
            ("/config_dump", &Method::GET) => json(&dump::config(&self.sources.plan.load())),
            ("/control", &Method::GET) => {
                json(&self.sources.control.as_deref().map_or_else(Default::default, control::json))
            }
            ("/filters", &Method::GET) => json(&dump::filters(&self.sources.plan.load())),
            ("/logging", &Method::GET) => self.level(),
            ("/logging", &Method::POST) => self.set_level(request.uri().query().unwrap_or_default()),
            ("/drain", &Method::POST) => self.reach(Stage::Draining),
            ("/quitquitquit", &Method::POST) => self.reach(Stage::Leaving),
            _ => {
                let allowed = INDEX.iter().filter(|(shown, ..)| shown.split('?').next() == Some(path));
                let methods: Vec<&str> = allowed.map(|(_, method, _)| *method).collect();
                let text = format!("{path} answers {}\n", methods.join(" and "));
                page(StatusCode::METHOD_NOT_ALLOWED, TEXT, text)
            }
        }
    }

    pub(super) fn ready(&self) -> Answer {
        let stage = self.sources.stages.now();
        match (stage, self.sources.plan.load().generation) {
            (Stage::Serving, 1..) => page(StatusCode::OK, TEXT, "ready\n".to_owned()),
            (Stage::Serving, 0) => page(StatusCode::SERVICE_UNAVAILABLE, TEXT, "waiting for a plan\n".to_owned()),
            (stage, _) => page(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{}\n", stage.as_str())),
        }
    }

    pub(super) fn metrics(&self) -> Answer {
        page(StatusCode::OK, PROMETHEUS, self.metrics_text())
    }

    pub(super) fn metrics_text(&self) -> String {
        let mut text = self.scraper.borrow_mut().text(&self.sources.plan.load());
        text.extend(self.sources.control.as_deref().map(control::metrics));
        text
    }

    fn level(&self) -> Answer {
        let level = self.sources.log.as_ref().map_or_else(|| "not changeable here".to_owned(), ToString::to_string);
        page(StatusCode::OK, TEXT, format!("{level}\n"))
    }

    fn set_level(&self, query: &str) -> Answer {
        let given = query.split('&').find_map(|pair| pair.strip_prefix("level="));
        let level = given.map(|level| percent_encoding::percent_decode_str(level).decode_utf8_lossy());
        match (level, &self.sources.log) {
            (None, _) => page(StatusCode::BAD_REQUEST, TEXT, "name a level, as in /logging?level=debug\n".to_owned()),
            (_, None) => page(StatusCode::CONFLICT, TEXT, "this process's log has a level of its own\n".to_owned()),
            (Some(level), Some(log)) => match log.set(&level) {
                Ok(()) => page(StatusCode::OK, TEXT, format!("{level}\n")),
                Err(error) => page(StatusCode::BAD_REQUEST, TEXT, format!("{error}\n")),
            },
        }
    }

    pub(super) fn reach(&self, stage: Stage) -> Answer {
        self.sources.stages.reach(stage);
        page(StatusCode::OK, TEXT, format!("{}\n", self.sources.stages.now().as_str()))
    }
}

/// A browser on this machine can be made to call loopback ports; whoever does so says it by Origin or by a host name
/// that was made to point here.
fn from_a_web_page<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let foreign_site = headers.get("sec-fetch-site").is_some_and(|site| site != "none" && site != "same-origin");
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = normal_host(split_port(host).0);
    let local = host.is_empty() || host == "localhost" || host.parse::<IpAddr>().is_ok();
    headers.contains_key(header::ORIGIN) || foreign_site || !local
}

fn index() -> String {
    let mut text = "Weft's admin port\n\n".to_owned();
    for (path, method, what) in INDEX {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{method:<5}{path:<22} {what}");
    }
    text
}

fn json(value: &serde_json::Value) -> Answer {
    page(StatusCode::OK, JSON, format!("{value:#}\n"))
}

pub(super) fn page(status: StatusCode, kind: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
