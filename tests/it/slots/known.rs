//! Updates of a slot whose verity tree is known before: nothing is made again that is there, nothing that the slot
//! says of itself is believed, and a false memory does no harm.

use std::sync::atomic::Ordering;

use mkimage::boot::slots::Slot;
use mkimage::disk::verity::VerityBuilder;
use mkimage::disk::{BlockDevice, BlockObserver, MemoryDevice, Window};
use mkimage::image::{Image, OpenImage};
use mkimage::slots::{self, Outcome, Staged};

use super::kit::{Kit, Memory, Recall, one};

const BLOCK: usize = 4096;

fn device_of(bytes: &[u8]) -> MemoryDevice {
    let device = MemoryDevice::new(bytes.len() as u64);
    device.write_at(0, bytes).expect("written");
    device
}

/// Returns a disk with v1 in slot A, and v2 in slot B, confirmed.
fn disk_with_two() -> MemoryDevice {
    let device = device_of(&Kit::of(2).fresh(1));
    let _ = slots::stage(&device, None, &Kit::of(2).image(2), &one()).expect("staged");
    slots::confirm(&device, None, &one()).expect("confirmed");
    device
}

/// Updates slot A of a disk to a version, and holds the slot against what a fresh disk has there.
fn update(device: &MemoryDevice, version: u32, recall: Recall) -> (Staged, u64) {
    let kit = Kit::of(2);
    let memory = Memory::new(kit.store, recall);
    let image = Image::of(&memory, kit.commits[version as usize - 1], &one()).expect("an image");
    memory.read_bytes.store(0, Ordering::Relaxed);
    let staged = slots::stage(device, Some(Slot::B), &image, &one()).expect("staged");
    assert_eq!((staged.slot, staged.outcome), (Slot::A, Outcome::Staged));
    let fresh = device_of(&kit.fresh(version));
    let length = staged.slot_bytes as usize;
    assert!(slot_a(device)[..length] == slot_a(&fresh)[..length], "the slot is not that of the commit");
    let [ours, expected] = [device, &fresh].map(|disk| {
        let disk = OpenImage::open(disk).expect("opened");
        disk.verity(Slot::A).expect("a root hash").root_hash
    });
    assert_eq!(ours, expected);
    (staged, memory.read_bytes.into_inner())
}

fn slot_a(device: &MemoryDevice) -> Vec<u8> {
    let disk = OpenImage::open(device).expect("opened");
    let root = disk.root(Slot::A).expect("a slot");
    let mut bytes = vec![0; root.size() as usize];
    root.read_at(0, &mut bytes).expect("read");
    bytes
}

fn write_slot_a(device: &MemoryDevice, at: usize, bytes: &[u8]) {
    let disk = OpenImage::open(device).expect("opened");
    let partition = disk.table().named("slot-a").expect("a slot");
    device.write_at(partition.offset() + at as u64, bytes).expect("written");
}

/// Returns where the file stands that is the same in every version.
fn same_file(slot: &[u8]) -> usize {
    let same = crate::store::noise(1000, 40_000);
    slot.chunks(BLOCK).position(|block| block == &same[..BLOCK]).expect("the file") * BLOCK
}

#[test]
fn files_that_are_there_are_not_read_from_the_store() {
    Kit::of(2).uki(1);
    let (known, read) = update(&disk_with_two(), 1, Some);
    assert_eq!((known.root.written_bytes, known.root.erased_bytes, read), (0, 0, 0));
    let (new, read) = update(&disk_with_two(), 1, |_| None);
    assert_eq!(new.root, known.root, "both ways see the same");
    assert!(read > 40_000, "{read}");
    Kit::of(2).uki(3);
    let [known, new] = [Some, (|_| None) as Recall].map(|recall| update(&disk_with_two(), 3, recall).0);
    assert_eq!(new.root, known.root);
}

#[test]
fn a_block_that_rotted_is_found_and_written() {
    Kit::of(2).uki(1);
    let disk = disk_with_two();
    let at = same_file(&slot_a(&disk));
    write_slot_a(&disk, at + 5000, b"rot");
    let (staged, _) = update(&disk, 1, Some);
    assert_eq!(staged.root.written_bytes, BLOCK as u64);
}

