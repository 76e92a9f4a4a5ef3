//! Registries that send us elsewhere: to link-local addresses, in circles, to a realm for a token.

use crate::kit::{at, images, told};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use weft_oci::Cause;

type Seen = Arc<Mutex<Vec<String>>>;

/// Answers every request as `answer` says, given its head; keeps the heads.
async fn server(answer: impl Fn(SocketAddr, &str) -> String + Send + 'static) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let heads = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while stream.read_line(&mut head).await.is_ok_and(|n| n > 2) {}
            let response = answer(address, &head);
            heads.lock().unwrap().push(head);
            let _ = stream.get_mut().write_all(response.as_bytes()).await;
        }
    });
    (address, seen)
}

fn redirect(to: &str) -> String {
    format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

fn unauthorized(challenge: &str) -> String {
    format!(
        "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: {challenge}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )
}

fn ok(header: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{header}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

const METADATA: &str = "http://169.254.169.254/latest/meta-data/";

#[tokio::test]
async fn what_leads_elsewhere_is_not_followed() {
    let cases = [
        ("a link-local address", redirect(METADATA), "link-local"),
        ("the same in IPv6", redirect("http://[::ffff:169.254.169.254]/"), "link-local"),
        ("the same as a number", redirect("http://2852039166/"), "link-local"),
        ("a file", redirect("file:///etc/passwd"), "neither HTTPS nor HTTP"),
        ("with a password", redirect("http://a:b@127.0.0.1/"), "a user or a password"),
        ("a realm at a link-local address", unauthorized(&format!("Bearer realm=\"{METADATA}\"")), "link-local"),
        ("in circles", redirect("/v2/canary/manifests/1"), "too often"),
    ];
    for (row, answer, reason) in cases {
        let (address, _) = server(move |_, _| answer.clone()).await;
        let error = images().resolve(&at(address, "canary:1")).await.unwrap_err();
        assert!(matches!(error.cause, Cause::Blocked { .. }), "{row}: {}", told(&error));
        assert!(told(&error).contains(reason), "{row}: {}", told(&error));
    }
    for host in ["169.254.169.254", "[fe80::1]:5000", "0.0.0.0:5000"] {
        let error = images().resolve(&crate::kit::reference(&format!("oci://{host}/canary:1"))).await.unwrap_err();
        assert!(matches!(error.cause, Cause::Blocked { .. }), "{host}: {}", told(&error));
    }
}

#[tokio::test]
async fn a_token_goes_to_the_registry_and_not_where_it_redirects() {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let found = digest.clone();
    let (storage, storage_saw) = server(move |_, _| ok(&format!("docker-content-digest: {found}\r\n"), "")).await;
    let (registry, registry_saw) = server(move |own, head| {
        if head.starts_with("GET /token?") {
            ok("", r#"{"token":"t0ken","expires_in":300}"#)
        } else if head.contains("authorization: Bearer t0ken") {
            redirect(&format!("http://{storage}/blob"))
        } else {
            unauthorized(&format!("Bearer realm=\"http://{own}/token\",service=\"s\",scope=\"repository:canary:pull\""))
        }
    })
    .await;
    let images = images();
    for _ in 0..2 {
        assert_eq!(images.resolve(&at(registry, "canary:1")).await.unwrap().to_string(), digest);
    }
    let heads = registry_saw.lock().unwrap().clone();
    let tokens: Vec<_> = heads.iter().filter(|head| head.starts_with("GET /token?")).collect();
    assert_eq!(tokens.len(), 1, "the token serves twice");
    assert!(tokens[0].contains("service=s&scope=repository%3Acanary%3Apull"), "{}", tokens[0]);
    for head in storage_saw.lock().unwrap().iter() {
        assert!(!head.to_lowercase().contains("authorization"), "{head}");
    }
}
