//! Golden folders of injection: `in.yaml` becomes `out.yaml`, or the sentences of `said.txt`. `UPDATE=1` rewrites them.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use weft_config::{from_yaml, to_yaml_documents};
use weft_controlplane::inject::{Injection, Namespace, Outcome, Settings, inject_object};

/// All that becomes of one folder's objects.
fn run(folder: &Path) -> (String, String) {
    let settings = Settings { image: "weft.dev/weft-proxy:test".to_owned(), ..Settings::default() };
    let namespace = |name: &str| Namespace {
        name: name.to_owned(),
        labels: BTreeMap::from([("istio-injection".to_owned(), "enabled".to_owned())]),
    };
    let mut objects = from_yaml(&std::fs::read_to_string(folder.join("in.yaml")).unwrap()).unwrap();
    let mut said = String::new();
    for object in &mut objects {
        let Injection::Pods(outcomes) = inject_object(object, &settings, &namespace) else { continue };
        for (name, outcome) in outcomes {
            match outcome {
                Outcome::Injected(injected) => {
                    for sentence in injected.not_supported {
                        writeln!(said, "{name}: {sentence}").unwrap();
                    }
                }
                Outcome::Skipped(skip) => writeln!(said, "{name} is skipped: {skip}").unwrap(),
                Outcome::Refused(refused) => writeln!(said, "{name} is refused: {refused}").unwrap(),
            }
        }
        // A second run, as after another webhook, changes nothing.
        let once = object.clone();
        inject_object(object, &settings, &namespace);
        assert_eq!(*object, once, "{}: a second run", folder.display());
    }
    let version = concat!(r#""version":""#, env!("CARGO_PKG_VERSION"), r#"""#);
    (to_yaml_documents(&objects).replace(version, r#""version":"VERSION""#), said)
}

#[test]
fn golden_folders() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/injection");
    let mut wrong = Vec::new();
    let mut folders: Vec<_> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() > 4, "only {folders:?}");
    for folder in folders {
        let (out, said) = run(&folder);
        for (name, got) in [("out.yaml", out), ("said.txt", said)] {
            let path = folder.join(name);
            if std::env::var_os("UPDATE").is_some() {
                std::fs::write(&path, &got).unwrap();
            }
            if std::fs::read_to_string(&path).unwrap_or_default() != got {
                wrong.push(path);
            }
        }
    }
    assert!(wrong.is_empty(), "differ (UPDATE=1 rewrites them): {wrong:#?}");
}
