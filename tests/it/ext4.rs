//! Tests of the ext4 writer and reader: judged by `e2fsck`, by a reader that is not ours, and by the kernel.

mod stable;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use mkimage::base::{Bytes, Digest, ImagePath, Job, Name};
use mkimage::disk::ext4::{self, Ext4Error, Ext4Options, Ext4Reader};
use mkimage::disk::{BlockDevice, BlockObserver};
use mkimage::tree::{
    self, Content, ContentError, ContentSink, ContentSource, DataMap, Device, DeviceKind, Directory,
    MemoryContents, Metadata, Node, SealedTree, Symlink,
};

const BLOCK: u64 = 4096;
const EPOCH: i64 = 1_700_000_000;

fn options() -> Ext4Options {
    Ext4Options {
        uuid: *b"\x01\x02\x03\x04\x05\x06\x87\x08\x89\x0a\x0b\x0c\x0d\x0e\x0f\x10",
        hash_seed: *b"seed of the hash",
        label: b"root".to_vec(),
        epoch_seconds: EPOCH,
        placement: ext4::Ext4Placement::Dense,
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
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{text}", output.status);
    text
}

fn check(image: &Path) {
    run("e2fsck", "e2fsprogs", &["-fn", image.to_str().expect("a plain path")]);
}

/// Asks a reader that is not ours for everything that it can tell.
fn compare_with_ext4_view(image: &Path, tree: &SealedTree, contents: &dyn ContentSource) {
    struct Raw(File);
    impl ext4_view::Ext4Read for Raw {
        fn read(&mut self, at: u64, out: &mut [u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            Ok(self.0.read_exact_at(out, at)?)
        }
    }
    let image = ext4_view::Ext4::load(Box::new(Raw(File::open(image).expect("the image")))).expect("loads");
    for (path, node) in tree.paths() {
        let node = resolve(tree, node);
        let metadata = node.metadata().expect("metadata");
        let at = path.as_bytes();
        let found = image.symlink_metadata(at).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mode = if matches!(node, Node::Symlink(_)) { 0o777 } else { metadata.mode };
        assert_eq!(
            (found.uid(), found.gid(), found.mode() & 0o7777),
            (metadata.uid, metadata.gid, mode),
            "{path}"
        );
        assert_eq!(found.modified().seconds(), EPOCH, "{path}");
        match node {
            Node::File(file) => {
                assert_eq!(found.len(), file.content.size, "{path}");
                if file.content.size <= 8 << 20 {
                    let expected = contents.read_all(&file.content).expect("content");
                    assert!(image.read(at).expect("read") == expected, "{path}");
                }
            }
            Node::Symlink(symlink) => {
                let target = image.read_link(at).expect("target");
                assert_eq!(AsRef::<[u8]>::as_ref(&target), &*symlink.target, "{path}");
            }
            Node::Directory(directory) => {
                let names = image
                    .read_dir(at)
                    .expect("list")
                    .map(|entry| AsRef::<[u8]>::as_ref(&entry.expect("entry").file_name()).to_vec());
                let mut names: Vec<Vec<u8>> = names.filter(|name| name != b"." && name != b"..").collect();
                names.sort();
                assert!(names.iter().eq(directory.entries.keys().map(|name| name.as_bytes())), "{path}");
            }
            _ => {}
        }
    }
}

fn resolve<'a>(tree: &'a SealedTree, node: &'a Node) -> &'a Node {
    match node {
        Node::HardLink(target) => tree.get(target).expect("the target of a link"),
        node => node,
    }
}

/// Reads the image back with our reader; what comes must be the tree, and `lost+found`.
fn compare_with_our_reader(image: &Path, tree: &SealedTree) {
    let file = File::open(image).expect("the image");
    let size = file.metadata().expect("its size").len();
    let device = mkimage::disk::FileDevice::new(file, size);
    let reader = Ext4Reader::open(&device).expect("opens");
    let found = reader.tree(&Job::quiet(2)).expect("reads");
    let mut expected: Directory = (**tree).clone();
    let name = Name::new(b"lost+found").expect("a name");
    let own = Directory { metadata: Metadata::root(0o700), ..Directory::default() };
    expected.entries.entry(name).or_insert(Node::Directory(own));
    for (path, node) in expected.clone().paths() {
        if let (Node::Symlink(_), Some(metadata)) =
            (node, expected.get_mut(&path).and_then(Node::metadata_mut))
        {
            metadata.mode = 0o777;
        }
    }
    let differences = tree::diff::diff(&expected, &found);
    assert!(differences.is_empty(), "{differences:?}");
    assert_eq!(expected.metadata, found.metadata);
}

/// A loop mount, until it is dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(image: &Path, at: &Path, how: &str) -> Self {
        std::fs::create_dir_all(at).expect("a mount point");
        let (image, at_text) = (image.to_str().expect("plain"), at.to_str().expect("plain"));
        let output =
            Command::new("mount").args(["-t", "ext4", "-o", how, image, at_text]).output().expect("mount");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "this test needs root and loop devices (run it as root, with /dev/loop-control): {error}"
        );
        Mount(at.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        assert!(crate::tool::unmount(&self.0) || std::thread::panicking(), "unmounted");
    }
}

fn attributes_of(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 65536];
    let length = rustix::fs::llistxattr(path, &mut names[..]).expect("attributes");
    let mut attributes = BTreeMap::new();
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 65536];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).expect("an attribute");
        attributes.insert(name.to_vec(), value[..length].to_vec());
    }
    attributes
}

