//! The folder `mesh/` is a mesh without a problem, in which every service and every filter is found.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use weft_config::SourceFile;

#[test]
fn the_mesh_has_no_problems() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("mesh");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        files.push(SourceFile::new(name, std::fs::read(&path).unwrap()));
    }
    assert_eq!(files.len(), 4);
    let problems = weft_config::check(&files);
    assert!(problems.is_empty(), "{problems:#?}");
}
