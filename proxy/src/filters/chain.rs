//! One exchange's way through one list of filters: requests forwards, responses backwards.
//!
//! A chain pins the filters it started with, so that both phases of an exchange run on the same version. It does not
//! know when a list applies.

use super::message::{Kept, RequestView, ResponseView};
use super::reply::into_reply;
use super::{Filter, FilterRun, Filters, Ran, Ready, State, Write};
use crate::headers::Head;
use crate::record::Record;
use crate::refusal::{Refusal, Reply};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, response};
use std::sync::Arc;
use weft_filter_host::{self as host, Attribute, Edit, Failure, FailureKind, OnFailure, Op, ResponseVerdict, Verdict};
use weft_filter_host::{Denial, Forward, Runner};

/// What a request does after its filters.
#[derive(Debug)]
pub enum Flow {
    Continue,
    /// A filter answered. That is no refusal: filters further out still see the response.
    Reply(Reply),
}

/// The state of one list for one exchange.
pub struct Chain {
    filters: Filters,
    /// One for each filter that was asked to see the response, in order of requests.
    passed: Vec<Passed>,
    pick: Option<Pick>,
}

struct Passed {
    filter: Arc<Filter>,
    /// Index into the record's list.
    run: usize,
    state: Option<Vec<u8>>,
    kept: Vec<Kept>,
}

struct Pick {
    filter: Arc<Filter>,
    index: u32,
}

impl Chain {
    pub(super) fn new(filters: Filters) -> Self {
        Self { filters, passed: Vec::new(), pick: None }
    }

    /// The subset that the last filter to pick has picked.
    pub fn pick(&self) -> Option<&str> {
        let pick = self.pick.as_ref()?;
        let State::Ready(ready) = &pick.filter.state else { return None };
        ready.policy.manifest().upstreams.get(pick.index as usize).map(String::as_str)
    }

    /// Whether a filter wants to see the response.
    pub fn awaits_response(&self) -> bool {
        !self.passed.is_empty()
    }

    pub async fn request(&mut self, runner: &Runner, head: &mut Head, record: &mut Record) -> Result<Flow, Refusal> {
        let Some(filters) = self.filters.0.clone() else { return Ok(Flow::Continue) };
        for filter in filters.iter() {
            if let Flow::Reply(reply) = self.request_of(filter, runner, head, record).await? {
                return Ok(Flow::Reply(reply));
            }
        }
        Ok(Flow::Continue)
    }

    async fn request_of(
        &mut self,
        filter: &Arc<Filter>,
        runner: &Runner,
        head: &mut Head,
        record: &mut Record,
    ) -> Result<Flow, Refusal> {
        let run = record.filters.len();
        record.filters.push(FilterRun { filter: filter.clone(), request: Ran::Yes, response: Ran::No });
        let State::Ready(ready) = &filter.state else {
            record.filters[run].request = unready(filter)?;
            return Ok(Flow::Continue);
        };
        let verdict = runner.on_request(&ready.policy, &RequestView { head, record }).await;
        let mut state = None;
        let kept = kept(ready, head, record);
        match verdict {
            Ok(Verdict::Pass) => {}
            Ok(Verdict::Forward(Forward { edits, pick, state: given })) => {
                if let Some(index) = pick {
                    self.pick = Some(Pick { filter: filter.clone(), index });
                }
                apply_request(edits, &ready.request_writes, head);
                state = given;
            }
            Ok(Verdict::Respond(reply)) => return Ok(Flow::Reply(into_reply(reply))),
            Ok(Verdict::Deny(denial)) => return Err(denied(filter, denial)),
            Err(failure) => record.filters[run].request = failed(filter, failure)?,
        }
        if !ready.policy.manifest().response.is_empty() {
            self.passed.push(Passed { filter: filter.clone(), run, state, kept });
        }
        Ok(Flow::Continue)
    }

