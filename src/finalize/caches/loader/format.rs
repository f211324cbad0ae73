//! The bytes of the cache: glibc's "new" format, version 1.1, with its extensions (glibc
//! `sysdeps/generic/dl-cache.h`). A change here breaks the format: the loader maps this file into memory.
//!
//! ```text
//! header        48 bytes: magic and version, number of entries, bytes of strings, flags, offset of extensions
//! entries       24 bytes each: flags, offset of name, offset of path, OS version (0), hwcap
//! strings       each with a NUL behind it; one that ends another is not stored again
//! extensions    aligned to 4: magic, count, sections of 16 bytes (tag, flags, offset, size); what they name
//! ```

use std::collections::BTreeMap;

const MAGIC_AND_VERSION: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER_BYTES: usize = 48;
const ENTRY_BYTES: usize = 24;
/// Says that the numbers are little-endian.
const FLAGS_LITTLE_ENDIAN: u8 = 2;
const EXTENSION_MAGIC: u32 = 0xeaa4_2174;
const SECTION_BYTES: usize = 16;
const TAG_GENERATOR: u32 = 0;
const TAG_SUBDIRECTORIES: u32 = 1;
/// Says that the low half of `hwcap` is the number of a `glibc-hwcaps` subdirectory.
const HWCAP_IS_SUBDIRECTORY: u64 = 1 << 62;

/// One library of the cache.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    /// What programs ask for.
    pub name: Vec<u8>,
    pub path: Vec<u8>,
    /// Its ABI, see [`super::library`].
    pub flags: u32,
    /// Bits of old processor subdirectories; 0 elsewhere.
    pub hwcap: u64,
    /// Level of the instruction set that it needs: 0 is the baseline.
    pub isa_level: u32,
    /// The `glibc-hwcaps` subdirectory that it is in.
    pub subdirectory: Option<Vec<u8>>,
}

/// Orders entries as the loader's binary search wants them; equal ones keep their order.
pub(super) fn sort(entries: &mut [Entry]) {
    entries.sort_by(|left, right| {
        let hwcaps = |entry: &Entry| (entry.hwcap.count_ones(), entry.hwcap);
        compare_names(&right.name, &left.name)
            .then_with(|| right.flags.cmp(&left.flags))
            .then_with(|| left.subdirectory.is_none().cmp(&right.subdirectory.is_none()))
            .then_with(|| left.subdirectory.cmp(&right.subdirectory))
            .then_with(|| hwcaps(right).cmp(&hwcaps(left)))
    });
}

/// Compares names with runs of digits by their value: `libx.so.9` is before `libx.so.10`.
pub(super) fn compare_names(left: &[u8], right: &[u8]) -> std::cmp::Ordering {
    use std::cmp::Ordering;
    let (mut left, mut right) = (left, right);
    loop {
        match (left.first(), right.first()) {
            (Some(a), Some(b)) if a.is_ascii_digit() && b.is_ascii_digit() => {
                let order = take_number(&mut left).cmp(&take_number(&mut right));
                if order != Ordering::Equal {
                    return order;
                }
            }
            (Some(a), _) if a.is_ascii_digit() => return Ordering::Greater,
            (_, Some(b)) if b.is_ascii_digit() => return Ordering::Less,
            (Some(a), Some(b)) if a == b => {
                left = &left[1..];
                right = &right[1..];
            }
            (a, b) => {
                // Bytes are signed here, as in the C of the loader.
                let signed = |byte: Option<&u8>| byte.map_or(0, |&byte| i32::from(byte as i8));
                return signed(a).cmp(&signed(b));
            }
        }
    }
}

/// Takes a run of digits and returns its value, modulo 2³² as in the loader.
fn take_number(text: &mut &[u8]) -> i32 {
    let mut value: i32 = 0;
    while let Some(digit) = text.first().filter(|byte| byte.is_ascii_digit()) {
        value = value.wrapping_mul(10).wrapping_add(i32::from(digit - b'0'));
        *text = &text[1..];
    }
    value
}

