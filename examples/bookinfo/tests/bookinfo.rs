//! The four services as processes of one test: real sockets, and a small forward proxy in the place of a sidecar.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bookinfo::{Running, Service, start};
use clap::Parser;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

#[derive(Parser)]
struct Command {
    #[command(subcommand)]
    service: Service,
}

async fn service(line: &str) -> Running {
    let words = ["bookinfo"].into_iter().chain(line.split(' ')).chain(["--listen", "127.0.0.1:0"]);
    start(Command::parse_from(words).service).await.unwrap()
}

/// Takes absolute-form requests as a sidecar does, and keeps their heads.
struct Proxy {
    address: SocketAddr,
    names: Arc<Mutex<BTreeMap<String, SocketAddr>>>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let names: Arc<Mutex<BTreeMap<String, SocketAddr>>> = Arc::default();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let (routes, seen) = (Arc::clone(&names), Arc::clone(&heads));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (routes, seen) = (Arc::clone(&routes), Arc::clone(&seen));
                tokio::spawn(async move {
                    let head = read_head(&mut stream).await;
                    let target = head.split(' ').nth(1).unwrap().strip_prefix("http://").unwrap().to_owned();
                    let (authority, path) = target.split_once('/').unwrap();
                    seen.lock().unwrap().push(head.clone());
                    let upstream = routes.lock().unwrap().get(authority).copied();
                    let Some(upstream) = upstream else {
                        let refusal = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 11\r\n\r\nno upstream";
                        return stream.write_all(refusal).await.unwrap();
                    };
                    // One request for each connection is enough here.
                    let head = head.replacen(&format!("http://{authority}/{path}"), &format!("/{path}"), 1);
                    let head = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
                    let mut upstream = TcpStream::connect(upstream).await.unwrap();
                    upstream.write_all(head.as_bytes()).await.unwrap();
                    let _ = copy_bidirectional(&mut stream, &mut upstream).await;
                });
            }
        });
        Self { address, names, heads }
    }

    fn route(&self, authority: &str, to: &Running) {
        self.names.lock().unwrap().insert(authority.into(), to.address());
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

async fn send(to: SocketAddr, request: &str, headers: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let length = body.len();
    let text = format!(
        "{request} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Answer { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head: head.into(), body: body.into() }
}

async fn get(to: &Running, path: &str) -> Answer {
    send(to.address(), &format!("GET {path}"), "", "").await
}

struct Bookinfo {
    proxy: Proxy,
    productpage: Running,
    reviews: Vec<Running>,
    details: Running,
    ratings: Running,
}

impl Bookinfo {
    /// All services, known to the proxy under their names; reviews are v1.
    async fn start() -> Self {
        let proxy = Proxy::start().await;
        let through = format!("--http-proxy {}", proxy.url());
        let mut reviews = Vec::new();
        for version in ["v1", "v2", "v3"] {
            reviews.push(service(&format!("reviews --version {version} {through}")).await);
        }
        let all = Self {
            productpage: service(&format!("productpage {through}")).await,
            details: service("details").await,
            ratings: service("ratings").await,
            reviews,
            proxy,
        };
        all.proxy.route("details:9080", &all.details);
        all.proxy.route("ratings:9080", &all.ratings);
        all.proxy.route("reviews:9080", &all.reviews[0]);
        all
    }
}

#[tokio::test]
async fn payloads_are_those_of_istio() {
    let all = Bookinfo::start().await;
    let cases = [
        (&all.details, "/health", json!({"status": "Details is healthy"})),
        (&all.ratings, "/health", json!({"status": "Ratings is healthy"})),
        (&all.reviews[0], "/health", json!({"status": "Reviews is healthy"})),
        (&all.ratings, "/ratings/0", json!({"id": 0, "ratings": {"Reviewer1": 5, "Reviewer2": 4}})),
        (
            &all.details,
            "/details/0",
            json!({"id": 0, "author": "William Shakespeare", "year": 1595, "type": "paperback", "pages": 200,
                "publisher": "PublisherA", "language": "English", "ISBN-10": "1234567890", "ISBN-13": "123-1234567890"}),
        ),
    ];
    for (service, path, want) in cases {
        assert_eq!(get(service, path).await.json(), want, "{path}");
    }
    for (version, rating) in [(1, None), (2, Some("black")), (3, Some("red"))] {
        let seen = get(&all.reviews[version - 1], "/reviews/0").await.json();
        assert_eq!(seen["podname"], format!("reviews-v{version}"));
        assert_eq!(seen["reviews"].as_array().unwrap().len(), 2);
        let want = rating.map_or(Value::Null, |color| json!({"stars": 5, "color": color}));
        assert_eq!(seen["reviews"][0]["rating"], want, "v{version}");
    }
    for (service, path) in [(&all.details, "/details/x"), (&all.reviews[1], "/reviews/x"), (&all.ratings, "/ratings/x")]
    {
        assert_eq!(get(service, path).await.status, 400, "{path}");
        assert_eq!(get(service, "/nothing").await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn the_page_is_made_through_the_proxy() {
    let all = Bookinfo::start().await;
    assert_eq!(get(&all.productpage, "/health").await.body, "Product page is healthy");
    let page = get(&all.productpage, "/productpage").await;
    assert_eq!(page.status, 200);
    for part in ["The Comedy of Errors", "PublisherA", "served by reviews-v1", "Reviewer2"] {
        assert!(page.body.contains(part), "{part}");
    }
    assert!(!page.body.contains("★"), "v1 has no stars");
    all.proxy.route("reviews:9080", &all.reviews[2]);
    let page = get(&all.productpage, "/productpage").await;
    assert!(page.body.contains("stars red") && page.body.contains("★★★★☆"), "v3 has red stars");

    let products = get(&all.productpage, "/api/v1/products").await.json();
    assert_eq!((&products[0]["id"], &products[0]["title"]), (&json!(0), &json!("The Comedy of Errors")));
    for (path, field) in [("0", "author"), ("0/reviews", "podname"), ("0/ratings", "ratings")] {
        let path = format!("/api/v1/products/{path}");
        assert!(!get(&all.productpage, &path).await.json()[field].is_null(), "{path}");
    }
    let heads = all.proxy.heads.lock().unwrap().join("");
    for line in [
        "GET http://details:9080/details/0 ",
        "GET http://reviews:9080/reviews/0 ",
        "GET http://ratings:9080/ratings/0 ",
    ] {
        assert!(heads.contains(line), "{line}");
    }
}

#[tokio::test]
async fn headers_are_passed_along_the_chain() {
    let all = Bookinfo::start().await;
    all.proxy.route("reviews:9080", &all.reviews[1]);
    let headers =
        "x-request-id: abc-1\r\ntraceparent: 00-1-2-01\r\nb3: 1-2\r\ncookie: session=ann; a=b\r\nx-other: no\r\n";
    let page = send(all.productpage.address(), "GET /productpage", headers, "").await;
    assert!(page.body.contains("<span>ann</span>") && page.body.contains("x-request-id: abc-1"));
    let heads = all.proxy.heads.lock().unwrap().clone();
    for service in ["details", "reviews", "ratings"] {
        let head = heads.iter().find(|head| head.contains(&format!("http://{service}:9080"))).unwrap();
        for line in
            ["x-request-id: abc-1", "traceparent: 00-1-2-01", "b3: 1-2", "end-user: ann", "cookie: session=ann; a=b"]
        {
            assert!(head.contains(&format!("\r\n{line}\r\n")), "{service} lacks {line}: {head}");
        }
        assert!(!head.contains("x-other"), "{service}");
        assert!(head.contains(&format!("\r\nhost: {service}:9080\r\n")), "{head}");
    }
}

#[tokio::test]
async fn missing_parts_leave_a_page_that_says_so() {
    let all = Bookinfo::start().await;
    all.proxy.names.lock().unwrap().clear();
    let page = get(&all.productpage, "/productpage").await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("product reviews are currently not available"));
    assert!(page.body.contains("product details are currently not available"));
    assert!(page.body.contains("503 no upstream"), "it says why");
    let answer = get(&all.productpage, "/api/v1/products/0/reviews").await;
    assert_eq!((answer.status, answer.json()), (503, json!({"error": "product reviews are not available just now"})));
    let reviews = get(&all.reviews[1], "/reviews/0").await.json();
    assert_eq!(reviews["reviews"][0]["rating"], json!({"error": "ratings are not available just now"}));

    let alone = service("productpage --http-proxy http://127.0.0.1:1").await;
    assert!(get(&alone, "/productpage").await.body.contains("cannot connect: 127.0.0.1:1"));
}

#[tokio::test]
async fn without_a_proxy_services_are_called_straight() {
    let ratings = service("ratings").await;
    let port = ratings.address().port();
    let reviews =
        service(&format!("reviews --version v2 --http-proxy= --ratings-host 127.0.0.1 --services-port {port}")).await;
    assert_eq!(get(&reviews, "/reviews/0").await.json()["reviews"][1]["rating"], json!({"stars": 4, "color": "black"}));
    let post = send(ratings.address(), "POST /ratings/0", "", r#"{"Reviewer1": 1, "Reviewer2": 2}"#).await;
    assert_eq!(post.status, 200);
    assert_eq!(get(&reviews, "/reviews/0").await.json()["reviews"][1]["rating"], json!({"stars": 2, "color": "black"}));
    assert_eq!(send(ratings.address(), "POST /ratings/0", "", "nonsense").await.status, 400);
}

#[tokio::test]
async fn a_name_is_a_login() {
    let all = Bookinfo::start().await;
    let page = all.productpage.address();
    let cases = [
        ("POST /login", "username=ann&passwd=x", "session=ann; Path=/"),
        ("POST /login", "username=%3Cb%3Eann;+x", "session=3Cb3Eannx; Path=/"),
        ("POST /logout", "", "session=; Path=/; Max-Age=0"),
    ];
    for (request, form, cookie) in cases {
        let answer = send(page, request, "", form).await;
        assert_eq!(answer.status, 303, "{form}");
        assert!(answer.head.contains(&format!("set-cookie: {cookie}")), "{form}: {}", answer.head);
    }
}

#[tokio::test]
async fn a_service_that_ends_finishes_what_it_has() {
    let all = Bookinfo::start().await;
    let mut idle = TcpStream::connect(all.details.address()).await.unwrap();
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    read_head(&mut idle).await;
    let address = all.details.address();
    all.details.stop().await;
    let mut rest = String::new();
    idle.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, r#"{"status":"Details is healthy"}"#, "the idle connection is closed");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}
