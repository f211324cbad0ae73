//! ext4 filesystems.

use std::sync::LazyLock;

use mkimage::base::ImagePath;
use mkimage::disk::MemoryDevice;
use mkimage::disk::ext4::{self, Ext4Kind, Ext4Options, Ext4Reader};
use mkimage::tree::dump::dump;
use mkimage::tree::{
    ContentSink, Device, DeviceKind, Directory, File, MemoryContents, Metadata, Node, Symlink,
};

use super::device::{apply, device, patch, patch_seeds, patches};
use super::{JOB, take};

const BLOCK: usize = 4096;
const INODE: usize = 256;

struct Base {
    disk: Vec<u8>,
    /// Superblock, descriptors, inode table, directories, and what lies behind them.
    places: Vec<u64>,
    table: usize,
    inodes: usize,
}

static BASE: LazyLock<Base> = LazyLock::new(|| {
    let contents = MemoryContents::default();
    let tree = example(&contents).seal().expect("a tree");
    let options = Ext4Options {
        uuid: [5; 16],
        hash_seed: [6; 16],
        label: b"root".to_vec(),
        epoch_seconds: 1_700_000_000,
        placement: ext4::Ext4Placement::Dense,
        size: None,
        journal: false,
        growable: false,
    };
    let layout = ext4::plan(&tree, &contents, &options, &JOB).expect("fits");
    let device = MemoryDevice::new(layout.size().0);
    layout.write(&device, &contents, None, &JOB).expect("written");
    let disk = device.into_bytes();
    let table = get32(&disk, BLOCK + 8) as usize * BLOCK;
    let inodes = get32(&disk, 1024) as usize;
    let behind = table + (inodes * INODE).next_multiple_of(BLOCK);
    let mut places: Vec<u64> = vec![1024, BLOCK as u64, table as u64, (table + 10 * INODE) as u64];
    places.extend((behind..disk.len()).step_by(BLOCK).take(8).map(|at| at as u64));
    let mut repaired = disk.clone();
    repair(&mut repaired, table, inodes);
    assert!(repaired == disk, "the checksums that the body computes are those of the writer");
    Base { disk, places, table, inodes }
});

fn example(contents: &MemoryContents) -> Directory {
    let mut root = Directory::default();
    let mut put = |path: &str, node: Node| {
        root.insert(&ImagePath::new(path.as_bytes()).expect("a path"), node).expect("a free path");
    };
    let metadata = |mode: u16| Metadata::root(mode);
    let file = |bytes: &[u8]| {
        Node::File(File { metadata: metadata(0o644), content: contents.put(bytes).expect("put") })
    };
    put("/etc/hostname", file(b"host\n"));
    // Blocks with holes between them: an extent tree of two levels.
    let holes: Vec<u8> = (0..13 * BLOCK).map(|at| (at / BLOCK % 2) as u8).collect();
    put("/holes", file(&holes));
    put("/hard", Node::HardLink(ImagePath::new(b"/etc/hostname").expect("a path")));
    let link = |target: &[u8]| Node::Symlink(Symlink { metadata: metadata(0o777), target: target.into() });
    put("/short", link(b"etc/hostname"));
    put("/long", link(&[b'x'; 200]));
    put(
        "/null",
        Node::Device(Device { metadata: metadata(0o666), kind: DeviceKind::Character, major: 1, minor: 3 }),
    );
    put("/fifo", Node::Fifo(metadata(0o600)));
    let mut marked = metadata(0o600);
    marked.xattrs.insert(b"user.small"[..].into(), b"value"[..].into());
    marked.xattrs.insert(b"user.large"[..].into(), [7; 700][..].into());
    put("/marked", Node::File(File { metadata: marked, content: contents.put(b"m").expect("put") }));
    // More names than a block holds: an indexed directory.
    for number in 0..60 {
        put(&format!("/many/{}{number}", "n".repeat(80)), file(b""));
    }
    root
}

/// Reads a patched filesystem: its entries, its files, the whole of it as a tree. The checksums are put right
/// first, if the first byte says so.
pub fn run(mut bytes: &[u8]) {
    let Base { disk, places, table, inodes } = &*BASE;
    let flags = take(&mut bytes, 1);
    let mut disk = disk.clone();
    apply(&mut disk, &patches(bytes, places));
    if flags & 1 != 0 {
        repair(&mut disk, *table, *inodes);
    }
    let device = device(&disk);
    let Ok(reader) = Ext4Reader::open(&device) else { return };
    let Ok(listing) = reader.walk(&JOB) else { return };
    let mut total = 0u64;
    for entry in &listing.entries {
        let Ext4Kind::File(size) = entry.kind else { continue };
        total = total.saturating_add(size);
        for offset in [0, size / 2, size.saturating_sub(100), u64::MAX] {
            let _ = reader.read_at(entry, offset, &mut [0; 100]);
        }
    }
    if total < 8 << 20
        && let Ok(tree) = reader.tree(&JOB)
    {
        let _ = dump(&tree);
        let _ = tree.seal();
    }
}

