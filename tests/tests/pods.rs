//! Whole pods without Kubernetes: the app's own connections, redirected by weft-init, through real sidecars of uid 1337
//! to the other pod's app and back. Needs root (network namespaces); without it each test says that it was skipped.
#![allow(clippy::unwrap_used, unsafe_code)]

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};
use weft_tests::yaml::STRICT;
use weft_tests::{Answer, App, Client, Namespace, Pod, Pods, Version, eventually};

fn skipped() -> bool {
    // SAFETY: it only reads.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        // Past the harness, which keeps what passing tests print.
        let _ = writeln!(std::io::stderr(), "SKIPPED {name}: network namespaces need root");
    }
    !root
}

fn workload(name: &str, address: &str, app: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}}}\nspec: {{address: \
         '{address}', labels: {{app: {app}, version: {name}}}, serviceAccount: {name}}}\n---\n"
    )
}

fn service(name: &str, addresses: &str, ports: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIPs: [{addresses}], selector: {{app: \
         {name}}}, ports: [{ports}]}}\n---\n"
    )
}

const PORTS: &str = "{name: http, port: 9080, targetPort: 8080}, {name: tcp-greet, port: 9000, targetPort: 7000}, \
                     {name: any, port: 9100, targetPort: 7000}";

/// A caller, and reviews twice: by IPv4, and by IPv6 under a name of its own; both are also what a headless service
/// selects.
fn mesh() -> String {
    [
        workload("client", "10.9.0.11", "client"),
        workload("reviews", "10.9.0.12", "reviews"),
        workload("six", "fd09::13", "six"),
        service("reviews", "10.96.0.12, 'fd96::12'", PORTS),
        service("six", "10.96.0.13, 'fd96::13'", PORTS),
        service("headless", "None", "{name: http, port: 8080}").replace("{app: headless}", "{version: reviews}"),
    ]
    .concat()
}

const VIP: &str = "10.96.0.12";
const VIP6: &str = "[fd96::12]";
const GREETING: &str = "hello first\n";

struct World {
    pods: Pods,
    client: Pod,
    reviews: Pod,
    six: Pod,
}

fn world() -> World {
    let mut pods = Pods::new(&mesh());
    let client = pods.pod("client", &[]);
    let reviews = pods.pod("reviews", &[]);
    let six = pods.pod("six", &[]);
    for (namespace, name) in [(&reviews.namespace, "reviews"), (&six.namespace, "six"), (&pods.node, "outside")] {
        serve(namespace, name);
    }
    World { pods, client, reviews, six }
}

