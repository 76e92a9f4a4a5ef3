//! The folder source on a real file system: whatever people and tools do to files, the last state arrives.
#![allow(clippy::unwrap_used)]

use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};

struct Watched {
    sets: Receiver<FileSet>,
    wanted: Arc<AtomicBool>,
    last: FileSet,
}

impl Watched {
    fn start(root: &Path) -> Self {
        let (sender, sets) = channel();
        let wanted = Arc::new(AtomicBool::new(true));
        let (folder, still) = (Folder::new(root), wanted.clone());
        std::thread::spawn(move || {
            folder.watch(&mut |set| {
                let told = sender.send(set).is_ok() && still.load(Ordering::Relaxed);
                if told { Interest::Wanted } else { Interest::Gone }
            });
        });
        Self { sets, wanted, last: FileSet::default() }
    }

    /// Waits until the files are these (names below the root, and texts).
    fn eventually(&mut self, root: &Path, want: &[(&str, &str)]) {
        self.until(&format!("{want:?}"), |set| texts(set, root) == want);
    }

    fn until(&mut self, what: &str, fits: impl Fn(&FileSet) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !fits(&self.last) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.sets.recv_timeout(left) {
                Ok(set) => self.last = set,
                Err(_) => panic!("never came: {what}; last was {:?}", self.last),
            }
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.wanted.store(false, Ordering::Relaxed);
    }
}

fn texts<'a>(set: &'a FileSet, root: &Path) -> Vec<(&'a str, &'a str)> {
    let name = |path: &'a str| Path::new(path).strip_prefix(root).unwrap().to_str().unwrap();
    set.files.iter().map(|file| (name(&file.path), std::str::from_utf8(&file.bytes).unwrap_or("?"))).collect()
}

#[test]
fn files_come_change_and_go() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    fs::write(root.join("a.yaml"), "1").unwrap();
    let mut watched = Watched::start(root);
    watched.eventually(root, &[("a.yaml", "1")]);
    fs::write(root.join("b.yml"), "1").unwrap();
    watched.eventually(root, &[("a.yaml", "1"), ("b.yml", "1")]);
    fs::write(root.join("a.yaml"), "2").unwrap();
    watched.eventually(root, &[("a.yaml", "2"), ("b.yml", "1")]);
    fs::rename(root.join("b.yml"), root.join("c.yaml")).unwrap();
    watched.eventually(root, &[("a.yaml", "2"), ("c.yaml", "1")]);
    fs::write(root.join("new"), "3").unwrap();
    fs::rename(root.join("new"), root.join("a.yaml")).unwrap();
    watched.eventually(root, &[("a.yaml", "3"), ("c.yaml", "1")]);
    fs::remove_file(root.join("c.yaml")).unwrap();
    watched.eventually(root, &[("a.yaml", "3")]);
}

#[test]
fn folders_inside_are_watched_as_they_come() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    let mut watched = Watched::start(root);
    for round in 0..20 {
        let folder = root.join(format!("x{round:02}/y/z"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("a.yaml"), "1").unwrap();
    }
    watched.until("20 files", |set| set.files.len() == 20);
    fs::write(root.join("x07/y/z/a.yaml"), "2").unwrap();
    watched.until("the change in a new folder", |set| set.files[7].bytes[..] == *b"2");
    fs::rename(root.join("x00"), root.join("moved")).unwrap();
    watched.until("a moved folder", |set| set.files.len() == 20 && texts(set, root)[0] == ("moved/y/z/a.yaml", "1"));
    fs::write(root.join("moved/y/z/a.yaml"), "3").unwrap();
    watched.until("a change in a moved folder", |set| set.files[0].bytes[..] == *b"3");
    fs::remove_dir_all(root.join("moved")).unwrap();
    watched.until("a removed folder", |set| set.files.len() == 19);
}

#[test]
fn the_folder_itself_may_come_later_and_go() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("later/mesh");
    let mut watched = Watched::start(&root);
    watched.until("a problem", |set| set.problems.iter().any(|p| p.code == FileCode::FolderMissing));
    fs::create_dir_all(&root).unwrap();
    fs::write(root.join("a.yaml"), "1").unwrap();
    watched.eventually(&root, &[("a.yaml", "1")]);
    fs::remove_dir_all(&root).unwrap();
    watched.until("missing", |set| !set.problems.is_empty() && set.problems[0].code == FileCode::FolderMissing);
    let last = watched.last.files.len();
    assert!(last <= 1, "what was read last counts on");
    fs::create_dir_all(&root).unwrap();
    fs::write(root.join("b.yaml"), "2").unwrap();
    watched.eventually(&root, &[("b.yaml", "2")]);
}

