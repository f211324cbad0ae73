//! Long names, and the 8.3 aliases that stand beside them.

use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a short name as entries hold it: eight and three, padded with spaces, no dot.
pub(super) type ShortName = [u8; 11];

/// Says what is wrong with a name; `None` where FAT can hold it.
pub(super) fn problem(name: &str) -> Option<&'static str> {
    if name.is_empty() || name == "." || name == ".." {
        return Some("it is no name");
    }
    if name.encode_utf16().count() > 255 {
        return Some("a name has at most 255 UTF-16 units");
    }
    if name.chars().any(|letter| letter.is_control() || r#""*/:<>?\|"#.contains(letter)) {
        return Some(r#"it has a control character or one of " * / : < > ? \ |"#);
    }
    if name.ends_with(['.', ' ']) || name.starts_with(' ') {
        return Some("it begins or ends with a space, or ends with a dot");
    }
    None
}

/// Returns a name as FAT compares it.
pub(super) fn folded(name: &str) -> String {
    name.chars().flat_map(char::to_uppercase).collect()
}

/// Gives every name of a directory its short name, and says whether it also needs a long one.
/// Names that are short ones themselves keep them; the others get what is free, in their order.
pub(super) fn short_names(names: &[&str]) -> Vec<(ShortName, bool)> {
    let mut taken: BTreeSet<ShortName> = names.iter().filter_map(|name| exact(name)).collect();
    let mut tails = BTreeMap::new();
    names
        .iter()
        .map(|name| match exact(name) {
            Some(short) => (short, false),
            None => (alias(name, &mut taken, &mut tails), true),
        })
        .collect()
}

/// Returns the short name of a name that is one already: upper case, eight and three.
fn exact(name: &str) -> Option<ShortName> {
    let (base, extension) = split(name);
    let valid = |part: &str| part.bytes().all(is_short_byte);
    let fits = (1..=8).contains(&base.len()) && extension.len() <= 3;
    (fits && valid(base) && valid(extension) && !name.ends_with('.')).then(|| join(base, extension))
}

fn is_short_byte(byte: u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'0'..=b'9') || b"!#$%&'()-@^_`{}~".contains(&byte)
}

fn split(name: &str) -> (&str, &str) {
    match name.rsplit_once('.') {
        Some((base, extension)) if !base.is_empty() => (base, extension),
        _ => (name, ""),
    }
}

fn join(base: &str, extension: &str) -> ShortName {
    let mut short = [b' '; 11];
    short[..base.len()].copy_from_slice(base.as_bytes());
    short[8..8 + extension.len()].copy_from_slice(extension.as_bytes());
    short
}

/// Replaces what a short name can't hold. Tells whether that lost more than the case of letters.
fn squeeze(part: &str, longest: usize) -> (String, bool) {
    let mut squeezed = String::new();
    let mut lost = false;
    for letter in part.chars() {
        let upper = letter.to_ascii_uppercase();
        match u8::try_from(upper) {
            Ok(byte) if is_short_byte(byte) => squeezed.push(upper),
            Ok(b' ' | b'.') => lost = true,
            _ => {
                squeezed.push('_');
                lost = true;
            }
        }
    }
    lost |= squeezed.len() > longest;
    squeezed.truncate(longest);
    (squeezed, lost)
}

fn alias(
    name: &str,
    taken: &mut BTreeSet<ShortName>,
    tails: &mut BTreeMap<(String, String), u32>,
) -> ShortName {
    let (base, extension) = split(name);
    let (mut base, base_lost) = squeeze(base, 8);
    let (extension, extension_lost) = squeeze(extension, 3);
    if base.is_empty() {
        base.push('_');
    }
    let plain = join(&base, &extension);
    if !base_lost && !extension_lost && taken.insert(plain) {
        return plain;
    }
    base.truncate(6);
    let tail = tails.entry((base.clone(), extension.clone())).or_insert(0);
    loop {
        *tail += 1;
        let number = format!("~{tail}");
        let kept = base.len().min(8 - number.len());
        let short = join(&format!("{}{number}", &base[..kept]), &extension);
        if taken.insert(short) {
            return short;
        }
    }
}

/// Returns the checksum that ties long entries to their short one (specification §7.2).
pub(super) fn checksum(short: &ShortName) -> u8 {
    short.iter().fold(0, |sum: u8, &byte| sum.rotate_right(1).wrapping_add(byte))
}

/// Writes a short name as people do: `NAME.EXT`.
pub(super) fn readable(short: &ShortName) -> String {
    let part = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches(' ').to_owned();
    match (part(&short[..8]), part(&short[8..])) {
        (base, extension) if extension.is_empty() => base,
        (base, extension) => format!("{base}.{extension}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shorts(names: &[&str]) -> Vec<String> {
        short_names(names).iter().map(|(short, _)| readable(short)).collect()
    }

    #[test]
    fn short_names_are_kept_and_long_ones_get_an_alias() {
        let names = ["BOOTX64.EFI", "loader.conf", "Linux", "a b.txt", ".hidden", "archive.tar.gz", "é.efi"];
        let expected =
            ["BOOTX64.EFI", "LOADER~1.CON", "LINUX", "AB~1.TXT", "HIDDEN~1", "ARCHIV~1.GZ", "_~1.EFI"];
        assert_eq!(shorts(&names), expected);
        assert_eq!(short_names(&["EFI"]), [(*b"EFI        ", false)]);
        assert!(short_names(&["efi"])[0].1);
    }

    #[test]
    fn aliases_never_collide() {
        let mut names: Vec<String> = (0..200).map(|n| format!("the same beginning {n}.text")).collect();
        names.extend(["THESAM~1.TEX", "THESAM~3.TEX", "thesam~2.tex"].map(String::from));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let shorts: BTreeSet<String> = shorts(&names).into_iter().collect();
        assert_eq!(shorts.len(), names.len());
        assert!(shorts.contains("THESAM~3.TEX") && shorts.contains("THES~200.TEX"));
    }

    #[test]
    fn names_that_fat_cannot_hold_are_refused() {
        for name in ["", ".", "..", "a/b", "a\\b", "a\0", "x.", "x ", " x", "a:b", "a?"] {
            assert!(problem(name).is_some(), "{name:?}");
        }
        assert!(problem(&"x".repeat(256)).is_some());
        for name in ["x", ".x", "a b", "a+b", "Ünïcode", "😀"] {
            assert_eq!(problem(name), None, "{name:?}");
        }
    }
}