/// Writes a cache of sorted entries. `subdirectories` are the names of all `glibc-hwcaps` subdirectories that
/// were met, used or not. `None` where an offset would pass 32 bits.
pub(super) fn encode(entries: &[Entry], subdirectories: &[Vec<u8>], generator: &[u8]) -> Option<Vec<u8>> {
    let mut strings = Strings::default();
    for entry in entries {
        strings.add(&entry.name);
        strings.add(&entry.path);
    }
    subdirectories.iter().for_each(|name| strings.add(name));
    let (text, offsets) = strings.finish();
    let mut used: Vec<&Vec<u8>> = entries.iter().filter_map(|entry| entry.subdirectory.as_ref()).collect();
    used.sort();
    used.dedup();

    let strings_start = HEADER_BYTES + entries.len() * ENTRY_BYTES;
    let extensions_start = (strings_start + text.len()).next_multiple_of(4);
    let offset = |name: &[u8]| u32::try_from(strings_start + offsets[name]).ok();

    let mut bytes = MAGIC_AND_VERSION.to_vec();
    bytes.extend(u32::try_from(entries.len()).ok()?.to_le_bytes());
    bytes.extend(u32::try_from(text.len()).ok()?.to_le_bytes());
    bytes.extend([FLAGS_LITTLE_ENDIAN, 0, 0, 0]);
    bytes.extend(u32::try_from(extensions_start).ok()?.to_le_bytes());
    bytes.resize(HEADER_BYTES, 0);
    for entry in entries {
        bytes.extend(entry.flags.to_le_bytes());
        bytes.extend(offset(&entry.name)?.to_le_bytes());
        bytes.extend(offset(&entry.path)?.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(hwcap(entry, &used).to_le_bytes());
    }
    bytes.extend(text);
    bytes.resize(extensions_start, 0);
    let names: Option<Vec<u32>> = used.iter().map(|name| offset(name)).collect();
    write_extensions(&mut bytes, &names?, generator);
    Some(bytes)
}

fn hwcap(entry: &Entry, used: &[&Vec<u8>]) -> u64 {
    let Some(name) = &entry.subdirectory else { return entry.hwcap };
    let number = used.binary_search(&name).expect("because used names were gathered from the entries");
    HWCAP_IS_SUBDIRECTORY | u64::from(entry.isa_level) << 32 | number as u64
}

fn write_extensions(bytes: &mut Vec<u8>, names: &[u32], generator: &[u8]) {
    let sections = if names.is_empty() { 1 } else { 2 };
    let names_start = bytes.len() + 8 + sections * SECTION_BYTES;
    let generator_start = names_start + names.len() * 4;
    let mut words = vec![EXTENSION_MAGIC, sections as u32];
    words.extend([TAG_GENERATOR, 0, generator_start as u32, generator.len() as u32]);
    if !names.is_empty() {
        words.extend([TAG_SUBDIRECTORIES, 0, names_start as u32, names.len() as u32 * 4]);
    }
    words.extend(names);
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    bytes.extend_from_slice(generator);
}

/// A table of strings in which one that ends another takes no room.
#[derive(Default)]
struct Strings {
    offsets: BTreeMap<Vec<u8>, usize>,
}

impl Strings {
    fn add(&mut self, text: &[u8]) {
        self.offsets.insert(text.to_vec(), 0);
    }

    /// Lays the strings out, by their reversed bytes in descending order: what ends another follows it.
    fn finish(mut self) -> (Vec<u8>, BTreeMap<Vec<u8>, usize>) {
        let mut texts: Vec<&Vec<u8>> = self.offsets.keys().collect();
        texts.sort_by(|left, right| right.iter().rev().cmp(left.iter().rev()));
        let mut bytes = Vec::new();
        let mut places: Vec<(Vec<u8>, usize)> = Vec::with_capacity(texts.len());
        for text in texts {
            let shared = places.last().filter(|(previous, _)| previous.ends_with(text));
            let offset = match shared {
                Some((previous, offset)) => offset + previous.len() - text.len(),
                None => {
                    let end = bytes.len();
                    bytes.extend_from_slice(text);
                    bytes.push(0);
                    end
                }
            };
            places.push((text.clone(), offset));
        }
        self.offsets = places.into_iter().collect();
        (bytes, self.offsets)
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::*;

    #[test]
    fn numbers_in_names_count_by_value() {
        let order = |left: &str, right: &str| compare_names(left.as_bytes(), right.as_bytes());
        assert_eq!(order("libx.so.9", "libx.so.10"), Ordering::Less);
        assert_eq!(order("libx.so.1", "libx.so"), Ordering::Greater);
        assert_eq!(order("lib1.so", "liba.so"), Ordering::Greater);
        assert_eq!(order("lib01.so", "lib1.so"), Ordering::Equal);
        assert_eq!(order("libx", "libx"), Ordering::Equal);
        assert_eq!(
            order("lib99999999999999999999", "lib1"),
            compare_names(b"lib99999999999999999999", b"lib1")
        );
    }

    #[test]
    fn a_string_that_ends_another_is_stored_once() {
        let mut strings = Strings::default();
        for text in ["/lib/libx.so.1", "libx.so.1", "so.1", "other"] {
            strings.add(text.as_bytes());
        }
        let (bytes, offsets) = strings.finish();
        assert_eq!(bytes.len(), "/lib/libx.so.1".len() + "other".len() + 2);
        for (text, offset) in offsets {
            assert!(bytes[offset..].starts_with(&text));
        }
    }
}