/// Compares a mounted filesystem with the tree, entry by entry.
fn compare_with_mount(at: &Path, tree: &SealedTree, contents: &dyn ContentSource) {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    let mut names: BTreeMap<ImagePath, u64> = BTreeMap::new();
    let mut inodes: BTreeMap<ImagePath, u64> = BTreeMap::new();
    for (path, node) in tree.paths() {
        let first = if let Node::HardLink(target) = node { target.clone() } else { path };
        *names.entry(first).or_default() += 1;
    }
    for (path, node) in tree.paths() {
        let first = if let Node::HardLink(target) = node { target.clone() } else { path.clone() };
        let node = resolve(tree, node);
        let metadata = node.metadata().expect("metadata");
        let host = at.join(OsStr::from_bytes(&path.as_bytes()[1..]));
        let found = std::fs::symlink_metadata(&host).unwrap_or_else(|error| panic!("{path}: {error}"));
        let (kind, device) = match node {
            Node::Directory(_) => (0o040_000, None),
            Node::File(file) => {
                assert_eq!(found.size(), file.content.size, "{path}");
                compare_content(&host, &file.content, contents);
                (0o100_000, None)
            }
            Node::Symlink(symlink) => {
                let target = std::fs::read_link(&host).expect("target");
                assert_eq!(target.as_os_str().as_bytes(), &*symlink.target, "{path}");
                (0o120_000, None)
            }
            Node::Device(device) => {
                let kind = if device.kind == DeviceKind::Block { 0o060_000 } else { 0o020_000 };
                (kind, Some((device.major, device.minor)))
            }
            Node::Fifo(_) => (0o010_000, None),
            Node::Socket(_) => (0o140_000, None),
            Node::HardLink(_) => unreachable!("resolved"),
        };
        let mode = if kind == 0o120_000 { 0o777 } else { u32::from(metadata.mode) };
        assert_eq!(found.mode(), kind | mode, "{path}");
        assert_eq!((found.uid(), found.gid()), (metadata.uid, metadata.gid), "{path}");
        assert_eq!(
            (found.mtime(), found.mtime_nsec(), found.ctime(), found.atime()),
            (EPOCH, 0, EPOCH, EPOCH)
        );
        if let Some(numbers) = device {
            let found = (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()));
            assert_eq!(found, numbers, "{path}");
        }
        if !matches!(node, Node::Directory(_)) {
            assert_eq!(found.nlink(), names[&first], "{path}");
            assert_eq!(*inodes.entry(first).or_insert(found.ino()), found.ino(), "{path}");
        }
        let expected: BTreeMap<Vec<u8>, Vec<u8>> =
            metadata.xattrs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        assert_eq!(attributes_of(&host), expected, "{path}");
    }
}

fn compare_content(host: &Path, content: &Content, contents: &dyn ContentSource) {
    let file = File::open(host).expect("a file");
    let map = contents.data_map(content).expect("a map");
    let mut expected = vec![0; BLOCK as usize];
    let mut found = expected.clone();
    for &(first, count) in map.runs() {
        for block in first..first + count {
            let length = (content.size - block * BLOCK).min(BLOCK) as usize;
            contents.read_at(content, block * BLOCK, &mut expected[..length]).expect("content");
            file.read_exact_at(&mut found[..length], block * BLOCK).expect("content");
            assert!(expected[..length] == found[..length], "{host:?} block {block}");
        }
    }
    // What the kernel calls data is what the map calls data: nothing more is allocated.
    let mut blocks = 0;
    let mut at = 0;
    while let Ok(start) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
        let end = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(start)).expect("an end");
        blocks += end.div_ceil(BLOCK) - start / BLOCK;
        at = end;
    }
    assert_eq!(blocks, map.blocks(), "{host:?}");
}

fn set(metadata: &mut Metadata, name: &[u8], value: &[u8]) {
    metadata.xattrs.insert(name.into(), value.into());
}

fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&permissions.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    value
}

/// Bytes that look random and have no zero block.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn add_links(b: &mut Builder) {
    b.file("/hl/a", b"hardlinked");
    b.link("/hl/b", "/hl/a");
    for n in 0..5 {
        b.link(&format!("/hl2/l{n}"), "/hl/a");
    }
    b.file("/hlmany/base", b"m");
    for n in 0..300 {
        b.link(&format!("/hlmany/l{n:03}"), "/hlmany/base");
    }
    b.symlink("/sym/hl_target", &[b't'; 100]);
    b.link("/sym/hl_target2", "/sym/hl_target");
    b.link("/dev/null2", "/dev/null");
}

fn add_symlinks(b: &mut Builder) {
    for length in [1, 58, 59, 60, 61, 255, 1024, 4095] {
        b.symlink(&format!("/sym/len{length}"), &b"y/".repeat(2048)[..length]);
    }
    b.symlink("/sym/dangling", b"/nonexist/dangling");
    b.symlink("/sym/dot", b".");
    b.symlink("/sym/uni", "\u{fc}ml\u{e4}ut".as_bytes());
    b.symlink("/sym/bytes", b"\xff\xfe");
}

