//! What a request costs the lean sidecar, in user instructions, and what its binary weighs: budgets that a change keeps.
//!
//! callgrind counts the same to one percent wherever it runs, where times on a virtual machine differ by half. All threads
//! count, as the difference of two runs that differ in requests alone, so that starting falls out. The build is the one
//! that is shipped, profile `dist`. `tests/run instructions` judges; `bench/run instructions` wants the figures alone:
//! with WEFT_FIGURES=FILE they are written there. With WEFT_COUNTS=FOLDER callgrind's counts of each run are kept there for
//! callgrind_annotate; it names functions where WEFT_PROXY is a build with symbols
//! (`cargo rustc -p weft-proxy --bin weft-proxy --profile dist -- -C strip=none`).
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use weft_tests::yaml::{caller, service, subsets, virtual_service, workload};
use weft_tests::{Mesh, MeshOptions, Process, eventually, filter_component, push, weft_proxy_dist, within};

/// A row's name, its budget, and the config of the standard filter of that name, whose price is what it adds. Budgets are
/// 3% above what was measured; of a filter's price 7%, since it is the difference of two: lower them when the cost falls.
const ROWS: &[(&str, u64, Option<&str>)] = &[
    ("request", 34_300, None),
    ("canary", 5_900, Some("{subsets: {v1: 100}, stickyBy: {header: x-user}}")),
    ("headers", 6_400, Some("{request: {set: {x-filter: bench}}}")),
    ("authz", 7_500, Some("{deny: [{methods: DELETE}], allow: [{methods: [GET], paths: [/app/*, /health]}]}")),
];
const BINARY_BYTES_MAX: u64 = 12_900_000;

const CONNECTIONS: usize = 32;
const FEW: usize = 20 * CONNECTIONS;
/// So many that what a start costs now more and now less (it gathers entropy by the clock: some 1.5 million) is a half
/// percent of a request.
const MANY: usize = 300 * CONNECTIONS;
/// For a processor that callgrind emulates.
const PATIENCE: Duration = Duration::from_secs(120);
/// For an answer of a route that may not be there yet.
const IMPATIENCE: Duration = Duration::from_secs(2);

const REQUEST: &[u8] = b"GET http://app:8080/app/x HTTP/1.1\r\nhost: app:8080\r\nuser-agent: load/1.0\r\n\
    accept: */*\r\nx-user: jason\r\nx-request-id: 7b0e7b1c-5a3c-4d59-8f5e-2f1f0e6f9d11\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 100\r\nserver: app\r\n\r\n\
    0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs valgrind and a dist build: tests/run instructions"]
async fn a_request_keeps_its_budget() {
    let bytes = std::fs::metadata(weft_proxy_dist()).unwrap().len();
    let mut figures = vec![("binary", bytes, BINARY_BYTES_MAX)];
    let (app, mut plain) = (app(), 0);
    for (name, budget, config) in ROWS {
        let all = per_request(app, name, *config).await;
        let own = all.saturating_sub(plain);
        plain = if config.is_none() { all } else { plain };
        println!("{name}: {own} instructions");
        figures.push((name, own, *budget));
    }
    if let Some(file) = std::env::var_os("WEFT_FIGURES") {
        let figures: BTreeMap<_, _> = figures.into_iter().map(|(name, measured, _)| (name, measured)).collect();
        return std::fs::write(file, serde_json::to_vec(&figures).unwrap()).unwrap();
    }
    let beyond: Vec<_> = figures.iter().filter(|(_, measured, budget)| measured > budget).collect();
    assert!(beyond.is_empty(), "(what, measured, budget) {beyond:?}: find what grew, or say why it is worth it");
    println!("(what, measured, budget) {figures:?}");
}

