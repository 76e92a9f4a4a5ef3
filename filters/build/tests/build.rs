//! Builds real crates with real cargo: our own filters, and crates of a user outside of this workspace.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use weft_filter_build::{BuildError, BuildOptions, Built, CargoOutput, build, encode, inspect};

fn filters() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn quiet() -> BuildOptions {
    BuildOptions { cargo_output: CargoOutput::Kept, ..BuildOptions::default() }
}

fn built(name: &str) -> Built {
    build(&filters().join(name), &quiet()).unwrap_or_else(|problem| panic!("{problem}"))
}

/// A user's crate: a workspace of its own, with our lock file so that nothing has to be looked up.
struct User {
    dir: tempfile::TempDir,
}

impl User {
    fn new(manifest: &str, source: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sdk = filters().join("sdk");
        let head = "[package]\nname = \"user\"\nversion = \"1.2.3\"\nedition = \"2024\"\n[workspace]\n";
        let manifest = format!("{head}{}", manifest.replace("SDK", sdk.to_str().unwrap()));
        std::fs::create_dir(dir.path().join("src")).unwrap();
        std::fs::write(dir.path().join("Cargo.toml"), manifest).unwrap();
        std::fs::write(dir.path().join("src/lib.rs"), source).unwrap();
        std::fs::copy(filters().join("../Cargo.lock"), dir.path().join("Cargo.lock")).unwrap();
        Self { dir }
    }

    /// In this workspace's target folder, where the dependencies are built already.
    fn build(&self) -> Result<Built, BuildError> {
        let test = std::env::current_exe().unwrap();
        let target = test.ancestors().nth(3).unwrap().to_owned();
        let env = vec![("CARGO_NET_OFFLINE".to_owned(), "true".to_owned())];
        build(self.dir.path(), &BuildOptions { target_dir: Some(target), env, ..quiet() })
    }
}

const CDYLIB: &str = "[lib]\ncrate-type = [\"cdylib\"]\n";

/// Bytes that a standard filter may have, documentation and schema included.
const STANDARD_BYTES_MAX: usize = 112 * 1024;

/// Our filters are small, import nothing but weft:filter, and say what they are.
#[test]
fn the_standard_filters_become_components() {
    let both = &["policy", "request-phase", "response-phase"][..];
    for (name, exports) in [("canary", both), ("headers", both), ("authz", &both[..2])] {
        let built = built(name);
        println!("{name}: {} bytes", built.component.len());
        assert!(built.component.len() <= STANDARD_BYTES_MAX, "{name} has {} bytes", built.component.len());
        assert_eq!(built.name, format!("weft-filter-{name}"));
        let seen = &built.inspection;
        assert_eq!(seen.contract, "0.1.0", "{name}");
        assert_eq!(seen.exports, exports, "{name}");
        let schema: serde_json::Value = serde_json::from_str(seen.config_schema.as_deref().unwrap()).unwrap();
        assert_eq!(schema["title"], name);
        assert!(seen.doc.as_deref().unwrap().starts_with(&format!("# {name}\n")), "{name}");
    }
}

#[test]
fn the_environment_is_compiled_in() {
    let holds = |component: &[u8], text: &str| component.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    for weights in ["v1=77,v3=23", "v1=23,v3=77"] {
        let env = vec![("WEFT_CANARY_SUBSETS".to_owned(), weights.to_owned())];
        let built = build(&filters().join("canary"), &BuildOptions { env, ..quiet() }).unwrap();
        assert!(holds(&built.component, weights), "{weights}");
    }
}

/// What the guide tells a user to write, outside of our workspace.
#[test]
fn a_user_builds_his_own() {
    let manifest = format!(
        "{CDYLIB}[dependencies]\nweft-filter-sdk = {{ path = \"SDK\" }}\nserde = {{ version = \"1\", features = [\"derive\"] }}\n"
    );
    let source = r#"
        #[derive(serde::Deserialize)]
        struct Config { gold: String }
        struct Tier(Config);
        use weft_filter_sdk::{ConfigError, Filter, Interest, Request, Verdict};
        impl Filter for Tier {
            type Config = Config;
            fn configure(config: Config, interest: &mut Interest) -> Result<Self, ConfigError> {
                interest.request("x-user");
                interest.set_request("x-tier");
                Ok(Self(config))
            }
            fn on_request(&self, request: &Request) -> Verdict {
                match request.header("x-user") {
                    Some(user) if user == self.0.gold => request.forward().set("x-tier", "gold").into(),
                    _ => Verdict::Pass,
                }
            }
        }
        weft_filter_sdk::export!(filter: Tier, world: request-filter, schema: "{}");
    "#;
    let built = User::new(&manifest, source).build().unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!((built.name.as_str(), built.version.as_str()), ("user", "1.2.3"));
    assert_eq!(built.inspection.exports, ["policy", "request-phase"]);
    assert_eq!((built.inspection.config_schema.as_deref(), built.inspection.doc), (Some("{}"), None));

    let module = std::fs::read(&built.module).unwrap();
    assert!(matches!(inspect(&module), Err(BuildError::CoreModule)));
    assert!(matches!(encode(&built.component), Err(BuildError::AlreadyComponent)));
    assert!(inspect(&built.component[..built.component.len() - 1]).is_err(), "cut short");
}

#[test]
fn errors_say_what_to_do() {
    let cases: [(BuildError, &str); 3] = [
        (
            build(&filters().join("nothing"), &quiet()).unwrap_err(),
            "has no Cargo.toml; name the folder of a filter crate",
        ),
        (build(&filters().join(".."), &quiet()).unwrap_err(), "is a workspace without a package of its own"),
        (
            build(&filters().join("build"), &quiet()).unwrap_err(),
            "crate weft-filter-build is no dynamic library; add `[lib]` with `crate-type = [\"cdylib\"]`",
        ),
    ];
    for (problem, want) in cases {
        assert!(problem.to_string().contains(want), "{problem}");
    }
    let cases = [
        ("[lib\n", "", "cargo cannot read the crate in"),
        (CDYLIB, "pub fn f() -> u8 { 'a' }", "mismatched types"),
        (CDYLIB, "#[unsafe(no_mangle)] pub extern \"C\" fn f() {}", "call `weft_filter_sdk::export!`"),
    ];
    for (manifest, source, want) in cases {
        let problem = User::new(manifest, source).build().unwrap_err();
        assert!(problem.to_string().contains(want), "{problem}");
    }
    assert!(matches!(encode(b"text"), Err(BuildError::NotWasm)));
    assert!(matches!(encode(b"\0asm\x01\0\0\0\0\xff\xff\xff\xff\xff"), Err(BuildError::Truncated { at: 9 })));
}
