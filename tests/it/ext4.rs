//! Tests of the ext4 writer and reader: judged by `e2fsck`, by a reader that is not ours, and by the kernel.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use mkimage::base::{Bytes, Digest, ImagePath, Job, Name};
use mkimage::disk::ext4::{self, Ext4Error, Ext4Options};
use mkimage::disk::{BlockDevice, BlockObserver};
use mkimage::tree::{
    self, Content, ContentError, ContentSink, ContentSource, DataMap, Device, DeviceKind, Directory, MemoryContents,
    Metadata, Node, SealedTree, Symlink,
};

const BLOCK: u64 = 4096;
const EPOCH: i64 = 1_700_000_000;

fn options() -> Ext4Options {
    Ext4Options {
        uuid: *b"\x01\x02\x03\x04\x05\x06\x87\x08\x89\x0a\x0b\x0c\x0d\x0e\x0f\x10",
        hash_seed: *b"seed of the hash",
        label: b"root".to_vec(),
        epoch_seconds: EPOCH,
        size: None,
        journal: false,
        growable: false,
    }
}

/// A file that remembers a digest of every block, and refuses to be written twice at one place.
struct Recorder {
    file: File,
    size: u64,
    blocks: Mutex<BTreeMap<u64, Digest>>,
    observed: Mutex<BTreeMap<u64, Digest>>,
}

impl Recorder {
    fn new(path: &Path, size: u64) -> Self {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path);
        let file = file.expect("a scratch file");
        file.set_len(size).expect("a sparse file");
        Recorder { file, size, blocks: Mutex::default(), observed: Mutex::default() }
    }

    fn note(map: &Mutex<BTreeMap<u64, Digest>>, first: u64, bytes: &[u8]) {
        assert!(bytes.len().is_multiple_of(BLOCK as usize), "whole blocks");
        for (block, bytes) in (first..).zip(bytes.chunks(BLOCK as usize)) {
            assert!(bytes.iter().any(|&byte| byte != 0), "block {block} is zero and was written");
            let before = map.lock().expect("lock").insert(block, Digest::of(bytes));
            assert_eq!(before, None, "block {block} was written twice");
        }
    }
}

impl BlockDevice for Recorder {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        assert!(offset + bytes.len() as u64 <= self.size, "inside the filesystem");
        Self::note(&self.blocks, offset / BLOCK, bytes);
        self.file.write_all_at(bytes, offset)
    }

    fn flush(&self) -> std::io::Result<()> {
        Ok(())
    }
}

impl BlockObserver for Recorder {
    fn wrote(&self, first: u64, bytes: &[u8]) {
        Self::note(&self.observed, first, bytes);
    }
}

/// A tree under construction, with its contents.
#[derive(Default)]
struct Builder {
    root: Directory,
    contents: MemoryContents,
}

fn path(text: &str) -> ImagePath {
    ImagePath::new(text.as_bytes()).expect("a path")
}

impl Builder {
    fn node(&mut self, at: &str, node: Node) -> &mut Metadata {
        self.root.insert(&path(at), node).expect("inserted");
        self.root.get_mut(&path(at)).and_then(Node::metadata_mut).expect("metadata")
    }

    fn file(&mut self, at: &str, bytes: &[u8]) -> &mut Metadata {
        let content = self.contents.put(bytes).expect("put");
        self.node(at, Node::File(tree::File { metadata: Metadata::root(0o644), content }))
    }

    fn link(&mut self, at: &str, target: &str) {
        self.root.insert(&path(at), Node::HardLink(path(target))).expect("inserted");
    }

    fn directory(&mut self, at: &str) -> &mut Metadata {
        self.node(at, Node::Directory(Directory::default()))
    }

    fn symlink(&mut self, at: &str, target: &[u8]) -> &mut Metadata {
        self.node(at, Node::Symlink(Symlink { metadata: Metadata::root(0o777), target: target.into() }))
    }

    fn device(&mut self, at: &str, kind: DeviceKind, major: u32, minor: u32) {
        self.node(at, Node::Device(Device { metadata: Metadata::root(0o660), kind, major, minor }));
    }

    fn seal(self) -> (SealedTree, MemoryContents) {
        (self.root.seal().expect("sealed"), self.contents)
    }
}

struct Image {
    path: PathBuf,
    digest: Digest,
    _folder: tempfile::TempDir,
}

/// Builds with 1, 2 and 8 workers, compares, checks with `e2fsck -fn`.
fn build(tree: &SealedTree, source: &dyn ContentSource, options: &Ext4Options) -> Image {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("image");
    let mut digests = Vec::new();
    for workers in [1, 2, 8] {
        let job = Job::quiet(workers);
        let layout = ext4::plan(tree, source, options, &job).expect("planned");
        let device = Recorder::new(&path, layout.size().0);
        layout.write(&device, source, Some(&device), &job).expect("written");
        let blocks = device.blocks.into_inner().expect("blocks");
        assert!(blocks == device.observed.into_inner().expect("blocks"), "the observer sees every block");
        digests.push(digest(layout.size().0, &blocks));
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "bytes depend on the number of workers");
    check(&path);
    Image { path, digest: digests[0], _folder: folder }
}

/// Digests an image without its zero blocks.
fn digest(size: u64, blocks: &BTreeMap<u64, Digest>) -> Digest {
    let mut bytes = size.to_le_bytes().to_vec();
    for (block, digest) in blocks {
        bytes.extend_from_slice(&block.to_le_bytes());
        bytes.extend_from_slice(digest.as_bytes());
    }
    Digest::of(&bytes)
}

fn run(program: &str, package: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; install the package {package}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{text}", output.status);
    text
}

fn check(image: &Path) {
    run("e2fsck", "e2fsprogs", &["-fn", image.to_str().expect("a plain path")]);
}

#[test]
fn an_empty_tree_is_a_sound_filesystem() {
    let (tree, contents) = Builder::default().seal();
    let image = build(&tree, &contents, &options());
    let mut growable = options();
    growable.journal = true;
    growable.growable = true;
    growable.size = Some(Bytes::mib(64));
    let image = build(&tree, &contents, &growable);
}
