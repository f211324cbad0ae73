//! A changed byte is named to the field.

use std::io;
use std::sync::Mutex;

use super::{Changed, Image, RECIPE, Site, image};
use mkimage::base::Job;
use mkimage::disk::{BlockDevice, gpt};
use mkimage::verify::{Against, compare, verify, verify_against};

fn offset(name: &str) -> u64 {
    gpt::read(&image().whole()).expect("a table").named(name).expect("a partition").offset()
}

/// Returns what comparing with the whole image says first.
fn first(changed: &Changed) -> String {
    let found = compare(&image().whole(), changed, &Job::quiet(1)).expect("compared");
    found.first().expect("a divergence").to_string()
}

fn find(text: &[u8]) -> u64 {
    let hit = |(page, bytes): (&u64, &[u8])| {
        bytes.windows(text.len()).position(|window| window == text).map(|at| page * 4096 + at as u64)
    };
    image()
        .pages
        .iter()
        .map(|(page, bytes)| (page, &**bytes))
        .find_map(hit)
        .expect("the text is in the image")
}

#[test]
fn equal_images_do_not_differ() {
    assert_eq!(compare(&image().whole(), &image().whole(), &Job::quiet(2)).expect("compared"), []);
}

#[test]
fn a_byte_of_a_file_is_named_by_its_path() {
    let at = find(b"file number 77");
    let changed = image().whole().flip((at + 3) * 8);
    assert!(first(&changed).contains("slot-a → ext4 file (/srv/many/a-name-that-is-not-short-77) → byte 3"));
    let report = verify(&changed, &Job::quiet(1)).expect("verified");
    let finding = report.findings.iter().find(|finding| finding.structure == "verity").expect("a finding");
    assert_eq!(finding.path.as_deref(), Some("/srv/many/a-name-that-is-not-short-77"));
}

#[test]
fn fields_of_superblock_inode_and_descriptor_are_named() {
    let slot = offset("slot-a");
    let changed = image().whole().put(slot + 1024 + 0x3c, &[2]);
    assert!(first(&changed).contains("slot-a → ext4 superblock → errors: 1 and 2"), "{}", first(&changed));
    let changed = image().whole().put(slot + 4096 + 0x10, &[9]);
    assert!(first(&changed).contains("descriptor of group 0 → used_dirs_count_lo"), "{}", first(&changed));
    // The root's inode is the second of the table, whose place the descriptor names.
    let table = image().whole().get(slot + 4096 + 8, 4);
    let table = u64::from(u32::from_le_bytes(table.try_into().expect("four bytes")));
    let changed = image().whole().put(slot + table * 4096 + 256 + 2, &[7]);
    assert!(first(&changed).contains("ext4 inode 2 (/) → uid: 0 and 7"), "{}", first(&changed));
}

#[test]
fn fields_of_the_partition_table_and_the_fat_are_named() {
    let changed = image().whole().flip((512 + 60) * 8);
    assert!(first(&changed).starts_with("GPT header → disk GUID: "), "{}", first(&changed));
    let esp = offset("esp");
    let changed = image().whole().flip((esp + 67) * 8);
    assert!(first(&changed).starts_with("esp → FAT boot sector → BS_VolID"), "{}", first(&changed));
    let changed = image().whole().flip((esp + 512 + 492) * 8);
    assert!(first(&changed).starts_with("esp → FAT FSInfo → FSI_Nxt_Free"), "{}", first(&changed));
}

#[test]
fn a_word_of_the_command_line_is_named_with_both_spellings() {
    let at = find(b"oops=panic gpt mkimage.verity=");
    let changed = image().whole().put(at, b"O");
    let said = first(&changed);
    assert!(
        said.contains("UKI of slot-a: .cmdline → word \"oops\": \"oops=panic\" and \"Oops=panic\""),
        "{said}"
    );
    let report = verify(&changed, &Job::quiet(1)).expect("verified");
    let finding = report.findings.first().expect("a finding");
    assert!(finding.structure.contains(".cmdline"), "{finding}");
}

