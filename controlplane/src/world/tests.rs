//! The loop itself, without sockets: what 1,000 services and 1,000 proxies cost.
#![allow(clippy::unwrap_used)]

mod cluster;
mod fleet;

use super::*;
use crate::artifacts::ArtifactsOptions;
use crate::ca::AuthorityOptions;
use prost::Message as _;
use std::fmt::Write;
use std::path::Path;
use tokio::sync::oneshot;
use weft_config::SourceFile;
use weft_filter_host::{Engine, EngineOptions};
use weft_snapshot::Host;
use weft_wire::{Holding, Seen, proto};

const MANY: usize = 1000;

fn file(index: usize, value: &str, port: u16) -> SourceFile {
    let name = format!("s{index:04}");
    let mut text = String::new();
    write!(
        text,
        "apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: 80}}]}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}}}
spec: {{address: 127.0.0.1, serviceAccount: {name}, labels: {{app: {name}}}, ports: {{http: {port}}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [{name}]
  http:
  - headers: {{request: {{set: {{x-test: '{value}'}}}}}}
    route: [{{destination: {{host: {name}}}}}]
"
    )
    .unwrap();
    SourceFile::new(format!("mesh/{name}.yaml"), text)
}

fn set(files: &[SourceFile]) -> FileSet {
    FileSet { files: Arc::new(files.to_vec()), ..FileSet::default() }
}

type Inbox = mpsc::Receiver<Result<proto::FromControlPlane, Status>>;

/// Proxy `index` calls ten services from its own on.
fn joining(index: usize) -> (Joining, Inbox) {
    let (outbox, inbox) = mpsc::channel(8);
    let asked: BTreeSet<Host> = (0..10).map(|i| format!("s{:04}", (index + i) % MANY).parse().unwrap()).collect();
    let name = format!("s{index:04}");
    let joining = Joining {
        stream: StreamId(index as u64),
        workload: format!("default/{name}").parse().unwrap(),
        identity: format!("spiffe://cluster.local/ns/default/sa/{name}").parse().unwrap(),
        svid_expires: 0,
        remote: "127.0.0.1:1".parse().unwrap(),
        version: String::new(),
        level: 1,
        artifact_key: "key".to_owned(),
        inbound: Some("127.0.0.1:9000".parse().unwrap()),
        asked,
        held: Holding::default(),
        running: BTreeMap::new(),
        seen: Seen::new(),
        line: Line { outbox, ends: oneshot::channel().0 },
    };
    (joining, inbox)
}

/// Takes what came, acknowledges it, and gives how many got something and how many bytes that was at most.
fn receive(world: &mut Loop, inboxes: &mut [Inbox]) -> (usize, usize) {
    let (mut reached, mut bytes_max) = (0, 0);
    for (index, inbox) in inboxes.iter_mut().enumerate() {
        while let Ok(message) = inbox.try_recv() {
            let message = message.unwrap();
            bytes_max = bytes_max.max(message.encoded_len());
            let Some(proto::from_control_plane::Message::Update(update)) = message.message else { continue };
            reached += 1;
            world.take(Event::Ack { stream: StreamId(index as u64), revision: update.revision });
        }
    }
    (reached, bytes_max)
}

fn surroundings(scratch: &Path) -> Surroundings {
    let state = StateFolder::open(&scratch.join("state")).unwrap();
    let authority = Arc::new(Authority::open(&state, AuthorityOptions::default(), 1_800_000_000).unwrap());
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let artifacts = Artifacts::start(ArtifactsOptions::new(state.path().join("filters"), engine).unwrap()).unwrap();
    Surroundings {
        state,
        authority,
        artifacts,
        metrics: Arc::new(Metrics::new(SystemTime::now())),
        cell: Arc::new(ArcSwap::from_pointee(World::default())),
        stirred: watch::channel(()).0,
        events: mpsc::channel(1).0.downgrade(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_proxies_of_a_thousand_services() {
    let scratch = tempfile::tempdir().unwrap();
    let (events, mut happened) = mpsc::channel(1);
    let around = Surroundings { events: events.downgrade(), ..surroundings(scratch.path()) };
    let mut files: Vec<SourceFile> = (0..MANY).map(|index| file(index, "0", 9080)).collect();
    let mut world = Loop::new(around, set(&files)).unwrap();
    world.settle();
    let mut inboxes = Vec::new();
    for index in 0..MANY {
        let (joining, inbox) = joining(index);
        world.take(Event::Hello(Box::new(joining)));
        inboxes.push(inbox);
    }
    let measured = |what: &str, world: &mut Loop, inboxes: &mut [Inbox], want: usize, bytes_max: usize| {
        let start = Instant::now();
        world.settle();
        let took = start.elapsed();
        let (reached, bytes) = receive(world, inboxes);
        println!("{what}: {took:?}, {reached} proxies, at most {bytes} bytes each");
        assert_eq!(reached, want, "{what}");
        assert!(bytes <= bytes_max, "{what}: {bytes} bytes");
    };
    measured("all join", &mut world, &mut inboxes, 0, 0);
    world.take(happened.recv().await.unwrap());
    measured("that they have joined is on the disk", &mut world, &mut inboxes, MANY, 64 * 1024);
    files[500] = file(500, "1", 9080);
    world.take(Event::Files(set(&files)));
    measured("a rule changes", &mut world, &mut inboxes, 10, 4096);
    files[500] = file(500, "1", 9081);
    world.take(Event::Files(set(&files)));
    // Its callers, and its own sidecar, whose app has moved.
    measured("an endpoint changes", &mut world, &mut inboxes, 1, 4096);
    world.take(Event::Files(set(&files)));
    measured("nothing changes", &mut world, &mut inboxes, 0, 0);
}
