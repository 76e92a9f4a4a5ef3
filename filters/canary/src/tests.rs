#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use weft_filter_sdk::testing::{configure, get, refusal, response, set_random};

use super::Canary;
use super::split::{Split, hash};

#[test]
fn users_are_split_by_weight() {
    let canary = configure::<Canary>(r#"{"subsets": {"v1": 90, "v3": 10}, "stickyBy": {"header": "X-User"}}"#).unwrap();
    let mut counts = BTreeMap::new();
    for user in 0..20_000 {
        let outcome = canary.request(get("/").header("x-user", &format!("user-{user}")));
        *counts.entry(outcome.picked().unwrap().to_owned()).or_insert(0) += 1;
    }
    assert!((1_800..2_200).contains(&counts["v3"]), "{counts:?}");
    assert_eq!(counts["v1"] + counts["v3"], 20_000);
}

#[test]
fn unknown_users_are_drawn_by_chance_with_the_same_odds() {
    set_random(7);
    let canary = configure::<Canary>(r#"{"subsets": {"v1": 3, "v2": 1}}"#).unwrap();
    let v2 = (0..20_000).filter(|_| canary.request(get("/")).picked() == Some("v2")).count();
    assert!((4_700..5_300).contains(&v2), "{v2}");
}

#[test]
fn a_growing_weight_only_wins_users() {
    let split = |weights: [u32; 3]| {
        Split::new(weights.into_iter().enumerate().map(|(index, weight)| (index, ["v1", "v2", "v3"][index], weight)))
    };
    let (before, after) = (split([50, 30, 20]), split([50, 30, 40]));
    let mut moved = 0;
    for user in 0..50_000_u64 {
        let user = hash(&user.to_be_bytes());
        let (old, new) = (before.choose(user), after.choose(user));
        assert!(old == new || new == 2, "{user} moved from {old} to {new}");
        moved += usize::from(old != new);
    }
    // From a share of 1/5 to one of 1/3.
    assert!((6_200..7_100).contains(&moved), "{moved}");
}

#[test]
fn a_user_stays_whatever_else_changes() {
    let config = r#"{"subsets": {"v1": 50, "v3": 50}, "stickyBy": {"hash": "@source.address"}}"#;
    let (one, other) = (configure::<Canary>(config).unwrap(), configure::<Canary>(config).unwrap());
    for host in 0..100 {
        let picks = ["40000", "40001"].map(|port| {
            let address = format!("10.0.0.{host}:{port}");
            let pick = |canary: &weft_filter_sdk::testing::Harness<Canary>| {
                canary.request(get("/").source_address(&address)).picked().unwrap().to_owned()
            };
            assert_eq!(pick(&one), pick(&other), "two instances, {address}");
            pick(&one)
        });
        assert_eq!(picks[0], picks[1], "another port of host {host}");
    }
}

#[test]
fn a_new_user_gets_a_cookie_that_keeps_him_where_he_is() {
    let config = r#"{"subsets": {"v1": 50, "v3": 50}, "stickyBy": {"cookie": {"name": "user", "ttl": "24h"}}}"#;
    let canary = configure::<Canary>(config).unwrap();
    for random in 0..200 {
        set_random(random << 40);
        let first = canary.request(get("/"));
        let answer = canary.response(&first, response(200));
        let cookie = answer.appended("set-cookie")[0].to_owned();
        let (pair, attributes) = cookie.split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/; Max-Age=86400; HttpOnly; SameSite=Lax");
        let again = canary.request(get("/").header("cookie", &format!("a=b; {pair}")));
        assert_eq!(again.picked(), first.picked());
        assert!(canary.response(&again, response(200)).passed(), "he has the cookie");
    }
}

#[test]
fn matches_come_first() {
    let config = r#"{"subsets": {"v1": 1, "v3": 0}, "stickyBy": {"cookie": "user"}, "matches": [
        {"header": "X-Canary", "exact": "always", "subset": "v3"},
        {"query": "preview", "subset": "v3"},
        {"cookie": "group", "prefix": "beta-", "subset": "v3"}]}"#;
    let canary = configure::<Canary>(config).unwrap();
    let cases = [
        (get("/").header("x-canary", "always"), "v3"),
        (get("/").header("x-canary", "never"), "v1"),
        (get("/?preview"), "v3"),
        (get("/?a=1&preview=x"), "v3"),
        (get("/").header("cookie", "group=beta-2"), "v3"),
        (get("/").header("cookie", "group=alpha"), "v1"),
        (get("/"), "v1"),
    ];
    for (request, want) in cases {
        let label = format!("{request:?}");
        assert_eq!(canary.request(request).picked(), Some(want), "{label}");
    }
}

