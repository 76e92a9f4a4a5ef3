//! One request from its head to its answer: the story that everything else serves.
//!
//! An exchange sees one plan from begin to end. What the steps do in detail is elsewhere; here is their order.

mod answer;
mod open;

pub use answer::{Answered, Body, ResponseBody};
pub use open::{Asked, End, Exchange, unknown_facts};

use crate::body::Source;
use crate::connection::Connection;
use crate::filters::{Chain, Flow};
use crate::grpc::{self, Messages};
use crate::headers::{Found, HopByHop, apply_request, apply_response, strip_hop_by_hop};
use crate::http::{forwarded, tunnel};
use crate::locate::{Located, locate, receive};
use crate::origin::Place;
use crate::plan::{Action, Chosen, Forward, RetryPolicy};
use crate::record::{Kind, Side, Target};
use crate::refusal::Refusal;
use crate::telemetry::ServiceFacts;
use crate::upstream::{Answer, Attempts, Backend, Call, Protocol, send};
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use weft_snapshot::Upgrade;

/// Answers one request, whatever happens; the only place where a refusal becomes a response.
pub async fn serve(
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    if request.method() == Method::CONNECT {
        return Ok(Box::pin(tunnel::connect(connection, request)).await);
    }
    let (mut exchange, asked) = Exchange::begin(connection, request);
    let outcome = match asked {
        Ok(mut asked) => forward(&mut exchange, &mut asked).await,
        Err(refusal) => Err(refusal),
    };
    Ok(match outcome {
        Ok(answered) => exchange.answer(*answered),
        Err(refusal) => exchange.refuse(refusal),
    })
}

/// Of a request that was refused before it was one: metrics and log hear of it.
pub fn refused_unread(connection: Rc<Connection>, refusal: &Refusal) {
    // Whatever the bytes were, the log says `-`.
    let method = Method::from_bytes(b"-").unwrap_or_default();
    let facts = unknown_facts(method, Version::HTTP_11, HeaderValue::from_static(""));
    Exchange::open(connection, facts).close_refused(refusal);
}

async fn forward(exchange: &mut Exchange, asked: &mut Asked) -> Result<Box<Answered>, Refusal> {
    let upgrade = if asked.upgrade.is_some() { HopByHop::KeepUpgrade } else { HopByHop::Strip };
    let Asked { head, marks, .. } = asked;
    strip_hop_by_hop(&mut head.headers, &marks.hop_by_hop, upgrade);
    forwarded::stamp(&mut head.headers, *marks, &exchange.connection, head.scheme);
    match exchange.connection.side {
        Side::Outbound => outbound(exchange, asked).await,
        Side::Inbound => inbound(exchange, asked).await,
    }
}

/// To the workload's own app.
async fn inbound(exchange: &mut Exchange, asked: &mut Asked) -> Result<Box<Answered>, Refusal> {
    let connection = Rc::clone(&exchange.connection);
    let record = &mut exchange.record;
    let received = receive(&connection, &record.plan, &asked.head.authority)?;
    let port = Arc::clone(&received.port);
    record.service = Some(Arc::clone(&received.service));
    record.target = Target::Inbound(Arc::clone(&port));
    let mut workload = port.filters.start();
    let mut answered = match workload.request(&connection.worker.runner, &mut asked.head, record).await? {
        Flow::Reply(reply) => Answered::of_filter(reply),
        Flow::Continue => {
            let backend = received.app(&connection);
            upstream(exchange, asked, To { backend, timeout: None, retry: None, attempts: Attempts::Untold }).await?
        }
    };
    if workload.awaits_response() {
        backwards(exchange, &mut workload, &mut answered).await?;
    }
    Ok(answered)
}

