//! Filters in a running proxy, through sockets: routing, denials in the log, and swaps under load.

use crate::components::{Folder, Shipped, shipped};
use crate::mesh::{Apps, filter, snapshot};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::watch;
use weft_proxy::app::{Addresses, Serve, Source};
use weft_proxy::files::Files;
use weft_proxy::settings::{FilterTrace, Settings};
use weft_proxy::telemetry::{LogFormat, LogOptions, LogTarget};
use weft_snapshot::{Filter, Snapshot};

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// One HTTP/1.1 message: first line, headers in lower case, body.
#[derive(Clone, Debug, Default)]
struct Message {
    line: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Message {
    /// `None` where the other side closed.
    fn read(from: &mut impl BufRead) -> Option<Self> {
        let mut message = Self::default();
        loop {
            let mut line = String::new();
            if from.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end();
            match line.split_once(": ") {
                _ if message.line.is_empty() => message.line = line.to_owned(),
                Some((name, value)) => message.headers.push((name.to_ascii_lowercase(), value.to_owned())),
                None => break,
            }
        }
        let length = message.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        from.read_exact(&mut body).ok()?;
        message.body = String::from_utf8_lossy(&body).into_owned();
        Some(message)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn status(&self) -> u16 {
        self.line.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

/// An app that answers its name and the headers that it saw; `/held` only when it may.
struct App {
    address: SocketAddr,
    release: Arc<AtomicBool>,
    waiting: Arc<AtomicUsize>,
}

impl App {
    fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let app = Self { address: listener.local_addr().unwrap(), release: Arc::default(), waiting: Arc::default() };
        let (release, waiting) = (app.release.clone(), app.waiting.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (release, waiting) = (release.clone(), waiting.clone());
                std::thread::spawn(move || serve(name, stream, &release, &waiting));
            }
        });
        app
    }
}

fn serve(name: &str, mut stream: TcpStream, release: &AtomicBool, waiting: &AtomicUsize) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = Message::read(&mut reader) {
        if request.line.contains(" /held") {
            waiting.fetch_add(1, Ordering::SeqCst);
            eventually("the held request may go on", || release.load(Ordering::SeqCst).then_some(()));
        }
        let body = json!({"app": name, "line": request.line, "headers": request.headers}).to_string();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        if stream.write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

/// A proxy of its own, on files.
struct Proxy {
    outbound: SocketAddr,
    admin: SocketAddr,
    files: watch::Sender<Option<Files>>,
    folder: Folder,
    dir: TempDir,
    thread: JoinHandle<()>,
}

impl Proxy {
    fn start(shipped: &[&Shipped], first: Snapshot) -> Self {
        let mut folder = Folder::default();
        shipped.iter().for_each(|shipped| folder.add(shipped));
        let dir = TempDir::new().unwrap();
        let ports_file = dir.path().join("ports.json");
        let (files, told) = watch::channel(None);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let log = LogOptions { target: LogTarget::File(dir.path().join("access.log")), format: LogFormat::Json };
        let options = weft_proxy::Options {
            source: Source::Files(told),
            addresses: Addresses { outbound: Some(any), ..Addresses::default() },
            serve: Serve {
                admin: any,
                workers: 2.try_into().unwrap(),
                access_log: Some(log),
                ports_file: Some(ports_file.clone()),
                settings: Settings { filter_trace: FilterTrace::Send, ..Settings::default() },
            },
            log: None,
            command: Vec::new(),
        };
        let thread = std::thread::spawn(move || {
            weft_proxy::run(options).unwrap();
        });
        let ports = eventually("the proxy listens", || {
            serde_json::from_str::<Value>(&std::fs::read_to_string(&ports_file).ok()?).ok()
        });
        let port = |name: &str| ports[name].as_str().unwrap().parse().unwrap();
        let proxy = Self { outbound: port("outbound"), admin: port("admin"), files, folder, dir, thread };
        proxy.tell(first, "first");
        eventually("the proxy is ready", || (proxy.admin("GET", "/ready").status() == 200).then_some(()));
        proxy
    }

    fn tell(&self, snapshot: Snapshot, revision: &str) {
        let artifacts = self.folder.0.clone().into_iter().collect();
        self.files.send_replace(Some(Files { snapshot, revision: revision.to_owned(), artifacts }));
    }

    /// Until the plan with that revision is served.
    fn served(&self, revision: &str) {
        let shown = format!("weft_plan_info{{revision=\"{revision}\"}} 1");
        eventually("the plan is served", || self.admin("GET", "/metrics").body.contains(&shown).then_some(()));
    }

    fn admin(&self, method: &str, path: &str) -> Message {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        Message::read(&mut BufReader::new(stream)).unwrap()
    }

    fn client(&self) -> Client {
        let stream = TcpStream::connect(self.outbound).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Client { reader: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    /// The access log, once it has that many lines.
    fn log(&self, lines: usize) -> Vec<Value> {
        let path: PathBuf = self.dir.path().join("access.log");
        eventually("the log is written", || {
            let text = std::fs::read_to_string(&path).ok()?;
            // The last line may be in the middle of being written.
            let whole = &text[..text.rfind('\n')? + 1];
            let all: Vec<Value> = whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            (all.len() >= lines).then_some(all)
        })
    }

    fn stop(self) {
        assert_eq!(self.admin("POST", "/quitquitquit").status(), 200);
        self.thread.join().unwrap();
    }
}

/// One connection of an app to its sidecar.
struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    fn call(&mut self, path: &str, headers: &str) -> Message {
        self.send(path, headers);
        Message::read(&mut self.reader).expect("an answer")
    }

    fn send(&mut self, path: &str, headers: &str) {
        write!(self.stream, "GET http://reviews:9080{path} HTTP/1.1\r\nhost: reviews:9080\r\n{headers}\r\n").unwrap();
    }
}

fn app_of(answer: &Message) -> String {
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"));
    body["app"].as_str().unwrap().to_owned()
}

fn standard() -> (Vec<Shipped>, Vec<Filter>) {
    let all = ["filters/canary", "filters/headers", "filters/authz"].map(shipped);
    let [canary, headers, authz] = &all;
    let force = json!([{"header": "x-version", "exact": "v2", "subset": "v2"}]);
    let filters = vec![
        filter("authz", Some(authz), json!({"deny": [{"name": "no-admin", "paths": ["/admin*"]}]})),
        filter(
            "headers",
            Some(headers),
            json!({
                "rewrite": [{"prefix": "/old", "to": "/new"}],
                "request": {"set": {"x-path": "%{:path}"}},
                "response": {"set": {"x-asked": "%{req::path}"}},
            }),
        ),
        filter("canary", Some(canary), json!({"subsets": {"v1": 100, "v2": 0}, "matches": force})),
    ];
    (all.to_vec(), filters)
}

#[test]
fn standard_filters_on_a_route() {
    let (v1, v2) = (App::start("v1"), App::start("v2"));
    let (all, filters) = standard();
    let proxy =
        Proxy::start(&all.iter().collect::<Vec<_>>(), snapshot(Apps { v1: v1.address, v2: v2.address }, filters));
    let mut client = proxy.client();
    let answer = client.call("/old/1", "");
    assert_eq!((answer.status(), app_of(&answer).as_str()), (200, "v1"), "{answer:?}");
    assert!(
        answer.body.contains("GET /new/1 HTTP/1.1") && answer.body.contains(r#"["x-path","/old/1"]"#),
        "{answer:?}"
    );
    assert_eq!(answer.header("x-asked"), Some("/old/1"));
    assert_eq!(app_of(&client.call("/a", "x-version: v2\r\n")), "v2");
    let denied = client.call("/admin/x", "");
    assert_eq!(denied.status(), 403);
    let log = proxy.log(3);
    let line = &log[2];
    assert_eq!((&line["response_flags"], &line["response_code"]), (&json!("UAEX"), &json!(403)), "{line:#}");
    assert!(line["reason"].as_str().unwrap().contains("no-admin"), "{line:#}");
    assert!(line["filters"].as_str().unwrap().starts_with("default/authz@sha256:"), "{line:#}");
    let metrics = proxy.admin("GET", "/stats/prometheus").body;
    for wanted in ["weft_filter_calls_total{filter=\"default/authz\"", "response_code=\"403\",response_flags=\"UAEX\""]
    {
        assert!(metrics.contains(wanted), "{wanted} is not in {metrics}");
    }
    prometheus_reads(&metrics);
    proxy.stop();
}

/// By Prometheus' own parser, where it is installed (`tests/install` does it).
fn prometheus_reads(metrics: &str) {
    let promtool =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut promtool) = promtool else { return };
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    // 3: it reads them and dislikes a name; Istio's names in milliseconds are not to its taste.
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 3)), "promtool: {code:?} {}", String::from_utf8_lossy(&output.stderr));
}

