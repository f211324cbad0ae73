//! Whole stores whose indexes, packs, refs and logs are foreign bytes: a check and a repair of what comes of them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use mkimage::base::{Digest, ImagePath};
use mkimage::store::{Architecture, Commit, DiskSpec, Expected, Filesystem, RefName, RefUpdate, Store};
use mkimage::tree::{ContentSink, Directory, File, Metadata, Node};

use super::JOB;

pub const WORDS: &[&str] =
    &["refs/main", "1 ", "2 ", " - ", "\n", "MKIPACK\x01", "MKINDEX\x01", "MKITAIL\x01"];

const HEAD_BYTES: usize = 6200;
const ROW_BYTES: usize = 44;
const REF_CONTEXT: &str = "mkimage 2026 ref v1";
const FORMAT: &str = "mkimage-store 1\nhash blake3\ngc-protocol 2\ncritical packs-1\n";

/// A folder that goes when dropped, in memory where there is such a place.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let name = format!("mkimage-fuzz-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        Scratch(folder)
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, bytes).expect("written");
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Checks and repairs; what a repair says to be whole has to be.
fn mend(scratch: &Scratch) {
    let store = Store::open_damaged(&scratch.0);
    let Ok(report) = store.check(&JOB) else { return };
    let _ = store.check_quickly(&JOB);
    let Ok(done) = store.repair(&report, &[], &JOB) else { return };
    let again = Store::open_damaged(&scratch.0).check(&JOB).expect("checked");
    assert!(!done.is_whole() || again.is_sound(), "{report:?}\n{done:?}\n{again:?}");
}

/// Reads a pack and its index: the length of the index in 4 bytes, the index, the pack.
pub fn pack(mut bytes: &[u8]) {
    let length = super::take(&mut bytes, 4) as usize;
    let (index, pack) = bytes.split_at(length.min(bytes.len()));
    let (index, name) = with_right_sums(index);
    let scratch = Scratch::new();
    scratch.write("format", FORMAT.as_bytes());
    scratch.write(&format!("packs/{name}.idx"), &index);
    scratch.write(&format!("packs/{name}.pack"), pack);
    mend(&scratch);
}

/// Makes every checksum of an index right, from the records outward, so that mutations get behind them.
fn with_right_sums(index: &[u8]) -> (Vec<u8>, Digest) {
    let mut index = index[..index.len().saturating_sub(32)].to_vec();
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    if index.len() >= HEAD_BYTES {
        let objects = number(&index[8..16]).min(((index.len() - HEAD_BYTES) / ROW_BYTES) as u64) as usize;
        for row in 0..objects {
            let row = HEAD_BYTES + row * ROW_BYTES;
            let id = &index[row..row + 32].to_vec();
            let (at, length) =
                (number(&index[row + 32..row + 40]), number(&index[row + 40..row + 44]) as usize);
            let Ok(at) = usize::try_from(at) else { continue };
            let Some(end) = at.checked_add(length).filter(|end| *end <= index.len() && length >= 16) else {
                continue;
            };
            let sum = Digest::of(&[&id[..], &index[at..end - 16]].concat());
            index[end - 16..end].copy_from_slice(&sum.0[..16]);
        }
        let mut start = 0;
        for bucket in 0..256 {
            let at = 24 + bucket * 24;
            let end = (number(&index[at..at + 8]).min(objects as u64) as usize).max(start);
            let rows = &index[HEAD_BYTES + start * ROW_BYTES..HEAD_BYTES + end * ROW_BYTES];
            let sum = Digest::of(rows);
            index[at + 8..at + 24].copy_from_slice(&sum.0[..16]);
            start = end;
        }
        let sum = Digest::of(&index[..HEAD_BYTES - 32]);
        index[HEAD_BYTES - 32..HEAD_BYTES].copy_from_slice(&sum.0);
    }
    let name = Digest::of(&index);
    index.extend_from_slice(name.as_bytes());
    (index, name)
}

