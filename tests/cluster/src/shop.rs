//! A server of two replicas in the mesh, a caller in it and one outside, and what comes of their requests while something
//! is done to the mesh. Nothing is retried.
//!
//! It does not know what is done.

use crate::{Caller, Load, Namespace, Tally, node, own_node, say};
use std::time::{Duration, Instant};

pub struct Shop {
    pub namespace: Namespace,
    pub inside: Caller,
    _outside: Namespace,
    pub stranger: Caller,
}

impl Shop {
    /// With these objects beside it: what the route and its filters are.
    #[track_caller]
    pub fn new(name: &str, objects: &str) -> Self {
        let namespace = Namespace::new(name, &["istio-injection=enabled"]);
        namespace.app("server", "v1");
        namespace.kubectl(["scale", "deployment/server-v1", "--replicas=2"]);
        namespace.apply(objects);
        let outside = Namespace::new(&format!("{name}-outside"), &[]);
        let (inside, stranger) = (namespace.caller("caller"), outside.caller("stranger"));
        namespace.ready(&["server-v1"]);
        Self { namespace, inside, _outside: outside, stranger }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://server.{}{path}", self.namespace.name)
    }

    /// Load of each kind, the first requests of each answered. Right is what has `NAME=VALUE|VALUE` in its answer, as the
    /// caller's own sidecar puts it there, or the server's.
    #[track_caller]
    pub fn under_load(&self, by_caller: &[&str], by_server: &[&str]) -> UnderLoad {
        let expect = |headers: &[&[&str]]| -> Vec<String> {
            let headers = headers.iter().copied().flatten().copied().chain(["x-app=server-v1"]);
            headers.flat_map(|header| ["--expect".to_owned(), header.to_owned()]).collect()
        };
        let http = |caller: &Caller, expect: Vec<String>| {
            let rate = rate().to_string();
            let expect = expect.iter().map(String::as_str);
            caller.load(&self.url(PATH), &["--rate", &rate].into_iter().chain(expect).collect::<Vec<_>>())
        };
        let grpc = |caller: &Caller| caller.grpc_load(&self.url("/echo.Echo/Echo"), &[]);
        let loads = vec![
            ("HTTP/1.1, with a sidecar", http(&self.inside, expect(&[by_caller, by_server]))),
            ("HTTP/1.1, without one", http(&self.stranger, expect(&[by_server]))),
            ("gRPC streams, with a sidecar", grpc(&self.inside)),
            ("gRPC streams, without one", grpc(&self.stranger)),
        ];
        UnderLoad { loads, start: Instant::now() }
    }
}

/// The app takes its time, so that at any moment some requests are under way.
const PATH: &str = "/delay/50";

/// What the figures are made with: the full rate, long past the disturbance, and an answer after more than 1 s is wrong too.
/// Otherwise on a machine that does other things meanwhile, such as CI's, a run would say more of the machine than of the
/// mesh: a client that gets no CPU for seconds finds connections closed that its server has kept for it long enough.
fn is_strict() -> bool {
    std::env::var_os("WEFT_CLUSTER_STRICT").is_some()
}

/// Requests a second of each caller.
fn rate() -> u64 {
    if is_strict() { 200 } else { 50 }
}

/// How long the load goes on when the disturbance is over.
fn past() -> Duration {
    Duration::from_secs(if is_strict() { 30 } else { 5 })
}

pub struct UnderLoad {
    loads: Vec<(&'static str, Load)>,
    start: Instant,
}

impl UnderLoad {
    /// After what was `done`, with the load going on for a while.
    #[track_caller]
    pub fn settle(self, done: &str) -> Score {
        std::thread::sleep(past());
        self.stop(done)
    }

    #[track_caller]
    pub fn stop(self, done: &str) -> Score {
        let seconds = self.start.elapsed().as_secs();
        let lines: Vec<_> = self.loads.into_iter().map(|(who, load)| (who, load.stop())).collect();
        say(format!("\n| {done}, {seconds} s | requests | failed | over 1 s | slowest |\n|-|-|-|-|-|"));
        for (who, Tally { requests, failed, slow, slowest_ms, .. }) in &lines {
            say(format!("| {who} | {requests} | {failed} | {slow} | {slowest_ms} ms |"));
        }
        print_sidecars();
        Score { lines, seconds }
    }
}

pub struct Score {
    lines: Vec<(&'static str, Tally)>,
    seconds: u64,
}

impl Score {
    /// All of it is right, and went on for as long as it should.
    #[track_caller]
    pub fn assert_clean(&self) {
        for (who, tally) in &self.lines {
            let wrong = tally.failed + if is_strict() { tally.slow } else { 0 };
            assert_eq!(wrong, 0, "{who}: {tally:#?}");
            let least = if who.starts_with("gRPC") { self.seconds / 10 } else { self.seconds * rate() * 8 / 10 };
            assert!(tally.requests >= least, "{who}: {least} requests were due: {tally:#?}");
        }
    }

    /// Without its defence a disturbance is felt: otherwise no load would say anything.
    #[track_caller]
    pub fn assert_felt(&self) {
        let failed: u64 = self.lines.iter().map(|(_, tally)| tally.failed).sum();
        assert!(failed > 0, "nothing failed with the defence off: {:#?}", self.lines);
    }
}

/// What each sidecar's process holds in memory, where they are in our reach.
fn print_sidecars() {
    if own_node().is_some() {
        let lines: Vec<_> =
            node::sidecars().iter().map(|sidecar| format!("{} {} kB", sidecar.pod, sidecar.memory)).collect();
        say(format!("sidecars' resident memory: {}", lines.join(", ")));
    }
}
