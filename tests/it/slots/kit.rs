//! Small images that are whole all the same, and a disk that records what is done to it.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, RwLock};

use mkimage::base::{CommitId, Digest, Job, StepKey};
use mkimage::disk::{BlockDevice, MemoryDevice};
use mkimage::image::Image;
use mkimage::store::{Commit, DiskSpec, Objects, Store, StoredDirectory, Transaction, TreeRef};
use mkimage::tree::{Content, ContentError, ContentSource, DataMap, Directory, Node};

use crate::store::{add_file, commit_of, folder, job, name, noise, update};

/// A store with versions 1 to 5 of an app, each under the ref `app/vN`. Images of layout 2 are of a store that
/// remembers the verity trees of their slots, those of layout 1 of one that forgets them: updates of one go both ways.
pub struct Kit {
    pub store: &'static Store,
    pub commits: Vec<CommitId>,
    objects: Memory<'static>,
    _folder: tempfile::TempDir,
}

/// Bytes of the loader in each image. The model knows them, the code under test must not touch them.
pub fn loader() -> Vec<u8> {
    pe(&noise(77, 3000))
}

impl Kit {
    /// Returns the store of all tests of a disk layout.
    pub fn of(layout: u32) -> &'static Kit {
        static KITS: [OnceLock<Kit>; 2] = [const { OnceLock::new() }; 2];
        KITS[layout as usize - 1].get_or_init(|| Kit::new(layout))
    }

    fn new(layout: u32) -> Kit {
        let folder = folder();
        let store: &'static Store =
            Box::leak(Box::new(Store::open(folder.path().join("store")).expect("opened")));
        let commits = (1..=5).map(|version| put(store, version, "app", (layout, 1 << 20))).collect();
        let recall: Recall = if layout == 1 { |_| None } else { Some };
        Kit { store, commits, objects: Memory::new(store, recall), _folder: folder }
    }

    pub fn image(&self, version: u32) -> Image<'_> {
        Image::of(&self.objects, self.commits[version as usize - 1], &one()).expect("an image")
    }

    /// Returns the bytes of a fresh disk with a version in slot A.
    pub fn fresh(&self, version: u32) -> Vec<u8> {
        let image = self.image(version);
        let placed = image.place(&one()).expect("placed");
        let device = MemoryDevice::new(placed.disk.size.0);
        image.write(&placed, &device, &one()).expect("written");
        device.into_bytes()
    }

    /// Returns the UKI of a version, as it stands in whichever slot.
    pub fn uki(&self, version: u32) -> Vec<u8> {
        let image = self.image(version);
        let root = image.place_root(&one()).expect("placed");
        let slot = MemoryDevice::new(1 << 20);
        image.write_slot(&root, &slot, &one()).expect("written").uki
    }
}

/// What becomes of what a store remembers.
pub type Recall = fn(Vec<u8>) -> Option<Vec<u8>>;

/// A store that remembers something else, or nothing, and counts the bytes of files that are read.
pub struct Memory<'a> {
    store: &'a Store,
    recall: Recall,
    pub read_bytes: AtomicU64,
}

impl<'a> Memory<'a> {
    pub fn new(store: &'a Store, recall: Recall) -> Memory<'a> {
        Memory { store, recall, read_bytes: AtomicU64::new(0) }
    }
}

impl ContentSource for Memory<'_> {
    fn data_map(&self, content: &Content) -> Result<DataMap, ContentError> {
        self.store.data_map(content)
    }

    fn read_at(&self, content: &Content, offset: u64, buffer: &mut [u8]) -> Result<(), ContentError> {
        self.read_bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.store.read_at(content, offset, buffer)
    }
}

impl Objects for Memory<'_> {
    fn has(&self, id: &Digest) -> bool {
        self.store.has(id)
    }

    fn read_directory(&self, tree: &TreeRef) -> mkimage::store::Result<StoredDirectory> {
        self.store.read_directory(tree)
    }

    fn read_commit(&self, id: &CommitId) -> mkimage::store::Result<Commit> {
        self.store.read_commit(id)
    }

    fn recall(&self, key: &StepKey) -> Option<Vec<u8>> {
        self.store.recall(key).and_then(self.recall)
    }

    fn remember(&self, key: &StepKey, record: &[u8]) {
        self.store.remember(key, record);
    }
}

/// A job of one worker, so that writes come in one order.
pub fn one() -> Job {
    Job::quiet(1)
}

/// Puts a version and publishes it under `NAME/vVERSION`; `disk` is its layout and the size of its slots.
pub fn put(store: &Store, version: u32, app: &str, (layout, slot_size): (u32, u64)) -> CommitId {
    let transaction = store.begin(&job());
    let tree = tree(&transaction, version);
    let boot = boot(&transaction, version);
    let commit = Commit {
        boot: Some(boot),
        disk: DiskSpec {
            layout,
            slot_size: Some(slot_size),
            uki_size: Some(64 << 10),
            data_size: 8 << 20,
            ..commit_of(tree).disk
        },
        name: app.to_owned(),
        version: Some(format!("{version}.0")),
        annotations: BTreeMap::new(),
        ..commit_of(tree)
    };
    let id = transaction.put_commit(&commit).expect("put");
    transaction.commit(&[update(&format!("{app}/v{version}"), id)], "a test").expect("committed");
    assert!(store.read_ref(&name(&format!("{app}/v{version}"))).expect("read").is_some());
    id
}

