//! Damaged stores, named by their damage: each is made here from a sound one. What a check calls it, what
//! reading gives meanwhile, and what a repair makes of it, with a good store at hand and without.

use super::*;
use mkimage::base::{Digest, StepKey};
use mkimage::store::{
    CheckReport, Damage, FolderHealer, Healer, Objects, RefValue, RepairReport, Spot, StoreError,
};
use mkimage::tree::ContentSource;
use std::path::{Path, PathBuf};

/// A store with three packs and three refs, and a copy of it that nobody damages.
struct Sample {
    folder: tempfile::TempDir,
    commits: BTreeMap<&'static str, CommitId>,
}

impl Sample {
    fn new() -> Self {
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

    fn path(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn good(&self) -> PathBuf {
        self.folder.path().join("good")
    }

    fn store(&self) -> Store {
        Store::open_damaged(self.path())
    }

    fn check(&self) -> CheckReport {
        self.store().check(&job()).expect("checked")
    }

    /// The pack in which the files of a version lie, with its suffix.
    fn pack(&self, version: u32, suffix: &str) -> PathBuf {
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
    fn unreadable(&self, version: u32, commit: &CommitId) -> Vec<String> {
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
                mkimage::store::Found::Leaf(Node::File(file)) => Ok(store.read_all(&file.content)?),
                other => panic!("{at}: {other:?}"),
            });
            match found {
                Ok(found) => assert!(found == bytes, "{at}: other bytes"),
                Err(error) => wrong.push(format!("{at}: {error}")),
            }
        }
        wrong
    }

    fn all_unreadable(&self) -> Vec<String> {
        [(1, "old"), (2, "web"), (3, "prod")]
            .iter()
            .flat_map(|(version, name)| self.unreadable(*version, &self.commits[name]))
            .collect()
    }

    fn refs(&self) -> BTreeMap<RefName, RefValue> {
        self.store().refs().expect("refs")
    }
}

fn copy(from: &Path, to: &Path) {
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
fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).expect("read");
    std::fs::remove_file(path).expect("removed");
    change(&mut bytes);
    std::fs::write(path, bytes).expect("written");
}

fn flip(path: &Path, at: usize) {
    change(path, |bytes| bytes[at] ^= 0x10);
}

fn end(path: &Path) -> usize {
    std::fs::metadata(path).expect("there").len() as usize
}

/// Where the bytes of a version's incompressible file lie in its pack.
fn noise_at(pack: &Path, version: u32) -> usize {
    let (bytes, wanted) = (std::fs::read(pack).expect("read"), noise(u64::from(version), 32));
    bytes.windows(32).position(|window| window == wanted).expect("it lies there as it is")
}

/// Where the first record of an index lies: behind the head and the rows.
fn records(index: &Path) -> usize {
    let bytes = std::fs::read(index).expect("read");
    6200 + 44 * u64::from_le_bytes(bytes[8..16].try_into().expect("8 bytes")) as usize
}

/// What a check has to call a damage.
type Called = fn(&Damage) -> bool;

fn object(place: &Damage) -> bool {
    matches!(place, Damage::Object { has_copy: false, .. })
}

fn index(place: &Damage) -> bool {
    matches!(place, Damage::Index { .. })
}

fn pack(place: &Damage) -> bool {
    matches!(place, Damage::Pack { .. })
}

fn missing(place: &Damage) -> bool {
    matches!(place, Damage::Missing { .. })
}

fn reference(place: &Damage) -> bool {
    matches!(place, Damage::Ref { .. })
}

fn reflog(place: &Damage) -> bool {
    matches!(place, Damage::Log { .. })
}

fn journal(place: &Damage) -> bool {
    matches!(place, Damage::Journal { .. })
}

fn format(place: &Damage) -> bool {
    *place == Damage::Format
}