fn add_devices(b: &mut Builder) {
    let (character, block) = (DeviceKind::Character, DeviceKind::Block);
    for (name, kind, major, minor) in [
        ("null", character, 1, 3),
        ("sda", block, 8, 0),
        ("m256", character, 5, 256),
        ("big", block, 259, 65543),
        ("c4095", character, 4095, 1_048_575),
        ("zero00", character, 0, 0),
    ] {
        b.device(&format!("/dev/{name}"), kind, major, minor);
    }
    b.node("/dev/fifo", Node::Fifo(Metadata::root(0o622)));
    b.node("/dev/sock", Node::Socket(Metadata::root(0o755)));
}

fn add_attributes(b: &mut Builder) {
    let capability = b"\x01\0\0\x02\0\x30\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    set(b.file("/xa/cap", b"#!/bin/sh\n"), b"security.capability", capability);
    let user = b.file("/xa/user", b"u");
    set(user, b"user.comment", b"hello");
    set(user, b"user.empty", b"");
    set(user, b"user.bin", &(0..=255).collect::<Vec<u8>>());
    set(b.file("/xa/big", b"b"), b"user.big", &noise(3500, 1));
    let both = b.file("/xa/both", b"b");
    set(both, b"user.big", &noise(4020, 1));
    set(both, b"user.inline", &noise(60, 1));
    let many = b.file("/xa/many", b"m");
    for n in 0..40 {
        set(many, format!("user.k{n:02}").as_bytes(), &vec![b'v'; n + 1]);
    }
    set(b.file("/xa/inline_full", b"i"), b"user.a", &[b'z'; 68]);
    set(b.file("/xa/inline_more", b"i"), b"user.a", &[b'z'; 69]);
    set(b.file("/xa/trusted", b"t"), b"trusted.overlay.opaque", b"y");
    set(b.file("/xa/ima", b"s"), b"security.ima", &[[3, 2].as_slice(), &[0; 100]].concat());
    set(b.file("/xa/selinux", b"s"), b"security.selinux", b"system_u:object_r:etc_t:s0\0");
    let none = u32::MAX;
    let access =
        acl(&[(1, 6, none), (2, 7, 1234), (4, 4, none), (8, 4, 5678), (0x10, 7, none), (0x20, 4, none)]);
    let file = b.file("/xa/acl", b"a");
    set(file, b"system.posix_acl_access", &access);
    file.mode = 0o674;
    let directory = b.directory("/xa/acldir");
    set(
        directory,
        b"system.posix_acl_default",
        &acl(&[(1, 7, none), (4, 5, none), (8, 5, 99), (0x10, 5, none), (0x20, 5, none)]),
    );
    set(b.symlink("/xa/link", b"target"), b"trusted.on.symlink", b"yes");
    set(b.node("/xa/fifo", Node::Fifo(Metadata::root(0o600))), b"trusted.on.fifo", &[1; 200]);
    for n in 0..50 {
        set(b.file(&format!("/xa/dup/{n}"), b"d"), b"user.shared", &[b'S'; 200]);
    }
    set(&mut b.root.metadata, b"user.root", b"of the tree");
}

fn add_owners_and_modes(b: &mut Builder) {
    for (name, mode) in [("suid", 0o4755), ("sgid", 0o2755), ("none", 0)] {
        b.file(&format!("/mode/{name}"), b"s").mode = mode;
    }
    b.directory("/mode/sticky").mode = 0o1777;
    b.directory("/mode/sgiddir").mode = 0o2775;
    for (name, uid, gid) in
        [("a", 65535, 65536), ("b", 70000, 4_294_967_294), ("c", 3_000_000_000, 3_000_000_001)]
    {
        let metadata = b.file(&format!("/own/{name}"), b"o");
        (metadata.uid, metadata.gid) = (uid, gid);
    }
    let metadata = b.symlink("/own/sl", b"x");
    (metadata.uid, metadata.gid) = (100_000, 200_000);
    let metadata = b.directory("/own/dir");
    (metadata.uid, metadata.gid) = (3_000_000_000, 65535);
}

fn add_contents(b: &mut Builder) {
    for length in [0, 1, 59, 60, 61, 100, 156, 4095, 4096, 4097, 8191, 8192, 65535, 65536, 65537, 1_048_575] {
        b.file(&format!("/size/s{length}"), &noise(length, length as u64));
    }
    b.file("/size/large", &noise((5 << 20) + 17, 5));
    b.file("/sparse/zeros", &vec![0; 3 << 20]);
    let pages = [vec![b'A'; 4096], vec![0; 40960], vec![b'B'; 4096]].concat();
    b.file("/sparse/zeropages", &pages);
    let mut islands = vec![0; 2000 * 12288 + 777];
    for n in 0..2000 {
        islands[n * 12288 + n % 3] = b'E';
    }
    b.file("/sparse/manyext", &islands);
    let mut tail = vec![0; (20 << 20) + 5];
    tail[9 << 20] = 1;
    tail[(20 << 20) + 4] = 1;
    b.file("/sparse/tail", &tail);
}

fn add_names(b: &mut Builder) {
    let mut names: Vec<Vec<u8>> = [
        "...",
        "..a",
        "*?[",
        "new\nline",
        " sp ace ",
        "back\\slash",
        "-dash",
        "e\u{301}",
        "\u{e9}",
        "\u{1f600} emoji",
    ]
    .iter()
    .map(|name| name.as_bytes().to_vec())
    .collect();
    names.push(vec![b'n'; 255]);
    names.push(["\u{e9}".repeat(127).as_bytes(), b"z"].concat());
    names.push(b"\xff\xfe\x80invalid-utf8".to_vec());
    for name in names {
        let at = ImagePath::new(&[b"/names/", &name[..]].concat()).expect("a path");
        let content = b.contents.put(b"x").expect("put");
        let file = tree::File { metadata: Metadata::root(0o644), content };
        b.root.insert(&at, Node::File(file)).expect("inserted");
    }
}

