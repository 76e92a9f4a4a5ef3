//! The answer on its way to the client: head, body, and the end of the exchange with the body's last byte.
//!
//! It does not know where the answer came from beyond what has to be given back.

use super::{End, Exchange};
use crate::deadline::Deadline;
use crate::filters::{trace_header, trace_value};
use crate::grpc::{self, Messages};
use crate::headers::apply_response;
use crate::http::tunnel;
use crate::plan::Route;
use crate::record::Kind;
use crate::refusal::{Refusal, Reply};
use crate::settings::FilterTrace;
use crate::upstream::Lease;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header, response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A response, before the client has any of it.
pub struct Answered {
    pub parts: response::Parts,
    pub body: Body,
}

pub enum Body {
    Whole(Bytes),
    Upstream {
        incoming: Incoming,
        lease: Lease,
        deadline: Option<Deadline>,
    },
    /// 101: what follows on both connections is no longer HTTP.
    Switching {
        client: OnUpgrade,
        server: OnUpgrade,
        lease: Lease,
    },
}

impl Answered {
    /// A filter answered by itself.
    pub fn of_filter(reply: Reply) -> Box<Self> {
        Box::new(Self::of_reply(reply))
    }

    /// The route answers by itself.
    pub fn of_route(reply: Reply, route: &Route) -> Box<Self> {
        let mut answered = Self::of_filter(reply);
        apply_response(&route.response_headers, &mut answered.parts.headers);
        answered
    }

    fn of_reply(reply: Reply) -> Self {
        let (mut parts, ()) = Response::new(()).into_parts();
        (parts.status, parts.headers) = (reply.status, reply.headers);
        Self { parts, body: Body::Whole(reply.body) }
    }

    /// A filter replaced the response: what the upstream still sends goes nowhere.
    pub fn replace_body(&mut self, body: Bytes) {
        self.parts.headers.remove(header::CONTENT_LENGTH);
        self.body = Body::Whole(body);
    }
}

impl Exchange {
    pub fn answer(mut self, answered: Answered) -> Response<ResponseBody> {
        let Answered { mut parts, body } = answered;
        parts.version = Version::default();
        let worker = &self.connection.worker;
        if worker.settings.filter_trace == FilterTrace::Send
            && let Some(trace) = trace_value(&self.record.filters)
        {
            parts.headers.insert(trace_header(), trace);
        }
        let http1 = self.record.request.protocol < Version::HTTP_2 && !matches!(body, Body::Switching { .. });
        if http1 && self.connection.entry.draining() {
            parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        self.record.status = Some(parts.status);
        if self.record.details == "-" {
            self.record.details = "direct_response";
        }
        let grpc = self.record.request.kind == Kind::Grpc;
        if grpc {
            self.record.grpc_status = grpc::status(&parts.headers);
        }
        let body = match body {
            Body::Whole(bytes) => ResponseBody::whole(self, bytes),
            Body::Upstream { incoming, lease, deadline } => {
                let (lease, messages) = (Some(lease), grpc.then(Messages::default));
                ResponseBody(Some(Box::new(Open { exchange: self, incoming, lease, deadline, messages })), None)
            }
            Body::Switching { client, server, lease } => {
                tokio::task::spawn_local(tunnel::switch(self, client, server, lease));
                ResponseBody::empty()
            }
        };
        Response::from_parts(parts, body)
    }

    /// The client has been answered already, with no body.
    pub fn close_refused(mut self, refusal: &Refusal) {
        let terms = refusal.terms();
        let record = &mut self.record;
        record.status = Some(terms.status);
        (record.flag, record.details) = (terms.flag, terms.details);
        record.reason = Some(refusal.to_string());
        self.close(End::Complete);
    }

    /// A refusal, as a response.
    pub fn refuse(mut self, refusal: Refusal) -> Response<ResponseBody> {
        let terms = refusal.terms();
        let reason = refusal.to_string();
        let record = &mut self.record;
        record.flag = match (record.flag, terms.flag) {
            ("URX", "UF") => "UF,URX",
            ("URX", "UC") => "UC,URX",
            ("URX", "UT") => "UT,URX",
            (_, flag) => flag,
        };
        record.details = terms.details;
        let reply = match refusal {
            Refusal::Denied { reply, .. } => *reply,
            _ if record.request.kind == Kind::Grpc => {
                let headers = grpc::refusal(terms.status, &reason);
                Reply { status: StatusCode::OK, headers, body: Bytes::new() }
            }
            _ => {
                let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, TEXT)]);
                Reply { status: terms.status, headers, body: format!("{reason}\n").into() }
            }
        };
        record.reason = Some(reason);
        self.answer(Answered::of_reply(reply))
    }
}

