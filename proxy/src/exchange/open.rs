//! An exchange that is going on: its record, and the one moment at which it is closed.
//!
//! It does not route. Dropping it before it was answered means that the client went away.

use crate::body::Source;
use crate::connection::Connection;
use crate::grpc;
use crate::headers::{Glance, Head, InvalidHead, Marks};
use crate::record::{Kind, Record, RequestFacts};
use crate::refusal::Refusal;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use std::rc::Rc;
use std::time::{Instant, SystemTime};

/// A request taken apart. Borrowed from step to step: it is large, and each step by value would hold it once more.
pub struct Asked {
    pub head: Head,
    pub marks: Marks,
    /// `None` once it is on its way.
    pub body: Option<Incoming>,
    pub version: Version,
    /// The client asks to go on with another protocol on this connection.
    pub upgrade: Option<OnUpgrade>,
}

pub struct Exchange {
    pub connection: Rc<Connection>,
    pub record: Box<Record>,
    /// Once the request is on its way: its body.
    pub source: Option<Rc<Source>>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Closed,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Complete,
    /// The client went away first.
    ClientGone,
    /// The response broke off; the record says why already.
    Broken,
}

impl Exchange {
    pub fn begin(connection: Rc<Connection>, request: Request<Incoming>) -> (Self, Result<Asked, Refusal>) {
        let (parts, body) = request.into_parts();
        let (version, method) = (parts.version, parts.method.clone());
        let mut glance = Glance::at(&parts.headers);
        let (asked, facts) = match Head::from_parts(parts, &glance, connection.scheme) {
            Ok((mut head, mut extensions)) => {
                let upgrade = if extensions.is_empty() { None } else { extensions.remove::<OnUpgrade>() };
                let request_id = glance.request_id(&mut head.headers, || connection.worker.random.request_id());
                let facts = facts(&head, version, request_id, &mut glance);
                (Ok(Asked { head, marks: glance.marks, body: Some(body), version, upgrade }), facts)
            }
            Err(invalid) => (Err(bad_request(&invalid)), unknown_facts(method, version, HeaderValue::from_static(""))),
        };
        (Self::open(connection, facts), asked)
    }

    pub fn open(connection: Rc<Connection>, facts: RequestFacts) -> Self {
        let plan = connection.worker.plans.pin();
        let seen = (Rc::clone(&connection.peer), facts);
        // Into its place at once: it is large.
        let record = Box::new_uninit();
        let record = Box::write(record, Record::new(connection.side, SystemTime::now(), Instant::now(), plan, seen));
        connection.entry.activity.exchange_begins();
        connection.worker.shard.gauges.exchanges.up();
        Self { connection, record, source: None, state: State::Open }
    }

    /// Once: metrics and log read the record here.
    pub fn close(&mut self, end: End) {
        if !self.settle(end) {
            return;
        }
        self.connection.worker.shard.close(&self.record);
    }

    /// Ends it without a trace in metrics and log: it was only the way to something that has records of its own.
    pub fn dissolve(mut self) {
        self.settle(End::Complete);
    }

    fn settle(&mut self, end: End) -> bool {
        if std::mem::replace(&mut self.state, State::Closed) == State::Closed {
            return false;
        }
        let record = &mut self.record;
        record.duration = record.started.elapsed();
        if let Some(source) = &self.source {
            record.bytes_received = source.bytes();
            record.messages.0 = source.messages();
        }
        if end == End::ClientGone && record.flag == "-" {
            let terms = Refusal::ClientGone.terms();
            (record.flag, record.details) = (terms.flag, terms.details);
        }
        self.connection.entry.activity.exchange_ends();
        self.connection.worker.shard.gauges.exchanges.down();
        true
    }

    /// The client's connection has become another one: a tunnel.
    pub fn moved_to(mut self, connection: Connection) -> Self {
        self.connection.entry.activity.exchange_ends();
        connection.entry.activity.exchange_begins();
        self.connection = Rc::new(connection);
        self
    }

    /// All of the request has been read, so its upstream connection has nothing of it to come.
    pub fn request_ended(&self) -> bool {
        self.source.as_ref().is_none_or(|source| source.ended())
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.close(End::ClientGone);
    }
}

fn facts(head: &Head, version: Version, request_id: HeaderValue, glance: &mut Glance) -> RequestFacts {
    let grpc = head.method == Method::POST && grpc::is_grpc(&head.headers);
    RequestFacts {
        protocol: version,
        kind: if grpc { Kind::Grpc } else { Kind::Http },
        method: head.method.clone(),
        path: head.path.clone(),
        authority: head.authority.to_header(),
        request_id: Some(request_id),
        user_agent: glance.named.user_agent.take(),
        forwarded_for: glance.named.forwarded_for.take(),
    }
}

/// Of a request whose head is no head, or has none of its own.
pub fn unknown_facts(method: Method, version: Version, authority: HeaderValue) -> RequestFacts {
    RequestFacts {
        protocol: version,
        kind: Kind::Http,
        method,
        path: PathAndQuery::from_static("/"),
        authority,
        request_id: None,
        user_agent: None,
        forwarded_for: None,
    }
}

fn bad_request(invalid: &InvalidHead) -> Refusal {
    Refusal::BadRequest {
        reason: match invalid {
            InvalidHead::NoHost => "the request names no host",
            InvalidHead::SeveralHosts => "the request names more than one host",
            InvalidHead::BadHost => "the request's host is no valid authority",
            InvalidHead::NoPath => "the request's target has no path",
        },
    }
}
