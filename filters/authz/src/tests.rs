#![allow(clippy::unwrap_used)]

use weft_filter_sdk::testing::{TestRequest, configure, get, refusal, request};

use super::Authz;
use super::path::Path;
use super::pattern::Pattern;

const PRODUCTPAGE: &str = "spiffe://cluster.local/ns/default/sa/bookinfo-productpage";

fn allowed(config: &str, request: TestRequest) -> bool {
    configure::<Authz>(config).unwrap().request(request).passed()
}

#[test]
fn conditions_of_an_allow_rule() {
    let productpage = || get("/reviews/0").source_identity(PRODUCTPAGE);
    let cases = [
        (r#"{}"#, get("/"), true),
        (r#"{"principals": "cluster.local/ns/default/sa/bookinfo-productpage"}"#, productpage(), true),
        (r#"{"principals": "spiffe://cluster.local/ns/default/sa/bookinfo-productpage"}"#, productpage(), true),
        (r#"{"principals": "cluster.local/ns/default/sa/bookinfo-reviews"}"#, productpage(), false),
        (r#"{"principals": ["nobody", "cluster.local/ns/default/*"]}"#, productpage(), true),
        (r#"{"principals": "*/sa/bookinfo-productpage"}"#, productpage(), true),
        (r#"{"principals": "*"}"#, productpage(), true),
        (r#"{"principals": "*"}"#, get("/"), false),
        (r#"{"notPrincipals": "*"}"#, productpage(), false),
        (r#"{"notPrincipals": "*"}"#, get("/"), true),
        (r#"{"namespaces": "default"}"#, productpage(), true),
        (r#"{"namespaces": "shop"}"#, productpage(), false),
        (r#"{"notNamespaces": ["shop", "default"]}"#, productpage(), false),
        (r#"{"methods": ["GET", "HEAD"]}"#, get("/"), true),
        (r#"{"methods": ["GET", "HEAD"]}"#, request("POST", "/"), false),
        (r#"{"notMethods": "POST"}"#, request("POST", "/"), false),
        (r#"{"hosts": "Reviews"}"#, get("/").authority("reviews:9080"), true),
        (r#"{"hosts": "reviews:9080"}"#, get("/").authority("REVIEWS:9080"), true),
        (r#"{"hosts": "*.example.test"}"#, get("/").authority("a.example.test"), true),
        (r#"{"notHosts": "reviews"}"#, get("/").authority("reviews:9080"), false),
        (r#"{"hosts": "ratings"}"#, get("/").authority("reviews"), false),
        (r#"{"paths": "/reviews/*"}"#, get("/reviews/0?a=/b"), true),
        (r#"{"paths": "/reviews/0"}"#, get("/reviews/0?a=b"), true),
        (r#"{"paths": "*/0"}"#, get("/reviews/0"), true),
        (r#"{"paths": "/reviews"}"#, get("/reviews/0"), false),
        (r#"{"paths": "/a%20b"}"#, get("/a%20b"), true),
        (r#"{"notPaths": "/admin*"}"#, get("/x/../admin/users"), false),
        (r#"{"notPaths": "/admin*"}"#, get("/x/admin"), true),
        (r#"{"headers": {"X-Team": ["a", "b*"]}}"#, get("/").header("x-team", "blue"), true),
        (r#"{"headers": {"X-Team": "a"}}"#, get("/").header("x-team", "b"), false),
        (r#"{"headers": {"X-Team": "*"}}"#, get("/"), false),
        (r#"{"notHeaders": {"X-Team": "*"}}"#, get("/"), true),
        (r#"{"notHeaders": {"X-Team": "*"}}"#, get("/").header("x-team", "b"), false),
        (r#"{"methods": "GET", "paths": "/b"}"#, get("/a"), false),
    ];
    for (rule, request, want) in cases {
        let label = format!("{rule} {request:?}");
        assert_eq!(allowed(&format!(r#"{{"allow": [{rule}]}}"#), request), want, "{label}");
    }
}

#[test]
fn deny_comes_first_and_allow_denies_the_rest() {
    let config = r#"{"deny": [{"name": "no-deletes", "methods": "DELETE"}],
        "allow": [{"paths": "/a*"}, {"namespaces": "default"}]}"#;
    let authz = configure::<Authz>(config).unwrap();
    let cases = [
        (get("/a"), None),
        (request("DELETE", "/a"), Some("deny rule no-deletes fits DELETE /a from a caller without identity")),
        (get("/b"), Some("no allow rule fits GET /b from a caller without identity")),
        (get("/b").source_identity(PRODUCTPAGE), None),
        (
            get("/b").source_identity("spiffe://cluster.local/ns/shop/sa/web"),
            Some("no allow rule fits GET /b from namespace shop"),
        ),
    ];
    for (request, want) in cases {
        let label = format!("{request:?}");
        assert_eq!(authz.request(request).denied(), want, "{label}");
    }
    assert!(!allowed(r#"{"allow": []}"#, get("/")), "an empty list allows nothing");
    assert!(allowed(r#"{"deny": [{"methods": "PUT"}]}"#, get("/")), "no allow list: the rest may pass");
    assert!(!allowed(r#"{"deny": [{"methods": "PUT"}, {}]}"#, get("/")), "an empty rule fits everything");
    assert!(configure::<Authz>(config).unwrap().interest().is_guard());
}

#[test]
fn a_path_cannot_be_spelt_past_a_rule() {
    let spellings = [
        "/admin",
        "/admin/",
        "//admin/x",
        "/./admin",
        "/a/../admin",
        "/%61dmin",
        "/%2561dmin",
        "/a%2f..%2fadmin",
        "/a\\..\\admin",
        "/admin;v=1/x",
        "/a/%2e%2e/admin",
        "/admin#x",
        "/admin?x",
    ];
    for path in spellings {
        let deny = r#"{"deny": [{"paths": ["/admin", "/admin/*"]}]}"#;
        assert!(!allowed(deny, get(path)), "deny {path}");
        let allow =
            r#"{"allow": [{"paths": ["/public/*", "/a*", "//*", "/%*", "/.*"], "notPaths": ["/admin", "/admin/*"]}]}"#;
        assert!(!allowed(allow, get(path)), "allow {path}");
    }
    assert!(!allowed(r#"{"allow": [{"paths": "/public/*"}]}"#, get("/public/../admin")));
    assert!(!allowed(r#"{"allow": [{"paths": "/public/*"}]}"#, get("/public/%2e%2e/admin")));
    assert!(allowed(r#"{"allow": [{"paths": "/public/*"}]}"#, get("/public/a%20b//c")));
}

#[test]
fn paths_are_read_twice() {
    let cases = [
        ("/", "/", "/"),
        ("/a/b?c=//d", "/a/b", "/a/b"),
        ("/a//b/", "/a//b/", "/a/b/"),
        ("/a/..", "/a/..", "/"),
        ("/a/.", "/a/.", "/a/"),
        ("/..", "/..", "/"),
        ("/a./b", "/a./b", "/a./b"),
        ("/.well-known/x", "/.well-known/x", "/.well-known/x"),
        ("/%zz%4", "/%zz%4", "/%zz%4"),
        ("*", "*", "*"),
    ];
    for (target, raw, plain) in cases {
        let path = Path::new(target);
        assert_eq!((path.raw, path.plain.as_ref()), (raw, plain), "{target}");
    }
}

#[test]
fn patterns() {
    let cases = [
        ("a", Ok(Pattern::Exact("a".into()))),
        ("a*", Ok(Pattern::Prefix("a".into()))),
        ("*a", Ok(Pattern::Suffix("a".into()))),
        ("*", Ok(Pattern::NotEmpty)),
        ("", Err("f: is empty; write `*` for anything")),
        ("*a*", Err("f: `*a*` has an asterisk at both ends; keep one")),
        ("a*b", Err("f: `a*b` has an asterisk inside; it stands for the rest at the beginning or the end alone")),
    ];
    for (text, want) in cases {
        assert_eq!(
            Pattern::parse("f", text).map_err(|problem| problem.to_string()),
            want.map_err(str::to_owned),
            "{text}"
        );
    }
}

#[test]
fn a_refusal_is_worded_as_configured() {
    let reason = "no allow rule fits GET /a\"b from a caller without identity";
    let cases = [
        ("{}", 403, "text/plain; charset=utf-8", "access denied\n".to_owned()),
        (r#"{"reason": "Shown"}"#, 403, "text/plain; charset=utf-8", format!("access denied: {reason}\n")),
        (
            r#"{"body": "Json", "status": 404, "message": "no \"such\" thing"}"#,
            404,
            "application/json",
            r#"{"error":"no \"such\" thing"}"#.to_owned() + "\n",
        ),
        (
            r#"{"body": "Json", "reason": "Shown"}"#,
            403,
            "application/json",
            r#"{"error":"access denied","reason":"no allow rule fits GET /a\"b from a caller without identity"}"#
                .to_owned()
                + "\n",
        ),
    ];
    for (answer, status, content_type, body) in cases {
        let config = format!(r#"{{"allow": [{{"methods": "PUT", "paths": "/"}}], "answer": {answer}}}"#);
        let outcome = configure::<Authz>(&config).unwrap().request(get("/a\"b"));
        assert_eq!(outcome.denied(), Some(reason), "{answer}");
        let reply = outcome.reply().unwrap();
        assert_eq!(reply.status, status, "{answer}");
        assert_eq!(reply.headers, [("content-type".to_owned(), content_type.to_owned())], "{answer}");
        assert_eq!(String::from_utf8_lossy(&reply.body), body, "{answer}");
    }
}

#[test]
fn a_wrong_config_is_refused_by_field() {
    let cases = [
        ("{}", "has neither `allow` nor `deny`; give at least one list of rules"),
        (
            r#"{"allow": [{"principals": []}]}"#,
            "allow[0].principals: is an empty list, which nothing fits; leave it out, or write `*`",
        ),
        (
            r#"{"allow": [{}, {"notHeaders": {"x-a": []}}]}"#,
            "allow[1].notHeaders.x-a: is an empty list, which nothing fits; leave it out, or write `*`",
        ),
        (
            r#"{"deny": [{"paths": ["/a", "/*/b"]}]}"#,
            "deny[0].paths: `/*/b` has an asterisk inside; it stands for the rest at the beginning or the end alone",
        ),
        (
            r#"{"deny": [{"path": "/a"}]}"#,
            "deny[0]: unknown field `path`, expected one of `name`, `principals`, `notPrincipals`, `namespaces`, `notNamespaces`, `methods`, `notMethods`, `hosts`, `notHosts`, `paths`, `notPaths`, `headers`, `notHeaders`",
        ),
        (
            r#"{"deny": [{}], "answer": {"status": 200}}"#,
            "answer.status: is not between 400 and 499; 403 and 404 are usual",
        ),
        (
            r#"{"deny": [{}], "answer": {"body": "XML"}}"#,
            "answer.body: unknown variant `XML`, expected `Text` or `Json`",
        ),
    ];
    for (config, want) in cases {
        assert_eq!(refusal::<Authz>(config), want, "{config}");
    }
}
