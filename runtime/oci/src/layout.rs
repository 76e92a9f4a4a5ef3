//! A folder as a registry: the OCI image layout, read and written so that other tools may use it at the same time.
//!
//! Writers of ours take turns by a lock on the file `oci-layout`; readers never wait, since every file appears whole
//! by a rename. Blocking: images.rs calls it from a blocking thread. Does not know HTTP.

use crate::error::Cause;
use crate::image::{self, Descriptor, Image, MANIFEST};
use crate::spool::{Spool, Spooled, folder_cause};
use serde_json::json;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;
use weft_snapshot::Digest;

pub(crate) struct Layout<'a> {
    pub(crate) path: &'a Path,
}

const REF_NAME: &str = "org.opencontainers.image.ref.name";
const MARKER: &str = "oci-layout";
const INDEX: &str = "index.json";
const COPY_BYTES: usize = 64 << 10;

impl Layout<'_> {
    pub(crate) fn resolve(&self, tag: &str, bytes_max: u64) -> Result<Digest, Cause> {
        let manifests = manifests(&self.index(bytes_max)?)?;
        let tagged = manifests.iter().find(|entry| entry.annotations.get(REF_NAME).is_some_and(|name| name == tag));
        match (tagged, manifests.as_slice()) {
            (Some(entry), _) => entry.digest(),
            // What tools write when nobody gave a tag.
            (None, [only]) if tag == "latest" && !only.annotations.contains_key(REF_NAME) => only.digest(),
            _ => Err(Cause::NotFound { place: self.path.display().to_string() }),
        }
    }

    pub(crate) fn manifest(&self, digest: Digest, bytes_max: u64) -> Result<Vec<u8>, Cause> {
        read_bounded(&self.open_blob(digest)?, "the manifest", bytes_max)
            .map_err(|error| error.into_cause(&self.blob(digest)))
    }

    pub(crate) fn component(&self, digest: Digest, mut spool: Spool) -> Result<Spooled, Cause> {
        let mut file = self.open_blob(digest)?;
        let mut chunk = vec![0; COPY_BYTES];
        loop {
            match file.read(&mut chunk) {
                Ok(0) => return spool.finish(),
                Ok(n) => spool.write(&chunk[..n])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(folder_cause(&self.blob(digest), &error)),
            }
        }
    }

    /// A tag that pointed elsewhere moves; what it pointed to stays, since somebody may be reading it.
    pub(crate) fn push(&self, image: &Image, tag: &str, bytes_max: u64) -> Result<(), Cause> {
        let wrap = |error: io::Error| folder_cause(self.path, &error);
        fs::create_dir_all(self.path.join("blobs/sha256")).map_err(wrap)?;
        self.mark().map_err(wrap)?;
        let blobs = [
            (image.digests.component, &image.component),
            (image.digests.config, &image.config),
            (image.digests.manifest, &image.manifest),
        ];
        for (digest, bytes) in blobs {
            // Written again even where it exists: the one that exists may be damaged, and a push repairs.
            write_whole(&self.blob(digest), bytes).map_err(wrap)?;
        }
        let lock = File::open(self.path.join(MARKER)).map_err(wrap)?;
        lock.lock().map_err(wrap)?;
        let mut index = match self.index(bytes_max) {
            Ok(index) => index,
            Err(Cause::NotFound { .. }) => json!({"schemaVersion": 2, "mediaType": image::INDEX, "manifests": []}),
            Err(other) => return Err(other),
        };
        let mut entries = manifests(&index)?;
        entries.retain(|entry| entry.annotations.get(REF_NAME).is_none_or(|name| name != tag));
        index["manifests"] = json!(entries);
        if let Some(list) = index["manifests"].as_array_mut() {
            list.push(json!({
                "mediaType": MANIFEST,
                "digest": image.digests.manifest.to_string(),
                "size": image.manifest.len(),
                "annotations": {REF_NAME: tag},
            }));
        }
        write_whole(&self.path.join(INDEX), index.to_string().as_bytes()).map_err(wrap)
    }

    fn mark(&self) -> io::Result<()> {
        let marker = self.path.join(MARKER);
        if marker.exists() {
            return Ok(());
        }
        let mut file = NamedTempFile::new_in(self.path)?;
        file.write_all(br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        shared(&file)?;
        match file.persist_noclobber(&marker) {
            Ok(_) => Ok(()),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error.error),
        }
    }

    fn index(&self, bytes_max: u64) -> Result<serde_json::Value, Cause> {
        let path = self.path.join(INDEX);
        let file = File::open(&path).map_err(|error| missing(self.path, &error))?;
        let bytes = read_bounded(&file, "index.json", bytes_max).map_err(|error| error.into_cause(&path))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Cause::Malformed { what: path.display().to_string(), reason: error.to_string() })
    }

    fn open_blob(&self, digest: Digest) -> Result<File, Cause> {
        File::open(self.blob(digest)).map_err(|error| missing(self.path, &error))
    }

    fn blob(&self, digest: Digest) -> PathBuf {
        let text = digest.to_string();
        self.path.join("blobs/sha256").join(text.trim_start_matches("sha256:"))
    }
}

fn manifests(index: &serde_json::Value) -> Result<Vec<Descriptor>, Cause> {
    serde_json::from_value(index["manifests"].clone())
        .map_err(|error| Cause::Malformed { what: INDEX.to_owned(), reason: error.to_string() })
}

fn missing(path: &Path, error: &io::Error) -> Cause {
    match error.kind() {
        io::ErrorKind::NotFound => Cause::NotFound { place: path.display().to_string() },
        _ => folder_cause(path, error),
    }
}

enum ReadError {
    Io(io::Error),
    TooLarge(Cause),
}

impl ReadError {
    fn into_cause(self, path: &Path) -> Cause {
        match self {
            Self::Io(error) => folder_cause(path, &error),
            Self::TooLarge(cause) => cause,
        }
    }
}

fn read_bounded(file: &File, what: &'static str, bytes_max: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(ReadError::Io)?;
    if bytes.len() as u64 > bytes_max {
        return Err(ReadError::TooLarge(Cause::TooLarge { what, bytes: bytes.len() as u64, bytes_max }));
    }
    Ok(bytes)
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    shared(&file)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// A temporary file is its owner's alone; a layout is for everybody who may read its folder.
fn shared(file: &NamedTempFile) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644))
}