/// HTTP at 8080 and 80, and at 7000 and 7001 a server that speaks first; on all addresses.
fn serve(namespace: &Namespace, name: &'static str) {
    namespace.keep(async move || {
        let at = |port: u16| SocketAddr::from(([0; 16], port));
        let http = (App::http_at(at(8080), name).await, App::http_at(at(80), name).await);
        (http, App::tcp_at(at(7000), GREETING).await, App::tcp_at(at(7001), GREETING).await)
    });
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// One request of an app of this namespace to an address, for a host.
fn ask(from: &Namespace, to: &str, host: &str, path: &str, version: Version) -> Result<Answer, String> {
    from.wait(async || {
        let mut client = Client::new(address(to), version);
        match version {
            Version::Http1 => client.get_with(path, &[("host", host)]).await,
            Version::Http2 => client.get(&format!("http://{host}{path}")).await,
        }
    })
}

/// `APP STATUS`, which one row expects.
fn asked(from: &Namespace, to: &str, host: &str, version: Version) -> String {
    match ask(from, to, host, "/", version) {
        Ok(answer) => format!("{} {}", answer.header("x-app"), answer.status.as_u16()),
        Err(error) => format!("error {error}"),
    }
}

/// The greeting, an echo, and how long the greeting took; `None` where the connection ends without one.
fn greeted(from: &Namespace, to: &str) -> Option<Duration> {
    from.inside(|| {
        let began = Instant::now();
        let mut stream = TcpStream::connect_timeout(&address(to), Duration::from_secs(5)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let took = began.elapsed();
        assert_eq!(line, GREETING);
        writeln!(stream, "ping").unwrap();
        line.clear();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line, "ping\n");
        Some(took)
    })
}

/// The sum of a metric whose line has all parts, from the pod's metrics port as Prometheus sees it.
fn metric(world: &Pods, pod: &Pod, parts: &[&str]) -> f64 {
    let text = ask(&world.node, &pod.at(15090).to_string(), "pod", "/stats/prometheus", Version::Http1).unwrap();
    let lines: Vec<String> = text.text().lines().map(str::to_owned).collect();
    let lines = lines.iter().filter(|line| !line.starts_with('#') && parts.iter().all(|part| line.contains(part)));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Waits until a metric is `want`: an exchange is counted when it is over, which is just after its answer has gone.
fn counted(pods: &Pods, pod: &Pod, parts: &[&str], want: f64) {
    eventually(&format!("{} counts {want} of {parts:?}", pod.name), || match metric(pods, pod, parts) {
        count if count == want => Ok(()),
        count => Err(count),
    });
}

/// The access log's lines of a sidecar that contain all parts.
fn logged(pod: &Pod, parts: &[&str]) -> usize {
    pod.sidecar().output().lines().filter(|line| parts.iter().all(|part| line.contains(part))).count()
}

#[test]
fn traffic_goes_as_the_plan_says() {
    if skipped() {
        return;
    }
    let World { mut pods, client, reviews, six } = world();
    let app = &client.namespace;

    // HTTP by host, whatever the address; both versions; the server by IPv4 and by IPv6.
    for version in [Version::Http1, Version::Http2] {
        for (to, host, want) in [
            (format!("{VIP}:9080"), "reviews:9080", "reviews 200"),
            (format!("{VIP6}:9080"), "reviews", "reviews 200"),
            (format!("{VIP}:9080"), "six:9080", "six 200"),
            ("[fd96::13]:9080".to_owned(), "six.default.svc.cluster.local", "six 200"),
            // A host that nobody knows, at an address that is a service's.
            (format!("{VIP}:9080"), "other.example", "reviews 200"),
            (format!("{VIP}:9080"), "10.96.0.12:9080", "reviews 200"),
            // Neither is known: on to where it was going.
            ("203.0.113.7:80".to_owned(), "other.example", "outside 200"),
            ("[2001:db8:7::7]:80".to_owned(), "other.example", "outside 200"),
            // A service that has no such port.
            ("203.0.113.7:80".to_owned(), "reviews", "outside 200"),
            // The app chose one endpoint of a headless service.
            (reviews.at(8080).to_string(), "headless:8080", "reviews 200"),
        ] {
            assert_eq!(asked(app, &to, host, version), want, "{version:?} to {to} as {host}");
        }
    }
    // Over mTLS, as the client's identity.
    let to_reviews = |what: &str, want: f64| {
        counted(&pods, &reviews, &[what, "source_workload=\"client\"", "mutual_tls"], want);
    };
    to_reviews("istio_requests_total", 10.0);

    // A server that speaks first: at once where the port is declared, after the detection's time where it is not.
    let mut connections = 0.0;
    for vip in [VIP, VIP6] {
        // Who waits for the client's words never greets sooner; a busy machine may be late once.
        eventually("nobody waits for the client's words", || {
            connections += 1.0;
            let took = greeted(app, &format!("{vip}:9000")).expect("a declared port");
            if took < Duration::from_millis(900) { Ok(()) } else { Err(took) }
        });
        connections += 1.0;
        let took = greeted(app, &format!("{vip}:9100")).expect("a port of which nothing is said");
        assert!(took >= Duration::from_millis(900), "{took:?}");
    }
    to_reviews("istio_tcp_connections_opened_total", connections);
    assert!(greeted(app, "[fd96::13]:9000").is_some(), "by IPv6 from the first to the last hop");
    assert!(greeted(app, "203.0.113.7:7000").is_some(), "outside the mesh");

    itself(&pods, &reviews);
    loops_end(&client, &pods, &reviews);
    inbound_modes(&mut pods, (&client, &reviews, &six));
    outside_only_if_permitted(&mut pods, &client);
}

/// Through its own VIP the app goes through its sidecar, both ways; by localhost and its own address it does not.
fn itself(pods: &Pods, reviews: &Pod) {
    let own = &reviews.namespace;
    assert_eq!(asked(own, &format!("{VIP}:9080"), "reviews:9080", Version::Http1), "reviews 200");
    let parts = ["istio_requests_total", "reporter=\"destination\"", "source_workload=\"reviews\"", "mutual_tls"];
    counted(pods, reviews, &parts, 1.0);
    for to in ["127.0.0.1:8080".to_owned(), reviews.at(8080).to_string(), reviews.at_ipv6(8080).to_string()] {
        let answer = ask(own, &to, "reviews", "/itself", Version::Http1).unwrap();
        assert_eq!((answer.header("x-app"), answer.status.as_u16()), ("reviews", 200), "{to}");
    }
    // Behind them in the log, if they were there.
    ask(own, &format!("{VIP}:9080"), "reviews:9080", "/through", Version::Http1).unwrap();
    eventually("what it has seen is logged", || if logged(reviews, &["/through"]) > 0 { Ok(()) } else { Err(()) });
    assert_eq!(logged(reviews, &["/itself"]), 0, "the sidecar has not seen them");
}

/// Who calls the sidecar's own ports is not served by them.
fn loops_end(client: &Pod, pods: &Pods, reviews: &Pod) {
    let cases = [
        (&client.namespace, "127.0.0.1:15001".to_owned()),
        (&client.namespace, "127.0.0.1:15006".to_owned()),
        (&client.namespace, client.at(15006).to_string()),
        (&pods.node, reviews.at(15006).to_string()),
        (&pods.node, reviews.at(15001).to_string()),
        (&client.namespace, reviews.at(15001).to_string()),
    ];
    for (from, to) in cases {
        let said = asked(from, &to, "reviews", Version::Http1);
        assert!(said.starts_with("error") || said.ends_with(" 503"), "{to}: {said}");
    }
}

/// Plain text, from a pod outside the mesh and from the node: served by mode.
fn inbound_modes(pods: &mut Pods, (client, reviews, six): (&Pod, &Pod, &Pod)) {
    let plain = pods.plain("plain");
    let from = &plain.namespace;
    for (pod, name) in [(reviews, "reviews 200"), (six, "six 200")] {
        for to in [pod.at(8080), pod.at_ipv6(8080)] {
            assert_eq!(asked(from, &to.to_string(), "whoever", Version::Http1), name, "PERMISSIVE {to}");
        }
        // Of which no service speaks.
        assert!(greeted(from, &pod.at(7001).to_string()).is_some());
        assert_eq!(asked(from, &pod.at(80).to_string(), "whoever", Version::Http2), name);
    }
    assert!(greeted(from, &reviews.at(7000).to_string()).is_some());
    pods.write("strict.yaml", STRICT);
    let to = reviews.at(8080).to_string();
    eventually("plain text is refused", || match asked(from, &to, "whoever", Version::Http1) {
        refused if refused == " 403" => Ok(()),
        other => Err(other),
    });
    assert_eq!(asked(from, &reviews.at(80).to_string(), "whoever", Version::Http1), " 403", "an undeclared port");
    let silent_at = reviews.at(7001).to_string();
    from.inside(|| {
        let mut stream = TcpStream::connect(address(&silent_at)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(b"\0\0\0\x08opaque").unwrap();
        assert_eq!(stream.read(&mut [0; 16]).unwrap_or(0), 0, "opaque bytes are refused, too");
    });
    assert_eq!(asked(&client.namespace, &format!("{VIP}:9080"), "reviews", Version::Http1), "reviews 200");
    assert!(greeted(&client.namespace, &format!("{VIP}:9000")).is_some());
}

fn outside_only_if_permitted(pods: &mut Pods, client: &Pod) {
    let app = &client.namespace;
    let strict = "apiVersion: weft.dev/v1alpha1\nkind: Mesh\nmetadata: {name: mesh, namespace: weft-system}\nspec: \
                  {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}\n";
    pods.write("policy.yaml", strict);
    eventually("hosts outside the mesh are refused", || {
        match asked(app, "203.0.113.7:80", "other.example", Version::Http1) {
            refused if refused == " 502" => Ok(()),
            other => Err(other),
        }
    });
    assert_eq!(greeted(app, "203.0.113.7:7000"), None, "bytes, likewise");
    std::fs::remove_file(pods.config("policy.yaml")).unwrap();
    eventually("and let through again", || match asked(app, "203.0.113.7:80", "other.example", Version::Http1) {
        passed if passed == "outside 200" => Ok(()),
        other => Err(other),
    });
    // Only an answer lets through, not silence.
    pods.kill_controlplane();
    assert_eq!(asked(app, "203.0.113.7:80", "other.example", Version::Http1), "outside 200", "known before");
    assert_eq!(asked(app, &format!("{VIP}:9080"), "reviews", Version::Http1), "reviews 200");
    assert_eq!(asked(app, "203.0.113.7:80", "never.asked", Version::Http1), " 503");
    assert_eq!(greeted(app, "203.0.113.8:7001"), None, "an address of which nobody has said anything");
}

const PROBES: &str = r#"{
  "/app-health/app/livez": {"httpGet": {"path": "/status/204", "port": 8080, "httpHeaders": [{"name": "x-probe", "value": "yes"}]}},
  "/app-health/app/readyz": {"httpGet": {"path": "/status/418", "port": 8080}},
  "/app-health/app/startupz": {"tcpSocket": {"port": 7000}},
  "/app-health/gone/livez": {"tcpSocket": {"port": 7999}}
}"#;

#[test]
fn a_pods_ports_answer_the_kubelet_and_prometheus_and_it_ends_gently() {
    if skipped() {
        return;
    }
    let yaml = [mesh(), STRICT.to_owned()].concat();
    let mut pods = Pods::new(&yaml);
    let metrics = r#"{"port": "8080", "path": "/app-metrics"}"#;
    let env =
        [("WEFT_APP_PROBES", PROBES), ("WEFT_APP_METRICS", metrics), ("POD_IP", "10.9.0.11"), ("WEFT_DRAIN", "20s")];
    let mut client = pods.pod("client", &env);
    serve(&client.namespace, "client");
    serve(&pods.node, "outside");
    let get =
        |port: u16, path: &str| ask(&pods.node, &client.at(port).to_string(), "pod", path, Version::Http1).unwrap();
    // STRICT does not concern them.
    for (path, want) in [
        ("/app-health/app/livez", 200),
        ("/app-health/app/readyz", 418),
        ("/app-health/app/startupz", 200),
        ("/app-health/gone/livez", 503),
        ("/app-health/app/other", 404),
        ("/healthz/ready", 200),
    ] {
        assert_eq!(get(15020, path).status.as_u16(), want, "{path}");
    }
    let readiness = ask(&pods.node, &client.at_ipv6(15021).to_string(), "pod", "/healthz/ready", Version::Http1);
    assert_eq!(readiness.unwrap().status.as_u16(), 200, "by IPv6");
    let merged = get(15020, "/stats/prometheus");
    assert!(
        merged.text().contains("weft_control_connected 1") && merged.text().ends_with("client"),
        "ours and the app's"
    );
    let post = |from: &Namespace, to: SocketAddr, path: &str| {
        from.wait(async || {
            let request =
                http::Request::post(path).header("host", "pod").body(http_body_util::Full::default()).unwrap();
            Client::new(to, Version::Http1).send(request).await.unwrap().status.as_u16()
        })
    };
    for path in ["/drain", "/quitquitquit"] {
        assert_eq!(post(&pods.node, client.at(15020), path), 403, "{path} from outside the pod");
        assert_eq!(get(15020, path).status.as_u16(), 403, "{path}");
    }

    // preStop, then SIGTERM; the app still has a connection and calls out.
    let held = client.namespace.inside(|| {
        let stream = TcpStream::connect("203.0.113.7:7000").unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut lines = BufReader::new(stream);
        lines.read_line(&mut String::new()).unwrap();
        lines.into_inner()
    });
    let mut drain = Command::new(client.program());
    let drained = client.namespace.inside(|| drain.arg("drain").output().unwrap());
    assert!(drained.status.success(), "{}", String::from_utf8_lossy(&drained.stderr));
    assert_eq!(get(15021, "/healthz/ready").status.as_u16(), 503);
    assert_eq!(asked(&client.namespace, "203.0.113.7:80", "other.example", Version::Http1), "outside 200");
    let mut sidecar = client.take_sidecar();
    sidecar.signal(libc::SIGTERM);
    eventually("the sidecar drains", || if sidecar.output().contains("draining") { Ok(()) } else { Err(()) });
    // Each takes a second, the proxy's wait for what the app might say first: longer than it takes an outbound side
    // without connections to be given up.
    for _ in 0..2 {
        assert!(greeted(&client.namespace, "203.0.113.7:7000").is_some());
    }
    assert_eq!(
        asked(&client.namespace, "203.0.113.7:80", "other.example", Version::Http1),
        "outside 200",
        "outbound works for as long as the app is there"
    );
    assert!(sidecar.exited().is_none());
    drop(held);
    eventually("it ends when the app has", || sidecar.exited().ok_or(()));
    assert_eq!(sidecar.exited().unwrap().code(), Some(0));
    let said = sidecar.output();
    assert!(said.contains("drained") && !said.contains("the drain limit is over"), "{said}");
}

#[test]
fn a_job_ends_its_sidecar() {
    if skipped() {
        return;
    }
    let mut pods = Pods::new(&mesh());
    let mut client = pods.pod("client", &[]);
    let status = client.namespace.wait(async || {
        let request = http::Request::post("/quitquitquit").body(http_body_util::Full::default()).unwrap();
        Client::new(address("127.0.0.1:15020"), Version::Http1).send(request).await.unwrap().status
    });
    assert_eq!(status.as_u16(), 200);
    let mut sidecar = client.take_sidecar();
    eventually("it ends", || sidecar.exited().ok_or(()));
    assert_eq!(sidecar.exited().unwrap().code(), Some(0));
}

#[test]
fn a_sidecar_without_rules_says_so_and_serves_nothing() {
    if skipped() {
        return;
    }
    let mut pods = Pods::new(&mesh());
    let pod = pods.plain("client");
    // The source of its calls is there; the rules are not.
    pod.namespace.run("ip -6 addr add ::6/128 dev lo");
    let mut command = pod.sidecar_command();
    let output = pod.namespace.inside(|| command.output().unwrap());
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(!output.status.success() && said.contains("not redirected to its sidecar"), "{said}");
}

#[test]
fn the_admin_port_is_on_loopback_only() {
    if skipped() {
        return;
    }
    let mut pods = Pods::new(&mesh());
    let client = pods.pod("client", &[]);
    let dump = ask(&client.namespace, "127.0.0.1:15000", "localhost", "/config_dump", Version::Http1).unwrap();
    assert!(dump.json()["revision"] != Value::Null, "{}", dump.text());
    // Redirected to the inbound side, which passes it on to the pod's address, where nobody listens.
    let said = asked(&pods.node, &client.at(15000).to_string(), "localhost", Version::Http1);
    assert!(said.ends_with(" 503"), "{said}");
}
