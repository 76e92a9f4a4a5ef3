//! Positions, merging and the faults that people run into.
#![allow(clippy::unwrap_used)]

use super::*;

/// A compact form of a tree: `value@line:column`.
fn shape(node: &Node) -> String {
    let at = format!("@{}:{}", node.at.line, node.at.column);
    match &node.value {
        Value::Null => format!("null{at}"),
        Value::Plain(text) => format!("{text}{at}"),
        Value::Quoted(text) => format!("{text:?}{at}"),
        Value::List(nodes) => format!("[{}]{at}", nodes.iter().map(shape).collect::<Vec<_>>().join(" ")),
        Value::Map(entries) => {
            let one = |e: &Entry| format!("{}@{}:{}={}", e.key, e.at.line, e.at.column, shape(&e.node));
            format!("{{{}}}{at}", entries.iter().map(one).collect::<Vec<_>>().join(" "))
        }
    }
}

#[test]
fn every_node_knows_where_it_is() {
    let cases = [
        ("a: 1\nb:\n- x\n- 'y'\n", "{a@1:1=1@1:4 b@2:1=[x@3:3 \"y\"@4:3]@3:3}@1:1"),
        ("{\"a\": [true, null], \"b\": \"1\"}", "{a@1:2=[true@1:8 null@1:14]@1:7"),
        ("é: ü\n", "{é@1:1=ü@1:4}@1:1"),
        ("a:\n  b: &x {c: 1}\n  d: *x\n", "{a@1:1={b@2:3={c@2:10=1@2:13}@2:9 d@3:3={c@2:10=1@2:13}@3:6}@2:3}@1:1"),
        ("base: &b {k: 1, l: 2}\nown: {<<: *b, k: 3}\n", "own@2:1={k@2:15=3@2:18 l@1:17=2@1:20}@2:6}@1:1"),
        ("a: |\n  text\n", "{a@1:1=\"text\\n\"@2:3}@1:1"),
        ("a: !!str 1\n", "{a@1:1=\"1\"@1:10}@1:1"),
        ("a: ~\nb:\n", "{a@1:1=null@1:4 b@2:1=null@"),
    ];
    let mut wrong = Vec::new();
    for (text, want) in cases {
        let documents = documents(text);
        assert_eq!(documents.len(), 1, "{text}");
        assert_eq!(documents[0].faults, [], "{text}");
        let got = shape(&documents[0].root);
        if !got.contains(want) {
            wrong.push(format!("{text}\n got {got}\nwant {want}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn faults_say_where_and_what_to_do() {
    let cases = [
        ("a: 1\n\tb: 2\n", "2:1", "a tab, where YAML allows only spaces"),
        ("a:\n  b: 1\n c: 2\n", "3:2", "the indentation fits no mapping around it"),
        ("a: 1\na: 2\n", "2:1", "the key \"a\" occurs twice, first in line 1"),
        ("a: *missing\n", "1:4", "an alias (`*name`) of an anchor that is not defined before it"),
        ("a: [1, 2\n", "1:4", "a `[` that is not closed"),
        ("a: {b: 1\n", "1:4", "a `{` that is not closed"),
        ("a: 'x\n", "1:4", "a quoted text that does not end"),
        ("a: b: c\n", "1:5", "a second `:` where no key can stand"),
        ("a: \"\\d\"\n", "1:4", "an escape that double quotes do not know"),
        ("a: @b\n", "1:4", "the character '@' cannot start a value"),
        ("a: !x 1\n", "1:7", "the tag !x means nothing here"),
        ("? {a: b}\n: c\n", "1:3", "a mapping or list as a key"),
        ("a: &a [*a]\n", "1:8", "this alias lies inside the node that it names"),
        ("a: {<<: 1}\n", "1:9", "<< merges mappings, and this is none"),
        ("name: x\nhosts\n", "2:1", "a key without its `:`"),
    ];
    let mut wrong = Vec::new();
    for (text, at, reason) in cases {
        let documents = documents(text);
        let got: Vec<_> = documents.iter().flat_map(|d| &d.faults).collect();
        let [fault] = got[..] else { panic!("{text:?}: {got:?}") };
        let place = format!("{}:{}", fault.at.line, fault.at.column);
        if (place.as_str(), fault.reason.as_str()) != (at, reason) {
            wrong.push(format!("{text:?}: {place} {}, want {at} {reason}", fault.reason));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_broken_document_does_not_hide_the_next_one() {
    let got = documents("kind: A\n---\nkind: B\nspec: [1, 2\n---\n# nothing\n---\nkind: C\n");
    let kinds: Vec<_> = got.iter().map(|d| (shape(&d.root), d.faults.len())).collect();
    assert_eq!(kinds.len(), 3, "{kinds:?}");
    assert!(kinds[1].0.contains("kind@3:1=B@3:7"), "what came before the fault is there: {kinds:?}");
    assert_eq!(kinds.iter().map(|k| k.1).collect::<Vec<_>>(), [0, 1, 0]);
    assert!(kinds[2].0.contains("kind@8:1=C@8:7"));
}

#[test]
fn aliases_of_aliases_are_bounded() {
    let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for n in 1..9 {
        let last = n - 1;
        let ten = vec![format!("*a{last}"); 10].join(",");
        text += &format!("a{n}: &a{n} [{ten}]\n");
    }
    let got = documents(&text);
    assert!(got[0].faults[0].reason.starts_with("more than 1000000 values"), "{:?}", got[0].faults);
}

/// Dropping and reading a tree recurse, so a short file must not make a tree as deep as the stack.
#[test]
fn aliases_do_not_nest_without_bound() {
    let nest = |inner: &str| format!("{}{inner}{}", "[".repeat(200), "]".repeat(200));
    let mut text = format!("a0: &a0 {}\n", nest("x"));
    for n in 1..50 {
        let inner = nest(&format!("*a{}", n - 1));
        text += &format!("a{n}: &a{n} {inner}\n");
    }
    let got = documents(&text);
    assert_eq!(got[0].faults[0].reason, "more than 512 collections inside each other, by aliases");
}
