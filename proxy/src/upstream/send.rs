//! Sends one request to a backend: picks an endpoint, tries, and tries again where the policy says so.
//!
//! It ends with the head of a response or with a refusal; the response's body is the exchange's.

use super::endpoint::InFlight;
use super::limits::{Full, Resource, Taken};
use super::pool::{Carrier, Checked, Freshness, Prefer, Shortage, at_hand, checkout};
use super::retry::{Outcome, may_want_again, pause, retriable_headers, wants_retry};
use super::{Backend, ConnectError, Endpoint, Lease};
use crate::body::{BodyError, Keep, RequestBody, Source};
use crate::deadline::{Alarm, Deadline, within};
use crate::headers::Head;
use crate::plan::RetryPolicy;
use crate::record::{Kind, Record};
use crate::refusal::Refusal;
use crate::worker::Worker;
use http::{HeaderName, HeaderValue, Request, Response, Version};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// Where a request goes, and how patiently.
pub struct Call<'a> {
    pub backend: &'a Rc<Backend>,
    pub protocol: Protocol,
    pub retry: Option<&'a RetryPolicy>,
    pub attempts: Attempts,
    pub timeout: Option<Duration>,
    pub alarm: &'a Rc<Alarm>,
}

/// Whether the upstream is told which try it sees (`x-envoy-attempt-count`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempts {
    Told,
    Untold,
}

/// A response's head has come.
pub struct Answer {
    pub response: Response<Incoming>,
    pub lease: Lease,
    /// What is left of the route's timeout: it spans the response's body, too.
    pub deadline: Option<Deadline>,
}

impl Call<'_> {
    /// Whether what was sent may have to be sent again.
    pub fn keep(&self, kind: Kind) -> Keep {
        match self.retry {
            Some(policy) if may_want_again(policy, self.protocol, kind) => Keep::ForRetries,
            Some(_) | None => Keep::Nothing,
        }
    }
}

pub async fn send(
    worker: &Worker,
    call: Call<'_>,
    head: &mut Head,
    body: Option<Rc<Source>>,
    record: &mut Record,
) -> Result<Answer, Refusal> {
    let began = Instant::now();
    let mut deadline = call.timeout.map(|limit| Deadline::of(began, limit, call.alarm));
    let limit = call.timeout.unwrap_or_default();
    let backend = call.backend;
    let (idempotent, keep) = (head.method.is_idempotent(), call.keep(record.request.kind));
    let retriable = retriable_headers(call.retry, &mut head.headers);
    let mut tries = Tries {
        worker,
        call: &call,
        record,
        body,
        began,
        next: Some(Request::new(RequestBody::empty())),
        kept: None,
        keep,
        met: Vec::new(),
        retriable,
        idempotent,
        response: None,
        carried: None,
    };
    if let Some(next) = &mut tries.next {
        fill(next, call.protocol, head)?;
    }
    let sent = within(&mut deadline, pin!(tries.run())).await;
    let room = sent.ok_or_else(|| Refusal::Timeout { backend: backend.name.to_string(), limit })??;
    let (carrier, in_flight) = tries.carried.take().expect("run() ends well with an answer");
    let lease = Lease::new(worker, backend, in_flight, carrier, room);
    Ok(Answer { response: tries.response.take().expect("run() ends well with an answer"), lease, deadline })
}

/// The tries of one request.
struct Tries<'a> {
    worker: &'a Worker,
    call: &'a Call<'a>,
    record: &'a mut Record,
    body: Option<Rc<Source>>,
    /// When the next try begins.
    began: Instant,
    /// What the next try sends. Requests and responses lie here, since to hand them on from function to function would
    /// copy them each time.
    next: Option<Request<RequestBody>>,
    /// A copy of what was sent: made only where it may be wanted again, since it costs as much as all of routing.
    kept: Option<Box<Request<RequestBody>>>,
    keep: Keep,
    /// Endpoints that this request has met.
    met: Vec<usize>,
    /// Headers of a response that are worth another try.
    retriable: Vec<HeaderName>,
    idempotent: bool,
    response: Option<Response<Incoming>>,
    /// By what the response came.
    carried: Option<(Carrier, InFlight)>,
}

