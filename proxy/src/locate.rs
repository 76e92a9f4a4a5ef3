//! Which service, or which port of the workload, a request is meant for.
//!
//! It reads the plan, and waits for a new one where the control plane has yet to say what a host is. It does not
//! choose among a service's routes.

use crate::connection::Connection;
use crate::headers::Authority;
use crate::origin::{Origin, Place};
use crate::plan::{InboundPort, Lookup, Pinned, VirtualHost};
use crate::record::Security;
use crate::refusal::Refusal;
use crate::telemetry::ServiceFacts;
use crate::upstream::Backend;
use crate::worker::Worker;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use weft_snapshot::{Host, MtlsMode, OutboundPolicy};

/// Where a request of the app goes.
#[derive(Clone)]
pub enum Located {
    Service(Arc<VirtualHost>, u16),
    /// A host that the mesh does not know, and may be called all the same.
    Passthrough(Place, Arc<ServiceFacts>),
    /// The same where the policy is REGISTRY_ONLY.
    BlackHole(Arc<ServiceFacts>),
}

/// Where a request to the workload goes.
#[derive(Clone)]
pub struct Received {
    pub port: Arc<InboundPort>,
    pub service: Arc<ServiceFacts>,
}

impl Received {
    /// The workload's app: where the client was going, else where the app is said to listen.
    pub fn app(&self, connection: &Connection) -> Rc<Backend> {
        let upstreams = &connection.worker.upstreams;
        match &connection.origin {
            Origin::Received { to, .. } => upstreams.captured_app(*to, &self.port.cluster),
            _ => upstreams.app(self.port.app, &self.port.cluster),
        }
    }
}

/// The last answer on this connection: clients say the same host again and again.
#[derive(Default)]
pub struct Memo {
    located: RefCell<Option<(Known, Located)>>,
    received: RefCell<Option<(Known, Received)>>,
    /// The minute in which it was last seen to that discovery knows that the host is in use.
    told: Cell<Option<u32>>,
}

/// Under which an answer holds.
struct Known {
    generation: u64,
    authority: String,
}

impl Known {
    fn is(&self, plan: &Pinned, authority: &str) -> bool {
        self.generation == plan.generation && self.authority == authority
    }
}

/// For the app's side. May replace `plan` by the one that answers.
pub async fn locate(connection: &Connection, plan: &mut Pinned, authority: &Authority) -> Result<Located, Refusal> {
    let text = authority.as_str();
    if let Some((known, located)) = &*connection.memo.located.borrow()
        && known.is(plan, text)
    {
        tell_used(connection, authority);
        return Ok(located.clone());
    }
    let host = || authority.host().into_owned();
    let located = match &connection.origin {
        Origin::Captured(to) => Box::pin(locate_captured(&connection.worker, plan, host(), *to)).await?,
        Origin::Tunnel(place) => locate_place(&connection.worker, plan, place.clone()).await?,
        _ => {
            let port = authority.port().unwrap_or(connection.scheme.default_port());
            locate_place(&connection.worker, plan, Place { host: host(), port }).await?
        }
    };
    let known = Known { generation: plan.generation, authority: text.to_owned() };
    *connection.memo.located.borrow_mut() = Some((known, located.clone()));
    tell_used(connection, authority);
    Ok(located)
}

/// The same by host and port alone.
pub async fn locate_place(worker: &Worker, plan: &mut Pinned, place: Place) -> Result<Located, Refusal> {
    match plan.lookup(&place.host) {
        Lookup::Found(service) => Ok(Located::Service(Arc::clone(service), place.port)),
        Lookup::Absent => Ok(absent(plan, place)),
        Lookup::Unknown => Box::pin(ask(worker, plan, place)).await,
    }
}

/// For a request on a connection that was going to an address: the service that it names, where that answers on this
/// port; else the service whose address it is; else the address itself, as if there were no mesh.
pub async fn locate_captured(
    worker: &Worker,
    plan: &mut Pinned,
    host: String,
    to: SocketAddr,
) -> Result<Located, Refusal> {
    let address = to.ip().to_string();
    // What is no host name is nobody's service.
    if host != address && host.parse::<Host>().is_ok() {
        let named = locate_place(worker, plan, Place { host: host.clone(), port: to.port() }).await?;
        if matches!(&named, Located::Service(service, port) if service.serves(*port)) {
            return Ok(named);
        }
    }
    let place = Place { host: address, port: to.port() };
    match locate_place(worker, plan, place.clone()).await? {
        Located::Service(service, port) if service.serves(port) => Ok(Located::Service(service, port)),
        _ => Ok(outside(plan, place, &host)),
    }
}

