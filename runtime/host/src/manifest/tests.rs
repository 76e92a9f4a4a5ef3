//! Manifests: what is taken, what is refused and why.

use super::*;

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn attributes_round_trip() {
    let both = ["x-user", "cookie", "user-agent"];
    let request = [
        ":method",
        ":scheme",
        ":authority",
        ":path",
        "@source.identity",
        "@source.address",
        "@source.namespace",
        "@destination.service",
        "@route",
        "@request.id",
        "@query:page",
        "@cookie:user",
    ];
    for name in both.iter().chain(&request) {
        assert_eq!(Attribute::of_request(name).map(|a| a.to_string()).as_deref(), Some(*name), "request {name}");
        let of_response = format!("req:{name}");
        let parsed = Attribute::of_response(&of_response).map(|a| a.to_string());
        assert_eq!(parsed.as_deref(), Some(of_response.as_str()), "response {of_response}");
    }
    for name in both.iter().chain(&[":status", "@subset", "@upstream"]) {
        assert_eq!(Attribute::of_response(name).map(|a| a.to_string()).as_deref(), Some(*name), "response {name}");
    }
}

#[test]
fn unknown_attributes_are_refused() {
    let cases = [
        ("", "empty"),
        ("X-User", "upper case"),
        ("set-cookie", "cannot be joined"),
        (":status", "of the response"),
        (":PATH", "upper case"),
        ("@subset", "of the response"),
        ("@query:", "no parameter"),
        ("@cookie:", "no cookie"),
        ("@source", "no such"),
        ("req:x-user", "of the response"),
        ("x user", "not a token"),
        ("x:y", "not a token"),
    ];
    for (name, row) in cases {
        assert_eq!(Attribute::of_request(name), None, "{row}: {name:?}");
    }
    for name in [":path", "@source.identity", "req:req:x", "req::status", "set-cookie", "req:set-cookie", "req:"] {
        assert_eq!(Attribute::of_response(name), None, "response {name:?}");
    }
}

#[test]
fn manifests_are_refused_with_what_to_do() {
    let raw = contract::Manifest::default;
    let request = |names: &[&str]| contract::Manifest { request: strings(names), ..raw() };
    let writes = |names: &[&str]| contract::Manifest { request_writes: strings(names), ..raw() };
    let response_writes = |names: &[&str]| contract::Manifest { response_writes: strings(names), ..raw() };
    let many: Vec<String> = (0..65).map(|n| format!("x-{n}")).collect();
    let cases = [
        ("upper case", request(&["X-User"]), "lower case"),
        ("set-cookie", request(&["set-cookie"]), "header-values"),
        ("no such", request(&["@nobody"]), "wit/types.wit"),
        ("method is fixed", writes(&[":method"]), "only :path"),
        ("framing", writes(&["content-length"]), "the proxy writes"),
        ("hop", response_writes(&["connection"]), "the proxy writes"),
        ("host", writes(&["host"]), "the proxy writes"),
        ("no header", writes(&["X-A"]), "lower-case"),
        ("no path back", response_writes(&[":path"]), "no path"),
        ("no status back", response_writes(&[":status"]), "only :path"),
        ("too many", contract::Manifest { request: many, ..raw() }, "65 entries"),
        ("too long", request(&[&"x".repeat(257)]), "257 bytes"),
        ("callouts", contract::Manifest { callouts: strings(&["auth"]), ..raw() }, "not supported yet"),
        ("bodies", contract::Manifest { body_limit: 1, ..raw() }, "not supported yet"),
        ("counter", contract::Manifest { counters: strings(&["a-b"]), ..raw() }, "digits and `_`"),
        ("counter twice", contract::Manifest { counters: strings(&["a", "a"]), ..raw() }, "twice"),
        ("subset twice", contract::Manifest { upstreams: strings(&["v1", "v1"]), ..raw() }, "twice"),
        ("subset empty", contract::Manifest { upstreams: strings(&[""]), ..raw() }, "has a name"),
    ];
    for (row, raw, want) in cases {
        match Manifest::parse(&raw) {
            Ok(manifest) => panic!("{row}: taken as {manifest:?}"),
            Err(error) => assert!(error.to_string().contains(want), "{row}: {error}"),
        }
    }
}

#[test]
fn writes_are_parsed() {
    let raw = contract::Manifest {
        request_writes: strings(&[":path", "x-tier"]),
        response_writes: strings(&["set-cookie"]),
        guard: true,
        ..contract::Manifest::default()
    };
    let manifest = Manifest::parse(&raw).expect("a good manifest");
    assert_eq!(manifest.request_writes, [Writable::Path, Writable::Header("x-tier".to_owned())]);
    assert_eq!(manifest.response_writes, [Writable::Header("set-cookie".to_owned())]);
    assert!(manifest.guard);
}