fn add_directories(b: &mut Builder) {
    for n in 0..300 {
        b.directory(&format!("/subdirs/{n:04}"));
    }
    for (count, width) in
        [(253, 3), (254, 3), (255, 3), (256, 3), (338, 3), (339, 3), (340, 3), (341, 3), (1000, 200)]
    {
        for n in 0..count {
            b.file(&format!("/hb/n{count}/{n:0width$}"), b"");
        }
    }
    let deep: String = (0..60).map(|n| format!("/d{n}")).collect();
    b.file(&format!("/deep{deep}/leaf"), b"deep");
    b.directory("/empty/dir");
    b.directory("/lost+found").mode = 0o711;
    b.file("/lost+found/#12", b"found");
}

/// The tree with everything that a tree can hold.
fn nasty() -> (SealedTree, MemoryContents) {
    let mut b = Builder::default();
    for add in [
        add_links,
        add_symlinks,
        add_devices,
        add_attributes,
        add_owners_and_modes,
        add_contents,
        add_names,
        add_directories,
    ] {
        add(&mut b);
    }
    b.seal()
}

#[test]
fn everything_that_a_tree_can_hold_comes_back_from_every_reader() {
    let (tree, contents) = nasty();
    let image = build(&tree, &contents, &options());
    compare_with_our_reader(&image.path, &tree);
    compare_with_ext4_view(&image.path, &tree, &contents);
    let at = image.path.with_file_name("mount");
    let mount = Mount::new(&image.path, &at, "loop,ro,noload");
    compare_with_mount(&mount.0, &tree, &contents);
}

#[test]
fn an_empty_tree_is_a_sound_filesystem() {
    let (tree, contents) = Builder::default().seal();
    let image = build(&tree, &contents, &options());
    assert_eq!(std::fs::metadata(&image.path).expect("the image").len(), 7 * BLOCK);
    compare_with_our_reader(&image.path, &tree);
    let mount = Mount::new(&image.path, &image.path.with_file_name("mount"), "loop,ro");
    assert!(mount.0.join("lost+found").is_dir(), "made by us");
}

fn growable(size: Bytes) -> Ext4Options {
    Ext4Options { journal: true, growable: true, size: Some(size), ..options() }
}

/// Growing while mounted takes CAP_SYS_RESOURCE, which a container's root may lack; the boot tests do it.
/// Here the same reserve is used by `resize2fs` at rest.
#[test]
fn a_growable_filesystem_grows_from_64_mib_to_64_gib_and_survives_being_written() {
    let mut b = Builder::default();
    b.file("/data/first", &noise(3 << 20, 1));
    for n in 0..600 {
        b.file(&format!("/many/{n:05}"), b"");
    }
    let (tree, contents) = b.seal();
    let image = build(&tree, &contents, &growable(Bytes::mib(64)));
    let features = run("dumpe2fs", "e2fsprogs", &["-h", image.path.to_str().expect("plain")]);
    assert!(features.contains("resize_inode") && features.contains("has_journal"), "{features}");
    for gib in [0, 1, 64] {
        if gib > 0 {
            let file = File::options().write(true).open(&image.path).expect("the image");
            file.set_len(gib << 30).expect("a larger file");
            run("resize2fs", "e2fsprogs", &["-f", image.path.to_str().expect("plain")]);
        }
        let mount = Mount::new(&image.path, &image.path.with_file_name("mount"), "loop,rw");
        compare_content(&mount.0.join("data/first"), &Content::of(&noise(3 << 20, 1)), &contents);
        let name = |n: usize| mount.0.join("many").join(format!("new-{gib}-{n}"));
        for n in 0..3000 {
            std::fs::write(name(n), b"new").expect("written");
        }
        for n in 0..1500 {
            std::fs::remove_file(name(n * 2)).expect("removed");
        }
        drop(mount);
        check(&image.path);
    }
    let file = File::open(&image.path).expect("the image");
    let device = mkimage::disk::FileDevice::new(file, 64 << 30);
    let reader = Ext4Reader::open(&device).expect("opens what Linux has written to");
    assert_eq!(reader.walk(&Job::quiet(1)).expect("walks").entries.len(), 1 + 1 + 2 + 1 + 600 + 4500);
}

/// Files that are almost only holes: block `n` of a file, if it is in the map, is full of `n + 1`.
#[derive(Default)]
struct Islands {
    maps: std::collections::HashMap<Content, DataMap>,
}

impl Islands {
    fn add(&mut self, name: &str, size: u64, blocks: impl Iterator<Item = u64>) -> Content {
        let content = Content { id: Content::of(name.as_bytes()).id, size };
        let mut map = DataMap::default();
        blocks.for_each(|block| map.push(block));
        self.maps.insert(content, map);
        content
    }
}

impl ContentSource for Islands {
    fn data_map(&self, content: &Content) -> Result<DataMap, ContentError> {
        Ok(self.maps[content].clone())
    }