/// As a sidecar is: ten routes of which the last matches, a timeout, retries armed, one header operation, the access log
/// in a file, all metrics.
async fn per_request(app: SocketAddr, name: &str, filter: Option<&str>) -> u64 {
    let attached = if filter.is_some() { format!("    filters: [{{name: {name}}}]\n") } else { String::new() };
    let others: String = (0..9)
        .map(|n| format!("  - {{match: [{{uri: {{prefix: /r{n}}}}}], directResponse: {{status: 404}}}}\n"))
        .collect();
    let last = format!(
        "  - name: app\n    match: [{{uri: {{prefix: /app}}}}]\n{attached}    timeout: 15s\n    \
         retries: {{attempts: 2, retryOn: 'connect-failure,refused-stream,unavailable,cancelled'}}\n    \
         headers: {{request: {{set: {{x-bench: weft}}}}}}\n    \
         route: [{{destination: {{host: app, subset: v1, port: {{number: 8080}}}}}}]"
    );
    let mut yaml = vec![caller("client"), service("app", "http"), workload("app", "v1", "http", app)];
    yaml.extend([subsets("app", &["v1"]), virtual_service("app", &(others + &last))]);
    // The deadline has room for a processor that callgrind emulates.
    yaml.extend(filter.map(|config| {
        format!(
            "apiVersion: weft.dev/v1alpha1\nkind: Filter\nmetadata: {{name: {name}}}\nspec:\n  \
             image: oci-layout:../images:1\n  limits: {{deadline: 1s}}\n  config: {config}\n---\n"
        )
    }));
    let mut mesh = Mesh::start("", MeshOptions::default());
    if filter.is_some() {
        let image = format!("oci-layout:{}:1", mesh.path().join("images").display());
        push(&filter_component(&format!("filters/{name}")), &image);
    }
    mesh.write("mesh.yaml", &yaml.concat());
    // What a sidecar does when it joins is no part of a request: the measured ones start from its state.
    mesh.join("client").await;
    let outbound = mesh.sidecar("client").outbound;
    eventually("the route is there", || {
        let mut tcp = connect(outbound, IMPATIENCE);
        tcp.write_all(REQUEST).unwrap();
        read_answer(&mut tcp)
    });
    mesh.take_sidecar("client").terminate();
    let [few, many] = [FEW, MANY].map(|requests| counted(&mesh, name, requests));
    many.saturating_sub(few) / (MANY - FEW) as u64
}

/// Instructions of a whole run with so many requests.
fn counted(mesh: &Mesh, name: &str, requests: usize) -> u64 {
    let counts = mesh.path().join(format!("{requests}.callgrind"));
    let ports = mesh.ports_file("client");
    std::fs::remove_file(&ports).unwrap();
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--fair-sched=try", "-q"])
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(weft_proxy_dist())
        .args(mesh.sidecar_command("client", None).get_args())
        .args(["--workers", "1", "--access-log"])
        .arg(mesh.path().join("access.log"));
    let mut process = Process::spawn("weft-proxy under valgrind (Debian: apt-get install valgrind)", &mut command);
    let ports = process.ports(&ports);
    let [admin, outbound] = ["admin", "outbound"].map(|which| ports[which].as_str().unwrap().parse().unwrap());
    within(PATIENCE, "it is ready", || ready(admin));
    load(outbound, requests);
    within(PATIENCE, "it ends", || {
        // From the second one on it does not drain.
        process.exited().ok_or_else(|| process.signal(libc::SIGTERM))
    });
    let text = std::fs::read_to_string(&counts).unwrap();
    if let Some(folder) = std::env::var_os("WEFT_COUNTS") {
        std::fs::write(Path::new(&folder).join(format!("{name}-{requests}.callgrind")), &text).unwrap();
    }
    let totals = text.lines().find_map(|line| line.strip_prefix("totals: ")).expect("callgrind's last line");
    totals.trim().parse().unwrap()
}

/// It serves what lies in its state folder.
fn ready(admin: SocketAddr) -> Result<(), String> {
    let (mut tcp, mut answer) = (connect(admin, PATIENCE), String::new());
    tcp.write_all(b"GET /ready HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n").unwrap();
    tcp.read_to_string(&mut answer).unwrap();
    answer.starts_with("HTTP/1.1 200").then_some(()).ok_or(answer)
}

/// Requests on all connections at once, again and again, as often as it takes.
fn load(address: SocketAddr, requests: usize) {
    let mut connections: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect(address, PATIENCE)).collect();
    for _ in 0..requests / CONNECTIONS {
        for tcp in &mut connections {
            tcp.write_all(REQUEST).unwrap();
        }
        for tcp in &mut connections {
            read_answer(tcp).unwrap();
        }
    }
}

fn connect(address: SocketAddr, patience: Duration) -> TcpStream {
    let tcp = TcpStream::connect(address).unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp.set_read_timeout(Some(patience)).unwrap();
    tcp
}

fn read_answer(tcp: &mut TcpStream) -> Result<(), String> {
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(&RESPONSE[RESPONSE.len() - 100..]) {
        match tcp.read(&mut buffer) {
            Ok(read @ 1..) => answer.extend_from_slice(&buffer[..read]),
            end => return Err(format!("{end:?} after {}", String::from_utf8_lossy(&answer))),
        }
    }
    answer.starts_with(b"HTTP/1.1 200 OK").then_some(()).ok_or_else(|| String::from_utf8_lossy(&answer).into_owned())
}

/// Answers each read with the same bytes: what it costs is no part of the measurement.
fn app() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for tcp in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || serve(tcp));
        }
    });
    address
}

fn serve(mut tcp: TcpStream) {
    let _ = tcp.set_nodelay(true);
    let mut buffer = [0; 4096];
    while let Ok(1..) = tcp.read(&mut buffer) {
        if tcp.write_all(RESPONSE).is_err() {
            return;
        }
    }
}
