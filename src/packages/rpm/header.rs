//! RPM's header structure (RPM's reference manual, "RPM V4 Package format"): an index of tags, and a store of values.
//!
//! ```text
//! 8e ad e8 01, 4 reserved bytes, number of entries, bytes of data      (16 bytes, numbers big-endian)
//! entries: tag, type, offset, count                                    (16 bytes each)
//! data
//! ```
//!
//! The first entry is a region: sixteen bytes at the end of the data that repeat how many entries digests and
//! signatures cover. A header of a package is covered as a whole, or refused.

use super::error::HeaderError;
use super::tags;

/// Starts every header: magic and version.
const MAGIC: [u8; 4] = [0x8e, 0xad, 0xe8, 0x01];
/// Magic, reserved bytes and two numbers.
const INTRODUCTION_BYTES: usize = 16;
const ENTRY_BYTES: usize = 16;
/// Most entries and most data, as rpm itself bounds them.
const ENTRIES_MAX: u32 = 0xffff;
const DATA_BYTES_MAX: u32 = 256 << 20;

/// One entry of the index, checked to lie in the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    tag: u32,
    kind: Kind,
    /// Where its values lie in the data.
    start: usize,
    end: usize,
    count: usize,
}

/// Types of values. Numbers are part of the format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Char = 1,
    Int8 = 2,
    Int16 = 3,
    Int32 = 4,
    Int64 = 5,
    String = 6,
    Binary = 7,
    Strings = 8,
    Translated = 9,
}

impl Kind {
    fn of(number: u32) -> Option<Kind> {
        use Kind::{Binary, Char, Int8, Int16, Int32, Int64, String, Strings, Translated};
        [Char, Int8, Int16, Int32, Int64, String, Binary, Strings, Translated]
            .into_iter()
            .find(|kind| *kind as u32 == number)
    }

    /// Returns the length of one value in bytes; `None` for texts. Values are aligned to it.
    pub fn size(self) -> Option<usize> {
        match self {
            Kind::Char | Kind::Int8 | Kind::Binary => Some(1),
            Kind::Int16 => Some(2),
            Kind::Int32 => Some(4),
            Kind::Int64 => Some(8),
            Kind::String | Kind::Strings | Kind::Translated => None,
        }
    }
}

/// Holds a header whose every value lies where the index says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// The whole header, magic first.
    bytes: Vec<u8>,
    data_start: usize,
    /// In the order of the index, without the region.
    entries: Vec<Entry>,
}

impl Header {
    /// Reads a header from the front of `bytes`, with the region `region`; returns it and its length.
    pub fn read(bytes: &[u8], region: u32) -> Result<(Header, usize), HeaderError> {
        let introduction = bytes.get(..INTRODUCTION_BYTES).ok_or(HeaderError::Truncated)?;
        if introduction[..4] != MAGIC {
            return Err(HeaderError::Magic);
        }
        let (entries, data_bytes) = (number(introduction, 8), number(introduction, 12));
        limit("entries", entries, ENTRIES_MAX)?;
        limit("bytes of data", data_bytes, DATA_BYTES_MAX)?;
        let data_start = INTRODUCTION_BYTES + entries as usize * ENTRY_BYTES;
        let length = data_start + data_bytes as usize;
        let bytes = bytes.get(..length).ok_or(HeaderError::Truncated)?.to_vec();
        let mut header = Header { bytes, data_start, entries: Vec::new() };
        header.check_region(region)?;
        header.read_entries()?;
        Ok((header, length))
    }

    /// Reads a header that is all of `bytes`.
    pub fn parse(bytes: &[u8], region: u32) -> Result<Header, HeaderError> {
        let (header, length) = Header::read(bytes, region)?;
        if length == bytes.len() { Ok(header) } else { Err(HeaderError::Truncated) }
    }

    fn check_region(&self, region: u32) -> Result<(), HeaderError> {
        let index = &self.bytes[INTRODUCTION_BYTES..self.data_start];
        let data = &self.bytes[self.data_start..];
        let first = index.get(..ENTRY_BYTES).ok_or(HeaderError::Region)?;
        let is_region = number(first, 0) == region && number(first, 4) == Kind::Binary as u32;
        let offset = number(first, 8) as usize;
        let covers_data = offset.checked_add(ENTRY_BYTES) == Some(data.len());
        if !is_region || number(first, 12) != ENTRY_BYTES as u32 || !covers_data {
            return Err(HeaderError::Region);
        }
        let trailer = &data[offset..];
        let covered = 0u32.wrapping_sub(number(trailer, 8)) as usize;
        let is_trailer = number(trailer, 0) == region && number(trailer, 4) == Kind::Binary as u32;
        if is_trailer && covered == index.len() { Ok(()) } else { Err(HeaderError::Region) }
    }

    fn read_entries(&mut self) -> Result<(), HeaderError> {
        let index = &self.bytes[INTRODUCTION_BYTES..self.data_start];
        let data = &self.bytes[self.data_start..];
        let mut entries = Vec::new();
        let mut seen = std::collections::HashSet::new();
        let mut end = 0;
        for raw in index.chunks_exact(ENTRY_BYTES).skip(1) {
            let entry = entry(raw, data, end)?;
            if !seen.insert(entry.tag) {
                return Err(HeaderError::Twice(entry.tag));
            }
            end = entry.end;
            entries.push(entry);
        }
        self.entries = entries;
        Ok(())
    }

