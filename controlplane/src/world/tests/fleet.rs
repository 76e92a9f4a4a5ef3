//! What one change costs in a cluster of many services and sidecars: CPU time of the whole loop, and of what the leader
//! and the other replica ask of it afterwards. Figures are only good in an optimised build; `bench/README.md` says how.

use super::cluster::object;
use super::*;
use serde_json::json;
use std::time::Duration;

/// Services, each with two pods, an EndpointSlice and a VirtualService; and as many sidecars, each calling ten.
struct Fleet {
    files: BTreeMap<Arc<str>, SourceFile>,
    world: Loop,
    inboxes: Vec<Inbox>,
    facts: watch::Receiver<Arc<Facts>>,
}

fn name(n: usize) -> String {
    format!("s{n:04}")
}

fn address(n: usize, which: usize) -> String {
    format!("10.{}.{}.{}", which + 1, n / 200, n % 200 + 1)
}

fn pod(n: usize, which: usize) -> SourceFile {
    let labels = json!({"app": name(n), "version": "v1", "security.istio.io/tlsMode": "istio"});
    let annotations = json!({"sidecar.weft.dev/status": ""});
    let spec =
        json!({"serviceAccountName": "fleet", "containers": [{"name": "app", "ports": [{"containerPort": 8080}]}]});
    let status = json!({"podIPs": [{"ip": address(n, which)}], "conditions": [{"type": "Ready", "status": "True"}]});
    let pod = format!("{}-{which}", name(n));
    let metadata = json!({"uid": pod, "labels": labels, "annotations": annotations});
    object("Pod", &pod, json!({"apiVersion": "v1", "metadata": metadata, "spec": spec, "status": status}))
}

fn service(n: usize) -> SourceFile {
    let ip = format!("10.96.{}.{}", n / 200, n % 200 + 1);
    let ports = json!([{"name": "http", "port": 80, "targetPort": 8080}]);
    let spec = json!({"clusterIP": ip, "clusterIPs": [ip], "selector": {"app": name(n)}, "ports": ports});
    object("Service", &name(n), json!({"apiVersion": "v1", "spec": spec}))
}

fn slice(n: usize, second: &str) -> SourceFile {
    let endpoint = |address: String, which: usize| {
        let target = json!({"kind": "Pod", "namespace": "default", "name": format!("{}-{which}", name(n))});
        json!({"addresses": [address], "conditions": {"ready": true}, "targetRef": target})
    };
    let endpoints = json!([endpoint(address(n, 0), 0), endpoint(second.to_owned(), 1)]);
    let metadata = json!({"labels": {"kubernetes.io/service-name": name(n)}});
    let ports = json!([{"name": "http", "port": 8080}]);
    let value = json!({"apiVersion": "discovery.k8s.io/v1", "metadata": metadata, "addressType": "IPv4", "ports": ports, "endpoints": endpoints});
    object("EndpointSlice", &name(n), value)
}

fn rule(n: usize, header: &str) -> SourceFile {
    let headers = json!({"request": {"set": {"x-fleet": header}}});
    let route = json!([{"headers": headers, "route": [{"destination": {"host": name(n)}}]}]);
    let value = json!({"apiVersion": "networking.istio.io/v1", "metadata": {"generation": 1}, "spec": {"hosts": [name(n)], "http": route}});
    object("VirtualService", &name(n), value)
}

impl Fleet {
    fn new(scratch: &Path, many: usize) -> Self {
        let of = |n| [service(n), slice(n, &address(n, 1)), rule(n, "0"), pod(n, 0), pod(n, 1)];
        let files: BTreeMap<_, _> = (0..many).flat_map(of).map(|file| (file.path.clone(), file)).collect();
        let all: Vec<SourceFile> = files.values().cloned().collect();
        let mut world = Loop::new(surroundings(scratch), set(&all)).unwrap();
        let mut inboxes = Vec::new();
        for index in 0..many {
            let (mut joining, inbox) = joining(index);
            joining.workload = format!("default/{}-0", name(index)).parse().unwrap();
            joining.identity = "spiffe://cluster.local/ns/default/sa/fleet".parse().unwrap();
            joining.asked = (0..10).map(|i| name((index + i) % many).parse().unwrap()).collect();
            world.take(Event::Hello(Box::new(joining)));
            inboxes.push(inbox);
        }
        let facts = world.around.artifacts.facts();
        let mut fleet = Self { files, world, inboxes, facts };
        fleet.world.settle();
        assert_eq!(receive(&mut fleet.world, &mut fleet.inboxes).0, many);
        fleet.world.settle();
        fleet
    }