/// A damage: its name, how it is done, what a check calls it, and whether the store can make it good alone.
type Case = (&'static str, fn(&Sample), Called, bool);

const DAMAGES: &[Case] = &[
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

fn log(sample: &Sample) -> PathBuf {
    let folder = sample.path().join("reflog");
    let name = list(&folder).into_iter().find(|name| name.to_string_lossy().starts_with("web"));
    folder.join(name.expect("a reflog"))
}

/// Every damage in a store of its own.
fn each(work: impl Fn(&str, &Sample, Called, bool)) {
    for (name, damage, called, alone) in DAMAGES {
        let sample = Sample::new();
        assert_eq!(sample.check().faults, [], "{name}: before");
        damage(&sample);
        work(name, &sample, *called, *alone);
    }
}

#[test]
fn every_damage_is_called_by_its_name_and_changes_nothing() {
    each(|name, sample, called, _| {
        let before = tree_of(&sample.path());
        let report = sample.check();
        assert!(report.faults.iter().any(|fault| called(&fault.damage)), "{name}: {:?}", report.faults);
        assert_eq!(tree_of(&sample.path()), before, "{name}: a check wrote");
        let quick = sample.store().check_quickly(&job()).expect("checked");
        let frames = report.faults.iter().all(|fault| object(&fault.damage));
        assert!(!quick.faults.is_empty() || frames, "{name}: seen by the whole check alone");
    });
}

#[test]
fn reading_a_damaged_store_gives_the_right_bytes_or_an_error() {
    // `unreadable` fails the test on other bytes.
    each(|name, sample, called, _| {
        let wrong = sample.all_unreadable();
        let names = called(&Damage::Format) || called(&Damage::Generation) || name.starts_with("ref") || name.starts_with("journal");
        assert!(wrong.is_empty() || !names, "{name}: {wrong:?}");
    });
}

#[test]
fn with_a_good_store_at_hand_every_damage_is_healed() {
    each(|name, sample, _, _| {
        let report = sample.check();
        let good = open(&sample.good());
        let done = sample.store().repair(&report, &[&good], &job()).expect("repaired");
        assert!(done.is_whole(), "{name}: {done:?}");
        assert_eq!(sample.check().faults, [], "{name}: {done:?}");
        assert_eq!(sample.all_unreadable(), Vec::<String>::new(), "{name}");
        assert_eq!(sample.refs(), open(&sample.good()).refs().expect("refs"), "{name}");
        assert_eq!(marks(sample), Vec::<std::ffi::OsString>::new(), "{name}");
    });
}

#[test]
fn without_a_source_what_is_lost_is_isolated_and_the_rest_reads() {
    each(|name, sample, _, alone| {
        let report = sample.check();
        let before = sample.all_unreadable().len();
        let done = sample.store().repair(&report, &[], &job()).expect("repaired");
        assert_eq!(done.is_whole(), alone, "{name}: {done:?}");
        assert!(sample.all_unreadable().len() <= before, "{name}: a repair lost something");
        assert_eq!(sample.unreadable(1, &sample.commits["old"]), Vec::<String>::new(), "{name}");
        let after = sample.check();
        let lost: Vec<_> = after.faults.iter().map(|fault| &fault.damage).collect();
        assert!(lost.iter().all(|place| missing(place)), "{name}: {lost:?}");
        assert_eq!(lost.is_empty(), alone, "{name}: {lost:?}");
        assert_eq!(sample.refs(), open(&sample.good()).refs().expect("refs"), "{name}: a ref moved");
        // Again changes nothing, and a good store later heals it to the end.
        let again = sample.store().repair(&after, &[], &job()).expect("repaired");
        assert_eq!((again.is_whole(), again.packs.len()), (alone, 0), "{name}: {again:?}");
        let good = open(&sample.good());
        let healed = sample.store().repair(&after, &[&good], &job()).expect("repaired");
        assert!(healed.is_whole() && sample.check().is_sound(), "{name}: {healed:?}");
        assert_eq!(sample.all_unreadable(), Vec::<String>::new(), "{name}");
    });
}

#[test]
fn nothing_that_was_damaged_is_deleted() {
    each(|name, sample, called, _| {
        let damaged: std::collections::BTreeSet<Digest> = files_of(&sample.path())
            .iter()
            .map(|path| Digest::of(&std::fs::read(path).expect("read")))
            .collect();
        let good = open(&sample.good());
        sample.store().repair(&sample.check(), &[&good], &job()).expect("repaired");
        let kept: std::collections::BTreeSet<Digest> = files_of(&sample.path())
            .iter()
            .map(|path| Digest::of(&std::fs::read(path).expect("read")))
            .collect();
        let gone = damaged.difference(&kept).count();
        // An orphaned index may stay where it is; nothing else goes.
        assert_eq!(gone, 0, "{name}");
        let _ = called;
    });
}

fn tree_of(root: &Path) -> BTreeMap<PathBuf, Digest> {
    let digest = |path: PathBuf| (path.clone(), Digest::of(&std::fs::read(path).expect("read")));
    let marks = root.join("state");
    files_of(root).into_iter().filter(|path| !path.starts_with(&marks)).map(digest).collect()
}

fn marks(sample: &Sample) -> Vec<std::ffi::OsString> {
    mkimage::base::fs::list(&sample.path().join("state/damaged")).unwrap_or_default()
}

#[test]
fn a_fault_names_object_pack_refs_commits_and_paths() {
    let sample = Sample::new();
    let pack = sample.pack(2, "pack");
    flip(&pack, noise_at(&pack, 2));
    let faults = sample.check().faults;
    let [fault] = &faults[..] else { panic!("{faults:?}") };
    let id = Digest::of(&noise(2, 5000));
    let name = pack.file_stem().expect("a name").to_str().expect("text").parse::<Digest>().expect("an id");
    match &fault.damage {
        Damage::Object { id: found, pack, offset, size, .. } => {
            assert_eq!((*found, *pack, *size), (id, name, Some(5000)));
            assert_eq!(
                *offset as usize,
                noise_at(
                    &sample.good().join("packs").join(sample.pack(2, "pack").file_name().expect("n")),
                    2
                )
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fault.reached.refs, [super::name("web")]);
    assert_eq!(fault.reached.past, []);
    assert_eq!(fault.reached.commits, 1);
    assert_eq!(fault.reached.spots, [(sample.commits["web"], Spot::Tree(path("/usr/share/noise")))]);
    assert!(fault.is_loss() && fault.problem.contains("digest"), "{fault:?}");
}

#[test]
fn damage_that_only_an_earlier_move_leads_to_says_so_and_garbage_is_said_to_be_garbage() {
    let sample = Sample::new();
    let pack = sample.pack(1, "pack");
    flip(&pack, noise_at(&pack, 1));
    let fault = sample.check().faults.remove(0);
    assert_eq!((fault.reached.refs.len(), &fault.reached.past[..]), (0, &[super::name("web")][..]));
    // Objects that no commit names.
    let store = open(&sample.path());
    let transaction = store.begin(&job());
    transaction.put(&noise(77, 4000)).expect("put");
    transaction.commit(&[], "").expect("committed");
    let pack = files_of(&sample.path().join("packs"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|suffix| suffix == "pack"))
        .find(|path| std::fs::read(path).expect("read").windows(32).any(|window| window == noise(77, 32)))
        .expect("a pack");
    flip(&pack, 100);
    let faults = sample.check().faults;
    let garbage =
        faults.iter().find(|fault| fault.object() == Some(Digest::of(&noise(77, 4000)))).expect("named");
    assert!(garbage.reached.is_unreferenced() && !garbage.is_loss(), "{garbage:?}");
}

#[test]
fn a_missing_tree_is_named_with_the_directory_that_it_was() {
    let sample = Sample::new();
    std::fs::remove_file(sample.pack(3, "idx")).expect("removed");
    let faults = sample.check().faults;
    let commit =
        faults.iter().find(|fault| fault.object() == Some(sample.commits["prod"].0)).expect("the commit");
    assert_eq!(commit.reached.refs, [super::name("env/prod")]);
    assert_eq!(commit.reached.spots, [(sample.commits["prod"], Spot::Commit)]);
}

#[test]
fn a_second_sound_copy_is_no_loss_and_a_repair_needs_no_source() {
    let sample = Sample::new();
    let (pack, idx) = (sample.pack(2, "pack"), sample.pack(2, "idx"));
    let hidden = std::fs::read(&idx).expect("read");
    std::fs::remove_file(&idx).expect("removed");
    let store = open(&sample.path());
    let transaction = store.begin(&job());
    transaction.put(&noise(2, 5000)).expect("put");
    transaction.commit(&[], "").expect("committed");
    std::fs::write(&idx, hidden).expect("written");
    flip(&pack, noise_at(&pack, 2));
    let report = sample.check();
    assert!(report.faults.iter().all(|fault| matches!(fault.damage, Damage::Object { has_copy: true, .. })));
    assert!(!report.has_loss() && !report.is_sound());
    let done = sample.store().repair(&report, &[], &job()).expect("repaired");
    assert!(done.is_whole() && done.packs.len() == 1 && sample.check().is_sound(), "{done:?}");
}

#[test]
fn files_of_the_host_heal_what_has_their_bytes() {
    let sample = Sample::new();
    let pack = sample.pack(2, "pack");
    flip(&pack, noise_at(&pack, 2));
    let inputs = sample.folder.path().join("inputs/deep/down");
    std::fs::create_dir_all(&inputs).expect("made");
    std::fs::write(inputs.join("same length"), noise(99, 5000)).expect("written");
    std::fs::write(inputs.join("any name"), noise(2, 5000)).expect("written");
    let healer = FolderHealer::new(&sample.folder.path().join("inputs"), &job()).expect("listed");
    let done = sample.store().repair(&sample.check(), &[&healer], &job()).expect("repaired");
    assert!(done.is_whole() && done.healed.len() == 1 && done.healed[0].from == healer.name(), "{done:?}");
    assert!(sample.check().is_sound());
}

/// A source that lies: other bytes, too many, too few, endless, or an error.
struct Liar(u8);

impl Healer for Liar {
    fn name(&self) -> String {
        format!("liar {}", self.0)
    }

    fn fetch(
        &self,
        _: mkimage::store::Kind,
        _: &Digest,
        size: Option<u64>,
    ) -> Result<Option<Box<dyn io::Read + '_>>, mkimage::store::HealError> {
        let size = size.unwrap_or(100);
        Ok(Some(match self.0 {
            0 => Box::new(io::Cursor::new(vec![7; size as usize])),
            1 => Box::new(io::repeat(7)),
            2 => Box::new(io::empty()),
            _ => return Err("no line to the source".into()),
        }))
    }
}

#[test]
fn a_source_that_lies_is_told_and_the_next_one_asked() {
    for version in [2, 3] {
        let sample = Sample::new();
        std::fs::remove_file(sample.pack(version, "pack")).expect("removed");
        let good = open(&sample.good());
        let liars = [Liar(0), Liar(1), Liar(2), Liar(3)];
        let mut sources: Vec<&dyn Healer> = liars.iter().map(|liar| liar as &dyn Healer).collect();
        let report = sample.check();
        let lost = sample.store().repair(&report, &sources, &job()).expect("repaired");
        assert!(!lost.is_whole() && lost.healed.is_empty(), "{lost:?}");
        assert!(lost.notes.iter().any(|note| note.contains("no line to the source")), "{:?}", lost.notes);
        assert!(lost.notes.iter().any(|note| note.contains("liar 0 gave other bytes")), "{:?}", lost.notes);
        sources.push(&good);
        let done = sample.store().repair(&sample.check(), &sources, &job()).expect("repaired");
        assert!(done.is_whole() && sample.check().is_sound(), "{done:?}");
        assert_eq!(sample.all_unreadable(), Vec::<String>::new());
    }
}

#[test]
fn what_a_reader_found_damaged_is_put_again_by_the_next_writer() {
    let sample = Sample::new();
    let pack = sample.pack(2, "pack");
    flip(&pack, noise_at(&pack, 2));
    let bytes = noise(2, 5000);
    let content = mkimage::tree::Content::of(&bytes);
    assert!(open(&sample.path()).read_all(&content).is_err());
    assert_eq!(marks(&sample).len(), 1);
    // Another process, later.
    let store = open(&sample.path());
    assert!(store.known_losses() == 1 && !store.has(&content.id.0));
    let transaction = store.begin(&job());
    assert_eq!(transaction.put(&bytes).expect("put"), content);
    assert_eq!(transaction.commit(&[], "").expect("committed").objects, 1);
    assert!(store.read_all(&content).expect("read") == bytes);
    assert_eq!(store.known_losses(), 0);
}

#[test]
fn a_wrong_claim_about_a_sound_object_marks_nothing() {
    let sample = Sample::new();
    let bytes = noise(2, 5000);
    let mut content = mkimage::tree::Content::of(&bytes);
    content.size += 1;
    let store = open(&sample.path());
    assert!(store.read_all(&content).is_err());
    assert!(store.has(&content.id.0) && marks(&sample).is_empty());
}

#[test]
fn a_format_that_may_be_another_versions_is_never_replaced() {
    for (from, to) in [("mkimage-store 1", "mkimage-store 3"), ("hash blake3", "hash blake5")] {
        let sample = Sample::new();
        let format = sample.path().join("format");
        let text = std::fs::read_to_string(&format).expect("text").replace(from, to);
        change(&format, |bytes| *bytes = text.clone().into_bytes());
        let report = sample.check();
        assert_eq!(report.faults.len(), 1, "{:?}", report.faults);
        let refused = sample.store().repair(&report, &[], &job());
        assert!(matches!(refused, Err(StoreError::Format { .. })), "{refused:?}");
        assert_eq!(std::fs::read_to_string(&format).expect("text"), text);
    }
}

#[test]
fn what_is_torn_and_not_damaged_is_a_note() {
    let sample = Sample::new();
    let torn = log(&sample);
    change(&torn, |bytes| bytes.truncate(bytes.len() - 70));
    let memo = files_of(&sample.path().join("memo")).remove(0);
    change(&memo, |bytes| bytes.truncate(12));
    std::fs::write(sample.path().join("packs/core"), b"what?").expect("written");
    let report = sample.check();
    assert_eq!(report.faults, []);
    for said in ["the reflog of web has a torn line", "1 memos are torn", "1 files in packs/"] {
        assert!(report.notes.iter().any(|note| note.contains(said)), "{said}: {:?}", report.notes);
    }
}

/// Random enough, and the same in every run.
fn random(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed | 1;
    move |limit| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % limit.max(1) as u64) as usize
    }
}

/// Flips one bit of one file and says what a check makes of it: a fault or a note names it, or the flip is
/// harmless. Nothing of a sound store is left out.
fn flip_anywhere(rounds: usize, seed: u64) {
    let sample = Sample::new();
    let all = files_of(&sample.path());
    let mut next = random(seed);
    for _ in 0..rounds {
        let file = &all[next(all.len())];
        let whole = std::fs::read(file).expect("read");
        if whole.is_empty() {
            continue;
        }
        let (at, bit) = (next(whole.len()), next(8));
        change(file, |bytes| bytes[at] ^= 1 << bit);
        let said = format!("{} byte {at} bit {bit}", file.display());
        let report = sample.check();
        assert!(!report.faults.is_empty() || !report.notes.is_empty(), "{said}: not seen");
        let wrong = sample.all_unreadable();
        assert!(wrong.is_empty() || !report.is_sound(), "{said}: {wrong:?}");
        let _ = std::fs::remove_dir_all(sample.path().join("state"));
        change(file, |bytes| *bytes = whole);
    }
    assert_eq!(sample.check().faults, []);
}

#[test]
fn a_flipped_bit_anywhere_is_seen() {
    flip_anywhere(400, 0x9e37_79b9);
}

mod nightly {
    #[test]
    #[ignore = "for `make nightly`"]
    fn flipped_bits_everywhere_are_seen() {
        for seed in 1..20 {
            super::flip_anywhere(2000, seed * 0x9e37_79b9_7f4a_7c15);
        }
    }
}

/// Objects of several chunks, sparse ones, and an empty pack index beside them.
#[test]
fn large_and_sparse_objects_are_checked_salvaged_and_rebuilt() {
    let folder = folder();
    let root = folder.path().join("store");
    let store = open(&root);
    let transaction = store.begin(&job());
    let mut sparse = vec![0; 3 << 20];
    sparse[2_500_000] = 1;
    let contents = [noise(1, 2_700_000), sparse, vec![0; 5000], vec![b'x'; 1 << 20], noise(2, 700)];
    let mut tree = Directory::default();
    for (index, bytes) in contents.iter().enumerate() {
        add_file(&transaction, &mut tree, &format!("/{index}"), bytes);
    }
    let tree = transaction.put_tree(&job(), &tree.seal().expect("sealed")).expect("put");
    let commit = transaction.put_commit(&commit_of(tree)).expect("put");
    transaction.commit(&[update("main", commit)], "").expect("committed");
    let report = store.check(&job()).expect("checked");
    assert!(report.is_sound() && report.notes.is_empty(), "{report:?}");
    assert_eq!(report.bytes - 5_900_000 < 2_000_000, true);
    let names = list(root.join("packs"));
    let (idx, pack) = (root.join("packs").join(&names[0]), root.join("packs").join(&names[1]));
    // Without its index, the pack is read by its trailer: the same index comes back.
    let index = std::fs::read(&idx).expect("read");
    std::fs::remove_file(&idx).expect("removed");
    let store = open(&root);
    let report = store.check(&job()).expect("checked");
    let done = store.repair(&report, &[], &job()).expect("repaired");
    assert!(done.is_whole() && done.indexes.len() == 1, "{done:?}");
    assert!(std::fs::read(&idx).expect("read") == index, "another index");
    assert!(open(&root).check(&job()).expect("checked").is_sound());
    // One chunk of the large file is damaged: it alone is lost.
    let (bytes, wanted) = (std::fs::read(&pack).expect("read"), &contents[0][1 << 20..][..32]);
    let at = bytes.windows(32).position(|window| window == wanted);
    flip(&pack, at.expect("the second chunk"));
    let store = open(&root);
    let report = store.check(&job()).expect("checked");
    assert_eq!(report.faults.len(), 1, "{:?}", report.faults);
    let done: RepairReport = store.repair(&report, &[], &job()).expect("repaired");
    assert_eq!((done.lost.len(), done.packs[0].lost, done.packs[0].kept), (1, 1, 6), "{done:?}");
    for bytes in &contents[1..] {
        assert!(store.read_all(&mkimage::tree::Content::of(bytes)).expect("read") == *bytes);
    }
}

#[test]
fn a_repair_that_is_stopped_anywhere_leaves_things_no_worse_and_goes_on() {
    for (name, damage, ..) in DAMAGES {
        if !["pack-frame-plain", "index-row", "index-and-frame", "ref-flip", "reflog-first-line", "pack-cut"]
            .contains(name)
        {
            continue;
        }
        for stop in 0.. {
            let sample = Sample::new();
            damage(&sample);
            let before = sample.all_unreadable().len();
            let report = sample.check();
            let good = open(&sample.good());
            let stopper = Arc::new(Stopper { left: AtomicU64::new(stop) });
            // A format that is sound: the watched door is the ordinary one.
            let store = Store::watched(sample.path(), stopper).expect("opened");
            let stopped = store.repair(&report, &[&good], &job()).is_err();
            drop(store);
            assert!(sample.all_unreadable().len() <= before, "{name}: worse after {stop} changes");
            let again = sample.store().repair(&sample.check(), &[&good], &job()).expect("repaired");
            assert!(again.is_whole() && sample.check().is_sound(), "{name}: after {stop} changes: {again:?}");
            assert_eq!(sample.all_unreadable(), Vec::<String>::new(), "{name}: after {stop} changes");
            assert_eq!(
                sample.refs(),
                open(&sample.good()).refs().expect("refs"),
                "{name}: after {stop} changes"
            );
            if !stopped {
                assert!(stop > 3, "{name}: {stop} changes");
                break;
            }
        }
    }
}

#[test]
fn a_check_beside_writers_repackers_and_collectors_finds_nothing_wrong() {
    let folder = folder();
    let root = folder.path().join("store");
    publish(&open(&root), "web", 0);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let store = open(&root);
            for version in 1..40 {
                publish(&store, ["web", "env/prod"][version as usize % 2], version);
                if version % 10 == 0 {
                    let _ = open(&root).repack(&job());
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        let mut checks = 0;
        while !done.load(Ordering::Relaxed) || checks == 0 {
            let report = open(&root).check(&job()).expect("checked");
            assert_eq!(report.faults, [], "check {checks}");
            checks += 1;
        }
    });
    assert!(open(&root).check(&job()).expect("checked").is_sound());
}

#[test]
fn a_repair_beside_a_writer_loses_nothing_of_either() {
    let sample = Sample::new();
    let pack = sample.pack(2, "pack");
    flip(&pack, noise_at(&pack, 2));
    let report = sample.check();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let store = open(&sample.path());
            for version in 10..30 {
                publish(&store, "other", version);
            }
        });
        let good = open(&sample.good());
        let done = sample.store().repair(&report, &[&good], &job()).expect("repaired");
        assert!(done.is_whole(), "{done:?}");
    });
    assert_eq!(sample.check().faults, []);
    assert_eq!(sample.all_unreadable(), Vec::<String>::new());
}

#[test]
fn a_pack_that_was_put_together_from_others_outlives_the_loss_of_its_index() {
    let sample = Sample::new();
    let store = open(&sample.path());
    store.repack(&job()).expect("repacked");
    let packs = list(sample.path().join("packs"));
    assert_eq!(packs.len(), 2, "{packs:?}");
    let index = sample.path().join("packs").join(&packs[0]);
    let bytes = std::fs::read(&index).expect("read");
    std::fs::remove_file(&index).expect("removed");
    let done = sample.store().repair(&sample.check(), &[], &job()).expect("repaired");
    assert!(done.is_whole() && done.indexes.len() == 1, "{done:?}");
    assert!(std::fs::read(&index).expect("read") == bytes, "another index");
    assert!(sample.check().is_sound());
}

use std::sync::Arc;

/// Lets so many changes pass, then none.
struct Stopper {
    left: AtomicU64,
}

impl Watcher for Stopper {
    fn before(&self, _: &Change<'_>) -> io::Result<()> {
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
            Ok(_) => Ok(()),
            Err(_) => Err(io::Error::other("killed")),
        }
    }
}