/// From the workload's own app to a service.
async fn outbound(exchange: &mut Exchange, asked: &mut Asked) -> Result<Box<Answered>, Refusal> {
    let connection = Rc::clone(&exchange.connection);
    let record = &mut exchange.record;
    let (service, port) = match locate(&connection, &mut record.plan, &asked.head.authority).await? {
        Located::Service(service, port) => (service, port),
        Located::Passthrough(place, facts) => return Box::pin(passthrough(exchange, asked, place, facts)).await,
        Located::BlackHole(facts) => return black_hole(exchange, facts),
    };
    record.service = Some(Arc::clone(&service.facts));
    let chosen = service.route(&asked.head, port);
    let chosen = chosen.ok_or_else(|| Refusal::NoRoute { service: service.name.to_string() })?;
    let Chosen { route, matched } = chosen;
    record.route = Some(Arc::clone(route));
    let mut chain = route.filters.start();
    let mut answered = match chain.request(&connection.worker.runner, &mut asked.head, record).await? {
        Flow::Reply(reply) => Answered::of_filter(reply),
        Flow::Continue => match &route.action {
            Action::Redirect(redirect) => Answered::of_route(redirect.answer(&asked.head, matched, port), route),
            Action::Direct(direct) => Answered::of_route(direct.answer(), route),
            Action::Forward(forward) => destination(exchange, asked, chosen, forward, chain.pick()).await?,
        },
    };
    if chain.awaits_response() {
        backwards(exchange, &mut chain, &mut answered).await?;
    }
    Ok(answered)
}

/// To one of the route's destinations: the one that a filter picked, else one drawn by weight.
async fn destination(
    exchange: &mut Exchange,
    asked: &mut Asked,
    Chosen { route, matched }: Chosen<'_>,
    forward: &Forward,
    pick: Option<&str>,
) -> Result<Box<Answered>, Refusal> {
    let connection = Rc::clone(&exchange.connection);
    let worker = &connection.worker;
    let picked = pick.and_then(|subset| forward.subset(subset));
    let drawn = || forward.draw(|below| worker.random.below(below));
    let Some(destination) = picked.or_else(drawn) else {
        return Err(Refusal::NoBackend { backend: route.name.to_string() });
    };
    let backend = destination.backend.as_ref();
    let backend = backend.ok_or_else(|| Refusal::NoBackend { backend: destination.name.to_string() })?;
    let record = &mut exchange.record;
    record.target = Target::Backend(Arc::clone(backend));
    let mut chain = destination.filters.start();
    let mut answered = match chain.request(&worker.runner, &mut asked.head, record).await? {
        Flow::Reply(reply) => Answered::of_filter(reply),
        Flow::Continue => {
            apply_request(&route.request_headers, &mut asked.head);
            apply_request(&destination.request_headers, &mut asked.head);
            if let Some(rewrite) = &forward.rewrite {
                rewrite.apply(&mut asked.head, matched);
            }
            let to = To {
                backend: worker.upstreams.meant(backend, &connection.origin),
                timeout: timeout(forward.timeout, &asked.head.headers, record.request.kind),
                retry: forward.retry.as_ref(),
                attempts: Attempts::Told,
            };
            let mut answered = upstream(exchange, asked, to).await?;
            apply_response(&route.response_headers, &mut answered.parts.headers);
            apply_response(&destination.response_headers, &mut answered.parts.headers);
            answered
        }
    };
    if chain.awaits_response() {
        backwards(exchange, &mut chain, &mut answered).await?;
    }
    Ok(answered)
}

/// To a host outside the mesh, as it is.
async fn passthrough(
    exchange: &mut Exchange,
    asked: &mut Asked,
    place: Place,
    facts: Arc<ServiceFacts>,
) -> Result<Box<Answered>, Refusal> {
    exchange.record.service = Some(facts);
    exchange.record.target = Target::Passthrough;
    let backend = exchange.connection.worker.upstreams.passthrough(&place.host, place.port, &PASSTHROUGH);
    upstream(exchange, asked, To { backend, timeout: None, retry: None, attempts: Attempts::Untold }).await
}

fn black_hole(exchange: &mut Exchange, facts: Arc<ServiceFacts>) -> Result<Box<Answered>, Refusal> {
    let host = facts.host().to_owned();
    exchange.record.service = Some(facts);
    exchange.record.target = Target::BlackHole;
    Err(Refusal::UnknownHost { host })
}

/// Where a request goes in the end, and how patiently.
struct To<'a> {
    backend: Rc<Backend>,
    timeout: Option<Duration>,
    retry: Option<&'a RetryPolicy>,
    attempts: Attempts,
}