/// Reads small files: one after the other, each a line with its path and its length, then its bytes. The check
/// at the end of every line is made right first.
pub fn lines(bytes: &[u8]) {
    let scratch = Scratch::new();
    scratch.write("format", FORMAT.as_bytes());
    let text = String::from_utf8_lossy(bytes);
    for part in text.split("@@") {
        let Some((path, text)) = part.split_once('\n') else { continue };
        let is_ours = ["refs/", "reflog/", "journal/"].iter().any(|folder| path.starts_with(folder));
        if is_ours && path.len() < 200 && ImagePath::new(format!("/{path}").as_bytes()).is_ok() {
            let lines: String = text.split_inclusive('\n').map(with_right_check).collect();
            let target = scratch.0.join(path);
            let parent = target.parent().expect("a parent");
            if std::fs::create_dir_all(parent).is_ok() {
                let _ = std::fs::write(target, lines);
            }
        }
    }
    let store = Store::open_damaged(&scratch.0);
    let _ = (store.refs(), store.resolve("main~1"), store.resolve("main^"));
    for name in store.logged_refs().into_iter().flatten() {
        let _ = store.log(&name);
    }
    mend(&scratch);
}

fn with_right_check(line: &str) -> String {
    let end = if line.ends_with('\n') { "\n" } else { "" };
    let text = line.trim_end_matches('\n');
    match text.len().checked_sub(64).filter(|cut| text.is_char_boundary(*cut)) {
        Some(cut) => {
            let body = &text[..cut];
            format!("{body}{}{end}", Digest::derive(REF_CONTEXT, body.as_bytes()))
        }
        None => line.to_owned(),
    }
}

/// A store with two versions of a tree; `main` led to both.
fn sample() -> Scratch {
    let scratch = Scratch::new();
    let store = Store::open(&scratch.0).expect("opened");
    for version in 0..2u8 {
        let transaction = store.begin(&JOB);
        let mut root = Directory::default();
        let mut sparse = vec![0; 9000];
        sparse[8000] = version + 1;
        for (name, bytes) in
            [("text", vec![b'a' + version; 300]), ("short", vec![version; 9]), ("sparse", sparse)]
        {
            let content = transaction.put(&bytes).expect("put");
            let path = ImagePath::new(format!("/{name}").as_bytes()).expect("a path");
            root.insert(&path, Node::File(File { metadata: Metadata::root(0o644), content }))
                .expect("inserted");
        }
        let tree = transaction.put_tree(&JOB, &root.seal().expect("sealed")).expect("put");
        let commit = transaction.put_commit(&commit_of(tree)).expect("put");
        let updates = ["main", "other/ref"].map(|name| RefUpdate {
            name: RefName::new(name).expect("a name"),
            expected: Expected::Any,
            new: commit,
        });
        transaction.commit(&updates, "a seed").expect("committed");
    }
    scratch
}

fn commit_of(tree: mkimage::store::TreeRef) -> Commit {
    let disk = DiskSpec {
        layout: 1,
        architecture: Architecture::X86_64,
        filesystem: Filesystem::Ext4,
        slot_size: None,
        uki_size: None,
        data_size: 0,
        data_path: "/data".to_owned(),
        tries: 3,
    };
    Commit {
        tree,
        boot: None,
        disk,
        epoch: 0,
        name: "seed".to_owned(),
        version: None,
        recipe: Vec::new(),
        variables: Default::default(),
        lock: None,
        inputs: Vec::new(),
        parents: Vec::new(),
        tool_version: "0".to_owned(),
        annotations: Default::default(),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let names = mkimage::base::fs::list(folder).unwrap_or_default();
    names.into_iter().map(|name| name.to_string_lossy().into_owned()).collect()
}

pub fn pack_seeds() -> Vec<Vec<u8>> {
    let scratch = sample();
    let folder = scratch.0.join("packs");
    let read = |name: &str| std::fs::read(folder.join(name)).expect("read");
    let indexes = names(&folder).into_iter().filter(|name| name.ends_with(".idx"));
    indexes
        .map(|index| {
            let (index, pack) = (read(&index), read(&index.replace(".idx", ".pack")));
            [&(index.len() as u32).to_le_bytes()[..], &index, &pack].concat()
        })
        .collect()
}

pub fn lines_seeds() -> Vec<Vec<u8>> {
    let scratch = sample();
    let mut seed = String::new();
    let mut reference = String::new();
    for (folder, name) in
        [("refs", "main"), ("refs/other", "ref"), ("reflog", "main@"), ("reflog/other", "ref@")]
    {
        let text = std::fs::read_to_string(scratch.0.join(folder).join(name)).expect("read");
        if folder == "refs" {
            reference.clone_from(&text);
        }
        seed.push_str(&format!("{folder}/{name}\n{text}@@"));
    }
    let head = format!("a message {}", "0".repeat(64));
    let journal = format!("journal/00\n{head}\nmain {reference}new {reference}");
    vec![seed.clone().into_bytes(), format!("{seed}{journal}").into_bytes(), journal.into_bytes()]
}
