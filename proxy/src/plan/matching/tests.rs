//! The index against a scan of all rules in order, and rows for what each condition means.

#![allow(clippy::unwrap_used, clippy::type_complexity)]

use super::condition::{Conditions, Uri};
use super::*;
use crate::filters::Filters;
use crate::headers::{Authority, HeaderOps, Matched, Scheme};
use crate::plan::{Action, Forward};
use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;
use weft_snapshot::{Match, StringMatch};

fn rule(name: String, matches: Vec<Match>) -> snapshot::Rule {
    snapshot::Rule {
        name,
        origin: String::new(),
        matches,
        headers: snapshot::Headers::default(),
        action: snapshot::Action::Direct(snapshot::Direct { status: 200, body: Vec::new() }),
        filters: Vec::new(),
    }
}

fn matcher(rules: &[snapshot::Rule]) -> Matcher {
    let route = |rule: &snapshot::Rule| {
        Arc::new(Route {
            name: rule.name.as_str().into(),
            origin: "".into(),
            request_headers: HeaderOps::default(),
            response_headers: HeaderOps::default(),
            filters: Filters::default(),
            action: Action::Forward(Forward::new(Vec::new())),
        })
    };
    Matcher::new(rules.iter().map(route).collect(), rules).unwrap()
}

fn head(method: &str, authority: &str, path: &str, headers: &[(&str, &str)]) -> Head {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    Head {
        method: Method::from_bytes(method.as_bytes()).unwrap(),
        scheme: Scheme::Http,
        authority: Authority::from_header(HeaderValue::from_str(authority).unwrap()).unwrap(),
        path: path.parse().unwrap(),
        headers: map,
    }
}

/// What the index has to agree with: every rule, in order, asked for everything.
struct Scan(Vec<(String, Conditions)>);

impl Scan {
    fn new(rules: &[snapshot::Rule]) -> Self {
        let every = [Match::default()];
        let blocks =
            |rule: &snapshot::Rule| if rule.matches.is_empty() { every.to_vec() } else { rule.matches.clone() };
        let compiled = |block: &Match| Conditions::new(block, Uri::Asked).unwrap();
        Self(
            rules
                .iter()
                .flat_map(|r| blocks(r).iter().map(|b| (r.name.clone(), compiled(b))).collect::<Vec<_>>())
                .collect(),
        )
    }

    fn first(&self, head: &Head, port: u16) -> Option<(String, Matched)> {
        let (name, conditions) = self.0.iter().find(|(_, conditions)| conditions.hold(head, port))?;
        Some((name.clone(), conditions.matched()))
    }
}

fn chosen(matcher: &Matcher, head: &Head, port: u16) -> Option<(String, Matched)> {
    matcher.choose(head, port).map(|chosen| (chosen.route.name.to_string(), chosen.matched))
}

fn exact(text: &str) -> StringMatch {
    StringMatch::Exact(text.to_owned())
}

fn prefix(text: &str) -> StringMatch {
    StringMatch::Prefix(text.to_owned())
}

fn regex(text: &str) -> StringMatch {
    StringMatch::Regex(text.to_owned())
}

