#![allow(clippy::unwrap_used)]

use serde::Deserialize;

use super::{configure, counted, get, logged, response, set_now_ms};
use crate::{ConfigError, Counter, Filter, Interest, Reply, Request, Response, ResponseVerdict, Verdict};

#[derive(Deserialize)]
struct Config {
    header: String,
}

/// Uses everything that a filter can.
struct Everything {
    config: Config,
    seen: Counter,
}

impl Filter for Everything {
    type Config = Config;

    fn configure(config: Config, interest: &mut Interest) -> Result<Self, ConfigError> {
        interest.request(":path");
        interest.request("@query:q");
        interest.response(":status");
        interest.response("req:x-user");
        interest.set_request("x-seen");
        interest.set_response("x-user");
        let seen = interest.counter("seen");
        Ok(Self { config, seen })
    }

    fn on_request(&self, request: &Request) -> Verdict {
        self.seen.add(2);
        crate::log(crate::Level::Info, request.path().unwrap_or_default());
        match request.query("q") {
            Some("stop") => Reply::status(418).text("no").deny("stopped"),
            Some("undeclared") => Reply::status(200).text(request.header("x-nowhere").unwrap_or_default()).into(),
            _ => {
                let values = request.lazy_header_values(&self.config.header).len();
                let text = format!("{} {values} {}", request.lazy_header_names().join(","), crate::now_ms());
                request.forward().set("x-seen", text).state("kept").into()
            }
        }
    }

    fn on_response(&self, response: &Response) -> ResponseVerdict {
        match response.status() {
            500.. => Reply::status(503).text("later").into(),
            _ => {
                let kept = response.state().map(String::from_utf8_lossy).unwrap_or_default();
                let user = response.request("x-user").unwrap_or("nobody");
                response.edit().set("x-user", format!("{user} {kept}")).into()
            }
        }
    }
}

#[test]
fn a_filter_is_asked_as_its_host_asks_it() {
    let filter = configure::<Everything>(r#"{"header": "x-a"}"#).unwrap();
    set_now_ms(7);
    let asked = filter.request(get("/p").header("x-a", "1").header("X-A", "2").header("x-user", "ann"));
    assert_eq!(asked.set("x-seen"), Some("x-a,x-user 2 7"));
    assert_eq!(filter.response(&asked, response(200)).set("x-user"), Some("ann kept"));
    assert_eq!(filter.response(&asked, response(500)).replaced().unwrap().status, 503);
    let stopped = filter.request(get("/p?q=stop"));
    assert_eq!((stopped.denied(), stopped.reply().unwrap().status), (Some("stopped"), 418));
    assert_eq!(counted(0), 4);
    assert_eq!(logged().len(), 2);
}

#[test]
#[should_panic(expected = "`x-nowhere` was not declared: call interest.request(\"x-nowhere\") in configure")]
fn what_was_not_declared_is_named() {
    configure::<Everything>(r#"{"header": "x-a"}"#).unwrap().request(get("/?q=undeclared"));
}