#[test]
fn cookies_are_set_as_configured() {
    let cases = [
        (r#""user""#, "; Path=/; HttpOnly; SameSite=Lax"),
        (r#"{"name": "user"}"#, "; Path=/; HttpOnly; SameSite=Lax"),
        (
            r#"{"name":"user","path":"/shop","domain":"example.test","ttl":"30m","sameSite":"None","secure":true,"httpOnly":false}"#,
            "; Path=/shop; Domain=example.test; Max-Age=1800; SameSite=None; Secure",
        ),
    ];
    for (cookie, want) in cases {
        let config = format!(r#"{{"subsets": {{"v1": 1}}, "stickyBy": {{"cookie": {cookie}}}}}"#);
        let canary = configure::<Canary>(&config).unwrap();
        set_random(0x0123_4567_89ab_cdef);
        let answer = canary.response(&canary.request(get("/")), response(200));
        assert_eq!(answer.appended("set-cookie"), [format!("user=0123456789abcdef{want}")], "{cookie}");
    }
    let config = r#"{"subsets": {"v1": 1}, "stickyBy": {"cookie": {"name": "user", "newUser": "Random"}}}"#;
    let canary = configure::<Canary>(config).unwrap();
    assert!(canary.request(get("/")).state().is_none());
}

#[test]
fn a_wrong_config_is_refused_by_field() {
    let cases = [
        ("{}", "subsets: is missing; name each subset and its weight, such as {v1: 90, v3: 10}"),
        (r#"{"subsets": {"v1": 0}}"#, "subsets: has no weight above 0, so there is nothing to choose"),
        (r#"{"subsets": {"v1": -1}}"#, "subsets.v1: invalid value: the number -1, expected u32"),
        (
            r#"{"subsets": {"v1": 1}, "matches": [{"header": "a", "subset": "v2"}]}"#,
            "matches[0].subset: `v2` is not among `subsets`; add it there, with weight 0 if need be",
        ),
        (
            r#"{"subsets": {"v1": 1}, "matches": [{"subset": "v1"}]}"#,
            "matches[0]: needs exactly one of `header`, `cookie`, `query`",
        ),
        (
            r#"{"subsets": {"v1": 1}, "stickyBy": {"cookie": {"name": "a", "ttl": "1 day"}}}"#,
            "stickyBy.cookie.ttl: is no duration; write it like 30m, 24h or 7d",
        ),
        (
            r#"{"subsets": {"v1": 1}, "stickyBy": {"cookie": {"name": "a b"}}}"#,
            "stickyBy.cookie: `a b` is no name of a header or cookie",
        ),
        (r#"{"subsets": {"v1": 1}, "stickyBy": {"cookie": {"ttl": "1d"}}}"#, "stickyBy.cookie: missing field `name`"),
        (
            r#"{"subsets": {"v1": 1}, "stickyBy": {"ip": "a"}}"#,
            "stickyBy: unknown variant `ip`, expected one of `header`, `cookie`, `hash`",
        ),
        (
            r#"{"subsets": {"v1": 1}, "stickyBy": {"cookie": {"name": "a", "sameSite": "None"}}}"#,
            "stickyBy.cookie.sameSite: is None, which browsers take only with `secure: true`; set it too",
        ),
    ];
    for (config, want) in cases {
        assert_eq!(refusal::<Canary>(config), want, "{config}");
    }
}
