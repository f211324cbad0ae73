//! Tests of the ext4 writer and reader: judged by `e2fsck`, by a reader that is not ours, and by the kernel.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use mkimage::base::{Bytes, Digest, ImagePath, Job, Name};
use mkimage::disk::ext4::{self, Ext4Error, Ext4Options, Ext4Reader};
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
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (metadata.uid, metadata.gid, mode), "{path}");
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
                let names = image.read_dir(at).expect("list").map(|entry| {
                    AsRef::<[u8]>::as_ref(&entry.expect("entry").file_name()).to_vec()
                });
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
        if let (Node::Symlink(_), Some(metadata)) = (node, expected.get_mut(&path).and_then(Node::metadata_mut)) {
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
        let output = Command::new("mount").args(["-t", "ext4", "-o", how, image, at_text]).output().expect("mount");
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
        let status = Command::new("umount").arg(&self.0).status().expect("umount");
        assert!(status.success() || std::thread::panicking(), "unmounted");
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
        assert_eq!((found.mtime(), found.mtime_nsec(), found.ctime(), found.atime()), (EPOCH, 0, EPOCH, EPOCH));
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
        b.symlink(&format!("/sym/len{length}"), &vec![b'x'; length]);
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
    set(directory, b"system.posix_acl_default", &acl(&[(1, 7, none), (4, 5, none), (8, 5, 99), (0x10, 5, none), (0x20, 5, none)]));
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
    for (name, uid, gid) in [("a", 65535, 65536), ("b", 70000, 4_294_967_294), ("c", 3_000_000_000, 3_000_000_001)] {
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
    let mut names: Vec<Vec<u8>> = ["...", "..a", "*?[", "new\nline", " sp ace ", "back\\slash", "-dash", "e\u{301}", "\u{e9}", "\u{1f600} emoji"]
        .iter().map(|name| name.as_bytes().to_vec()).collect();
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
    for (count, width) in [(253, 3), (254, 3), (255, 3), (256, 3), (338, 3), (339, 3), (340, 3), (341, 3), (1000, 200)] {
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
    assert_eq!(std::fs::metadata(mount.0.join("lost+found")).expect("made by us").permissions().readonly(), false);
}
