//! A fleet of services and sidecars in a cluster that has Weft: how soon a change is acknowledged by the last sidecar that
//! it concerns, and what it costs. `bench/cluster` runs it.
//!
//! API server, control plane, joining by pod tokens, TLS, streams and acknowledgements are real. The pods are objects
//! without containers, and the sidecars streams of this process, which apply updates and serve no traffic.

#![allow(clippy::print_stdout, reason = "it is there to print figures")]

mod cluster;
mod processes;
mod streams;

use cluster::Cluster;
use processes::Processes;
use std::time::{Duration, Instant};
use streams::{Acked, Streams};

/// Services that each sidecar calls.
const CALLS: usize = 10;
const PATIENCE: Duration = Duration::from_secs(30);
/// Whoever is told in vain is told by then.
const STRAYS: Duration = Duration::from_millis(150);

/// How large, from WEFT_FLEET: `SERVICES SIDECARS CHANGES`.
#[derive(Clone, Copy)]
struct Size {
    services: usize,
    sidecars: usize,
    changes: usize,
}

impl Size {
    fn from_environment() -> Self {
        let text = std::env::var("WEFT_FLEET").unwrap_or_else(|_| "1000 1000 100".to_owned());
        let numbers: Vec<usize> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
        let [services, sidecars, changes] = numbers[..] else { panic!("WEFT_FLEET is {text:?}, not three numbers") };
        assert!(sidecars <= services, "one sidecar of each service joins at most");
        Self { services, sidecars, changes }
    }

    fn calls(self) -> usize {
        CALLS.min(self.services)
    }

    /// The sidecars that call service `n`: each calls its own and those after it.
    fn callers(self, n: usize) -> Vec<usize> {
        (0..self.calls()).map(|i| (n + self.services - i) % self.services).filter(|i| *i < self.sidecars).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, on a cluster that has Weft: bench/cluster"]
async fn fleet() {
    let size = Size::from_environment();
    let Size { services, sidecars, .. } = size;
    println!("## {services} services, {} pods, {sidecars} sidecars, each calls {}", 2 * services, size.calls());
    let cluster = Cluster::connect().await;
    let started = Instant::now();
    cluster.fill(services).await;
    println!("objects written in {:.1?}", started.elapsed());
    let started = Instant::now();
    let mut streams = Streams::join(&cluster, size).await;
    let first = streams.settle(PATIENCE).await;
    let bytes = first.iter().map(|acked| acked.bytes).sum::<usize>() / sidecars.max(1);
    let last = first.iter().map(|acked| acked.at).max().expect("some sidecar was told something");
    println!("all joined and acknowledged in {:.1?}, {bytes} bytes each", last - started);
    Processes::of_the_control_plane().print("connected");

    measure(size, &cluster, &mut streams, Change::Rule).await;
    measure(size, &cluster, &mut streams, Change::Apply).await;
    measure(size, &cluster, &mut streams, Change::Endpoint).await;
    Processes::of_the_control_plane().print("after the changes");
    let before = Processes::of_the_control_plane();
    tokio::time::sleep(Duration::from_secs(20)).await;
    before.print_cpu("at rest", Duration::from_secs(20));
    cluster.clear().await;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// A header of a VirtualService, by one request to the API server.
    Rule,
    /// The same by `kubectl apply`, from the start of the program.
    Apply,
    /// The address of an endpoint.
    Endpoint,
}

impl Change {
    fn words(self) -> &'static str {
        match self {
            Self::Rule => "a VirtualService changes (API call to last ack)",
            Self::Apply => "a VirtualService changes (kubectl apply to last ack)",
            Self::Endpoint => "an endpoint changes (API call to last ack)",
        }
    }
}

async fn measure(size: Size, cluster: &Cluster, streams: &mut Streams, change: Change) {
    let (mut times, mut bytes, mut strays) = (Vec::new(), Vec::new(), 0);
    let before = Processes::of_the_control_plane();
    for number in 0..size.changes {
        let service = number * 37 % size.services;
        let callers = size.callers(service);
        if callers.is_empty() {
            continue;
        }
        let started = Instant::now();
        match change {
            Change::Rule => cluster.rule(service, &format!("rule-{number}")).await,
            Change::Apply => cluster.apply(service, &format!("apply-{number}")).await,
            Change::Endpoint => cluster.endpoint(service, number).await,
        }
        let acked: Vec<Acked> = streams.acks(callers.len(), PATIENCE).await;
        let last = acked.iter().map(|acked| acked.at).max().unwrap();
        times.push(last.saturating_duration_since(started));
        bytes.extend(acked.iter().map(|acked| acked.bytes));
        strays += acked.iter().filter(|acked| !callers.contains(&acked.sidecar)).count();
        strays += streams.settle(STRAYS).await.len();
    }
    times.sort_unstable();
    bytes.sort_unstable();
    let cpu = before.cpu_since().div_f64(size.changes as f64);
    println!(
        "{}: p50 {:.0?}, p99 {:.0?}; {} bytes per sidecar (p50), {} at most, {strays} told in vain; {:.1?} CPU of the control plane each",
        change.words(),
        times[times.len() / 2],
        times[(times.len() * 99).div_ceil(100) - 1],
        bytes[bytes.len() / 2],
        bytes[bytes.len() - 1],
        cpu,
    );
}
