//! What closing an exchange costs in instructions: metrics alone, and with a line of the access log.
//!
//! `cargo bench -p weft-proxy --bench record` runs itself under callgrind and prints the difference between few and
//! many exchanges, in which the log's own thread counts too.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use http::{HeaderValue, Method, StatusCode, Version};
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use weft_proxy::plan::{Discovery, PlanCell};
use weft_proxy::record::{Kind, PeerFacts, Record, RequestFacts, Security, Side, UpstreamFacts};
use weft_proxy::telemetry::{LogFormat, LogOptions, LogTarget, Party, ServiceFacts, Telemetry};
use weft_snapshot::Labels;

const EXCHANGES: u64 = 20_000;

fn main() {
    let arguments: Vec<String> = std::env::args().filter(|argument| !argument.starts_with("--")).collect();
    if let [_, kind, exchanges] = &arguments[..] {
        return run(kind, exchanges.parse().unwrap());
    }
    println!("{:<10}{:>26}", "log", "instructions per exchange");
    for kind in ["off", "text", "json"] {
        println!("{kind:<10}{:>26}", (instructions(kind, EXCHANGES) - instructions(kind, 0)) / EXCHANGES);
    }
}

fn instructions(kind: &str, exchanges: u64) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args([kind.to_owned(), exchanges.to_string()])
        .output()
        .expect("valgrind is installed");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = text.lines().find(|line| line.contains("Collected :")).unwrap_or_else(|| panic!("{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn run(kind: &str, exchanges: u64) {
    let options = |format| LogOptions { target: LogTarget::File("/dev/null".into()), format };
    let log = match kind {
        "text" => Some(options(LogFormat::Text)),
        "json" => Some(options(LogFormat::Json)),
        _ => None,
    };
    let telemetry = Telemetry::new(1, log).unwrap();
    let shard = telemetry.shard(0);
    // As an exchange finds them: two connections by turns, each call a little later and longer than the last.
    let mut records = [record(40_000), record(40_001)];
    for number in 0..exchanges {
        let record = &mut records[(number % 2) as usize];
        record.start += Duration::from_micros(70);
        record.duration = Duration::from_micros(300 + number % 900);
        shard.close(record);
    }
    telemetry.flush();
}

fn record(port: u16) -> Record {
    let party = |name: &str| Arc::new(Party::new(Labels { workload: name.to_owned(), ..Labels::default() }, None));
    let peer = PeerFacts {
        remote: ([10, 1, 2, 3], port).into(),
        local: ([10, 1, 2, 4], 15_001).into(),
        party: party("client"),
        security: Security::None,
        sni: None,
    };
    let request = RequestFacts {
        protocol: Version::HTTP_11,
        kind: Kind::Http,
        method: Method::GET,
        path: "/reviews/1?a=b".parse().unwrap(),
        authority: HeaderValue::from_static("reviews:9080"),
        request_id: Some(HeaderValue::from_static("4f1ae6a2-0000-4000-8000-000000000000")),
        user_agent: Some(HeaderValue::from_static("bench/1")),
        forwarded_for: None,
    };
    let plan = PlanCell::new(Discovery::Complete).reader().pin();
    let seen = (Rc::new(peer), request);
    let mut record = Record::new(Side::Outbound, SystemTime::now(), Instant::now(), plan, seen);
    record.service = Some(Arc::new(ServiceFacts::new("reviews.default.svc.cluster.local", "default")));
    record.upstream = Some(Rc::new(UpstreamFacts {
        address: ([10, 1, 2, 5], 9080).into(),
        endpoint_address: "10.1.2.5:9080".into(),
        local: Some(([10, 1, 2, 4], port).into()),
        party: party("reviews-v1"),
    }));
    record.service_time = Some(Duration::from_millis(1));
    record.status = Some(StatusCode::OK);
    record.details = "via_upstream";
    record.bytes_sent = 100;
    record
}
