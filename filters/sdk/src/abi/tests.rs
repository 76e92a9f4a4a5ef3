//! Verdicts read back from their words, as a host reads them.

use std::slice;

use super::*;
use crate::bindings::request::weft::filter::types::{Denial, Forward};

fn bytes(start: usize, length: usize) -> String {
    // SAFETY: the words of an answer that is still held name bytes that are.
    String::from_utf8(unsafe { slice::from_raw_parts(start as *const u8, length) }.to_vec()).unwrap_or_default()
}

fn rows(start: usize, length: usize) -> Vec<[usize; 4]> {
    // SAFETY: as above, for rows.
    unsafe { slice::from_raw_parts(start as *const [usize; 4], length) }.to_vec()
}

fn words(start: *const usize) -> Words {
    // SAFETY: an answer has as many words.
    unsafe { *start.cast::<Words>() }
}

#[test]
fn attributes_are_read_where_they_lie() {
    for text in [None, Some(""), Some("gold")] {
        assert_eq!(Value::of(text).text(), text);
    }
}

#[test]
fn a_verdict_is_read_back() {
    let mut answer = Answer::<Verdict>::new();
    assert_eq!(words(answer.hold(Verdict::Pass))[0], 0);

    let edit = |slot, op| Edit { slot, op };
    let edits = vec![edit(2, Op::Set("gold".into())), edit(0, Op::Append("b".into())), edit(7, Op::Remove)];
    let forward = Forward { edits, pick: Some(3), state: Some(b"kept".to_vec()) };
    let [tag, start, length, picks, pick, has_state, state, state_length, ..] =
        words(answer.hold(Verdict::Forward(forward)));
    assert_eq!((tag, length, picks, pick, has_state), (1, 3, 1, 3, 1));
    assert_eq!(bytes(state, state_length), "kept");
    let [set, append, remove] = rows(start, length).try_into().expect("three edits");
    assert_eq!((set[..2].to_vec(), bytes(set[2], set[3])), (vec![2, 0], "gold".to_owned()));
    assert_eq!((append[..2].to_vec(), bytes(append[2], append[3])), (vec![0, 1], "b".to_owned()));
    assert_eq!(remove[..2], [7, 2]);

    let forward = Forward { edits: Vec::new(), pick: None, state: None };
    assert_eq!(words(answer.hold(Verdict::Forward(forward)))[2..6], [0, 0, 0, 0], "nothing of the last one is left");

    let reply = Reply::status(403).header("x-why", "no").text("denied");
    let [tag, status, start, length, body, body_length, reason, reason_length, ..] =
        words(answer.hold(Verdict::Deny(Denial { reply, reason: "policy".into() })));
    assert_eq!((tag, status, length), (3, 403, 2));
    assert_eq!((bytes(body, body_length), bytes(reason, reason_length)), ("denied".to_owned(), "policy".to_owned()));
    let first = rows(start, length)[0];
    assert_eq!((bytes(first[0], first[1]), bytes(first[2], first[3])), ("x-why".to_owned(), "no".to_owned()));

    assert_eq!(words(answer.hold(Verdict::Respond(Reply::status(204))))[..2], [2, 204]);

    let call = Callout {
        target: 1,
        method: "POST".into(),
        path: "/ask".into(),
        headers: vec![("a".into(), "b".into())],
        body: b"body".to_vec(),
        timeout_ms: 20,
        state: b"state".to_vec(),
    };
    let found = words(answer.hold(Verdict::Call(call)));
    assert_eq!((found[..2].to_vec(), found[7], found[10]), (vec![4, 1], 1, 20));
    let texts = [2, 4, 8, 11].map(|at| bytes(found[at], found[at + 1]));
    assert_eq!(texts, ["POST", "/ask", "body", "state"]);
}

#[test]
fn a_response_verdict_is_read_back() {
    let mut answer = Answer::<ResponseVerdict>::new();
    assert_eq!(words(answer.hold(ResponseVerdict::Pass))[0], 0);
    let [tag, start, length, ..] = words(answer.hold(ResponseVerdict::Edit(vec![Edit { slot: 1, op: Op::Remove }])));
    assert_eq!((tag, rows(start, length)[0][..2].to_vec()), (1, vec![1, 2]));
    let [tag, status, _, headers, _, body, ..] = words(answer.hold(ResponseVerdict::Replace(Reply::status(502))));
    assert_eq!((tag, status, headers, body), (2, 502, 0, 0));
}