/// Why a try gave no response.
enum Failure {
    Connect(ConnectError),
    Full(Full),
    /// The request comes back: not a byte of it was sent.
    NotSent(Box<Request<RequestBody>>),
    RefusedStream,
    Reset,
    Protocol(String),
    TooSlow(Duration),
    Client,
}

impl Tries<'_> {
    async fn run(&mut self) -> Result<Taken, Refusal> {
        let backend = self.call.backend;
        let limits = backend.policy.limits.as_ref();
        let room = Taken::of(limits, Resource::Requests).map_err(|full| overflow(backend, full))?;
        let mut retrying = Taken::default();
        loop {
            self.record.tries += 1;
            let picked = self.pick().ok_or_else(|| Refusal::NoEndpoint { backend: backend.name.to_string() })?;
            let endpoint = Rc::clone(&backend.endpoints[picked]);
            let tried = self.try_once(&endpoint).await;
            let wanted = self.wants_another(&tried);
            let may = wanted && self.may_retry(&tried);
            if may && let Ok(taken) = Taken::of(limits, Resource::Retries) {
                retrying = taken;
                self.prepare_again(tried, picked);
                self.pause().await;
                self.began = Instant::now();
                continue;
            }
            if wanted && !may && self.call.retry.is_some_and(|retry| retry.attempts > 0) {
                self.record.flag = "URX";
            }
            drop(retrying);
            return tried.map(|()| room).map_err(|failure| refusal(backend, &endpoint, failure));
        }
    }

    fn pick(&self) -> Option<usize> {
        let backend = self.call.backend;
        let load = |index: usize| backend.endpoints[index].load();
        let draw = |below| self.worker.draw(below);
        if self.met.is_empty() {
            backend.balancer.pick(load, draw)
        } else {
            backend.balancer.pick_other(|index| self.met.contains(&index), load, draw)
        }
    }

    /// One try as the policy counts them. Connections that turn out to have been closed by the peer before the request
    /// was on them do not count.
    async fn try_once(&mut self, endpoint: &Rc<Endpoint>) -> Result<(), Failure> {
        let in_flight = endpoint.enter();
        let limit = self.call.retry.and_then(|retry| retry.per_try_timeout);
        let mut deadline = limit.map(|limit| Deadline::of(self.began, limit, self.call.alarm));
        let too_slow = || Failure::TooSlow(limit.unwrap_or_default());
        let mut stale = 0;
        loop {
            let prefer = if stale < STALE_MAX { Prefer::Any } else { Prefer::New };
            let Checked { mut carrier, freshness } = match at_hand(endpoint, self.call.protocol, prefer) {
                Some(checked) => checked,
                None => {
                    let checked = within(&mut deadline, pin!(self.check_out(endpoint, prefer))).await;
                    let checked = checked.ok_or_else(too_slow)??;
                    // The log's service time does not hold the time to connect.
                    self.began = Instant::now();
                    checked
                }
            };
            self.ready(&carrier, freshness);
            self.record.upstream = Some(Rc::clone(carrier.facts()));
            self.record.service_time = None;
            let carried = carry(&mut carrier, &mut self.next, &mut self.response);
            let Err(failure) = within(&mut deadline, pin!(carried)).await.ok_or_else(too_slow)? else {
                self.record.service_time = Some(self.began.elapsed());
                self.carried = Some((carrier, in_flight));
                return Ok(());
            };
            match failure {
                Failure::NotSent(unsent) if freshness == Freshness::Reused && prefer == Prefer::Any => {
                    self.next = Some(*unsent);
                    stale += 1;
                }
                Failure::RefusedStream | Failure::Reset
                    if freshness == Freshness::Reused && stale == 0 && self.safe_to_repeat() =>
                {
                    // The peer closed it while the request was on its way: a known race of idle connections.
                    self.next = self.kept.take().map(|kept| *kept);
                    stale = STALE_MAX;
                }
                failure => return Err(failure),
            }
        }
    }

    async fn check_out(&mut self, endpoint: &Rc<Endpoint>, prefer: Prefer) -> Result<Checked, Failure> {
        let (backend, protocol) = (self.call.backend, self.call.protocol);
        let checked = checkout(self.worker, backend, endpoint, protocol, prefer).await;
        checked.map_err(|shortage| match shortage {
            Shortage::Full(full) => Failure::Full(full),
            Shortage::Connect(error) => {
                self.record.upstream_failure = Some(error.to_string());
                Failure::Connect(error)
            }
        })
    }

    /// Makes the next try's request ready for its connection.
    fn ready(&mut self, carrier: &Carrier, freshness: Freshness) {
        let next = self.next.as_mut().expect("send() and prepare_again() leave a request for each try");
        if self.call.attempts == Attempts::Told {
            next.headers_mut().insert(ATTEMPT_COUNT, count_value(self.record.tries));
        }
        // A connection that was used a moment ago is hardly ever being closed right now; one that was idle may be.
        let doubtful = freshness == Freshness::Reused && carrier.idle_for(self.worker.tick.seconds()) > 0;
        if self.keep == Keep::ForRetries || (doubtful && self.idempotent && self.body.is_none()) {
            self.kept = Some(Box::new(copied(next)));
        }
        *next.body_mut() = RequestBody::new(self.body.as_ref());
    }

    fn safe_to_repeat(&self) -> bool {
        self.idempotent && self.kept.is_some() && self.body.as_ref().is_none_or(|body| body.replayable())
    }

    fn wants_another(&self, tried: &Result<(), Failure>) -> bool {
        let Some(policy) = self.call.retry else { return matches!(tried, Err(Failure::NotSent(_))) };
        let outcome = match tried {
            Ok(()) => {
                let Some(response) = &self.response else { return false };
                if self.retriable.iter().any(|name| response.headers().contains_key(name)) {
                    return true;
                }
                Outcome::Answer(response.status(), response.headers(), self.record.request.kind)
            }
            Err(Failure::Connect(ConnectError::IdentityExpired)) => return false,
            Err(Failure::Connect(_)) => Outcome::ConnectFailed,
            Err(Failure::RefusedStream) => Outcome::RefusedStream,
            Err(Failure::NotSent(_)) => Outcome::ResetBeforeRequest,
            Err(Failure::Reset) => Outcome::Reset,
            Err(Failure::TooSlow(_)) => Outcome::TooSlow,
            Err(Failure::Full(_) | Failure::Protocol(_) | Failure::Client) => return false,
        };
        wants_retry(policy, outcome)
    }

    fn may_retry(&self, tried: &Result<(), Failure>) -> bool {
        // Without a policy only a request of which nothing was sent is repeated, as Istio does on the inbound side.
        let attempts = self.call.retry.map_or(RESETS_BEFORE_REQUEST_MAX, |retry| retry.attempts);
        let at_hand = self.next.is_some() || self.kept.is_some() || matches!(tried, Err(Failure::NotSent(_)));
        at_hand && self.record.tries <= attempts && self.body.as_ref().is_none_or(|body| body.replayable())
    }

    fn prepare_again(&mut self, tried: Result<(), Failure>, picked: usize) {
        (self.response, self.carried) = (None, None);
        if self.call.retry.is_none_or(|retry| retry.ignore_previous_hosts) {
            self.met.push(picked);
        }
        self.next = match (self.next.take(), tried) {
            // It never left.
            (Some(next), _) => Some(next),
            (None, Err(Failure::NotSent(request))) => Some(*request),
            (None, _) => self.kept.take().map(|kept| *kept),
        };
    }

    async fn pause(&self) {
        if let Some(policy) = self.call.retry {
            let pause = pause(policy.backoff, self.record.tries, |below| self.worker.draw(below));
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// One request and its response, on one connection.
async fn carry(
    carrier: &mut Carrier,
    next: &mut Option<Request<RequestBody>>,
    response: &mut Option<Response<Incoming>>,
) -> Result<(), Failure> {
    let request = next.take().expect("ready() has seen it");
    let answered = match carrier {
        Carrier::Exclusive(idle) => idle.sender.try_send_request(request).await,
        Carrier::Shared(seat) => seat.shared.sender.clone().try_send_request(request).await,
    };
    *response = Some(answered.map_err(failure)?);
    Ok(())
}

fn failure(mut error: TrySendError<Request<RequestBody>>) -> Failure {
    if let Some(request) = error.take_message() {
        return Failure::NotSent(Box::new(request));
    }
    let error = error.into_error();
    if source_of::<BodyError>(&error).is_some_and(|body| matches!(body, BodyError::Client(_))) {
        return Failure::Client;
    }
    match source_of::<h2::Error>(&error) {
        Some(h2) if h2.reason() == Some(h2::Reason::REFUSED_STREAM) => return Failure::RefusedStream,
        // The peer is going away and says that it has not looked at this stream.
        Some(h2) if h2.is_go_away() && h2.is_remote() && h2.reason() == Some(h2::Reason::NO_ERROR) => {
            return Failure::RefusedStream;
        }
        Some(h2) if h2.is_go_away() && h2.reason() == Some(h2::Reason::PROTOCOL_ERROR) => {
            return Failure::Protocol(error.to_string());
        }
        _ => {}
    }
    if error.is_parse() { Failure::Protocol(error.to_string()) } else { Failure::Reset }
}

fn fill(request: &mut Request<RequestBody>, protocol: Protocol, head: &mut Head) -> Result<(), Refusal> {
    match protocol {
        Protocol::Http1 => {
            *request.version_mut() = Version::HTTP_11;
            head.move_to_http1(request);
            Ok(())
        }
        Protocol::Http2 => {
            *request.version_mut() = Version::HTTP_2;
            let invalid = |_| Refusal::BadRequest { reason: "the request's host is no valid authority" };
            head.move_to_http2(request).map_err(invalid)
        }
    }
}

/// All but its body.
fn copied(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::empty());
    *copy.version_mut() = request.version();
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

fn source_of<E: std::error::Error + 'static>(error: &hyper::Error) -> Option<&E> {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        source = error.source();
    }
    None
}

