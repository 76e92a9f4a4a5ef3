//! What the control plane and the CLI ask of a world: policies, members, object states, problems as JSON.
#![allow(clippy::unwrap_used)]

use std::time::Duration;
use weft_config::{Code, Credentials, ObjectVersion, Severity, SourceFile, Transport, World, check};

fn world(files: &[(&str, &str)]) -> World {
    rebuilt(files, &World::default())
}

fn rebuilt(files: &[(&str, &str)], previous: &World) -> World {
    let files: Vec<_> = files.iter().map(|(path, text)| SourceFile::new(*path, *text)).collect();
    World::build(&files, previous)
}

const FILTERS: &str = "
apiVersion: weft.dev/v1alpha1
kind: Filter
metadata: {name: canary}
spec: {image: 'oci-layout:images/canary:1.2', refresh: 30s, config: {b: 1, a: [x, null, 1.5]}, limits: {deadline: 1ms, memory: 1Mi}}
---
apiVersion: weft.dev/v1alpha1
kind: Filter
metadata: {name: unused}
spec: {image: 'oci://registry.example/unused:1'}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a.example]
  filters: [{name: canary}]
  http:
  - {filters: [{name: canary, config: {c: 2}}, {name: canary, config: {a: [x, null, 1.5], b: 1}}], directResponse: {status: 200}}
";

#[test]
fn policies_are_filters_with_one_config() {
    let world = world(&[("mesh/filters.yaml", FILTERS)]);
    let policies = world.policies();
    let got: Vec<_> = policies.iter().map(|p| (p.key.filter(), p.config.as_str())).collect();
    let own = r#"{"a":["x",null,1.5],"b":1}"#;
    assert_eq!(got, [("default/canary", own), ("default/canary", r#"{"c":2}"#)], "an unattached Filter is no policy");
    let policy = &policies[0];
    assert_eq!(policy.image, "oci-layout:mesh/images/canary:1.2", "relative to its file");
    assert_eq!((policy.refresh, policy.deadline), (Some(Duration::from_secs(30)), Duration::from_millis(1)));
    assert_eq!((policy.memory_max, policy.file.as_str(), policy.line), (1 << 20, "mesh/filters.yaml", 5));
    assert_ne!(policies[0].key, policies[1].key);
}

#[test]
fn members_carry_what_a_certificate_says() {
    let entry = "
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-v1, namespace: shop, labels: {version: v1}}
spec: {address: 10.0.0.1, labels: {app: reviews, version: v0}, serviceAccount: reviews-sa}
";
    let world = world(&[("w.yaml", entry)]);
    let member = world.member(&"shop/reviews-v1".parse().unwrap()).unwrap();
    assert_eq!(member.identity.as_str(), "spiffe://cluster.local/ns/shop/sa/reviews-sa");
    let labels = &member.labels;
    assert_eq!((labels.canonical_service.as_str(), labels.canonical_revision.as_str()), ("reviews", "v1"));
    assert_eq!(world.members().collect::<Vec<_>>(), [member]);
    assert_eq!(world.member(&"shop/other".parse().unwrap()), None);
}

#[test]
fn the_mesh_object_sets_what_holds_for_all() {
    let mesh = "
apiVersion: weft.dev/v1alpha1
kind: Mesh
metadata: {name: mesh}
spec:
  registries:
  - {host: 'Registry.example:5000', ca: ./ca.pem, credentials: {username: me, passwordFile: secrets/password}}
  - {host: local.example, plainHttp: true, credentials: {dockerConfig: /etc/docker.json}}
";
    let world = world(&[("conf/mesh.yaml", mesh)]);
    assert_eq!(world.problems(), []);
    let [first, second] = &world.mesh().registries[..] else { panic!("two registries") };
    assert_eq!((first.host.as_str(), first.ca.as_deref()), ("registry.example:5000", Some("conf/ca.pem")));
    let password = Credentials::Password { username: "me".into(), password_file: "conf/secrets/password".into() };
    assert_eq!(first.credentials, Some(password));
    assert_eq!(second.transport, Transport::PlainHttp);
    assert_eq!(second.credentials, Some(Credentials::DockerConfig { file: "/etc/docker.json".into() }));
}

fn route(status: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: a}}
spec: {{hosts: [a.example], http: [{{directResponse: {{status: {status}}}}}]}}
"
    )
}

