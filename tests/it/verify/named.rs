//! A changed byte is named to the field.

use super::{Changed, image};
use mkimage::base::Job;
use mkimage::disk::gpt;
use mkimage::verify::{compare, verify};

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
