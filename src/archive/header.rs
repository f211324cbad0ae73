//! The header block of a tar entry: 512 bytes in one of three dialects.
//!
//! The layout is the `tar` crate's; what counts as valid is decided here. Sources: POSIX.1-2017 `pax`
//! ("ustar Interchange Format"), GNU tar's manual ("Basic Tar Format").

/// Bytes of a block: headers are one, contents are padded to it.
pub(super) const TAR_BLOCK_BYTES: usize = 512;

/// One header block.
pub(super) struct Header {
    block: [u8; TAR_BLOCK_BYTES],
}

/// Which fields a header has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Nothing behind the link name.
    V7,
    /// POSIX: a prefix for the name.
    Ustar,
    /// GNU's older form: no prefix.
    Gnu,
}

impl Header {
    pub(super) fn new(block: [u8; TAR_BLOCK_BYTES]) -> Self {
        Header { block }
    }

    /// Tells whether this is a block of zeros, two of which end an archive.
    pub(super) fn is_zero(&self) -> bool {
        self.block.iter().all(|&byte| byte == 0)
    }

    /// Checks sum and dialect.
    pub(super) fn check(&self) -> Result<Format, String> {
        let stated = number(&self.old().cksum, "checksum", Blank::Refused)?;
        let blanked = 148..156;
        let sum: u64 = self.block.iter().enumerate().fold(0, |sum, (index, &byte)| {
            sum + if blanked.contains(&index) { 0x20 } else { u64::from(byte) }
        });
        if sum != stated {
            return Err(format!("no header of a tar entry: its bytes sum up to {sum}, it says {stated}"));
        }
        self.format()
    }

    fn format(&self) -> Result<Format, String> {
        if let Some(ustar) = self.layout().as_ustar() {
            return match ustar.pad.iter().all(|&byte| byte == 0) {
                true => Ok(Format::Ustar),
                false => Err("bytes behind a ustar header's fields (as star's own dialect has them)".into()),
            };
        }
        match &self.block[257..265] {
            b"ustar  \0" => Ok(Format::Gnu),
            magic if magic.iter().all(|&byte| byte == 0) => Ok(Format::V7),
            magic => {
                Err(format!("a header of an unknown dialect (magic {:?})", crate::base::path::escaped(magic)))
            }
        }
    }

    pub(super) fn kind(&self) -> u8 {
        self.old().linkflag[0]
    }

    /// Returns the name, with ustar's prefix.
    pub(super) fn name(&self, format: Format) -> Vec<u8> {
        let name = until_nul(&self.old().name);
        match self.layout().as_ustar() {
            Some(ustar) if format == Format::Ustar && ustar.prefix[0] != 0 => {
                [until_nul(&ustar.prefix), b"/", name].concat()
            }
            _ => name.to_vec(),
        }
    }

    pub(super) fn link_name(&self) -> Vec<u8> {
        until_nul(&self.old().linkname).to_vec()
    }

    pub(super) fn mode(&self) -> Result<u64, String> {
        number(&self.old().mode, "mode", Blank::Refused)
    }

    pub(super) fn uid(&self) -> Result<u64, String> {
        number(&self.old().uid, "user id", Blank::Refused)
    }

    pub(super) fn gid(&self) -> Result<u64, String> {
        number(&self.old().gid, "group id", Blank::Refused)
    }

    pub(super) fn size(&self) -> Result<u64, String> {
        number(&self.old().size, "size", Blank::Refused)
    }

    /// Returns the device numbers; 0 where they are blank or the dialect has none.
    pub(super) fn device(&self, format: Format) -> Result<(u64, u64), String> {
        if format == Format::V7 {
            return Err("a device needs numbers, and this dialect (v7) has no room for them".into());
        }
        let major = number(&self.block[329..337], "major device number", Blank::Zero)?;
        Ok((major, number(&self.block[337..345], "minor device number", Blank::Zero)?))
    }

    fn layout(&self) -> &tar::Header {
        tar::Header::from_byte_slice(&self.block)
    }

    fn old(&self) -> &tar::OldHeader {
        self.layout().as_old()
    }
}

/// What a field of spaces and NULs means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Blank {
    Zero,
    Refused,
}

/// Reads a number: octal digits between spaces and NULs, or GNU's base 256 (first bit set, big-endian).
fn number(field: &[u8], what: &str, blank: Blank) -> Result<u64, String> {
    let wrong = |why: &str| Err(format!("the {what} {:?} {why}", crate::base::path::escaped(field)));
    if field[0] & 0x80 != 0 {
        if field[0] & 0x40 != 0 {
            return wrong("is negative");
        }
        let mut value = u64::from(field[0] & 0x3f);
        for &byte in &field[1..] {
            if value >> 56 != 0 {
                return wrong("is too large");
            }
            value = value << 8 | u64::from(byte);
        }
        return Ok(value);
    }
    let start = field.iter().position(|&byte| byte != b' ').unwrap_or(field.len());
    let digits = field[start..].iter().take_while(|byte| matches!(byte, b'0'..=b'7')).count();
    let (digits, rest) = field[start..].split_at(digits);
    if rest.iter().any(|byte| !matches!(byte, b' ' | 0)) {
        return wrong("is no octal number");
    }
    if digits.is_empty() && blank == Blank::Refused {
        return wrong("is blank");
    }
    // At most 12 digits of 3 bits.
    Ok(digits.iter().fold(0, |value, digit| value << 3 | u64::from(digit - b'0')))
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256_and_in_range() {
        let read = |field: &[u8]| number(field, "size", Blank::Refused).ok();
        assert_eq!(read(b"0000644\0"), Some(0o644));
        assert_eq!(read(b"   644 \0"), Some(0o644));
        assert_eq!(read(b"77777777"), Some(0o77777777));
        assert_eq!(read(b"777777777777"), Some(0o777777777777));
        assert_eq!(read(b"\x80\0\0\x02\0\0\0\0"), Some(2 << 32));
        assert_eq!(read(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"), Some(i64::MAX as u64));
        for wrong in [
            &b"        "[..],
            b"\0\0\0\0\0\0\0\0",
            b"0000648\0",
            b"-000644\0",
            b"+000644\0",
            b"0x00644\0",
            b"64 4\0\0\0\0",
            b"\x000644\0",
            b"\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x80\0\0\x01\0\0\0\0\0\0\0\0",
            b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(read(wrong), None, "{}", crate::base::path::escaped(wrong));
        }
        assert_eq!(number(b"\0\0\0\0\0\0\0\0", "major", Blank::Zero), Ok(0));
    }
}