#[test]
fn what_follows_from_another_difference_comes_last() {
    let slot = offset("slot-a");
    let sum = image().whole().flip((slot + 1024 + 0x3fc) * 8).flip((slot + 1024 + 0x3c) * 8);
    let found = compare(&image().whole(), &sum, &Job::quiet(1)).expect("compared");
    let fields: Vec<_> =
        found.iter().map(|one| (one.field.clone().unwrap_or_default(), one.derived)).collect();
    assert_eq!(fields, [("errors".to_owned(), false), ("checksum".to_owned(), true)]);
}

/// A device that counts what is read of it.
struct Counted<'a> {
    device: &'a Changed,
    reads: Mutex<Vec<(u64, u64)>>,
}

impl BlockDevice for Counted<'_> {
    fn size(&self) -> u64 {
        self.device.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.reads.lock().expect("free").push((offset, buffer.len() as u64));
        self.device.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.device.write_at(offset, bytes)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns how many bytes of the slots' filesystems were read, of both images together.
fn read_of_slots(a: &Changed, b: &Changed, with: impl FnOnce(&dyn BlockDevice, &dyn BlockDevice)) -> u64 {
    let counted = [a, b].map(|device| Counted { device, reads: Mutex::default() });
    with(&counted[0], &counted[1]);
    let start = offset("slot-a");
    // Slot B is empty.
    let end = offset("slot-b");
    let of_slot = |counted: &Counted<'_>| -> u64 {
        let reads = counted.reads.lock().expect("free");
        reads.iter().map(|(at, bytes)| (at + bytes).min(end).saturating_sub((*at).max(start))).sum()
    };
    counted.iter().map(of_slot).sum()
}

#[test]
fn what_verifying_has_proved_equal_is_not_read_again() {
    let job = Job::quiet(1);
    let one = image().whole();
    let site = Site::new();
    // Of the same length: all the other files stay where they are.
    site.write("disk.hcl", RECIPE.replace("welcome", "wellcom").as_bytes());
    let other: &'static Image = Box::leak(Box::new(Image::read(&site.build("other.img"))));
    for (name, second, most) in [("equal", &image().whole(), 0), ("one file differs", &other.whole(), 2)] {
        let alone = read_of_slots(&one, second, |a, b| {
            verify(a, &job).expect("verified");
            verify(b, &job).expect("verified");
        });
        let bytewise = read_of_slots(&one, second, |a, b| drop(compare(a, b, &job).expect("compared")));
        let mut found = None;
        let against = read_of_slots(&one, second, |a, b| {
            found = Some(verify_against(a, b, &job).expect("compared"));
        });
        let Against { report, other, differences } = found.expect("an answer");
        assert!(report.sound && other.expect("a report").sound, "{name}");
        assert_eq!(differences, compare(&one, second, &job).expect("compared"), "{name}");
        assert_eq!(differences.is_empty(), name == "equal");
        let again = against.saturating_sub(alone);
        assert!(
            again * 100 <= bytewise * most,
            "{name}: {again} of {bytewise} bytes were read again, after {alone}"
        );
    }
}

/// The verity tree says that these are equal: it is the check of the tree against its data that tells.
#[test]
fn a_changed_byte_under_an_unchanged_tree_is_found_and_named() {
    let job = Job::quiet(1);
    let slot = offset("slot-a");
    let file = find(b"file number 77") + 3;
    let large = find(&(1000..1064u32).map(|at| ((at * 31) >> 4) as u8 | 1).collect::<Vec<u8>>());
    for at in [file, large, large + (1 << 20), slot + 1024 + 0x3c] {
        let changed = image().whole().flip(at * 8);
        let Against { report, other, differences } =
            verify_against(&image().whole(), &changed, &job).expect("compared");
        let other = other.expect("a report");
        assert!(report.sound && !other.sound, "{at}");
        assert!(
            other.findings.iter().any(|finding| finding.structure == "verity"),
            "{at}: {:?}",
            other.findings
        );
        assert_eq!(differences, compare(&image().whole(), &changed, &job).expect("compared"), "{at}");
        assert!(!differences.is_empty(), "{at}");
        // The damaged one first: nothing depends on the order.
        let turned = verify_against(&changed, &image().whole(), &job).expect("compared");
        assert_eq!(turned.differences.len(), differences.len(), "{at}");
    }
}