    /// Returns the whole header, magic first: what digests and signatures cover.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the entries of the index as they stand, the region first.
    pub fn index(&self) -> &[u8] {
        &self.bytes[INTRODUCTION_BYTES..self.data_start]
    }

    /// Returns the store of values.
    pub fn data(&self) -> &[u8] {
        &self.bytes[self.data_start..]
    }

    fn find(&self, tag: u32) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.tag == tag)
    }

    /// Tells whether a tag is there.
    pub fn has(&self, tag: u32) -> bool {
        self.find(tag).is_some()
    }

    /// Returns type, count and bytes of a tag's values.
    pub fn raw(&self, tag: u32) -> Option<(Kind, usize, &[u8])> {
        let entry = self.find(tag)?;
        Some((entry.kind, entry.count, self.data().get(entry.start..entry.end)?))
    }

    /// Returns a tag's texts, none where the tag is missing or no text.
    pub fn texts(&self, tag: u32) -> Vec<&[u8]> {
        match self.raw(tag) {
            Some((kind, count, bytes)) if kind.size().is_none() => {
                bytes.split(|&byte| byte == 0).take(count).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Returns a tag's first text, where it is UTF-8.
    pub fn text(&self, tag: u32) -> Option<&str> {
        std::str::from_utf8(self.texts(tag).first()?).ok()
    }

    /// Returns a tag's first text, without which there is no package.
    pub fn need_text(&self, tag: u32) -> Result<&str, HeaderError> {
        self.text(tag).filter(|text| !text.is_empty()).ok_or(HeaderError::Missing(tag))
    }

    /// Returns a tag's numbers, whatever their width; none where the tag is missing or not of numbers.
    pub fn numbers(&self, tag: u32) -> Vec<u64> {
        match self.raw(tag) {
            Some((kind @ (Kind::Char | Kind::Int8 | Kind::Int16 | Kind::Int32 | Kind::Int64), _, bytes)) => {
                let size = kind.size().unwrap_or(1);
                let value = |bytes: &[u8]| bytes.iter().fold(0u64, |all, byte| all << 8 | u64::from(*byte));
                bytes.chunks_exact(size).map(value).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Returns a tag's first number.
    pub fn number(&self, tag: u32) -> Option<u64> {
        match self.raw(tag)? {
            (Kind::Binary | Kind::String | Kind::Strings | Kind::Translated, ..) => None,
            (kind, _, bytes) => {
                let first = bytes.get(..kind.size()?)?;
                Some(first.iter().fold(0u64, |all, byte| all << 8 | u64::from(*byte)))
            }
        }
    }

    /// Returns a tag's bytes.
    pub fn binary(&self, tag: u32) -> Option<&[u8]> {
        match self.raw(tag)? {
            (Kind::Binary, _, bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Returns how many values a tag has, 0 where it is missing.
    pub fn count(&self, tag: u32) -> usize {
        self.find(tag).map_or(0, |entry| entry.count)
    }

    /// Returns name, version with epoch and release, and architecture.
    pub fn identity(&self) -> Result<(String, super::version::Evr, String), HeaderError> {
        let evr = super::version::Evr {
            epoch: self.number(tags::EPOCH).map(|epoch| epoch as u32),
            version: self.need_text(tags::VERSION)?.to_owned(),
            release: Some(self.need_text(tags::RELEASE)?.to_owned()),
        };
        Ok((self.need_text(tags::NAME)?.to_owned(), evr, self.need_text(tags::ARCH)?.to_owned()))
    }
}

/// Reads an entry. Values lie behind each other in the order of the index, as rpm writes them: so the cost of a header
/// follows from its length.
fn entry(raw: &[u8], data: &[u8], behind: usize) -> Result<Entry, HeaderError> {
    let (tag, kind, offset, count) = (number(raw, 0), number(raw, 4), number(raw, 8), number(raw, 12));
    let wrong = || HeaderError::Entry { tag, kind, offset, count };
    let kind = Kind::of(kind).ok_or_else(wrong)?;
    let (start, count) = (offset as usize, count as usize);
    let values = data.get(start..).filter(|_| count > 0 && start >= behind).ok_or_else(wrong)?;
    let length = match kind.size() {
        Some(size) if start.is_multiple_of(size) => count.checked_mul(size).ok_or_else(wrong)?,
        Some(_) => return Err(wrong()),
        None if kind == Kind::String && count != 1 => return Err(wrong()),
        None => texts_length(values, count).ok_or_else(wrong)?,
    };
    if length > values.len() {
        return Err(wrong());
    }
    Ok(Entry { tag, kind, start, end: start + length, count })
}

/// Returns the length of so many texts, each with its NUL; `None` where there are fewer.
fn texts_length(values: &[u8], count: usize) -> Option<usize> {
    let ends = values.iter().enumerate().filter(|(_, byte)| **byte == 0);
    ends.map(|(at, _)| at + 1).nth(count - 1)
}

fn limit(what: &'static str, found: u32, limit: u32) -> Result<(), HeaderError> {
    match found <= limit {
        true => Ok(()),
        false => Err(HeaderError::Limit { what, found: found.into(), limit: limit.into() }),
    }
}

/// Reads a big-endian number; the caller has checked that it is there.
fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}
