//! Verdicts: what is taken, what is refused and why.

use super::*;

fn manifest() -> Manifest {
    Manifest {
        request_writes: vec![Writable::Path, Writable::Header("x-tier".to_owned())],
        response_writes: vec![Writable::Header("set-cookie".to_owned())],
        upstreams: vec!["v1".to_owned(), "v2".to_owned()],
        ..Manifest::default()
    }
}

fn set(slot: u32, value: &str) -> contract::Edit {
    contract::Edit { slot, op: contract::Op::Set(value.to_owned()) }
}

fn editing(edits: Vec<contract::Edit>) -> contract::Verdict {
    contract::Verdict::Forward(contract::Forward { edits, pick: None, state: None })
}

fn replying(status: u16, header: (&str, &str)) -> contract::Verdict {
    contract::Verdict::Respond(contract::Reply {
        status,
        headers: vec![(header.0.to_owned(), header.1.to_owned())],
        body: Vec::new(),
    })
}

#[test]
fn nonsense_is_refused() {
    let leaving = |state: Vec<u8>| {
        contract::Verdict::Forward(contract::Forward { edits: Vec::new(), pick: None, state: Some(state) })
    };
    let picking = contract::Verdict::Forward(contract::Forward { edits: Vec::new(), pick: Some(2), state: None });
    let on_path = |op| editing(vec![contract::Edit { slot: 0, op }]);
    let cases = [
        ("slot", editing(vec![set(2, "a")]), "slot 2"),
        ("line break", editing(vec![set(1, "a\r\nx-admin: 1")]), "no valid field value"),
        ("null", editing(vec![set(1, "a\0")]), "no valid field value"),
        ("leading space", editing(vec![set(1, " a")]), "no valid field value"),
        ("second edit", editing(vec![set(1, "a"), set(1, "\u{7f}")]), "no valid field value"),
        ("relative path", editing(vec![set(0, "a")]), ":path"),
        ("path with a space", editing(vec![set(0, "/a b")]), ":path"),
        ("path with a fragment", editing(vec![set(0, "/a?b#c")]), ":path"),
        ("path of another script", editing(vec![set(0, "/é")]), ":path"),
        ("append to the path", on_path(contract::Op::Append("/".to_owned())), "append to :path"),
        ("remove the path", on_path(contract::Op::Remove), "remove :path"),
        ("pick", picking, "upstream 2"),
        ("state", leaving(vec![0; (64 << 10) + 1]), "65537 bytes"),
        ("status 99", replying(99, ("a", "b")), "status 99"),
        ("status 101", replying(101, ("a", "b")), "status 101"),
        ("status 600", replying(600, ("a", "b")), "status 600"),
        ("reply name", replying(200, ("a b", "c")), "no header name"),
        ("reply value", replying(200, ("a", "\n")), "no valid field value"),
        ("reply framing", replying(200, ("Content-Length", "3")), "only the proxy"),
    ];
    for (row, raw, want) in cases {
        match verdict(raw, &manifest()) {
            Ok(taken) => panic!("{row}: taken as {taken:?}"),
            Err(error) => assert!(error.to_string().contains(want), "{row}: {error}"),
        }
    }
}

#[test]
fn cookies_are_only_appended() {
    let edit = |op| contract::ResponseVerdict::Edit(vec![contract::Edit { slot: 0, op }]);
    let cases = [
        ("append", contract::Op::Append("a=b".to_owned()), true),
        ("set", contract::Op::Set("a=b".to_owned()), false),
        ("remove", contract::Op::Remove, false),
    ];
    for (row, op, want) in cases {
        assert_eq!(response_verdict(edit(op), &manifest()).is_ok(), want, "{row}");
    }
}

#[test]
fn good_verdicts_pass() {
    let cases = [
        ("pass", contract::Verdict::Pass),
        ("empty value", editing(vec![set(1, "")])),
        ("other scripts", editing(vec![set(1, "müller, 東京")])),
        ("path and query", editing(vec![set(0, "/a/b%20c;v=1?x={y}&z=|\\^`'[]")])),
        ("upper-case reply header", replying(204, ("X-Why", "a b\tc"))),
        ("highest status", replying(599, ("a", "b"))),
    ];
    for (row, raw) in cases {
        if let Err(error) = verdict(raw, &manifest()) {
            panic!("{row}: {error}");
        }
    }
    let denial = contract::Verdict::Deny(contract::Denial {
        reply: contract::Reply { status: 403, headers: Vec::new(), body: Vec::new() },
        reason: "é".repeat(4096),
    });
    match verdict(denial, &manifest()) {
        Ok(Verdict::Deny(denial)) => assert_eq!(denial.reason.len(), REASON_BYTES_MAX),
        other => panic!("{other:?}"),
    }
}