#[test]
fn what_the_old_slot_says_of_itself_is_not_believed() {
    Kit::of(2).uki(1);
    let disk = disk_with_two();
    let verity = OpenImage::open(&disk).expect("opened").verity(Slot::A).expect("a root hash");
    // Somebody changed a file, and made a verity tree over it that fits.
    let at = same_file(&slot_a(&disk));
    write_slot_a(&disk, at, b"poison");
    let builder = VerityBuilder::new(verity.data_blocks, &verity.salt);
    let data = &slot_a(&disk)[..verity.data_blocks as usize * BLOCK];
    builder.wrote(0, data);
    let tree = builder.finish(&one()).expect("a tree");
    assert_ne!(tree.root_hash, verity.root_hash);
    let partition = OpenImage::open(&disk).expect("opened").table().named("slot-a").expect("a slot").offset();
    let slot = Window::new(&disk, partition, disk.size() - partition).expect("a window");
    tree.write(&slot, verity.hash_start_block * BLOCK as u64).expect("written");
    let (staged, _) = update(&disk, 1, Some);
    assert!(staged.root.written_bytes >= 2 * BLOCK as u64, "the block and its digests");
}

#[test]
fn a_false_memory_is_found_out_by_what_is_written() {
    Kit::of(2).uki(3);
    let true_one = update(&disk_with_two(), 3, Some).0.root;
    let lies: [Recall; 4] = [
        // Every block is zero; another digest of the first block; of the last one; cut off.
        |leaves| Some(leaves[leaves.len() - 32..].repeat(leaves.len() / 32)),
        |mut leaves| {
            leaves[0] ^= 1;
            Some(leaves)
        },
        |mut leaves| {
            *leaves.last_mut().expect("a digest") ^= 1;
            Some(leaves)
        },
        |leaves| Some(leaves[32..].to_vec()),
    ];
    for lie in lies {
        let root = update(&disk_with_two(), 3, lie).0.root;
        assert_eq!((root.written_bytes, root.erased_bytes), (true_one.written_bytes, true_one.erased_bytes));
    }
}

/// Computes the tree of a slot with a store, which remembers it where it may, and tells whether it is believed then.
fn is_believed(store: &mkimage::store::Store, commit: mkimage::base::CommitId) -> bool {
    let image = Image::of(store, commit, &one()).expect("an image");
    let root = image.place_root(&one()).expect("placed");
    image.slot_content(&root, &one()).expect("computed");
    recalls(store, commit)
}

fn recalls(store: &mkimage::store::Store, commit: mkimage::base::CommitId) -> bool {
    let image = Image::of(store, commit, &one()).expect("an image");
    let root = image.place_root(&one()).expect("placed");
    image.known_tree(&root, &one()).is_some()
}

#[test]
fn what_others_could_have_remembered_is_not_believed() {
    use std::os::unix::fs::PermissionsExt;
    let folder = crate::store::folder();
    let open = |name: &str| mkimage::store::Store::open(folder.path().join(name)).expect("opened");
    let own = open("own");
    let commit = super::kit::put(&own, 1, "app", (2, 1 << 20));
    assert!(!recalls(&own, commit), "nothing is remembered yet");
    assert!(is_believed(&own, commit));
    let records = walkdir::WalkDir::new(folder.path().join("own/memo")).into_iter().flatten();
    let records: Vec<_> = records.filter(|entry| entry.file_type().is_file()).collect();
    assert!(!records.is_empty());
    for (mode, believed) in [(0o464, false), (0o446, false), (0o444, true), (0o644, true)] {
        for record in &records {
            std::fs::set_permissions(record.path(), PermissionsExt::from_mode(mode)).expect("set");
        }
        assert_eq!(recalls(&open("own"), commit), believed, "{mode:o}");
    }
    let shared = open("shared");
    assert!(shared.initialise(true).expect("made"));
    let commit = super::kit::put(&shared, 1, "app", (2, 1 << 20));
    assert!(!is_believed(&shared, commit), "any machine writes there");
}