async fn upstream(exchange: &mut Exchange, asked: &mut Asked, to: To<'_>) -> Result<Box<Answered>, Refusal> {
    let To { backend, timeout, retry, attempts } = to;
    let protocol = protocol(asked, backend.policy.upgrade);
    let connection = Rc::clone(&exchange.connection);
    let call = Call { backend: &backend, protocol, retry, attempts, timeout, alarm: &connection.alarm };
    let messages = (exchange.record.request.kind == Kind::Grpc).then(Messages::default);
    exchange.source =
        asked.body.take().and_then(|body| Source::of(body, call.keep(exchange.record.request.kind), messages));
    let source = exchange.source.clone();
    let Answer { mut response, lease, deadline } =
        send(&connection.worker, call, &mut asked.head, source, &mut exchange.record).await?;
    let switching = match (response.status(), asked.upgrade.take()) {
        (StatusCode::SWITCHING_PROTOCOLS, Some(client)) => Some((client, hyper::upgrade::on(&mut response))),
        (StatusCode::SWITCHING_PROTOCOLS, None) => {
            let reason = "it switched protocols without being asked".to_owned();
            return Err(Refusal::UpstreamProtocol { backend: backend.name.to_string(), reason });
        }
        _ => None,
    };
    let (mut parts, incoming) = response.into_parts();
    let upgrade = if switching.is_some() { HopByHop::KeepUpgrade } else { HopByHop::Strip };
    let found = Found::of(&parts.headers);
    strip_hop_by_hop(&mut parts.headers, &found, upgrade);
    exchange.record.details = "via_upstream";
    if let Some(time) = exchange.record.service_time {
        parts.headers.insert(SERVICE_TIME, millis_value(time));
    }
    let body = match switching {
        Some((client, server)) => Body::Switching { client, server, lease },
        None => Body::Upstream { incoming, lease, deadline },
    };
    Ok(Box::new(Answered { parts, body }))
}

fn millis_value(time: Duration) -> HeaderValue {
    match time.as_millis() as u64 {
        // Most calls in a cluster: nothing to write.
        0 => HeaderValue::from_static("0"),
        1 => HeaderValue::from_static("1"),
        more => HeaderValue::from(more),
    }
}

/// What the app spoke, unless the policy says otherwise; another protocol can only be asked for in HTTP/1.
fn protocol(asked: &Asked, policy: Upgrade) -> Protocol {
    match (asked.version, policy) {
        _ if asked.upgrade.is_some() => Protocol::Http1,
        (Version::HTTP_2, _) | (_, Upgrade::Http2) => Protocol::Http2,
        _ => Protocol::Http1,
    }
}

/// A gRPC client's own deadline counts, but never beyond the route's.
fn timeout(route: Option<Duration>, headers: &HeaderMap, kind: Kind) -> Option<Duration> {
    let of_client = if kind == Kind::Grpc { grpc::timeout(headers) } else { None };
    match (route, of_client) {
        (Some(route), Some(client)) => Some(route.min(client)),
        (route, client) => client.or(route),
    }
}

/// The response through the filters that its request went through.
async fn backwards(exchange: &mut Exchange, chain: &mut Chain, answered: &mut Answered) -> Result<(), Refusal> {
    let worker = Rc::clone(&exchange.connection.worker);
    let replaced = chain.response(&worker.runner, &mut answered.parts, &mut exchange.record).await?;
    if let Some(body) = replaced {
        answered.replace_body(body);
    }
    Ok(())
}

const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");
pub static PASSTHROUGH: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("PassthroughCluster"));

#[cfg(test)]
mod tests {
    use super::*;

    fn future_size<F: Future>(_: impl Fn(Rc<Connection>, Request<Incoming>) -> F) -> usize {
        size_of::<F>()
    }

    /// Each request in flight holds one, and hyper moves it once.
    #[test]
    fn a_request_in_flight_is_small() {
        let size = future_size(serve);
        assert!(size <= 5 * 1024, "{size} bytes");
    }

    #[test]
    fn a_client_may_shorten_the_timeout_and_not_extend_it() {
        let seconds = Duration::from_secs;
        let cases = [
            (None, None, Kind::Grpc, None),
            (Some(seconds(3)), None, Kind::Grpc, Some(seconds(3))),
            (None, Some("2S"), Kind::Grpc, Some(seconds(2))),
            (Some(seconds(3)), Some("2S"), Kind::Grpc, Some(seconds(2))),
            (Some(seconds(1)), Some("2S"), Kind::Grpc, Some(seconds(1))),
            (Some(seconds(3)), Some("2S"), Kind::Http, Some(seconds(3))),
        ];
        for (route, client, kind, want) in cases {
            let client = client.map(|text| ("grpc-timeout".parse().expect("name"), HeaderValue::from_static(text)));
            let headers: HeaderMap = client.into_iter().collect();
            assert_eq!(timeout(route, &headers, kind), want, "route {route:?}, headers {headers:?}, {kind:?}");
        }
    }
}