#[test]
fn a_broken_object_keeps_its_last_good_version_until_it_is_repaired_or_gone() {
    let version = |world: &World| world.objects().map(|object| object.version).collect::<Vec<_>>();
    let good = world(&[("a.yaml", &route("200"))]);
    assert_eq!(version(&good), [ObjectVersion::Current]);
    let steps: [(&str, String, &[ObjectVersion]); 6] = [
        ("a wrong value", route("2000"), &[ObjectVersion::LastGood]),
        ("half a file", route("200")[..60].to_owned(), &[ObjectVersion::LastGood]),
        ("not even text", "\u{0}".into(), &[ObjectVersion::LastGood]),
        ("repaired", route("201"), &[ObjectVersion::Current]),
        ("a wrong value again", route("x"), &[ObjectVersion::LastGood]),
        ("emptied", "# nothing\n".into(), &[]),
    ];
    let mut last = good;
    for (step, text, want) in steps {
        let next = rebuilt(&[("a.yaml", &text)], &last);
        assert_eq!(version(&next), want, "{step}");
        let broken = want == [ObjectVersion::LastGood];
        assert_eq!(next.problems().iter().any(|p| p.severity == Severity::Error), broken, "{step}");
        assert_eq!(
            next.revision() == last.revision(),
            broken,
            "{step}: what counts has changed only where it is whole"
        );
        last = next;
    }
    let gone = rebuilt(&[], &rebuilt(&[("a.yaml", &route("x"))], &world(&[("a.yaml", &route("200"))])));
    assert_eq!(version(&gone), [], "a file that is gone takes its objects along");
}

#[test]
fn problems_are_json_for_programs() {
    let problems = check(&[SourceFile::new("a.yaml", route("99"))]);
    let want = serde_json::json!({
        "code": "BadValue",
        "severity": "error",
        "file": "a.yaml",
        "line": 5,
        "column": 61,
        "object": "VirtualService default/a",
        "field": "spec.http[0].directResponse.status",
        "reason": "99 is out of range",
        "remedy": "write a number from 200 to 599",
    });
    assert_eq!(serde_json::to_value(&problems).unwrap(), serde_json::json!([want]));
    assert_eq!(problems[0].code, Code::BadValue);
}

/// The seed of the issue, byte for byte.
#[test]
fn the_seed_example_is_accepted_with_a_warning_that_names_service_and_subset() {
    let seed = "apiVersion: networking.istio.io/v1alpha3
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
    let problems = check(&[SourceFile::new("reviews.yaml", seed)]);
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert_eq!((problem.severity, problem.code), (Severity::Warning, Code::UnknownHost));
    assert!(problem.reason.contains("reviews.default.svc.cluster.local"), "{problem}");
    assert!(problem.reason.contains("subset v1"), "{problem}");
}

/// What the demo and the guides show must be what `weft check` likes.
#[test]
fn the_examples_have_no_problems() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut folders = 0;
    for example in std::fs::read_dir(examples).unwrap() {
        let Ok(mesh) = std::fs::read_dir(example.unwrap().path().join("mesh")) else { continue };
        let yaml = mesh.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "yaml"));
        let files: Vec<_> =
            yaml.map(|path| SourceFile::new(path.to_string_lossy(), std::fs::read(&path).unwrap())).collect();
        assert_eq!(check(&files), []);
        folders += usize::from(!files.is_empty());
    }
    assert!(folders > 0, "no example has a folder mesh");
}