    fn read_at(&self, content: &Content, offset: u64, buffer: &mut [u8]) -> Result<(), ContentError> {
        assert!(offset + buffer.len() as u64 <= content.size && offset.is_multiple_of(BLOCK));
        let runs = self.maps[content].runs();
        for (block, bytes) in (offset / BLOCK..).zip(buffer.chunks_mut(BLOCK as usize)) {
            let run = runs.partition_point(|run| run.0 + run.1 <= block);
            let is_data = runs.get(run).is_some_and(|run| run.0 <= block);
            bytes.fill(0);
            for (byte, value) in bytes.iter_mut().zip((block + 1).to_le_bytes()).filter(|_| is_data) {
                *byte = value;
            }
        }
        Ok(())
    }
}

fn one_file(content: Content) -> SealedTree {
    let mut root = Directory::default();
    let file = tree::File { metadata: Metadata::root(0o644), content };
    root.insert(&path("/file"), Node::File(file)).expect("inserted");
    root.seal().expect("sealed")
}

#[test]
fn holes_stay_holes_however_large_the_file() {
    let gib = 1u64 << 30;
    let mut islands = Islands::default();
    let end = u64::from(u32::MAX);
    let files = [
        islands.add("all hole", gib, [].into_iter()),
        islands.add("hole and tail", gib + 5, [300 << 8, 300 << 8 | 1, gib / BLOCK].into_iter()),
        islands.add("five", 5 * gib, (0..3000).map(|n| n * 437)),
        islands.add("many", 50_000 * BLOCK, (0..25_000).map(|n| n * 2)),
        islands.add("largest", end * BLOCK, [0, 1, end / 2, end - 2, end - 1].into_iter()),
    ];
    for content in files {
        let tree = one_file(content);
        let image = build(&tree, &islands, &options());
        let mount = Mount::new(&image.path, &image.path.with_file_name("mount"), "loop,ro");
        compare_with_mount(&mount.0, &tree, &islands);
    }
    let larger = one_file(islands.add("larger", end * BLOCK + 1, [].into_iter()));
    let error = plan_error(&larger, &islands, &options());
    assert!(
        matches!(error, Ext4Error::FileTooLarge { size: 17_592_186_040_321, limit: 17_592_186_040_320, .. }),
        "{error}"
    );
}

fn plan_error(tree: &SealedTree, source: &dyn ContentSource, options: &Ext4Options) -> Ext4Error {
    match ext4::plan(tree, source, options, &Job::quiet(1)) {
        Ok(layout) => panic!("planned with {:?}", layout.blocks()),
        Err(error) => error,
    }
}

#[test]
fn a_map_that_lies_about_zero_blocks_is_refused() {
    struct Lies(DataMap);
    impl ContentSource for Lies {
        fn data_map(&self, _: &Content) -> Result<DataMap, ContentError> {
            Ok(self.0.clone())
        }
        fn read_at(&self, _: &Content, offset: u64, buffer: &mut [u8]) -> Result<(), ContentError> {
            buffer.fill(u8::from(offset == 0));
            if offset == 0 {
                buffer[4096..].fill(0);
            }
            Ok(())
        }
    }
    let tree = one_file(Content { id: Content::of(b"lies").id, size: 3 * BLOCK });
    let write = |runs: &[u64]| {
        let mut map = DataMap::default();
        runs.iter().for_each(|&block| map.push(block));
        let source = Lies(map);
        let job = Job::quiet(1);
        let layout = ext4::plan(&tree, &source, &options(), &job)?;
        layout.write(&mkimage::disk::MemoryDevice::new(layout.size().0), &source, None, &job)
    };
    write(&[0]).expect("the truth");
    let error = write(&[0, 2]).expect_err("block 2 is zero").to_string();
    assert_eq!(
        error,
        "/file: the map of its zero blocks is wrong: block 2 is zero, and the map says that it is not"
    );
    assert!(matches!(write(&[0, 1, 3]), Err(Ext4Error::Map { .. })));
}

#[test]
fn every_shape_of_groups_is_sound() {
    let mut b = Builder::default();
    b.file("/large", &noise(2 << 20, 1));
    b.symlink("/long", &[b'x'; 200]);
    let (tree, contents) = b.seal();
    // One block in the last group; copies in groups 1 to 27; a second and a third block of descriptors.
    for blocks in [32_768, 32_770, 65_537, 98_307, 294_914, 28 * 32_768 - 1, 65 * 32_768, 130 * 32_768 + 9] {
        for journal in [false, true] {
            let size = Some(Bytes(blocks * BLOCK + 17));
            let options = Ext4Options { size, journal, growable: journal && blocks < 100_000, ..options() };
            let image = build(&tree, &contents, &options);
            compare_with_our_reader(&image.path, &tree);
        }
    }
    // A last group without room for its own copy is left out.
    let options = Ext4Options { size: Some(Bytes(32_769 * BLOCK)), ..options() };
    let layout = ext4::plan(&tree, &contents, &options, &Job::quiet(1)).expect("planned");
    assert_eq!(layout.blocks().0, 32_768);
}

#[test]
fn what_fits_exactly_is_written_and_one_block_less_is_refused_with_both_numbers() {
    let mut b = Builder::default();
    for n in 0..50 {
        b.file(&format!("/f{n}"), &noise(10_000, n));
    }
    let (tree, contents) = b.seal();
    for journal in [false, true] {
        let mut options = Ext4Options { journal, ..options() };
        let smallest = ext4::plan(&tree, &contents, &options, &Job::quiet(1)).expect("planned");
        assert_eq!(smallest.free_blocks().0, 0);
        options.size = Some(smallest.size());
        let image = build(&tree, &contents, &options);
        compare_with_our_reader(&image.path, &tree);
        options.size = Some(Bytes(smallest.size().0 - 1));
        match plan_error(&tree, &contents, &options) {
            Ext4Error::DoesNotFit { needed, size } => {
                assert_eq!((needed, Some(size)), (smallest.size(), options.size));
            }
            error => panic!("{error}"),
        }
    }
    let options = Ext4Options { size: Some(Bytes(0)), ..options() };
    assert!(matches!(plan_error(&tree, &contents, &options), Ext4Error::DoesNotFit { .. }));
}

