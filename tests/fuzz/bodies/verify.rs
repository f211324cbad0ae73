//! Whole images, and what they say of where they came from.

use std::collections::BTreeMap;
use std::io;
use std::sync::{LazyLock, RwLock};

use mkimage::boot::origin::Origin;
use mkimage::boot::pe::PeImage;
use mkimage::disk::{BlockDevice, MemoryDevice};
use mkimage::image::{BootFiles, Image};
use mkimage::store::{
    Architecture, Commit, DiskSpec, Filesystem, StoredDirectory, StoredNode, TreeRef, tree_ref,
};
use mkimage::tree::{Content, ContentSink, Directory, File, MemoryContents, Metadata, Node};
use mkimage::verify::{compare, verify};

use super::device::{Patched, patch_seeds, patches};
use super::{JOB, build};

const PAGE: u64 = 4096;

/// A sound image, and which of its pages are not zero.
static BASE: LazyLock<(Vec<u8>, Vec<u64>)> = LazyLock::new(|| {
    let bytes = image();
    let pages = bytes.chunks(PAGE as usize).zip(0..).filter(|(page, _)| page.iter().any(|&byte| byte != 0));
    let pages = pages.map(|(_, at)| at).collect();
    (bytes, pages)
});

fn image() -> Vec<u8> {
    let contents = MemoryContents::default();
    let mut root = Directory::default();
    for (name, length) in [("one", 10), ("two", 5000), ("three", 70_000)] {
        let bytes: Vec<u8> = (0..length).map(|at: u32| ((at * 7) >> 2) as u8 | 1).collect();
        let content = contents.put(&bytes).expect("put");
        let path = mkimage::base::ImagePath::new(format!("/etc/{name}").as_bytes()).expect("a path");
        root.insert(&path, Node::File(File { metadata: Metadata::root(0o644), content })).expect("inserted");
    }
    let root = root.seal().expect("sealed");
    let program = build::pe(&[(".text", b"code")], 1024);
    let recipe = b"image \"fuzzed\" {}\n".to_vec();
    let parts: [(&str, &[u8]); 6] = [
        ("kernel", &program),
        ("kernel_version", b"6.1"),
        ("initrd", b"initrd"),
        ("stub", &program),
        ("loader", &program),
        ("command_line", b"quiet\n"),
    ];
    let entry = |(name, bytes): (&str, &[u8])| {
        let file = File { metadata: Metadata::root(0o644), content: Content::of(bytes) };
        let name = mkimage::base::Name::new(name.as_bytes()).expect("a name");
        (name, StoredNode::Leaf(Node::File(file)))
    };
    let entries: BTreeMap<_, _> = parts.into_iter().map(entry).collect();
    let boot_tree = StoredDirectory { metadata: Metadata::root(0o755), entries }.encode();
    let commit = Commit {
        tree: tree_ref(&root, &JOB).expect("a tree"),
        boot: Some(TreeRef::of(&boot_tree)),
        disk: DiskSpec {
            layout: 1,
            architecture: Architecture::X86_64,
            filesystem: Filesystem::Ext4,
            slot_size: Some(1 << 20),
            uki_size: None,
            data_size: 8 << 20,
            data_path: "/data".to_owned(),
            tries: 3,
        },
        epoch: 0,
        name: "fuzzed".to_owned(),
        version: None,
        recipe: vec![("fuzzed.hcl".to_owned(), Content::of(&recipe))],
        variables: BTreeMap::new(),
        lock: None,
        inputs: Vec::new(),
        parents: Vec::new(),
        tool_version: "0".to_owned(),
        annotations: BTreeMap::new(),
    };
    let origin = Origin {
        commit: *commit.id().as_bytes(),
        boot_tree,
        stub_headers: PeImage::parse(&program).expect("a PE image").headers().to_vec(),
        recipe: vec![recipe],
        lock: None,
    };
    let boot = BootFiles {
        kernel: program.clone(),
        kernel_version: "6.1".to_owned(),
        initrd: b"initrd".to_vec(),
        stub: program.clone(),
        loader: program,
        command_line: vec!["quiet".to_owned()],
    };
    let image = Image::assemble(&contents, commit, root, boot, origin.encode());
    let plan = image.place(&JOB).expect("placed");
    let device = MemoryDevice::new(plan.disk.size.0);
    image.write(&plan, &device, &JOB).expect("written");
    device.into_bytes()
}

/// A patched image that knows where it is zero.
struct Sparse(Patched);

impl BlockDevice for Sparse {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn next_data(&self, offset: u64) -> u64 {
        let pages = &BASE.1;
        let page = pages.get(pages.partition_point(|page| (page + 1) * PAGE <= offset));
        let patches = self.0.patches.read().expect("no panic");
        let ahead = patches.iter().filter(|(at, patch)| at + patch.len() as u64 > offset).map(|(at, _)| *at);
        let next = ahead.chain(page.map(|page| page * PAGE)).min().unwrap_or(self.size());
        next.clamp(offset, self.size().max(offset))
    }
}

/// Partition table, ESP, FAT, slot, data, and the end of the disk.
fn places() -> [u64; 8] {
    let end = BASE.0.len() as u64;
    let slot = (1 << 20) + (33 << 20);
    [0, 512, 1 << 20, (1 << 20) + 34 * 512, slot, slot + 4096, slot + (2 << 20), end - 33 * 512]
}

/// Verifies a patched image and compares it with the whole one. What differs is not sound, and is named.
pub fn run(bytes: &[u8]) {
    let own = patches(bytes, &places());
    let base = &BASE.0[..];
    let changed = own.iter().any(|(at, patch)| {
        patch.iter().zip(*at..).any(|(byte, at)| base.get(at as usize).is_some_and(|old| old != byte))
    });
    let device = Sparse(Patched { base, patches: RwLock::new(own) });
    let report = verify(&device, &JOB);
    let sound = report.is_ok_and(|report| report.sound && report.uncovered.is_empty());
    assert_eq!(sound, !changed, "an image that is not as its commit makes it");
    let whole = Sparse(Patched { base, patches: RwLock::default() });
    let differences = compare(&whole, &device, &JOB).expect("both can be read");
    assert_eq!(differences.is_empty(), !changed);
}

pub fn seeds() -> Vec<Vec<u8>> {
    patch_seeds(&[], 8)
}

/// Reads where an image came from; what is read comes back from its own encoding.
pub fn origin(bytes: &[u8]) {
    if let Ok(origin) = Origin::decode(bytes) {
        assert_eq!(origin.encode(), bytes);
    }
}

pub fn origin_seeds() -> Vec<Vec<u8>> {
    let full = Origin {
        commit: [1; 32],
        boot_tree: b"MKITREE\x01".to_vec(),
        stub_headers: b"MZ".to_vec(),
        recipe: vec![b"image".to_vec(), Vec::new()],
        lock: Some(b"lock".to_vec()),
    };
    vec![full.encode(), Origin::default().encode()]
}
