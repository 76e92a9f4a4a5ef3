//! Other people's tools: oras and skopeo read what we write, and we read what they write.

use crate::kit::{artifact, at, component, core_module, images, reference, told};
use crate::registry::Registry;
use std::fs;
use std::path::Path;
use std::process::Command;

fn run(command: &mut Command, missing: &str) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{missing}: {error}"));
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Python's oras, from the venv that tests/install makes.
fn oras(script: &str, arguments: &[&str], folder: &Path) -> String {
    let missing = "oras is missing: run tests/install tools, and set WEFT_ORAS_PYTHON to its venv's python";
    let python = std::env::var("WEFT_ORAS_PYTHON").unwrap_or_else(|_| {
        let cache = std::env::var("XDG_CACHE_HOME")
            .unwrap_or_else(|_| format!("{}/.cache", std::env::var("HOME").unwrap_or_default()));
        format!("{cache}/weft/oras/bin/python")
    });
    run(Command::new(python).arg("-c").arg(script).args(arguments).current_dir(folder), missing)
}

const ORAS_PUSH: &str = "
import sys, oras.client
host, target, file = sys.argv[1:]
oras.client.OrasClient(hostname=host, insecure=True).push(target=target, files=[file], disable_path_validation=True)
";

const ORAS_PULL: &str = "
import sys, oras.client
host, target, folder = sys.argv[1:]
print(*oras.client.OrasClient(hostname=host, insecure=True).pull(target=target, outdir=folder))
";

#[tokio::test]
async fn oras_both_ways() {
    let registry = Registry::plain();
    let folder = tempfile::tempdir().unwrap();
    let host = registry.address.to_string();
    fs::write(folder.path().join("filter.wasm"), component("by oras")).unwrap();
    fs::write(folder.path().join("module.wasm"), core_module("by oras")).unwrap();

    let target = format!("{host}/oras/filter:1");
    oras(ORAS_PUSH, &[&host, &target, "filter.wasm:application/wasm"], folder.path());
    let pulled = images().pull(&at(registry.address, "oras/filter:1"), folder.path()).await.unwrap();
    assert_eq!(fs::read(pulled.component.path()).unwrap(), component("by oras"));

    let cases = [
        ("filter.wasm:application/vnd.acme.thing", "application/vnd.acme.thing"),
        ("module.wasm:application/wasm", "a core WebAssembly module"),
    ];
    for (file, refusal) in cases {
        oras(ORAS_PUSH, &[&host, &format!("{host}/oras/bad:1"), file], folder.path());
        let error = images().pull(&at(registry.address, "oras/bad:1"), folder.path()).await.unwrap_err();
        assert!(told(&error).contains(refusal), "{file}: {}", told(&error));
    }

    images().push(&at(registry.address, "weft/filter:1"), artifact("by weft")).await.unwrap();
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    let files = oras(ORAS_PULL, &[&host, &format!("{host}/weft/filter:1"), &out.display().to_string()], folder.path());
    assert_eq!(fs::read(files.trim()).unwrap(), component("by weft"), "{files}");
}

#[tokio::test]
async fn skopeo_carries_a_folder_to_a_registry_and_back() {
    let registry = Registry::plain();
    let folder = tempfile::tempdir().unwrap();
    let skopeo = |from: &str, to: &str| {
        let policy = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
        let policy_file = folder.path().join("policy.json");
        fs::write(&policy_file, policy).unwrap();
        let mut command = Command::new("skopeo");
        command.arg("--policy").arg(policy_file).args([
            "copy",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            from,
            to,
        ]);
        run(&mut command, "skopeo is missing: apt-get install skopeo");
    };
    let ours = format!("{}/ours", folder.path().display());
    let theirs = format!("{}/theirs", folder.path().display());
    let pushed = images().push(&reference(&format!("oci-layout:{ours}:1")), artifact("one")).await.unwrap();

    let remote = format!("docker://{}/canary:1", registry.address);
    skopeo(&format!("oci:{ours}:1"), &remote);
    let pulled = images().pull(&at(registry.address, "canary:1"), folder.path()).await.unwrap();
    assert_eq!((pulled.image, pulled.component.digest()), (pushed.image, pushed.component));

    for (to, from) in [
        (format!("oci:{theirs}:1"), format!("{theirs}:1")),
        (format!("oci:{theirs}-untagged"), format!("{theirs}-untagged")),
    ] {
        skopeo(&remote, &to);
        let pulled = images().pull(&reference(&format!("oci-layout:{from}")), folder.path()).await.unwrap();
        assert_eq!((pulled.image, pulled.component.digest()), (pushed.image, pushed.component), "{to}");
    }
}