#[test]
fn a_config_map_is_a_folder_of_links() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    let version = |name: &str, text: &str| {
        fs::create_dir(root.join(name)).unwrap();
        fs::write(root.join(name).join("a.yaml"), text).unwrap();
    };
    version("..1", "1");
    symlink("..1", root.join("..data")).unwrap();
    symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
    let mut watched = Watched::start(root);
    watched.eventually(root, &[("a.yaml", "1")]);
    version("..2", "2");
    symlink("..2", root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    fs::remove_dir_all(root.join("..1")).unwrap();
    watched.eventually(root, &[("a.yaml", "2")]);
}

#[test]
fn links_lead_out_and_round_in_circles() {
    let (scratch, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = scratch.path();
    fs::write(outside.path().join("real.yaml"), "1").unwrap();
    symlink(outside.path().join("real.yaml"), root.join("a.yaml")).unwrap();
    symlink(root, root.join("again")).unwrap();
    symlink("nowhere", root.join("b.yaml")).unwrap();
    let mut watched = Watched::start(root);
    watched.eventually(root, &[("a.yaml", "1")]);
    fs::write(outside.path().join("real.yaml"), "2").unwrap();
    watched.eventually(root, &[("a.yaml", "2")]);
    assert_eq!(watched.last.problems.len(), 1, "the link that leads nowhere: {:?}", watched.last.problems);
}

#[test]
fn a_file_is_read_when_its_writer_is_done() {
    use std::io::Write;
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    fs::write(root.join("a.yaml"), "whole").unwrap();
    let mut watched = Watched::start(root);
    watched.eventually(root, &[("a.yaml", "whole")]);
    let mut file = fs::File::create(root.join("a.yaml")).unwrap();
    file.write_all(b"ha").unwrap();
    fs::write(root.join("b.yaml"), "other").unwrap();
    watched.until("the other file", |set| set.files.len() == 2);
    assert_eq!(watched.last.files[0].bytes[..], *b"whole", "not half of it");
    file.write_all(b"lf").unwrap();
    drop(file);
    watched.eventually(root, &[("a.yaml", "half"), ("b.yaml", "other")]);
}

#[test]
fn what_editors_and_tools_leave_about_is_no_configuration() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    for name in
        [".a.yaml.swp", ".#a.yaml", "#a.yaml#", "a.yaml~", "4913", "notes.txt", "index.json", ".hidden.yaml", ".yaml"]
    {
        fs::write(root.join(name), "x").unwrap();
    }
    fs::create_dir_all(root.join(".git")).unwrap();
    fs::write(root.join(".git/a.yaml"), "x").unwrap();
    fs::create_dir_all(root.join("images/blobs")).unwrap();
    fs::write(root.join("images/oci-layout"), "{}").unwrap();
    fs::write(root.join("images/blobs/a.yaml"), "x").unwrap();
    fs::write(root.join("real.yaml"), "1").unwrap();
    assert_eq!(texts(&Folder::new(root).read(Instant::now()), root), [("real.yaml", "1")]);
}

#[test]
fn what_cannot_be_read_is_a_problem_and_its_last_text_counts() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    fs::write(root.join("a.yaml"), "1").unwrap();
    let mut folder = Folder::new(root);
    folder.read(Instant::now());
    fs::write(root.join("a.yaml"), vec![b'x'; 5 << 20]).unwrap();
    let set = folder.read(Instant::now());
    assert_eq!(texts(&set, root), [("a.yaml", "1")]);
    assert_eq!(set.problems[0].code, FileCode::TooLarge);
    fs::write(root.join("a.yaml"), [0xff, 0xfe]).unwrap();
    let set = folder.read(Instant::now());
    assert_eq!((&set.files[0].bytes[..], set.problems.len()), ([0xff, 0xfe].as_slice(), 0), "config says NotUtf8");
}

#[test]
fn nothing_is_lost_in_a_storm() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    let mut watched = Watched::start(root);
    for round in 0..50 {
        for file in 0..40 {
            fs::write(root.join(format!("{file:02}.yaml")), format!("{round}")).unwrap();
        }
    }
    watched.until("the last of each", |set| {
        set.files.len() == 40 && set.files.iter().all(|file| file.bytes[..] == *b"49")
    });
}
