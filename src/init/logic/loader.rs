//! What the boot loader tells: EFI variables under the loader's GUID, as efivarfs shows them (four bytes of
//! attributes, then UTF-16 with a closing zero). See the Boot Loader Interface. Our own loader adds a variable
//! under a GUID of its own, see [`Report`].

use mkimage::boot::slots::Slot;

/// GUID of the loader's variables, behind the name and a dash in efivarfs.
pub const LOADER_GUID: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// Name and GUID of our own loader's variable, as efivarfs spells them.
pub const REPORT_VARIABLE: &str = "MkimageBoot-7e0c4b1d-52a6-4d8f-9b37-1c5e84d06a29";

/// What our own loader did: `slot-b counted`, `slot-b uncounted` (a trial that it could not write down) or
/// `slot-b plain` (no trial), then a line for each thing that was not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub slot: Slot,
    pub is_counted: bool,
    pub notes: Vec<String>,
}

impl Report {
    /// Reads the variable's text. `None`: it is not one of our loader.
    pub fn parse(text: &str) -> Option<Report> {
        let mut lines = text.lines();
        let (slot, how) = lines.next()?.split_once(' ')?;
        let slot = Slot::BOTH.into_iter().find(|it| it.to_string() == slot)?;
        let is_counted = match how {
            "counted" => true,
            "uncounted" | "plain" => false,
            _ => return None,
        };
        Some(Report { slot, is_counted, notes: lines.map(str::to_owned).collect() })
    }
}

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
    fn a_report_names_a_slot_and_whether_the_try_is_written_down() {
        let report = Report::parse("slot-b counted\none of the two slot records is damaged\n").expect("one");
        assert_eq!((report.slot, report.is_counted, report.notes.len()), (Slot::B, true, 1));
        let plain = Report::parse("slot-a plain\n").expect("one");
        assert_eq!((plain.slot, plain.is_counted, plain.notes.is_empty()), (Slot::A, false, true));
        assert!(!Report::parse("slot-a uncounted").expect("one").is_counted);
        for text in ["", "slot-c counted", "slot-a", "slot-a maybe", "counted slot-a"] {
            assert_eq!(Report::parse(text), None, "{text}");
        }
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
