//! A filter that behaves as badly as its config says: what the host and the proxy are tested with.
//!
//! Config, all fields optional: `{"configure": BEHAVIOUR, "request": BEHAVIOUR, "response": BEHAVIOUR, "note": TEXT}`.
//! Where `request` is `"as-told"`, the request's header `x-behave` names the behaviour (none: it passes; with
//! `"as-told-or-trap"` it traps).
//!
//! Behaviours in every phase: `pass` (the default), `loop`, `memory` (takes memory until there is none), `recursion`,
//! `trap`, `panic`, `count` (a counter that it has not declared), `slow` (a few hundred microseconds of work), `late`
//! (the first call of an instance takes a hundred times as long).
//! - `request`, `response`: `tag` (sets `x-hostile` to `note`), `leak` (keeps 64 KiB for ever), `slot`, `value`,
//!   `status`, `size` (2 MiB of answer), `respond` (418), `lazy` (all header names into `x-hostile`), `log` (100
//!   lines), `counted` (adds to its counter), `nth` (how many such calls the instance has had, into `x-hostile`).
//! - `request` alone: `deny` (403, `note` as reason), `pick` (subset 7), `state` (70 KiB), `remember` (leaves `note` as
//!   state; `response: "tag"` then sets `x-hostile` to it), `callout`, `echo` (`:path` and `x-user` into `x-hostile`).
//! - `configure`: `refuse` (`note` as error), `differ` (another manifest each time), `lazy`, `callouts`, `bodies`,
//!   `attribute`.
#![allow(unsafe_code, missing_docs)]

mod bindings {
    #![allow(unreachable_pub, unused_qualifications, clippy::all)]
    wit_bindgen::generate!({ path: "../../../wit", world: "filter" });
}

mod misbehave;

use bindings::exports::weft::filter::{policy, request_phase, response_phase};
use bindings::weft::filter::types::{Denial, Forward, Manifest, Reply, ResponseVerdict, Verdict};
use bindings::weft::filter::{host, request};
use serde::Deserialize;
use std::cell::RefCell;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    configure: String,
    request: String,
    response: String,
    note: String,
}

thread_local! {
    static CONFIG: RefCell<Config> = RefCell::default();
}

struct Hostile;

bindings::export!(Hostile with_types_in bindings);

impl policy::Guest for Hostile {
    fn configure(text: String) -> Result<Manifest, String> {
        let config: Config = match text.as_str() {
            "" => Config::default(),
            text => serde_json::from_str(text).map_err(|error| error.to_string())?,
        };
        let mut manifest = manifest();
        if !config.response.is_empty() {
            manifest.response = names(&[":status", "x-hostile"]);
        }
        misbehave::everywhere(&config.configure);
        match config.configure.as_str() {
            "refuse" => return Err(config.note),
            "differ" => manifest.request.push(format!("x-{}", host::random())),
            "lazy" => drop(request::header_names()),
            "callouts" => manifest.callouts = names(&["auth"]),
            "bodies" => manifest.body_limit = 1024,
            "attribute" => manifest.request.push("X-Upper".to_owned()),
            _ => {}
        }
        CONFIG.set(config);
        Ok(manifest)
    }
}

impl request_phase::Guest for Hostile {
    fn on_request(attributes: Vec<Option<String>>, _body: Option<Vec<u8>>) -> Verdict {
        let Config { request: behaviour, note, .. } = CONFIG.with_borrow(Clone::clone);
        let [path, user, told] = attributes.try_into().expect("as many as declared");
        let behaviour = match behaviour.as_str() {
            "as-told" => told.unwrap_or_default(),
            "as-told-or-trap" => told.unwrap_or_else(|| "trap".to_owned()),
            _ => behaviour,
        };
        misbehave::everywhere(&behaviour);
        let forward = |edits| Verdict::Forward(Forward { edits, pick: None, state: None });
        match behaviour.as_str() {
            "pick" => Verdict::Forward(Forward { edits: Vec::new(), pick: Some(7), state: None }),
            "state" => left_behind(vec![7; 70 << 10]),
            "remember" => left_behind(note.into_bytes()),
            "callout" => misbehave::callout(),
            "deny" => Verdict::Deny(Denial { reply: reply(403), reason: note }),
            "echo" => {
                let seen: Vec<String> = [path, user].into_iter().flatten().collect();
                forward(vec![misbehave::set(0, seen.join(" "))])
            }
            "status" | "size" | "respond" => Verdict::Respond(misbehave::reply(&behaviour)),
            _ => match misbehave::edits(&behaviour, note) {
                Some(edits) => forward(edits),
                None => Verdict::Pass,
            },
        }
    }
}

impl response_phase::Guest for Hostile {
    fn on_response(_attributes: Vec<Option<String>>, state: Option<Vec<u8>>) -> ResponseVerdict {
        let Config { response: behaviour, note, .. } = CONFIG.with_borrow(Clone::clone);
        misbehave::everywhere(&behaviour);
        let note = state.and_then(|state| String::from_utf8(state).ok()).unwrap_or(note);
        match behaviour.as_str() {
            "status" | "size" | "respond" => ResponseVerdict::Replace(misbehave::reply(&behaviour)),
            _ => match misbehave::edits(&behaviour, note) {
                Some(edits) => ResponseVerdict::Edit(edits),
                None => ResponseVerdict::Pass,
            },
        }
    }
}

fn manifest() -> Manifest {
    Manifest {
        request: names(&[":path", "x-user", "x-behave"]),
        response: Vec::new(),
        request_writes: names(&["x-hostile"]),
        response_writes: names(&["x-hostile"]),
        upstreams: names(&["v1"]),
        counters: names(&["hostilities"]),
        callouts: Vec::new(),
        body_limit: 0,
        guard: false,
    }
}

fn left_behind(state: Vec<u8>) -> Verdict {
    Verdict::Forward(Forward { edits: Vec::new(), pick: None, state: Some(state) })
}

fn reply(status: u16) -> Reply {
    Reply { status, headers: vec![("x-hostile".to_owned(), "yes".to_owned())], body: b"hostile\n".to_vec() }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
