//! What the boot loader tells: EFI variables under the loader's GUID, as efivarfs shows them (four bytes of
//! attributes, then UTF-16 with a closing zero). See the Boot Loader Interface.

/// GUID of the loader's variables, behind the name and a dash in efivarfs.
pub const LOADER_GUID: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// Reads a variable's text. `None`: it is not one.
pub fn text(variable: &[u8]) -> Option<String> {
    let units: Vec<u16> =
        variable.get(4..)?.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    let end = units.iter().position(|&unit| unit == 0).unwrap_or(units.len());
    String::from_utf16(&units[..end]).ok().filter(|text| !text.is_empty())
}

/// Returns the file's name in a path as the firmware writes it: `\EFI\Linux\g2+2-1.efi`.
pub fn file_name(path: &str) -> &str {
    path.rsplit(['\\', '/']).next().unwrap_or(path)
}

/// Reads a GUID's text form into the byte order of a partition table.
pub fn guid(text: &str) -> Option<[u8; 16]> {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    if lengths != [8, 4, 4, 4, 12] || !text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()) {
        return None;
    }
    let value = u128::from_str_radix(&groups.concat(), 16).ok()?;
    let mut bytes = value.to_be_bytes();
    bytes[0..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(text: &str) -> Vec<u8> {
        let units = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
        [6, 0, 0, 0].into_iter().chain(units).collect()
    }

    #[test]
    fn variables_are_text_behind_their_attributes() {
        assert_eq!(text(&variable("\\EFI\\Linux\\g2+2-1.efi")).as_deref(), Some("\\EFI\\Linux\\g2+2-1.efi"));
        assert_eq!(text(&variable("")), None);
        assert_eq!(text(&[6, 0]), None);
        assert_eq!(text(&[6, 0, 0, 0, 0, 0xd8]), None, "half a surrogate pair");
    }

    #[test]
    fn a_path_ends_in_a_file_name() {
        assert_eq!(file_name("\\EFI\\Linux\\g2+2-1.efi"), "g2+2-1.efi");
        assert_eq!(file_name("g2.efi"), "g2.efi");
    }

    #[test]
    fn guids_have_their_first_three_groups_reversed_on_disk() {
        let esp = guid("C12A7328-F81F-11D2-BA4B-00A0C93EC93B").expect("is a GUID");
        assert_eq!(esp[..8], [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11]);
        assert_eq!(esp[8..], [0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b]);
        for text in
            ["", "C12A7328", "C12A7328-F81F-11D2-BA4B-00A0C93EC93", "+12A7328-F81F-11D2-BA4B-00A0C93EC93B"]
        {
            assert_eq!(guid(text), None, "{text}");
        }
    }
}