/// What hyper sends to the client.
pub struct ResponseBody(Option<Box<Open>>, Option<Bytes>);

/// A response that streams.
struct Open {
    exchange: Exchange,
    incoming: Incoming,
    lease: Option<Lease>,
    deadline: Option<Deadline>,
    messages: Option<Messages>,
}

/// Why a response broke off.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("the upstream's response broke off: {0}")]
    Upstream(#[source] hyper::Error),
    #[error("the response took longer than {0:?}")]
    Timeout(std::time::Duration),
}

impl ResponseBody {
    pub fn empty() -> Self {
        Self(None, None)
    }

    /// Ends the exchange here: the bytes are as good as sent.
    fn whole(mut exchange: Exchange, bytes: Bytes) -> Self {
        exchange.record.bytes_sent = bytes.len() as u64;
        exchange.close(End::Complete);
        Self(None, (!bytes.is_empty()).then_some(bytes))
    }
}

impl Open {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Poll::Ready(polled) = self.take(cx) else {
            let Some(deadline) = &mut self.deadline else { return Poll::Pending };
            std::task::ready!(deadline.poll(cx));
            let limit = deadline.limit;
            return Poll::Ready(Some(Err(self.broken(Broken::Timeout(limit)))));
        };
        Poll::Ready(match polled {
            Some(Ok(frame)) => {
                self.note(&frame);
                Some(Ok(frame))
            }
            Some(Err(error)) => Some(Err(self.broken(Broken::Upstream(error)))),
            None => {
                self.end();
                None
            }
        })
    }

    /// The next piece. To take the last one is no reason to wake the connection.
    fn take(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let held = self.lease.as_ref().and_then(Lease::hold_wakes);
        let taken = http_body::Body::poll_frame(Pin::new(&mut self.incoming), cx);
        if let Some(held) = held
            && http_body::Body::is_end_stream(&self.incoming)
        {
            held.forget();
        }
        taken
    }

    fn note(&mut self, frame: &Frame<Bytes>) {
        let record = &mut self.exchange.record;
        if let Some(data) = frame.data_ref() {
            record.bytes_sent += data.len() as u64;
            if let Some(messages) = &mut self.messages {
                messages.count_in(data);
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            if self.messages.is_some() {
                record.grpc_status = grpc::status(trailers);
            }
            self.end();
        }
    }

    fn broken(&mut self, broken: Broken) -> Broken {
        let record = &mut self.exchange.record;
        (record.flag, record.details) = match &broken {
            Broken::Timeout(_) => ("UT", "response_timeout"),
            Broken::Upstream(_) => ("UC", "upstream_reset_after_response_started{connection_termination}"),
        };
        record.reason = Some(broken.to_string());
        self.lease = None;
        self.finish(End::Broken);
        broken
    }

    /// All of the response has come.
    fn end(&mut self) {
        if let Some(lease) = self.lease.take()
            && self.exchange.request_ended()
        {
            lease.give_back();
        }
        self.finish(End::Complete);
    }

    fn finish(&mut self, end: End) {
        if let Some(messages) = &self.messages {
            self.exchange.record.messages.1 = messages.count();
        }
        self.exchange.close(end);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if http_body::Body::is_end_stream(&self.incoming) {
            self.end();
        } else {
            self.finish(End::ClientGone);
        }
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.0 {
            Some(open) => open.poll(cx),
            None => Poll::Ready(self.1.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Some(open) => http_body::Body::is_end_stream(&open.incoming),
            None => self.1.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Some(open) => http_body::Body::size_hint(&open.incoming),
            None => SizeHint::with_exact(self.1.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }
}

const TEXT: HeaderValue = HeaderValue::from_static("text/plain");