fn overflow(backend: &Backend, full: Full) -> Refusal {
    Refusal::Overflow { backend: backend.name.to_string(), what: full.resource.name(), max: full.max }
}

fn refusal(backend: &Backend, endpoint: &Endpoint, failure: Failure) -> Refusal {
    let name = backend.name.to_string();
    match failure {
        Failure::Connect(error) => error.into_refusal(backend, endpoint),
        Failure::Full(full) => overflow(backend, full),
        Failure::NotSent(_) | Failure::RefusedStream | Failure::Reset => {
            Refusal::Reset { backend: name, endpoint: endpoint.place.address.to_string() }
        }
        Failure::Protocol(reason) => Refusal::UpstreamProtocol { backend: name, reason },
        Failure::TooSlow(limit) => Refusal::TryTimeout { backend: name, limit },
        Failure::Client => Refusal::ClientGone,
    }
}

fn count_value(tries: u32) -> HeaderValue {
    match tries {
        1 => HeaderValue::from_static("1"),
        2 => HeaderValue::from_static("2"),
        3 => HeaderValue::from_static("3"),
        more => HeaderValue::from(more),
    }
}

const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
/// Idle connections found closed before a new one is opened.
const STALE_MAX: u32 = 3;
/// Istio's inbound `reset-before-request` retries.
const RESETS_BEFORE_REQUEST_MAX: u32 = 2;
