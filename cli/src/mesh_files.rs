//! Reads the YAML files that a command's PATHs name, in the order that is their age: by path.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use weft_config::SourceFile;

const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// Files as they are named, folders with all YAML and JSON files in them, however deep.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            gather(path, &mut files)?;
        } else {
            files.push(path.clone());
        }
    }
    if files.is_empty() {
        let named: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        bail!("no file that ends in .yaml, .yml or .json in {}; name a file, or another folder", named.join(", "));
    }
    files.sort();
    files.dedup();
    files.iter().map(|path| file(path)).collect()
}

fn file(path: &Path) -> Result<SourceFile> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(SourceFile::new(path.display().to_string(), bytes))
}

fn gather(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read the folder {}", folder.display()))?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        if path.is_dir() {
            gather(&path, files)?;
        } else if path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known)) {
            files.push(path);
        }
    }
    Ok(())
}