/// The digests that a response names for one filter: of its request and of its response.
fn phases(answer: &Message) -> (String, String) {
    let trace = answer.header("x-weft-filters").unwrap_or_else(|| panic!("no trace: {answer:?}"));
    let of = |phase: &str| trace.split(' ').find_map(|part| part.strip_prefix(phase)).unwrap().to_owned();
    (of("request="), of("response="))
}

#[test]
fn swaps_under_load_lose_nothing() {
    const SWAPS: usize = 20;
    let (v1, v2) = (App::start("v1"), App::start("v2"));
    let versions = [shipped("filters/headers"), shipped("filters/canary")];
    let configs =
        [json!({"response": {"set": {"x-a": "1"}}}), json!({"subsets": {"v1": 1}, "stickyBy": {"cookie": "who"}})];
    let of_version = |index: usize| {
        let swapped = filter("swapped", Some(&versions[index % 2]), configs[index % 2].clone());
        snapshot(Apps { v1: v1.address, v2: v2.address }, vec![swapped])
    };
    let proxy = Proxy::start(&[&versions[0], &versions[1]], of_version(0));
    let (ended, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = proxy.client();
                while !ended.load(Ordering::SeqCst) {
                    let answer = client.call("/load", "");
                    assert_eq!(answer.status(), 200, "{answer:?}");
                    let (request, response) = phases(&answer);
                    assert_eq!(request, response);
                    count.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for swap in 1..=SWAPS {
            let mut held = proxy.client();
            v1.release.store(false, Ordering::SeqCst);
            let before = v1.waiting.load(Ordering::SeqCst);
            held.send("/held", "");
            eventually("the request is held", || (v1.waiting.load(Ordering::SeqCst) > before).then_some(()));
            let seen = count.load(Ordering::SeqCst);
            eventually("there is load", || (count.load(Ordering::SeqCst) > seen).then_some(()));
            let revision = format!("swap-{swap}");
            proxy.tell(of_version(swap), &revision);
            proxy.served(&revision);
            let new = versions[swap % 2].component.to_string();
            assert_eq!(phases(&proxy.client().call("/new", "")), (new.clone(), new), "swap {swap}");
            v1.release.store(true, Ordering::SeqCst);
            let old = versions[(swap + 1) % 2].component.to_string();
            let answer = Message::read(&mut held.reader).expect("the held exchange is answered");
            assert_eq!(answer.status(), 200);
            assert_eq!(phases(&answer), (old.clone(), old), "swap {swap}, held");
        }
        ended.store(true, Ordering::SeqCst);
    });
    let total = count.load(Ordering::SeqCst) + 2 * SWAPS;
    let log = proxy.log(total);
    assert!(log.iter().all(|line| line["response_code"] == 200), "every one of {} was answered", log.len());
    proxy.stop();
}