#[test]
fn what_each_condition_means() {
    let pairs = |name: &str, wanted: StringMatch| vec![(name.to_owned(), wanted)];
    let uri = |wanted: StringMatch| Match { uri: Some(wanted), ..Match::default() };
    let any_case = |wanted: StringMatch| Match { ignore_uri_case: true, ..uri(wanted) };
    let headers = |name, wanted| Match { headers: pairs(name, wanted), ..Match::default() };
    let without = |name, wanted| Match { without_headers: pairs(name, wanted), ..Match::default() };
    let query = |name, wanted| Match { query: pairs(name, wanted), ..Match::default() };
    let yes = true;
    let no = false;
    let rows = [
        ("exact", uri(exact("/a/b")), yes),
        ("exact sees no query", uri(exact("/a/b?q=1")), no),
        ("a string prefix", uri(prefix("/a/")), yes),
        ("case counts", uri(exact("/A/B")), no),
        ("unless it does not", any_case(exact("/A/B")), yes),
        ("any case of a prefix", any_case(prefix("/A")), yes),
        ("a regex is whole", uri(regex("/a")), no),
        ("regex", uri(regex("/a/[a-c]")), yes),
        ("present", uri(StringMatch::Present), yes),
        ("method", Match { method: Some(exact("GET")), ..Match::default() }, yes),
        ("another method", Match { method: Some(exact("get")), ..Match::default() }, no),
        ("scheme", Match { scheme: Some(exact("https")), ..Match::default() }, no),
        ("authority", Match { authority: Some(exact("reviews:9080")), ..Match::default() }, yes),
        ("authority has its port", Match { authority: Some(exact("reviews")), ..Match::default() }, no),
        ("port", Match { port: Some(9080), ..Match::default() }, yes),
        ("another port", Match { port: Some(80), ..Match::default() }, no),
        ("header", headers("user", exact("jason")), yes),
        ("header of several values", headers("x", exact("1,2")), yes),
        ("an absent header, whatever it may be", headers("absent", regex(".*")), no),
        ("header present", headers("user", StringMatch::Present), yes),
        ("header absent", headers("absent", StringMatch::Present), no),
        ("no such header name", headers("not a name", StringMatch::Present), no),
        ("without another value", without("user", exact("tom")), yes),
        ("without this value", without("user", exact("jason")), no),
        ("without, absent counts as empty", without("absent", exact("tom")), yes),
        ("without, absent and empty", without("absent", exact("")), no),
        ("without, present", without("user", StringMatch::Present), no),
        ("without, absent", without("absent", StringMatch::Present), yes),
        ("query", query("q", exact("1")), yes),
        ("the first value of a parameter", query("q", exact("2")), no),
        ("a parameter without value", query("flag", exact("")), yes),
        ("a parameter present", query("flag", StringMatch::Present), yes),
        ("a parameter absent", query("absent", StringMatch::Present), no),
        ("a parameter is not decoded", query("e", exact("a%20b")), yes),
    ];
    let head = head("GET", "reviews:9080", "/a/b?q=1&flag&q=2&e=a%20b", &[("user", "jason"), ("x", "1"), ("x", "2")]);
    for (row, block, want) in rows {
        let rules = [rule("found".to_owned(), vec![block])];
        let found = chosen(&matcher(&rules), &head, 9080).is_some();
        assert_eq!(found, want, "{row}");
        assert_eq!(Scan::new(&rules).first(&head, 9080).is_some(), want, "{row}, by scan");
    }
}

#[test]
fn the_first_rule_wins_whatever_it_is_found_by() {
    let uri = |wanted: StringMatch| Match { uri: Some(wanted), ..Match::default() };
    let blocks = [
        uri(regex("/a/.*x")),
        uri(prefix("/a/b")),
        uri(exact("/a/b/c")),
        Match { headers: vec![("h".to_owned(), exact("1"))], ..Match::default() },
        uri(prefix("/")),
        Match::default(),
    ];
    let rows: &[(&str, &[(&str, &str)], &str)] =
        &[("/a/b/x", &[], "0"), ("/a/b/c", &[], "1"), ("/a/c", &[("h", "1")], "3"), ("/a/c", &[], "4")];
    let rules: Vec<_> = blocks.iter().enumerate().map(|(n, b)| rule(n.to_string(), vec![b.clone()])).collect();
    let matcher = matcher(&rules);
    for (path, headers, want) in rows {
        let found = chosen(&matcher, &head("GET", "a", path, headers), 80);
        assert_eq!(found.map(|(name, _)| name).as_deref(), Some(*want), "{path}");
    }
}

#[test]
fn a_pattern_that_cannot_be_compiled_names_its_rule() {
    let bad = Match { uri: Some(regex("(")), ..Match::default() };
    let header = Match { headers: vec![("a".to_owned(), regex("["))], ..Match::default() };
    for block in [bad, header] {
        let rules = [rule("good".to_owned(), vec![]), rule("bad".to_owned(), vec![block])];
        let error = Matcher::new(Vec::new(), &rules).unwrap_err();
        assert_eq!(error.0, 1);
    }
}

/// Few words, so that rules and requests meet often.
fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "/",
            "/a",
            "/A",
            "/ab",
            "/a/b",
            "/a/b/c",
            "/B/c",
            "/api/v1",
            "/API/V1/x",
            "/x/y/z"
        ])
        .prop_map(str::to_owned),
        "/[abAB/]{0,4}",
    ]
}

fn pattern() -> impl Strategy<Value = String> {
    proptest::sample::select(vec![
        "/a.*",
        "/.*",
        ".*b",
        "/[ab]+",
        "/a/[a-z]/c",
        "/api/v[0-9]",
        "(?i)/A.*",
        "/a|/b",
        "/x/y/.+",
        "/ab?",
        ".+",
        "/api/.*x",
    ])
    .prop_map(str::to_owned)
}

