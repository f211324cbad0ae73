//! Damaged stores, named by their damage: each is made here from a sound one.

use std::path::{Path, PathBuf};

use super::*;
use mkimage::base::{Digest, StepKey};
use mkimage::store::{CheckReport, Damage, Found, Objects, RefValue};
use mkimage::tree::ContentSource;

/// A store with three packs and three refs, and a copy of it that nobody damages.
pub struct Sample {
    pub folder: tempfile::TempDir,
    pub commits: BTreeMap<&'static str, CommitId>,
}

impl Sample {
    pub fn new() -> Self {
        let folder = folder();
        let store = open(&folder.path().join("store"));
        let commits = BTreeMap::from([
            ("old", publish(&store, "web", 1)),
            ("web", publish(&store, "web", 2)),
            ("prod", publish(&store, "env/prod", 3)),
        ]);
        for key in 0..4u8 {
            store.memo_put(&StepKey(Digest::of(&[key])), &[key; 40]).expect("remembered");
        }
        drop(store);
        let sample = Sample { folder, commits };
        copy(&sample.path(), &sample.good());
        sample
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    pub fn good(&self) -> PathBuf {
        self.folder.path().join("good")
    }

    pub fn store(&self) -> Store {
        Store::open_damaged(self.path())
    }

    pub fn check(&self) -> CheckReport {
        self.store().check(&job()).expect("checked")
    }

    /// The pack in which the files of a version lie, with its suffix.
    pub fn pack(&self, version: u32, suffix: &str) -> PathBuf {
        let content = mkimage::tree::Content::of(&noise(u64::from(version), 5000));
        let holds = |index: &PathBuf| {
            let bytes = std::fs::read(index).expect("read");
            bytes.windows(32).any(|window| window == content.id.as_bytes())
        };
        let names = list(self.good().join("packs"));
        let indexes = names.iter().map(|name| self.good().join("packs").join(name));
        let mut indexes = indexes.filter(|path| path.extension().is_some_and(|suffix| suffix == "idx"));
        let index = indexes.find(holds).expect("a pack with the version");
        self.path().join("packs").join(index.file_name().expect("a name")).with_extension(suffix)
    }

    /// Reads all that a commit leads to, as it was put; returns what can't be read.
    pub fn unreadable(&self, version: u32, commit: &CommitId) -> Vec<String> {
        let store = self.store();
        let mut wrong = Vec::new();
        let read = match store.read_commit(commit) {
            Ok(read) => read,
            Err(error) => return vec![error.to_string()],
        };
        let expected = [
            ("/etc/version", format!("version {version}\n").into_bytes()),
            ("/etc/same", b"the same in every version, and long enough to be compressed".to_vec()),
            ("/usr/share/empty", Vec::new()),
            ("/usr/share/noise", noise(u64::from(version), 5000)),
        ];
        for (at, bytes) in expected {
            let found = store.find(&read.tree, &path(at), false).and_then(|found| match found {
                Found::Leaf(Node::File(file)) => Ok(store.read_all(&file.content)?),
                other => panic!("{at}: {other:?}"),
            });
            match found {
                Ok(found) => assert!(found == bytes, "{at}: other bytes"),
                Err(error) => wrong.push(format!("{at}: {error}")),
            }
        }
        wrong
    }

    pub fn all_unreadable(&self) -> Vec<String> {
        [(1, "old"), (2, "web"), (3, "prod")]
            .iter()
            .flat_map(|(version, name)| self.unreadable(*version, &self.commits[name]))
            .collect()
    }

    pub fn refs(&self) -> BTreeMap<RefName, RefValue> {
        self.store().refs().expect("refs")
    }
}

pub fn copy(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.expect("walked");
        let target = to.join(entry.path().strip_prefix(from).expect("below"));
        if entry.file_type().is_dir() {
            std::fs::create_dir_all(&target).expect("made");
        } else {
            std::fs::copy(entry.path(), &target).expect("copied");
        }
    }
}

/// Changes a file as rot would: the store itself never does.
pub fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).expect("read");
    std::fs::remove_file(path).expect("removed");
    change(&mut bytes);
    std::fs::write(path, bytes).expect("written");
}

pub fn flip(path: &Path, at: usize) {
    change(path, |bytes| bytes[at] ^= 0x10);
}

pub fn end(path: &Path) -> usize {
    std::fs::metadata(path).expect("there").len() as usize
}

/// Where the bytes of a version's incompressible file lie in its pack.
pub fn noise_at(pack: &Path, version: u32) -> usize {
    let (bytes, wanted) = (std::fs::read(pack).expect("read"), noise(u64::from(version), 32));
    bytes.windows(32).position(|window| window == wanted).expect("it lies there as it is")
}

/// Where the first record of an index lies: behind the head and the rows.
pub fn records(index: &Path) -> usize {
    let bytes = std::fs::read(index).expect("read");
    6200 + 44 * u64::from_le_bytes(bytes[8..16].try_into().expect("8 bytes")) as usize
}

/// What a check has to call a damage.
pub type Called = fn(&Damage) -> bool;

pub fn object(place: &Damage) -> bool {
    matches!(place, Damage::Object { has_copy: false, .. })
}

pub fn index(place: &Damage) -> bool {
    matches!(place, Damage::Index { .. })
}

pub fn pack(place: &Damage) -> bool {
    matches!(place, Damage::Pack { .. })
}

pub fn missing(place: &Damage) -> bool {
    matches!(place, Damage::Missing { .. })
}

pub fn reference(place: &Damage) -> bool {
    matches!(place, Damage::Ref { .. })
}

pub fn reflog(place: &Damage) -> bool {
    matches!(place, Damage::Log { .. })
}

pub fn journal(place: &Damage) -> bool {
    matches!(place, Damage::Journal { .. })
}

