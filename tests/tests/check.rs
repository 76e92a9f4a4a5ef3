//! `weft check` as a user runs it.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};
use weft_tests::{filter_component, push, weft};

/// Byte for byte what every Istio tutorial begins with.
const SEED: &str = "apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata:
  name: reviews
spec:
  hosts:
  - reviews
  http:
  - route:
    - destination:
        host: reviews
        subset: v1
";

fn check(yaml: &str, more: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mesh.yaml"), yaml).unwrap();
    Command::new(weft()).arg("check").arg(".").args(more).current_dir(folder.path()).output().unwrap()
}

#[test]
fn the_seed_example_is_accepted_with_a_warning() {
    let output = check(SEED, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    let line = text.lines().find(|line| line.contains("VirtualService default/reviews")).expect("a warning");
    assert!(line.starts_with("./mesh.yaml:") && line.contains("reviews") && line.contains(';'), "{line}");
}

#[test]
fn an_error_has_a_place_and_a_remedy_and_fails() {
    let output = check(&SEED.replace("subset:", "subsett:"), &["-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let problems: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let problem =
        problems.as_array().unwrap().iter().find(|problem| problem["code"] == "UnknownField").expect("it is found");
    assert_eq!((problem["line"].as_u64(), problem["severity"].as_str()), (Some(12), Some("error")), "{problem}");
    assert!(problem["remedy"].as_str().unwrap().contains("subset"), "{problem}");
}

#[test]
fn a_folder_without_yaml_is_an_error_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(weft()).arg("check").arg(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no file that ends in .yaml"));
}

/// authz is a guard, and here any caller could go round it.
const GUARDED: &str = "apiVersion: weft.dev/v1alpha1
kind: Filter
metadata: {name: authz}
spec:
  image: IMAGE
  limits: {deadline: 50ms}
  config: CONFIG
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  filters: [{name: authz}]
  http: [{route: [{destination: {host: reviews}}]}]
";

#[test]
fn filters_in_layouts_are_asked_as_a_control_plane_asks_them() {
    let layout = tempfile::tempdir().unwrap();
    let layout = format!("oci-layout:{}:1", layout.path().join("images").display());
    push(&filter_component("filters/authz"), &layout);
    let remote = "oci://registry.example/authz:1";
    let stand_in = format!("{remote}={layout}");
    let rules = "{allow: [{methods: [GET]}]}";
    // image, config, options; code, exit
    type Case<'a> = (&'a str, &'a str, &'a [&'a str], Option<&'a str>, i32);
    let cases: [Case<'_>; 5] = [
        (&layout, rules, &[], Some("GuardAtCaller"), 0),
        (&layout, "{no: {such: field}}", &[], Some("NotAdmitted"), 1),
        (remote, rules, &[], None, 0),
        (remote, rules, &["--image", &stand_in], Some("GuardAtCaller"), 0),
        ("oci-layout:nowhere:1", rules, &[], Some("ImageUnavailable"), 0),
    ];
    for (image, config, options, want, exit) in cases {
        let output = check(&GUARDED.replace("IMAGE", image).replace("CONFIG", config), options);
        let text = String::from_utf8(output.stdout).unwrap();
        let row = format!("{image} {config} {options:?}: {text}");
        assert_eq!(output.status.code(), Some(exit), "{row}");
        let of_filters = ["GuardAtCaller", "NotAdmitted", "ImageUnavailable"];
        let found: Vec<&str> = of_filters.into_iter().filter(|code| text.contains(code)).collect();
        assert_eq!(found, Vec::from_iter(want), "{row}");
    }
}
