#![allow(clippy::unwrap_used)]

use weft_filter_sdk::testing::{configure, get, refusal, request, response};

use super::Headers;

#[test]
fn request_headers_are_changed() {
    let config = r#"{"request": {
        "remove": ["X-Internal"],
        "set": {"X-Client": "%{@source.identity?nobody}", "x-line": "%{:method} %{:path} 100%%", "x-fixed": "gold",
                "x-user": "%{X-Login}", "x-q": "%{@query:Q}"},
        "add": {"via": ["a", "%{:authority}"]}}}"#;
    let headers = configure::<Headers>(config).unwrap();
    let seen = headers.request(request("PUT", "/a?Q=1%0d%0ax: y").authority("shop").header("x-login", "ann"));
    assert_eq!(seen.set("x-client"), Some("nobody"));
    assert_eq!(seen.set("x-line"), Some("PUT /a?Q=1%0d%0ax: y 100%"));
    assert_eq!(seen.set("x-fixed"), Some("gold"));
    assert_eq!(seen.set("x-user"), Some("ann"));
    assert_eq!(seen.set("x-q"), Some("1x: y"), "no line is broken");
    assert_eq!(seen.appended("via"), ["a", "shop"]);
    assert!(seen.removed("x-internal"));

    let seen = headers.request(get("/").source_identity("spiffe://cluster.local/ns/shop/sa/web"));
    assert_eq!(seen.set("x-client"), Some("spiffe://cluster.local/ns/shop/sa/web"));
    assert_eq!(seen.set("x-user"), None, "the attribute is absent, the operation is left out");
}

#[test]
fn response_headers_are_changed() {
    let config = r#"{"response": {"remove": ["server"], "set": {"x-served-by": "%{@subset?default}/%{:status}",
        "x-user": "%{req:@cookie:User?anonymous}"}, "add": {"set-cookie": "seen=1", "x-type": "%{content-type}"}}}"#;
    let headers = configure::<Headers>(config).unwrap();
    let asked = headers.request(get("/").header("cookie", "a=b; User=ann"));
    assert!(asked.passed());
    let seen = headers.response(&asked, response(201).subset("v3").header("content-type", "text/html"));
    assert_eq!(seen.set("x-served-by"), Some("v3/201"));
    assert_eq!(seen.set("x-user"), Some("ann"));
    assert_eq!(seen.appended("set-cookie"), ["seen=1"]);
    assert_eq!(seen.appended("x-type"), ["text/html"]);
    assert!(seen.removed("server"));

    let seen = headers.response(&headers.request(get("/")), response(200));
    assert_eq!(seen.set("x-served-by"), Some("default/200"));
    assert_eq!(seen.set("x-user"), Some("anonymous"));
}

#[test]
fn prefixes_are_rewritten_by_segments() {
    let config = r#"{"rewrite": [{"prefix": "/api/v1/", "to": "/"}, {"prefix": "/old", "to": "/new/"},
        {"prefix": "/", "to": "/root"}]}"#;
    let headers = configure::<Headers>(config).unwrap();
    let cases = [
        ("/api/v1/products", "/products"),
        ("/api/v1", "/"),
        ("/api/v1?x=1", "/?x=1"),
        ("/api/v10", "/root/api/v10"),
        ("/old/a?b=/old", "/new/a?b=/old"),
        ("/old", "/new"),
        ("/older", "/root/older"),
        ("/", "/root/"),
    ];
    for (path, want) in cases {
        assert_eq!(headers.request(get(path)).set(":path"), Some(want), "{path}");
    }
    let headers = configure::<Headers>(r#"{"rewrite": [{"prefix": "/a", "to": "/b"}]}"#).unwrap();
    assert!(headers.request(get("/c")).passed());
}

#[test]
fn only_what_is_used_is_declared() {
    let headers = configure::<Headers>(r#"{"request": {"set": {"x-a": "b"}}}"#).unwrap();
    assert_eq!(
        format!("{:?}", headers.interest()),
        "Interest { request: [], response: [], request_writes: [\"x-a\"], response_writes: [], picks: [], counters: [], guard: false }"
    );
}

#[test]
fn a_wrong_config_is_refused_by_field() {
    let cases = [
        (r#"{"request": {"set": {"a b": "c"}}}"#, "request.set.a b: `a b` is no header name"),
        (
            r#"{"request": {"set": {":path": "c"}}}"#,
            "request.set.:path: is not a header; the path is changed by `rewrite`",
        ),
        (
            r#"{"response": {"remove": ["Connection"]}}"#,
            "response.remove[0]: `connection` is written by the proxy alone",
        ),
        (
            r#"{"response": {"set": {"Set-Cookie": "a=b"}}}"#,
            "response.set.Set-Cookie: would drop other cookies; use `add`",
        ),
        (
            r#"{"request": {"set": {"a": "50%"}}}"#,
            "request.set.a: has a `%` that begins no `%{NAME}`; write `%%` for the sign itself",
        ),
        (
            r#"{"request": {"set": {"a": "%{x"}}}"#,
            "request.set.a: has a `%` that begins no `%{NAME}`; write `%%` for the sign itself",
        ),
        (
            r#"{"request": {"add": {"a": ["%{}"]}}}"#,
            "request.add.a: has `%{}` without a name; write one such as `%{:path}`",
        ),
        (r#"{"request": {"add": {"a": ["x", 1]}}}"#, "request.add.a[1]: invalid type: a number, expected a string"),
        (
            r#"{"request": {"add": {"a": 1}}}"#,
            "request.add.a: invalid type: a number, expected a text or a list of texts",
        ),
        (r#"{"request": {"set": {"a": "b\n"}}}"#, "request.set.a: holds a control character, which no header may"),
        (r#"{"rewrite": [{"prefix": "api", "to": "/"}]}"#, "rewrite[0].prefix: is no path; begin it with `/`"),
        (r#"{"reqest": {}}"#, "unknown field `reqest`, expected one of `rewrite`, `request`, `response`"),
    ];
    for (config, want) in cases {
        assert_eq!(refusal::<Headers>(config), want, "{config}");
    }
}