/// Waits for a plan that knows the place.
async fn ask(worker: &Worker, plan: &mut Pinned, place: Place) -> Result<Located, Refusal> {
    let Ok(host) = place.host.parse::<Host>() else {
        return Err(Refusal::BadRequest { reason: "the request's host is no host name" });
    };
    // Subscribed before asking, so that no answer is missed.
    let mut changes = worker.cell.changes();
    worker.discovery.ask(&host);
    let answered = async {
        loop {
            *plan = worker.plans.pin();
            match plan.lookup(&place.host) {
                Lookup::Found(service) => return Located::Service(Arc::clone(service), place.port),
                Lookup::Absent => return absent(plan, place.clone()),
                Lookup::Unknown => {}
            }
            if changes.changed().await.is_err() {
                // The proxy is ending; the timeout says the rest.
                std::future::pending::<()>().await;
            }
        }
    };
    let limit = worker.settings.discovery_timeout;
    let answered = tokio::time::timeout(limit, answered).await;
    answered.map_err(|_| Refusal::NotDiscovered { host: host.to_string(), limit })
}

fn absent(plan: &Pinned, place: Place) -> Located {
    let host = place.host.clone();
    outside(plan, place, &host)
}

/// `host` is what the app calls it.
fn outside(plan: &Pinned, place: Place, host: &str) -> Located {
    match plan.outbound {
        OutboundPolicy::AllowAny => Located::Passthrough(place, Arc::new(ServiceFacts::passthrough(host))),
        OutboundPolicy::RegistryOnly => Located::BlackHole(Arc::new(ServiceFacts::black_hole(host))),
    }
}

fn tell_used(connection: &Connection, authority: &Authority) {
    let minute = connection.worker.tick.seconds() / 60;
    if connection.memo.told.get() != Some(minute) {
        connection.memo.told.set(Some(minute));
        let worker = &connection.worker;
        let used = |host: &Host| {
            if worker.told.first(host, minute) {
                worker.discovery.used(host);
            }
        };
        if let Ok(host) = authority.host().parse() {
            used(&host);
        }
        if let Origin::Captured(to) = &connection.origin
            && let Ok(address) = to.ip().to_string().parse()
        {
            used(&address);
        }
    }
}

/// For the workload's side.
pub fn receive(connection: &Connection, plan: &Pinned, authority: &Authority) -> Result<Received, Refusal> {
    let text = authority.as_str();
    if let Some((known, received)) = &*connection.memo.received.borrow()
        && known.is(plan, text)
    {
        return Ok(received.clone());
    }
    let received = match &connection.origin {
        Origin::Sidecar(place) => by_service(plan, &place.host, Some(place.port)),
        Origin::Received { to, named } => match named {
            Some(place) => receive_captured(plan, *to, &place.host, Some(place.port)),
            None => receive_captured(plan, *to, &authority.host(), authority.port()),
        },
        _ => by_service(plan, &authority.host(), authority.port()).or_else(|| by_port(plan, authority)),
    };
    let received = received.ok_or_else(|| Refusal::NoRoute { service: text.to_owned() })?;
    permit(connection, &received)?;
    let known = Known { generation: plan.generation, authority: text.to_owned() };
    *connection.memo.received.borrow_mut() = Some((known, received.clone()));
    Ok(received)
}

/// Whoever did not prove who it is may not speak to a port that wants it proven.
pub fn permit(connection: &Connection, received: &Received) -> Result<(), Refusal> {
    if received.port.mtls == MtlsMode::Strict && connection.peer.security != Security::MutualTls {
        return Err(Refusal::PlainText { port: received.port.port });
    }
    Ok(())
}

/// Where it was going decides; what it was called only names the service.
pub fn receive_captured(plan: &Pinned, to: SocketAddr, host: &str, port: Option<u16>) -> Option<Received> {
    let own = plan.captured_port(to.port())?;
    let named = plan.inbound_service(host, port).filter(|service| service.target == to.port());
    let service = named.map_or(&own.service, |service| &service.facts);
    Some(Received { port: Arc::clone(own), service: Arc::clone(service) })
}

/// The same for bytes of which nothing is known but the SNI.
pub fn receive_place(plan: &Pinned, place: &Place) -> Option<Received> {
    by_service(plan, &place.host, Some(place.port))
}

fn by_service(plan: &Pinned, host: &str, port: Option<u16>) -> Option<Received> {
    let service = plan.inbound_service(host, port)?;
    let port = plan.inbound_port(service.target)?;
    Some(Received { port: Arc::clone(port), service: Arc::clone(&service.facts) })
}

/// A caller in plain text that knows no service: by the workload's port, or the only one that there is.
fn by_port(plan: &Pinned, authority: &Authority) -> Option<Received> {
    authority.host().parse::<std::net::IpAddr>().ok()?;
    let named = authority.port().and_then(|port| plan.inbound_port(port));
    let port = match (named, plan.inbound_ports()) {
        (Some(port), _) => port,
        (None, [only]) => only,
        (None, _) => return None,
    };
    Some(Received { port: Arc::clone(port), service: Arc::clone(&port.service) })
}