#[test]
fn directories_are_indexed_however_many_names_they_hold() {
    let empty = Builder::default().contents.put(b"").expect("put");
    let file = || Node::File(tree::File { metadata: Metadata::root(0o644), content: empty });
    let directory = || Node::Directory(Directory::default());
    let deep = |depth| {
        (0..depth).fold(Directory::default(), |below, n| {
            let mut above = Directory::default();
            let name = Name::new(format!("d{n}").as_bytes()).expect("a name");
            above.entries.insert(name, Node::Directory(below));
            above
        })
    };
    let flat = |count: usize, width: usize, node: &dyn Fn() -> Node| {
        let mut root = Directory::default();
        for n in 0..count {
            root.entries.insert(Name::new(format!("{n:0width$}").as_bytes()).expect("a name"), node());
        }
        root
    };
    let contents = MemoryContents::default();
    contents.put(b"").expect("put");
    for (root, is_indexed) in [
        (flat(100_000, 1, &file), true),
        (flat(20_000, 250, &file), true),
        (flat(70_000, 1, &directory), true),
        (flat(100, 30, &file), false),
        (deep(3000), false),
    ] {
        let tree = root.seal().expect("sealed");
        let image = build(&tree, &contents, &options());
        let stat = run("debugfs", "e2fsprogs", &["-R", "stat /", image.path.to_str().expect("plain")]);
        assert_eq!(stat.contains("Flags: 0x81000"), is_indexed, "{stat}");
        compare_with_our_reader(&image.path, &tree);
    }
}

#[test]
fn sixty_five_thousand_names_of_one_file_are_possible_and_one_more_is_not() {
    let mut b = Builder::default();
    b.file("/a", b"linked");
    for n in 0..64_999 {
        b.link(&format!("/l{n:05}"), "/a");
    }
    let (mut root, contents) = (b.root, b.contents);
    let tree = root.clone().seal().expect("sealed");
    build(&tree, &contents, &options());
    root.insert(&path("/one-more"), Node::HardLink(path("/a"))).expect("inserted");
    let error = plan_error(&root.seal().expect("sealed"), &contents, &options());
    assert_eq!(error.to_string(), "/a: 65001 names (hard links) of one file, ext4 allows 65000");
}

#[test]
fn a_block_of_attributes_serves_as_many_inodes_as_the_kernel_allows() {
    let mut b = Builder::default();
    for n in 0..2100 {
        set(b.file(&format!("/f{n}"), b""), b"user.shared", &[b'S'; 1000]);
    }
    let (tree, contents) = b.seal();
    let image = build(&tree, &contents, &options());
    compare_with_our_reader(&image.path, &tree);
    let mount = Mount::new(&image.path, &image.path.with_file_name("mount"), "loop,ro");
    compare_with_mount(&mount.0, &tree, &contents);
}

#[test]
fn what_cannot_be_stored_is_named_with_both_numbers() {
    let refuse = |change: &dyn Fn(&mut Builder)| {
        let mut b = Builder::default();
        change(&mut b);
        let (tree, contents) = b.seal();
        plan_error(&tree, &contents, &options()).to_string()
    };
    let value =
        |length: usize| move |b: &mut Builder| set(b.file("/d/f", b"x"), b"user.big", &vec![1; length]);
    assert_eq!(
        refuse(&value(5000)),
        "/d/f: the extended attributes need 5020 bytes, ext4 has room for 4148 (in the inode and one block)"
    );
    assert!(
        refuse(&|b| set(b.file("/f", b""), b"system.foo", b""))
            .contains("can't store the extended attribute \"system.foo\"")
    );
    assert!(refuse(&|b| set(b.file("/f", b""), b"system.posix_acl_access", b"\x02\0\0")).contains("the ACL"));
    let refused = refuse(&|b| {
        b.file("/lost+found", b"");
    });
    assert_eq!(refused, "/lost+found is a file; ext4 needs a directory of that name for its checker");
    let (tree, contents) = Builder::default().seal();
    let with = |change: &dyn Fn(&mut Ext4Options)| {
        let mut options = options();
        change(&mut options);
        plan_error(&tree, &contents, &options).to_string()
    };
    assert!(with(&|options| options.label = vec![b'l'; 17]).contains("has 17 bytes, ext4 takes 16"));
    assert!(with(&|options| options.epoch_seconds = -(1 << 31) - 1).contains("-2147483649"));
    assert!(with(&|options| options.epoch_seconds = (1 << 34) - (1 << 31)).contains("15032385536"));
    assert!(with(&|options| options.size = Some(Bytes::gib(1 << 20))).contains("1024 TiB"));
}