    fn settle(&mut self) {
        let all: Vec<SourceFile> = self.files.values().cloned().collect();
        self.world.take(Event::Files(set(&all)));
        self.world.settle();
    }

    /// All that comes of a change until it is acknowledged; how many sidecars were told.
    async fn change(&mut self, file: SourceFile) -> usize {
        self.files.insert(file.path.clone(), file);
        self.settle();
        let told = receive(&mut self.world, &mut self.inboxes).0;
        self.world.settle();
        // The filters' side may have something to say to it.
        if let Ok(Ok(())) = tokio::time::timeout(ANSWER, self.facts.changed()).await {
            let facts = self.facts.borrow_and_update().clone();
            self.world.take(Event::Facts(facts));
            self.world.settle();
        }
        told
    }
}

const ANSWER: Duration = Duration::from_millis(5);

/// Of this process, its ended threads included; in ticks of 10 ms, so many changes are measured as one.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1.split(' ');
    let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(10 * ticks)
}

type Change = fn(usize, usize) -> SourceFile;

const CHANGES: [(&str, Change); 3] = [
    ("a VirtualService", |n, round| rule(n, &format!("v{round}"))),
    ("an endpoint", |n, round| slice(n, &format!("10.9.9.{}", round % 250 + 1))),
    ("a pod that nobody is told of", |n, round| {
        let mut file = pod(n, 1);
        let ready = if round % 2 == 0 { "\"False\"" } else { "\"True\"" };
        let text = String::from_utf8(file.bytes.to_vec()).unwrap();
        file.bytes = text.replace("\"True\"", ready).into_bytes().into();
        file
    }),
];

/// The cost of a change is counted here and not timed: it is of those whom the change concerns, however many others
/// there are.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_work_for_those_whom_it_concerns() {
    let scratch = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::new(scratch.path(), 60);
    let wanted = || Wanted::of(&World::default());
    assert_eq!(fleet.world.around.artifacts.want(wanted()), 1, "no filter is attached");
    for (round, (what, make)) in CHANGES.iter().enumerate() {
        let before = fleet.world.around.metrics.work();
        fleet.files.insert(make(7, round).path, make(7, round));
        fleet.settle();
        assert_eq!(fleet.world.adoption.newest().making(), Making::Step, "{what}");
        let told = receive(&mut fleet.world, &mut fleet.inboxes).0;
        fleet.world.settle();
        let (views, snapshots) = fleet.world.around.metrics.work();
        let concerned = if *what == CHANGES[2].0 { 0 } else { 10 };
        assert_eq!(told, concerned, "{what}");
        assert!(views - before.0 <= 11, "{what}: {} proxies were looked at", views - before.0);
        assert!(snapshots - before.1 <= 11, "{what}: {} snapshots", snapshots - before.1);
        assert_eq!(fleet.world.around.artifacts.want(wanted()), 1, "{what}: the filters' side is left alone");
        assert!(fleet.world.due.is_empty(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: bench/README.md"]
#[allow(clippy::print_stdout, reason = "it is there to print figures")]
async fn what_a_change_costs() {
    let rounds: usize = std::env::var("ROUNDS").map_or(200, |text| text.parse().unwrap());
    for many in [50, 1000] {
        let scratch = tempfile::tempdir().unwrap();
        let mut fleet = Fleet::new(scratch.path(), many);
        let each = |start: Duration| (cpu() - start) / u32::try_from(rounds).unwrap();
        for (what, make) in CHANGES {
            let (start, mut told) = (cpu(), 0);
            for round in 0..rounds {
                told += fleet.change(make(round * 37 % many, round)).await;
            }
            println!("{many} services, {what}: {:?} each, {} told", each(start), told / rounds);
        }
        let start = cpu();
        (0..rounds).for_each(|_| drop(std::hint::black_box(fleet.world.standing())));
        println!("{many} services, what the leader asks: {:?}", each(start));
        let start = cpu();
        (0..rounds).for_each(|_| drop(std::hint::black_box(fleet.world.tallies())));
        println!("{many} services, what it asks another replica: {:?}", each(start));
    }
}
