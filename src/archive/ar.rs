//! The `ar` archive as `.deb` uses it: a magic, then members, each behind a header of 60 bytes.
//!
//! Of ar's dialects only the common form is read: short names, no symbol tables, no name tables
//! (`deb(5)`).

use std::collections::BTreeSet;
use std::io::Read;

use super::error::{ArchiveError, Place};
use super::limits::Limits;
use super::stream::Stream;
use crate::base::path::escaped;

/// Reads the members of an `ar` archive, in order.
pub struct Ar<R> {
    stream: Stream<R>,
    names: BTreeSet<String>,
    members_max: usize,
    /// Bytes of the present member that were not read yet, and whether a padding byte follows.
    left: u64,
    padded: bool,
    place: Place,
}

/// Describes a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// 1 to 16 characters: letters, digits and `-_.+~`.
    pub name: String,
    /// Length in bytes.
    pub size: u64,
    /// Byte offset of its content in the archive.
    pub offset: u64,
}

const MAGIC: &[u8; 8] = b"!<arch>\n";
const HEADER_BYTES: usize = 60;

impl<R: Read> Ar<R> {
    /// Reads the magic.
    pub fn new(reader: R, limits: &Limits) -> Result<Self, ArchiveError> {
        let mut stream = Stream::new(reader, limits.bytes);
        let place = Place::default();
        let mut magic = [0; MAGIC.len()];
        stream.fill(&mut magic, &place, "the magic of an ar archive")?;
        if &magic != MAGIC {
            let found = escaped(&magic);
            return Err(place.malformed(format!("an ar archive starts with \"!<arch>\\n\", not {found:?}")));
        }
        let members_max = limits.ar_members;
        Ok(Ar { stream, names: BTreeSet::new(), members_max, left: 0, padded: false, place })
    }

    /// Passes over the rest of the present member and reads the header of the next; `None` at the end.
    pub fn next_member(&mut self) -> Result<Option<Member>, ArchiveError> {
        self.finish_member()?;
        self.place = Place { offset: self.stream.position(), path: None };
        let mut header = [0; HEADER_BYTES];
        match self.stream.fill_or_end(&mut header, &self.place)? {
            0 => return Ok(None),
            HEADER_BYTES => {}
            _ => {
                let missing = "the rest of a member's header";
                return Err(ArchiveError::Truncated { place: self.place.clone(), missing });
            }
        }
        let (name, size) = self.header(&header)?;
        self.place.path = Some(name.as_bytes().into());
        if !self.names.insert(name.clone()) {
            return Err(self.place.malformed("a second member of this name"));
        }
        self.place.limit("members of an ar archive", self.names.len() as u64, self.members_max as u64)?;
        self.left = size;
        self.padded = !size.is_multiple_of(2);
        Ok(Some(Member { name, size, offset: self.stream.position() }))
    }

