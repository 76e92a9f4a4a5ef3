use super::example::Outcome;
use super::{asked, spec, spec_is_required};
use crate::{Code, Problem, SourceFile, check};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const KINDS: &[(&str, &str)] = &[
    ("networking.istio.io/v1", "VirtualService"),
    ("networking.istio.io/v1", "DestinationRule"),
    ("networking.istio.io/v1", "ServiceEntry"),
    ("networking.istio.io/v1", "WorkloadEntry"),
    ("security.istio.io/v1", "PeerAuthentication"),
    ("weft.dev/v1alpha1", "Filter"),
    ("weft.dev/v1alpha1", "Mesh"),
];

fn object(api_version: &str, kind: &str, spec: &Value) -> SourceFile {
    let object = json!({
        "apiVersion": api_version, "kind": kind, "metadata": {"name": "example", "namespace": "default"}, "spec": spec,
    });
    SourceFile::new("example.json", object.to_string())
}

/// What a reader says where a field is not its own, or not of the type that the schema gives it.
fn misread(problem: &Problem) -> bool {
    let codes = [
        Code::UnknownField,
        Code::WrongType,
        Code::BadValue,
        Code::BadName,
        Code::BadRegex,
        Code::BadYaml,
        Code::NotAnObject,
        Code::UnknownKind,
        Code::UnknownVersion,
    ];
    codes.contains(&problem.code)
}

#[test]
fn every_field_of_the_schema_is_read() {
    for (api_version, kind) in KINDS {
        let schema = spec(kind).expect("a schema for each kind");
        let examples = schema.examples();
        assert!(examples.len() > 5, "{kind}: {examples:?}");
        for example in examples {
            let problems = check(&[object(api_version, kind, &example.spec)]);
            let misread: Vec<_> = problems.iter().filter(|p| misread(p)).map(ToString::to_string).collect();
            assert!(misread.is_empty(), "{kind} {}: {misread:#?}", example.path);
            let said = |code| problems.iter().any(|p| p.code == code && p.field == format!("spec.{}", example.path));
            let wanted = match example.outcome {
                Outcome::Read => None,
                Outcome::Unsupported => Some(Code::NotSupported),
                Outcome::WithoutEffect => Some(Code::NoEffect),
                Outcome::Refused => Some(Code::NotAllowed),
            };
            assert!(wanted.is_none_or(said), "{kind} {}: no {wanted:?} in {problems:#?}", example.path);
        }
    }
}

#[test]
fn every_field_that_is_read_is_in_the_schema() {
    for (api_version, kind) in KINDS {
        let schema = spec(kind).expect("a schema for each kind");
        let mut nodes = BTreeSet::new();
        for example in schema.examples() {
            for asked in asked(&object(api_version, kind, &example.spec)) {
                let Some(path) = asked.path.strip_prefix("spec").filter(|path| !path.starts_with("spec")) else {
                    continue;
                };
                let node = schema.at(path.trim_start_matches('.'));
                let known = node.map(super::Schema::names).unwrap_or_default();
                let missing: Vec<_> = asked.names.iter().filter(|name| !known.contains(&name.as_str())).collect();
                assert!(missing.is_empty(), "{kind} spec{path}: the reader knows {missing:?}, the schema {known:?}");
                nodes.insert(path.to_owned());
            }
        }
        assert!(!nodes.is_empty(), "{kind}: the reader looked at nothing");
    }
}

#[test]
fn a_spec_may_be_left_out_where_the_reader_allows_it() {
    for (api_version, kind) in KINDS {
        let object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "example"}});
        let problems = check(&[SourceFile::new("example.json", object.to_string())]);
        let missing = problems.iter().any(|p| p.code == Code::MissingField && p.reason == "spec is missing");
        assert_eq!(missing, spec_is_required(kind), "{kind}: {problems:?}");
    }
}

/// `docs/differences-from-istio.md` is what people read before they move: no field may be missing there.
#[test]
fn the_guide_names_what_is_not_supported() {
    let guide = include_str!("../../../../docs/differences-from-istio.md");
    // Older spellings of fields that it names.
    let known = ["mirrorPercent", "mirror_percent", "warmupDurationSecs"];
    for (_, kind) in KINDS.iter().filter(|(api_version, _)| api_version.contains(".istio.io/")) {
        for example in spec(kind).expect("a schema for each kind").examples() {
            let field = example.path.rsplit('.').next().unwrap_or_default();
            // It says that of tls only the two modes are there.
            let of_tls = example.path.contains("tls.");
            if matches!(example.outcome, Outcome::Read | Outcome::Refused) || known.contains(&field) || of_tls {
                continue;
            }
            assert!(guide.contains(&format!("`{field}")), "{kind} {} ({field}) is not in the guide", example.path);
        }
    }
}