/// A root whose files are partly the same in every version: some shrink, some grow, one comes and goes.
fn tree(transaction: &Transaction<'_>, version: u32) -> TreeRef {
    let seed = u64::from(version);
    let mut root = Directory::default();
    add_file(transaction, &mut root, "/etc/version", format!("version {version}\n").as_bytes());
    add_file(transaction, &mut root, "/usr/lib/changes", &noise(seed, 9000 + 5000 * (version as usize % 3)));
    add_file(transaction, &mut root, "/usr/lib/same", &noise(1000, 40_000));
    if version.is_multiple_of(2) {
        add_file(transaction, &mut root, "/usr/lib/even", &noise(2000 + seed, 6000));
    }
    transaction.put_tree(&job(), &root.seal().expect("sealed")).expect("put")
}

fn boot(transaction: &Transaction<'_>, version: u32) -> TreeRef {
    let mut boot = Directory::default();
    let kernel = pe(&noise(u64::from(version) + 500, 2500 + 700 * (version as usize % 3)));
    let stub = pe(&noise(78, 600));
    let files: [(&str, &[u8]); 6] = [
        ("/kernel", &kernel),
        ("/kernel_version", b"6.1.0-test"),
        ("/initrd", &noise(79, 1500)),
        ("/stub", &stub),
        ("/loader", &loader()),
        ("/command_line", b""),
    ];
    for (at, bytes) in files {
        add_file(transaction, &mut boot, at, bytes);
    }
    assert!(matches!(boot.entries.values().next(), Some(Node::File(_))));
    transaction.put_tree(&job(), &boot.seal().expect("sealed")).expect("put")
}

/// Makes a UEFI program of one section, which no machine could run and every reader can read.
pub fn pe(contents: &[u8]) -> Vec<u8> {
    let raw = contents.len().next_multiple_of(512);
    let mut image = vec![0; 0x400];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0x40u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(0x44, &0x8664u16.to_le_bytes());
    put(0x46, &1u16.to_le_bytes());
    put(0x54, &240u16.to_le_bytes());
    put(0x58, &0x20bu16.to_le_bytes());
    put(0x58 + 32, &4096u32.to_le_bytes());
    put(0x58 + 36, &512u32.to_le_bytes());
    put(0x58 + 56, &(4096 + raw.next_multiple_of(4096) as u32).to_le_bytes());
    put(0x58 + 60, &0x400u32.to_le_bytes());
    put(0x58 + 108, &16u32.to_le_bytes());
    put(0x148, b".text");
    put(0x148 + 8, &(contents.len() as u32).to_le_bytes());
    put(0x148 + 12, &4096u32.to_le_bytes());
    put(0x148 + 16, &(raw as u32).to_le_bytes());
    put(0x148 + 20, &0x400u32.to_le_bytes());
    image.extend_from_slice(contents);
    image.resize(0x400 + raw, 0);
    image
}

/// What a disk was told.
#[derive(Clone, Debug)]
pub enum Event {
    Write { offset: u64, bytes: Vec<u8> },
    Flush,
}

/// A disk in memory that notes what it is told, in order.
pub struct Recorder {
    bytes: RwLock<Vec<u8>>,
    log: Mutex<Vec<Event>>,
}

impl Recorder {
    pub fn new(bytes: Vec<u8>) -> Recorder {
        Recorder { bytes: RwLock::new(bytes), log: Mutex::default() }
    }

    /// Returns what it holds now, and all that it was told.
    pub fn end(self) -> (Vec<u8>, Vec<Event>) {
        (self.bytes.into_inner().expect("bytes"), self.log.into_inner().expect("a log"))
    }
}

impl BlockDevice for Recorder {
    fn size(&self) -> u64 {
        self.bytes.read().expect("bytes").len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes.read().expect("bytes");
        buffer.copy_from_slice(&bytes[offset as usize..][..buffer.len()]);
        Ok(())
    }

    fn write_at(&self, offset: u64, new: &[u8]) -> io::Result<()> {
        self.bytes.write().expect("bytes")[offset as usize..][..new.len()].copy_from_slice(new);
        self.log.lock().expect("a log").push(Event::Write { offset, bytes: new.to_vec() });
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.log.lock().expect("a log").push(Event::Flush);
        Ok(())
    }
}

/// Brings all that a log wrote onto a disk.
pub fn apply(disk: &mut [u8], log: &[Event]) {
    for event in log {
        if let Event::Write { offset, bytes } = event {
            disk[*offset as usize..][..bytes.len()].copy_from_slice(bytes);
        }
    }
}