#[test]
fn every_second_that_an_inode_can_tell_is_kept() {
    use std::os::unix::fs::MetadataExt;
    let (tree, contents) = Builder::default().seal();
    for epoch_seconds in [-(1 << 31), -1, 0, (1 << 31) - 1, 1 << 31, 1 << 32, (1 << 34) - (1 << 31) - 1] {
        let image = build(&tree, &contents, &Ext4Options { epoch_seconds, ..options() });
        let mount = Mount::new(&image.path, &image.path.with_file_name("mount"), "loop,ro");
        let found = std::fs::metadata(&mount.0).expect("the root");
        assert_eq!(
            (found.mtime(), found.ctime(), found.atime()),
            (epoch_seconds, epoch_seconds, epoch_seconds)
        );
    }
}

/// A change here is a change of the format: images of the same commit get other bytes.
#[test]
fn the_bytes_of_the_nasty_tree_are_pinned() {
    let (tree, contents) = nasty();
    let digests = [options(), growable(Bytes::mib(128))]
        .map(|options| build(&tree, &contents, &options).digest.to_string());
    assert_eq!(
        digests,
        [
            "6a13f07e743de6763d9b438cb57d44df8f5b56ad503617680762c7505dcd8a72",
            "70c1c7a2c5e5548f4033f9df9e261a9bf9b1d53d0b85ee27338a13bcdae0398f"
        ]
    );
}

#[test]
fn facts_and_contents_come_back() {
    let mut b = Builder::default();
    let bytes = noise(3_000_000, 7);
    b.file("/usr/data", &bytes);
    let (tree, contents) = b.seal();
    let image = build(&tree, &contents, &growable(Bytes::mib(64)));
    let file = File::open(&image.path).expect("the image");
    let device = mkimage::disk::FileDevice::new(file, 64 << 20);
    let reader = Ext4Reader::open(&device).expect("opens");
    let facts = reader.facts();
    assert_eq!((facts.uuid, &facts.label[..], facts.blocks.0), (options().uuid, &b"root"[..], 16384));
    assert!(facts.has_journal && !facts.needs_recovery);
    let listing = reader.walk(&Job::quiet(1)).expect("walks");
    let position =
        (0..listing.entries.len()).find(|&at| listing.path(at) == path("/usr/data")).expect("there");
    let mut found = vec![0; 1_000_003];
    reader.read_at(&listing.entries[position], 1_500_001, &mut found).expect("reads");
    assert!(found == bytes[1_500_001..2_500_004]);
    assert!(reader.read_at(&listing.entries[position], 2_999_999, &mut [0; 2]).is_err());
}

#[test]
fn a_damaged_filesystem_is_an_error_or_reads_the_same() {
    let (tree, contents) = small();
    let job = Job::quiet(1);
    let layout = ext4::plan(&tree, &contents, &options(), &job).expect("planned");
    let device = mkimage::disk::MemoryDevice::new(layout.size().0);
    layout.write(&device, &contents, None, &job).expect("written");
    let whole = Ext4Reader::open(&device).expect("opens").tree(&job).expect("reads");
    let bytes = device.into_bytes();
    let mut damaged = 0;
    for at in (0..bytes.len()).step_by(37) {
        let copy = mkimage::disk::MemoryDevice::new(bytes.len() as u64);
        copy.write_at(0, &bytes).expect("written");
        copy.write_at(at as u64, &[bytes[at] ^ (1 << (at % 8))]).expect("written");
        match Ext4Reader::open(&copy).and_then(|reader| reader.tree(&job)) {
            // Bitmaps and free inodes are not looked at; contents of files and long symlinks have no checksum.
            Ok(found) => {
                for change in tree::diff::diff(&whole, &found) {
                    use tree::diff::Change::Changed;
                    let is_content = matches!(
                        change.1,
                        Changed(Node::File(_), Node::File(_)) | Changed(Node::Symlink(_), Node::Symlink(_))
                    );
                    assert!(is_content, "byte {at}: {change:?}");
                }
            }
            Err(_) => damaged += 1,
        }
    }
    assert!(damaged > 500, "{damaged} damages were seen");
    for length in [0, 1024, 2048, 4096, 8192] {
        assert!(Ext4Reader::open(&mkimage::disk::MemoryDevice::new(length)).is_err());
    }
}

/// Writes a tree without other tools looking at it, and reads it back.
fn read_back(builder: Builder) -> Result<Directory, ext4::Ext4ReadError> {
    let (tree, contents) = builder.seal();
    let job = Job::quiet(1);
    let layout = ext4::plan(&tree, &contents, &options(), &job).expect("planned");
    let device = mkimage::disk::MemoryDevice::new(layout.size().0);
    layout.write(&device, &contents, None, &job).expect("written");
    let mut found = Ext4Reader::open(&device).expect("opens").tree(&job)?;
    found.remove(&path("/lost+found")).expect("every filesystem has one");
    assert!(found == *tree, "what was written comes back");
    Ok(found)
}

#[test]
fn links_to_a_deep_file_do_not_fill_the_memory_with_paths() {
    let linked = |links: usize| {
        let mut b = Builder::default();
        let deep = format!("{}/file", format!("/{}", "a".repeat(255)).repeat(15));
        b.file(&deep, b"x");
        for number in 0..links {
            b.link(&format!("/links/{number}"), &deep);
        }
        read_back(b)
    };
    assert!(linked(1000).is_ok(), "4 MB of paths");
    let error = linked(30_000).expect_err("115 MB of paths").to_string();
    assert!(error.contains("links pass all bounds"), "{error}");
}

#[test]
fn a_tree_as_deep_as_paths_go_comes_back() {
    let mut b = Builder::default();
    b.file(&"/d".repeat(2047), b"x");
    read_back(b).expect("reads");
}