/// Puts the checksums of superblock, descriptor, inodes, directories, extent and attribute blocks right.
fn repair(disk: &mut [u8], table: usize, inodes: usize) {
    let seed = crc(!0, &disk[1024 + 0x68..1024 + 0x78]);
    for number in 1..=inodes {
        let at = table + (number - 1) * INODE;
        let generation = disk[at + 0x64..at + 0x68].to_vec();
        let own = crc(crc(seed, &(number as u32).to_le_bytes()), &generation);
        repair_blocks(disk, at, seed, own);
        if disk[at..at + INODE].iter().any(|&byte| byte != 0) {
            put16(disk, at + 0x7c, 0);
            put16(disk, at + 0x82, 0);
            let sum = crc(own, &disk[at..at + INODE]);
            put16(disk, at + 0x7c, sum);
            put16(disk, at + 0x82, sum >> 16);
        }
    }
    put16(disk, BLOCK + 0x1e, 0);
    let sum = crc(crc(seed, &0u32.to_le_bytes()), &disk[BLOCK..BLOCK + 64]);
    put16(disk, BLOCK + 0x1e, sum);
    let sum = crc(!0, &disk[1024..1024 + 0x3fc]);
    put32(disk, 1024 + 0x3fc, sum);
}

/// Puts the checksums of the blocks right that belong to an inode.
fn repair_blocks(disk: &mut [u8], inode: usize, seed: u32, own: u32) {
    let attributes = get32(disk, inode + 0x68) as usize;
    if let Some(block) = block(disk, attributes) {
        put32(disk, block + 16, 0);
        let sum = crc(crc(seed, &(attributes as u64).to_le_bytes()), &disk[block..block + BLOCK]);
        put32(disk, block + 16, sum);
    }
    let (count, depth) = (get16(disk, inode + 0x2a).min(4), get16(disk, inode + 0x2e));
    let (is_directory, is_indexed) =
        (get16(disk, inode) & 0xf000 == 0x4000, get32(disk, inode + 0x20) & 0x1000 != 0);
    for entry in (0..count).map(|index| inode + 0x34 + index * 12) {
        if depth > 0 {
            if let Some(block) = block(disk, get32(disk, entry + 4) as usize) {
                let sum = crc(own, &disk[block..block + BLOCK - 4]);
                put32(disk, block + BLOCK - 4, sum);
            }
        } else if is_directory {
            let logical = get32(disk, entry) as usize;
            for index in 0..get16(disk, entry + 4).min(32) {
                if let Some(block) = block(disk, get32(disk, entry + 8) as usize + index) {
                    repair_directory(
                        &mut disk[block..block + BLOCK],
                        own,
                        is_indexed && logical + index == 0,
                    );
                }
            }
        }
    }
}

fn repair_directory(block: &mut [u8], own: u32, is_root: bool) {
    let sum = if is_root {
        let used = (32 + get16(block, 34) * 8).min(BLOCK - 8);
        crc(crc(crc(own, &block[..used]), &block[BLOCK - 8..BLOCK - 4]), &[0; 4])
    } else {
        crc(own, &block[..BLOCK - 12])
    };
    put32(block, BLOCK - 4, sum);
}

/// Returns where a block begins; `None` for those in front, and outside.
fn block(disk: &[u8], number: usize) -> Option<usize> {
    (2..disk.len() / BLOCK).contains(&number).then_some(number * BLOCK)
}

fn crc(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}

fn get16(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

fn get32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn put16(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
}

fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

pub fn seeds() -> Vec<Vec<u8>> {
    let places = BASE.places.len() as u8;
    let mut seeds: Vec<_> = [0, 1].iter().flat_map(|flags| patch_seeds(&[*flags], places)).collect();
    let inode = |number: u16, field: u16, bytes: &[u8]| patch(2, (number - 1) * INODE as u16 + field, bytes);
    // The root with another's extents; a directory within itself; a file of all bytes; deep extents.
    for change in
        [inode(2, 0x34, &[0xff; 12]), inode(2, 4, &[0xff; 4]), inode(12, 4, &[0xff; 8]), inode(2, 0x2e, &[9])]
    {
        seeds.push([vec![1], change].concat());
    }
    seeds
}