pub fn format(place: &Damage) -> bool {
    *place == Damage::Format
}

/// A damage: its name, how it is done, what a check calls it, and whether the store can make it good alone.
pub type Case = (&'static str, fn(&Sample), Called, bool);

pub const DAMAGES: &[Case] = &[
    ("pack-magic", |s| flip(&s.pack(2, "pack"), 3), pack, true),
    ("pack-frame-compressed", |s| flip(&s.pack(2, "pack"), 8), object, false),
    ("pack-frame-plain", |s| flip(&s.pack(2, "pack"), noise_at(&s.pack(2, "pack"), 2) + 77), object, false),
    (
        "pack-all-frames-zero",
        |s| {
            let pack = s.pack(3, "pack");
            let tail = noise_at(&pack, 3) + 5000;
            change(&pack, |bytes| bytes[8..tail].fill(0));
        },
        object,
        false,
    ),
    ("pack-trailer-entries", |s| flip(&s.pack(2, "pack"), end(&s.pack(2, "pack")) - 60), pack, true),
    ("pack-trailer-check", |s| flip(&s.pack(2, "pack"), end(&s.pack(2, "pack")) - 40), pack, true),
    ("pack-trailer-magic", |s| flip(&s.pack(2, "pack"), end(&s.pack(2, "pack")) - 1), pack, true),
    ("pack-cut", |s| change(&s.pack(2, "pack"), |bytes| bytes.truncate(bytes.len() - 1)), pack, false),
    ("pack-longer", |s| change(&s.pack(2, "pack"), |bytes| bytes.push(0)), pack, false),
    ("pack-empty", |s| change(&s.pack(2, "pack"), Vec::clear), pack, false),
    ("pack-lost", |s| std::fs::remove_file(s.pack(2, "pack")).expect("removed"), missing, false),
    ("index-magic", |s| flip(&s.pack(2, "idx"), 1), index, true),
    ("index-count", |s| flip(&s.pack(2, "idx"), 8), index, true),
    ("index-ends", |s| flip(&s.pack(2, "idx"), 3000), index, true),
    ("index-head-check", |s| flip(&s.pack(2, "idx"), 6190), index, true),
    ("index-row", |s| flip(&s.pack(2, "idx"), 6210), index, true),
    ("index-record", |s| flip(&s.pack(2, "idx"), records(&s.pack(2, "idx")) + 3), index, true),
    ("index-name", |s| flip(&s.pack(2, "idx"), end(&s.pack(2, "idx")) - 5), index, true),
    ("index-cut", |s| change(&s.pack(2, "idx"), |bytes| bytes.truncate(6300)), index, true),
    ("index-empty", |s| change(&s.pack(2, "idx"), Vec::clear), index, true),
    ("index-lost", |s| std::fs::remove_file(s.pack(2, "idx")).expect("removed"), missing, true),
    (
        "index-and-frame",
        |s| {
            flip(&s.pack(2, "idx"), 6210);
            flip(&s.pack(2, "pack"), noise_at(&s.pack(2, "pack"), 2));
        },
        index,
        false,
    ),
    ("ref-flip", |s| flip(&s.path().join("refs/web"), 20), reference, true),
    ("ref-check", |s| flip(&s.path().join("refs/web"), end(&s.path().join("refs/web")) - 9), reference, true),
    ("ref-empty", |s| change(&s.path().join("refs/web"), Vec::clear), reference, true),
    ("ref-no-end", |s| change(&s.path().join("refs/env/prod"), |b| b.truncate(b.len() - 1)), reference, true),
    ("ref-too-long", |s| change(&s.path().join("refs/web"), |b| b.resize(70_000, b'x')), reference, true),
    ("reflog-first-line", |s| flip(&log(s), 5), reflog, true),
    ("reflog-last-line", |s| flip(&log(s), end(&log(s)) - 30), reflog, true),
    (
        "journal-garbage",
        |s| std::fs::write(s.path().join("journal/00"), b"garbage").expect("w"),
        journal,
        true,
    ),
    ("journal-empty", |s| std::fs::write(s.path().join("journal/00"), b"").expect("w"), journal, true),
    (
        "generation-garbage",
        |s| std::fs::write(s.path().join("gc-generation"), b"1 4 0 what?\n").expect("written"),
        |place| *place == Damage::Generation,
        true,
    ),
    ("format-garbage", |s| change(&s.path().join("format"), |b| b[..9].fill(b'?')), format, true),
    ("format-empty", |s| change(&s.path().join("format"), Vec::clear), format, true),
    ("format-lost", |s| std::fs::remove_file(s.path().join("format")).expect("removed"), format, true),
];

pub fn log(sample: &Sample) -> PathBuf {
    let folder = sample.path().join("reflog");
    let name = list(&folder).into_iter().find(|name| name.to_string_lossy().starts_with("web"));
    folder.join(name.expect("a reflog"))
}

/// Every damage in a store of its own.
pub fn each(work: impl Fn(&str, &Sample, Called, bool)) {
    for (name, damage, called, alone) in DAMAGES {
        let sample = Sample::new();
        assert_eq!(sample.check().faults, [], "{name}: before");
        damage(&sample);
        work(name, &sample, *called, *alone);
    }
}

pub fn tree_of(root: &Path) -> BTreeMap<PathBuf, Digest> {
    let digest = |path: PathBuf| (path.clone(), Digest::of(&std::fs::read(path).expect("read")));
    let marks = root.join("state");
    files_of(root).into_iter().filter(|path| !path.starts_with(&marks)).map(digest).collect()
}

pub fn marks(sample: &Sample) -> Vec<std::ffi::OsString> {
    mkimage::base::fs::list(&sample.path().join("state/damaged")).unwrap_or_default()
}