fn text() -> impl Strategy<Value = String> {
    proptest::sample::select(vec!["", "1", "2", "12", "a", "A"]).prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = StringMatch> {
    prop_oneof![
        3 => text().prop_map(StringMatch::Exact),
        1 => proptest::sample::select(vec!["1", "a"]).prop_map(|t| StringMatch::Prefix(t.to_owned())),
        1 => proptest::sample::select(vec!["[0-9]+", ".*", "a|1"]).prop_map(|t| StringMatch::Regex(t.to_owned())),
        1 => Just(StringMatch::Present),
    ]
}

fn named(names: &'static [&'static str]) -> impl Strategy<Value = Vec<(String, StringMatch)>> {
    proptest::collection::vec((proptest::sample::select(names).prop_map(str::to_owned), value()), 0..3)
}

fn plain_uri() -> BoxedStrategy<StringMatch> {
    prop_oneof![
        4 => path().prop_map(StringMatch::Exact),
        4 => path().prop_map(StringMatch::Prefix),
        1 => Just(StringMatch::Present),
    ]
    .boxed()
}

fn uri_or_pattern() -> BoxedStrategy<StringMatch> {
    prop_oneof![plain_uri(), pattern().prop_map(StringMatch::Regex)].boxed()
}

prop_compose! {
    fn block(uris: BoxedStrategy<StringMatch>)(
        uri in proptest::option::weighted(0.8, uris),
        ignore_uri_case in proptest::bool::weighted(0.3),
        method in proptest::option::weighted(0.2, proptest::sample::select(vec!["GET", "POST"]).prop_map(|m| StringMatch::Exact(m.to_owned()))),
        scheme in proptest::option::weighted(0.1, proptest::sample::select(vec!["http", "https"]).prop_map(|m| StringMatch::Exact(m.to_owned()))),
        authority in proptest::option::weighted(0.1, proptest::sample::select(vec!["a", "b:80"]).prop_map(|m| StringMatch::Exact(m.to_owned()))),
        headers in proptest::option::weighted(0.3, named(&["h", "user", "x-z"])),
        without_headers in proptest::option::weighted(0.1, named(&["h", "user"])),
        query in proptest::option::weighted(0.1, named(&["q", "r"])),
        port in proptest::option::weighted(0.1, proptest::sample::select(vec![80u16, 9080])),
    ) -> Match {
        Match {
            uri, ignore_uri_case, method, scheme, authority,
            headers: headers.unwrap_or_default(),
            without_headers: without_headers.unwrap_or_default(),
            query: query.unwrap_or_default(),
            port,
        }
    }
}

type Request = (String, String, String, Option<String>, Vec<(&'static str, String)>, u16);

fn request() -> impl Strategy<Value = Request> {
    (
        proptest::sample::select(vec!["GET", "POST", "PUT"]).prop_map(str::to_owned),
        proptest::sample::select(vec!["a", "b:80"]).prop_map(str::to_owned),
        path(),
        proptest::option::of(proptest::sample::select(vec!["q=1", "q=2&r=a", "r&q", ""]).prop_map(str::to_owned)),
        proptest::collection::vec((proptest::sample::select(vec!["h", "user", "x-z", "other"]), text()), 0..4),
        proptest::sample::select(vec![80u16, 9080]),
    )
}

fn rules(uris: BoxedStrategy<StringMatch>) -> impl Strategy<Value = Vec<snapshot::Rule>> {
    let blocks = proptest::collection::vec(proptest::collection::vec(block(uris), 0..4), 0..30);
    blocks.prop_map(|all| all.into_iter().enumerate().map(|(n, blocks)| rule(n.to_string(), blocks)).collect())
}

fn agree(rules: &[snapshot::Rule], requests: Vec<Request>) -> Result<(), TestCaseError> {
    let (matcher, scan) = (matcher(rules), Scan::new(rules));
    for (method, authority, path, query, headers, port) in requests {
        let target = match query {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let head = head(&method, &authority, &target, &headers);
        prop_assert_eq!(chosen(&matcher, &head, port), scan.first(&head, port), "{} {}", method, target);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn the_index_finds_what_a_scan_finds(
        rules in rules(plain_uri()),
        requests in proptest::collection::vec(request(), 1..8),
    ) {
        agree(&rules, requests)?;
    }
}

proptest! {
    // Compiling patterns is slow where nothing is optimized.
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_index_finds_what_a_scan_finds_among_patterns(
        rules in rules(uri_or_pattern()),
        requests in proptest::collection::vec(request(), 1..8),
    ) {
        agree(&rules, requests)?;
    }
}
