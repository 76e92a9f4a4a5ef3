//! Builds real crates with real cargo: our own filters, and crates of a user outside of this workspace.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use weft_filter_build::{BuildError, BuildOptions, Built, CargoOutput, build};

fn filters() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn quiet() -> BuildOptions {
    BuildOptions { cargo_output: CargoOutput::Kept, ..BuildOptions::default() }
}

fn built(name: &str) -> Built {
    build(&filters().join(name), &quiet()).unwrap_or_else(|problem| panic!("{problem}"))
}

/// Our filters are small, import nothing but weft:filter, and say what they are.
#[test]
fn the_standard_filters_become_components() {
    for (name, exports) in [("canary", &["response-phase", "policy", "request-phase"][..])] {
        let built = built(name);
        println!("{name}: {} bytes", built.component.len());
        assert_eq!(built.name, format!("weft-filter-{name}"));
        let seen = &built.inspection;
        assert_eq!(seen.contract, "0.1.0", "{name}");
        assert_eq!(seen.exports, exports, "{name}");
        assert!(seen.config_schema.as_deref().unwrap().contains(&format!("\"title\": \"{name}\"")), "{name}");
        assert!(seen.doc.as_deref().unwrap().starts_with(&format!("# {name}\n")), "{name}");
    }
}
