//! GUIDs, and the two orders in which their bytes are written.

use std::fmt;

/// Holds a GUID in the order of its text (RFC 9562). On disk the first three fields are little-endian.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    pub const NIL: Guid = Guid([0; 16]);

    /// Reads `c12a7328-f81f-11d2-ba4b-00a0c93ec93b`, in any case; `None` for anything else.
    pub const fn parse(text: &str) -> Option<Guid> {
        let text = text.as_bytes();
        if text.len() != 36 {
            return None;
        }
        let mut bytes = [0; 16];
        let (mut at, mut index) = (0, 0);
        while index < 16 {
            if matches!(at, 8 | 13 | 18 | 23) {
                if text[at] != b'-' {
                    return None;
                }
                at += 1;
            }
            match (digit(text[at]), digit(text[at + 1])) {
                (Some(high), Some(low)) => bytes[index] = high << 4 | low,
                _ => return None,
            }
            at += 2;
            index += 1;
        }
        Some(Guid(bytes))
    }

    /// Reads a constant; a wrong one does not compile.
    pub const fn literal(text: &str) -> Guid {
        match Guid::parse(text) {
            Some(guid) => guid,
            None => panic!("not a GUID"),
        }
    }

    /// Returns the bytes as GPT stores them: three little-endian fields, then eight bytes.
    pub const fn to_disk(self) -> [u8; 16] {
        let b = self.0;
        [b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]
    }

    /// Reads the bytes as GPT stores them.
    pub const fn from_disk(bytes: [u8; 16]) -> Guid {
        Guid(Guid(bytes).to_disk())
    }
}

const fn digit(letter: u8) -> Option<u8> {
    match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        b'A'..=b'F' => Some(letter - b'A' + 10),
        _ => None,
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_disk_order_are_those_of_the_specification() {
        let esp = Guid::literal("C12A7328-F81F-11D2-BA4B-00A0C93EC93B");
        assert_eq!(esp.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
        let disk =
            [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
        assert_eq!(esp.to_disk(), disk);
        assert_eq!(Guid::from_disk(disk), esp);
        for wrong in ["", "c12a7328f81f11d2ba4b00a0c93ec93b", "g12a7328-f81f-11d2-ba4b-00a0c93ec93b"] {
            assert_eq!(Guid::parse(wrong), None);
        }
        assert_eq!(Guid::parse("c12a7328-f81f-11d2-ba4b-00a0c93ec93é"), None);
    }
}