    fn header(&self, header: &[u8; HEADER_BYTES]) -> Result<(String, u64), ArchiveError> {
        let malformed = |problem: String| Err(self.place.malformed(problem));
        if &header[58..] != b"`\n" {
            return malformed(format!(
                "a member's header ends with {:?}, not \"`\\n\"",
                escaped(&header[58..])
            ));
        }
        let name = header[..16].trim_ascii_end();
        let name = name.strip_suffix(b"/").unwrap_or(name);
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.+~".contains(byte);
        if name.is_empty() || !name.iter().all(is_plain) {
            return malformed(format!("{:?} is no plain name of a member", escaped(&header[..16])));
        }
        let digits = header[48..58].trim_ascii_end();
        let size = match std::str::from_utf8(digits) {
            Ok(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            _ => None,
        };
        match size {
            Some(size) => Ok((String::from_utf8_lossy(name).into_owned(), size)),
            None => {
                malformed(format!("a member's size is decimal digits, not {:?}", escaped(&header[48..58])))
            }
        }
    }

    fn finish_member(&mut self) -> Result<(), ArchiveError> {
        let left = std::mem::take(&mut self.left);
        self.stream.skip(left, &self.place, "the rest of a member")?;
        if std::mem::take(&mut self.padded) {
            let mut padding = [0];
            self.stream.fill(&mut padding, &self.place, "the padding of a member")?;
            if &padding != b"\n" {
                return Err(self.place.malformed("the padding behind a member is not a newline"));
            }
        }
        Ok(())
    }
}

/// Gives the content of the present member.
impl<R: Read> Read for Ar<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.left.min(buffer.len() as u64) as usize;
        if length == 0 {
            return Ok(0);
        }
        let read =
            self.stream.read_some(&mut buffer[..length], &self.place).map_err(std::io::Error::other)?;
        if read == 0 {
            let missing = "the rest of a member";
            let cut = ArchiveError::Truncated { place: self.place.clone(), missing };
            return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, cut));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, size: &str, content: &[u8]) -> Vec<u8> {
        let mut bytes =
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, "100644").into_bytes();
        bytes.extend_from_slice(content);
        bytes
    }

    fn archive(members: &[Vec<u8>]) -> Vec<u8> {
        [MAGIC.to_vec(), members.concat()].concat()
    }

    fn read(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
        let mut ar = Ar::new(bytes, &Limits::default())?;
        let mut members = Vec::new();
        while let Some(member) = ar.next_member()? {
            let mut content = Vec::new();
            let read = ar.read_to_end(&mut content);
            read.map_err(|source| ArchiveError::Read { place: Place::default(), source })?;
            members.push((member.name, content));
        }
        Ok(members)
    }

    #[test]
    fn members_come_in_order_with_or_without_being_read() {
        let bytes = archive(&[member("debian-binary", "4", b"2.0\n"), member("data.tar/", "3", b"abc\n")]);
        let members = read(&bytes).expect("members");
        assert_eq!(
            members,
            [("debian-binary".into(), b"2.0\n".to_vec()), ("data.tar".into(), b"abc".to_vec())]
        );
        let mut ar = Ar::new(&bytes[..], &Limits::default()).expect("an archive");
        ar.next_member().expect("the first");
        assert_eq!(ar.next_member().expect("the second").map(|member| member.offset), Some(132));
        assert!(ar.next_member().expect("the end").is_none());
    }

    #[test]
    fn what_is_not_plain_is_refused() {
        for (why, bytes) in [
            ("magic", b"!<arch>X".to_vec()),
            ("hexadecimal size", archive(&[member("a", "0x4", b"2.0\n")])),
            ("negative size", archive(&[member("a", "-4", b"2.0\n")])),
            ("plus size", archive(&[member("a", "+4", b"2.0\n")])),
            ("no size", archive(&[member("a", "", b"")])),
            ("space inside the size", archive(&[member("a", "1 1", b"2.0\n2.0\n2.0\n")])),
            ("long name table", archive(&[member("//", "4", b"2.0\n")])),
            ("long name", archive(&[member("/12", "4", b"2.0\n")])),
            ("BSD long name", archive(&[member("#1/4", "4", b"2.0\n")])),
            ("no name", archive(&[member("", "4", b"2.0\n")])),
            ("twice", archive(&[member("a", "0", b""), member("a", "0", b"")])),
            ("padding", archive(&[member("a", "3", b"abcd")])),
            ("cut header", archive(&[member("a", "0", b"")[..59].to_vec()])),
            ("cut member", archive(&[member("a", "8", b"2.0\n")])),
            ("cut padding", archive(&[member("a", "3", b"abc")])),
            ("huge", archive(&[member("a", "9999999999", b"2.0\n")])),
        ] {
            assert!(read(&bytes).is_err(), "{why}");
        }
    }

    #[test]
    fn the_number_of_members_is_bounded() {
        let members: Vec<_> = (0..65).map(|n| member(&format!("m{n}"), "0", b"")).collect();
        assert!(matches!(read(&archive(&members)), Err(ArchiveError::Limit { limit: 64, .. })));
    }
}
