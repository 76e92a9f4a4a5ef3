#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use serde::Deserialize;

use super::parse;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Config {
    subsets: BTreeMap<String, u32>,
    #[serde(default)]
    sticky_by: Option<Sticky>,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
enum Sticky {
    Cookie(String),
    Hash { of: String },
    None,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Rule {
    paths: Vec<String>,
    #[serde(default)]
    share: f64,
    #[serde(default)]
    on: bool,
    #[serde(default)]
    delta: i8,
}

#[test]
fn reads_what_serde_json_reads() {
    let texts = [
        r#"{"subsets": {"v1": 90, "v3": 10}}"#,
        r#"{"subsets":{},"stickyBy":{"cookie":"user"}}"#,
        r#"{"subsets":{},"stickyBy":{"hash":{"of":"a\"\\\/\b\f\n\r\té\ud83d\ude00z"}}}"#,
        r#"{"subsets":{},"stickyBy":"none"}"#,
        r#" { "subsets" : { } , "stickyBy" : null , "rules" : [ { "paths" : [ ] } , {"paths":["/a","/b"],"share":0.25,"on":true,"delta":-3} ] } "#,
        r#"{"subsets":{},"rules":[{"paths":["ä"],"share":-1e3,"on":false},{"paths":[],"share":7}]}"#,
    ];
    for text in texts {
        let want: Config = serde_json::from_str(text).unwrap();
        assert_eq!(parse::<Config>(text).unwrap(), want, "{text}");
    }
}

#[test]
fn an_error_names_the_field() {
    let cases = [
        (r#"{"subsets": {"v1": "x"}}"#, "subsets.v1: invalid type: a text, expected u32"),
        (r#"{"subsets": {"v1": -1}}"#, "subsets.v1: invalid value: the number -1, expected u32"),
        (r#"{"subsets": {"v1": 1.5}}"#, "subsets.v1: invalid value: 1.5, expected u32"),
        (r#"{"subsets": [1]}"#, "subsets: invalid type: a list, expected a map"),
        (
            r#"{"subsets": {}, "rules": [{"paths": []}, {"paths": [3]}]}"#,
            "rules[1].paths[0]: invalid type: a number, expected a string",
        ),
        (
            r#"{"subsets": {}, "rules": [{"paths": [], "on": 1}]}"#,
            "rules[0].on: invalid type: a number, expected a boolean",
        ),
        (
            r#"{"subsets": {}, "rules": [{"path": []}]}"#,
            "rules[0]: unknown field `path`, expected one of `paths`, `share`, `on`, `delta`",
        ),
        (r#"{"subsets": {}, "rules": [{}]}"#, "rules[0]: missing field `paths`"),
        (r#"{"subsets": {}, "stickyBy": {"hash": {}}}"#, "stickyBy.hash: missing field `of`"),
        (r#"{"subsets": {}, "stickyBy": "cookie"}"#, "stickyBy: `cookie` needs a value: {\"cookie\": …}"),
        (r#"{"subsets": {}, "stickyBy": {"cookie": "a", "none": 1}}"#, "stickyBy: has more elements than it may"),
        (
            r#"{"subsets": {}, "stickyBy": "ip"}"#,
            "stickyBy: unknown variant `ip`, expected one of `cookie`, `hash`, `none`",
        ),
        ("", "missing field `subsets`"),
        ("null", "missing field `subsets`"),
        ("[]", "invalid type: a list, expected struct Config"),
        (r#"{"subsets": {"a": 1"#, "subsets: the config is no JSON at byte 19"),
        (r#"{"subsets": {}} x"#, "the config is no JSON at byte 16"),
        (r#"{"subsets": {"a\q": 1}}"#, "subsets: the config is no JSON at byte 17"),
        (r#"{"subsets": {"a\ud800": 1}}"#, "subsets: the config is no JSON at byte 21"),
    ];
    for (text, want) in cases {
        assert_eq!(parse::<Config>(text).unwrap_err().to_string(), want, "{text}");
    }
}

#[test]
fn depth_is_bounded() {
    let deep = ["[".repeat(100_000), "]".repeat(100_000)].concat();
    assert_eq!(parse::<serde::de::IgnoredAny>(&deep).unwrap_err().reason(), "is nested too deeply");
}