    /// Backwards through the filters that saw the request. `Some`: a filter replaced the response, and this is the
    /// body now; status and headers are in `parts`.
    pub async fn response(
        &mut self,
        runner: &Runner,
        parts: &mut response::Parts,
        record: &mut Record,
    ) -> Result<Option<Bytes>, Refusal> {
        let mut body = None;
        while let Some(passed) = self.passed.pop() {
            let State::Ready(ready) = &passed.filter.state else { continue };
            let (status, headers) = (parts.status, &parts.headers);
            let view = ResponseView { status, headers, record, kept: &passed.kept };
            let verdict = runner.on_response(&ready.policy, &view, passed.state).await;
            let ran = &mut record.filters[passed.run].response;
            *ran = Ran::Yes;
            match verdict {
                Ok(ResponseVerdict::Pass) => {}
                Ok(ResponseVerdict::Edit(edits)) => apply_response(edits, &ready.response_writes, &mut parts.headers),
                Ok(ResponseVerdict::Replace(reply)) => {
                    let reply = into_reply(reply);
                    (parts.status, parts.headers) = (reply.status, reply.headers);
                    body = Some(reply.body);
                }
                Err(failure) => *ran = failed(&passed.filter, failure)?,
            }
        }
        Ok(body)
    }
}

/// What the filter wants to see of the request when the response comes: as it saw the request itself.
fn kept(ready: &Ready, head: &Head, record: &Record) -> Vec<Kept> {
    use host::Message;
    let wanted = ready.policy.manifest().response.iter().filter_map(|attribute| match attribute {
        Attribute::Request(inner) => Some(inner),
        _ => None,
    });
    let view = RequestView { head, record };
    wanted.map(|a| Kept { attribute: (**a).clone(), value: view.attribute(a).map(|v| v.into_owned()) }).collect()
}

fn unready(filter: &Filter) -> Result<Ran, Refusal> {
    match (&filter.state, filter.on_failure) {
        (State::Unready { reason }, OnFailure::Refuse) => {
            Err(Refusal::FilterFailed { filter: filter.key.to_string(), reason: reason.clone() })
        }
        _ => Ok(Ran::Skipped),
    }
}

fn failed(filter: &Filter, failure: Failure) -> Result<Ran, Refusal> {
    let name = filter.key.to_string();
    match (failure.kind, filter.on_failure) {
        // The client's fault, and no failure of the filter.
        (FailureKind::NotUtf8, _) => Err(Refusal::NotUtf8 { filter: name, attribute: failure.reason }),
        (_, OnFailure::Refuse) => Err(Refusal::FilterFailed { filter: name, reason: failure.reason }),
        (_, OnFailure::Skip) => Ok(Ran::Skipped),
    }
}

fn denied(filter: &Filter, denial: Denial) -> Refusal {
    let reply = Box::new(into_reply(denial.reply));
    Refusal::Denied { filter: filter.key.to_string(), reason: denial.reason, reply }
}

fn apply_request(edits: Vec<Edit>, writes: &[Write], head: &mut Head) {
    for edit in edits {
        match (writes.get(edit.slot as usize), edit.op) {
            (Some(Write::Path), Op::Set(path)) => {
                // The host lets valid targets through only.
                if let Ok(path) = PathAndQuery::try_from(path) {
                    head.path = path;
                }
            }
            (Some(Write::Header(name)), op) => apply(name, op, &mut head.headers),
            _ => {}
        }
    }
}

fn apply_response(edits: Vec<Edit>, writes: &[Write], headers: &mut HeaderMap) {
    for edit in edits {
        if let Some(Write::Header(name)) = writes.get(edit.slot as usize) {
            apply(name, edit.op, headers);
        }
    }
}

fn apply(name: &http::HeaderName, op: Op, headers: &mut HeaderMap) {
    // The host lets valid field values through only.
    match op {
        Op::Remove => {
            headers.remove(name);
        }
        Op::Set(value) => {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
        Op::Append(value) => {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.append(name, value);
            }
        }
    }
}