/// A little of everything.
fn small() -> (SealedTree, MemoryContents) {
    let mut b = Builder::default();
    add_devices(&mut b);
    b.symlink("/long", &[b'x'; 100]);
    set(b.file("/attributes", b"a"), b"user.large", &[7; 500]);
    let mut islands = vec![0; 20 * 8192];
    islands.iter_mut().step_by(8192).for_each(|byte| *byte = 1);
    b.file("/islands", &islands);
    for n in 0..200 {
        b.file(&format!("/many/a-rather-long-name-{n}"), b"");
    }
    b.link("/link", "/islands");
    b.seal()
}

mod verity {
    use super::*;
    use mkimage::disk::MemoryDevice;
    use mkimage::disk::verity::{self, VerityBuilder, VerityError};

    const SALT: [u8; 32] = [0x5a; 32];

    fn veritysetup(arguments: &[&str]) -> String {
        run("veritysetup", "cryptsetup-bin", arguments)
    }

    fn common<'a>(blocks: &'a str, salt: &'a str) -> [&'a str; 7] {
        [
            "--no-superblock",
            "--format=1",
            "--hash=sha256",
            "--data-block-size=4096",
            "--hash-block-size=4096",
            blocks,
            salt,
        ]
    }

    #[test]
    fn trees_are_those_of_veritysetup() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let [data, hashes] = ["data", "hashes"].map(|name| folder.path().join(name));
        for (blocks, is_zero) in
            [(1, false), (2, false), (128, false), (129, false), (128 * 128 + 1, false), (300, true)]
        {
            let builder = VerityBuilder::new(blocks, &SALT);
            let file = Recorder::new(&data, blocks * BLOCK);
            for first in (0..blocks).step_by(7).filter(|_| !is_zero) {
                // Runs of 5 blocks with 2 zero ones between them.
                let bytes = noise((5.min(blocks - first) * BLOCK) as usize, first);
                file.write_at(first * BLOCK, &bytes).expect("written");
                builder.wrote(first, &bytes);
            }
            let job = Job::quiet(2);
            let tree = builder.finish(&job).expect("finished");
            assert_eq!(tree.size_bytes(), verity::tree_bytes(blocks));
            let device = MemoryDevice::new(tree.size_bytes());
            tree.write(&device, 0).expect("written");

            std::fs::write(&hashes, b"").expect("an empty file");
            let [data_text, hashes_text] = [&data, &hashes].map(|path| path.to_str().expect("plain"));
            let (count, salt) = (format!("--data-blocks={blocks}"), format!("--salt={}", "5a".repeat(32)));
            let options = common(&count, &salt);
            let shown = veritysetup(&[&["format", data_text, hashes_text], &options[..]].concat());
            let root =
                shown.lines().find_map(|line| line.strip_prefix("Root hash:")).expect("a root hash").trim();
            assert_eq!(mkimage::base::id::hex(&tree.root_hash), root, "{blocks} blocks");
            let mine = device.into_bytes();
            assert!(std::fs::read(&hashes).expect("hashes") == mine, "{blocks} blocks");
            std::fs::write(&hashes, &mine).expect("written");
            veritysetup(&[&["verify", data_text, hashes_text, root], &options[..]].concat());
        }
    }

    #[test]
    fn the_first_damaged_block_is_named() {
        let blocks = 400;
        let device = MemoryDevice::new(blocks * BLOCK + verity::tree_bytes(blocks));
        let builder = VerityBuilder::new(blocks, &SALT);
        let bytes = noise((blocks * BLOCK) as usize, 3);
        device.write_at(0, &bytes).expect("written");
        builder.wrote(0, &bytes);
        let job = Job::quiet(2);
        let tree = builder.finish(&job).expect("finished");
        tree.write(&device, blocks * BLOCK).expect("written");
        let verify = || verity::verify(&device, blocks, blocks * BLOCK, &SALT, &tree.root_hash, &job);
        verify().expect("sound");
        for block in [399, 7, 300] {
            device.write_at(block * BLOCK + 9, b"damage").expect("written");
        }
        assert!(matches!(verify(), Err(VerityError::Data { block: 7, .. })));
        device.write_at((blocks + 2) * BLOCK, b"damage").expect("written");
        assert!(matches!(verify(), Err(VerityError::Tree { block: 2, .. })));
        device.write_at(blocks * BLOCK, b"damage").expect("written");
        assert!(matches!(verify(), Err(VerityError::Root { .. })));
        let short = verity::verify(&device, u64::MAX, 0, &SALT, &tree.root_hash, &job);
        assert!(matches!(short, Err(VerityError::TooShort { .. })));
    }

    #[test]
    fn a_filesystem_is_hashed_while_it_is_written() {
        let (tree, contents) = nasty();
        let job = Job::quiet(2);
        let layout = ext4::plan(&tree, &contents, &options(), &job).expect("planned");
        let (blocks, size) = (layout.blocks().0, layout.size().0);
        let builder = VerityBuilder::new(blocks, &SALT);
        let device = MemoryDevice::new(size + verity::tree_bytes(blocks));
        layout.write(&device, &contents, Some(&builder), &job).expect("written");
        let hashes = builder.finish(&job).expect("finished");
        hashes.write(&device, size).expect("written");
        verity::verify(&device, blocks, size, &SALT, &hashes.root_hash, &job).expect("sound");
    }
}
