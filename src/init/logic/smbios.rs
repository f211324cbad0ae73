//! Strings of SMBIOS structures (DMTF DSP0134 §6.1.3, §7.12: OEM strings, type 11).

/// Bytes of a structure's header.
const HEADER_BYTES: usize = 4;
const OEM_STRINGS: u8 = 11;

/// Returns the strings of a structure of type 11, as the kernel shows it in `entries/11-N/raw`. Anything
/// else has none.
pub fn oem_strings(raw: &[u8]) -> Vec<&str> {
    let (Some(&kind), Some(&formatted)) = (raw.first(), raw.get(1)) else { return Vec::new() };
    if kind != OEM_STRINGS || usize::from(formatted) < HEADER_BYTES {
        return Vec::new();
    }
    let strings = raw.get(usize::from(formatted)..).unwrap_or_default();
    strings
        .split(|&byte| byte == 0)
        .take_while(|string| !string.is_empty())
        .filter_map(|string| std::str::from_utf8(string).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_follow_the_formatted_part_until_an_empty_one() {
        let raw = b"\x0b\x05\x00\x01\x02a=b\0c=d e\0\0rubbish";
        assert_eq!(oem_strings(raw), ["a=b", "c=d e"]);
        assert_eq!(oem_strings(b"\x0b\x05\x00\x01\x01bad\xff\0good\0\0"), ["good"]);
    }

    #[test]
    fn torn_and_foreign_structures_have_none() {
        for raw in [&b""[..], b"\x0b", b"\x0b\x05\x00\x01", b"\x0b\x02aaaa", b"\x01\x04\0\0name\0\0"] {
            assert!(oem_strings(raw).is_empty(), "{raw:?}");
        }
        assert_eq!(oem_strings(b"\x0b\x05\x00\x01\x01open"), ["open"]);
    }
}
