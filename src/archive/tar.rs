//! A tar archive as a stream of entries, in the strict reading.
//!
//! Accepted: v7, ustar, GNU (long names and links), pax. Refused, besides what is malformed: sparse
//! files, multi-volume and incremental archives, entry types of other vendors.

use std::io::Read;

use super::error::{ANNOUNCED, ArchiveError, Place};
use super::header::{Format, Header, TAR_BLOCK_BYTES};
use super::limits::Limits;
use super::pax::Records;
use super::stream::Stream;
use crate::base::path::escaped;
use crate::tree::{DeviceKind, Metadata};

/// One entry. Its path and link target are as the archive spells them, not yet checked.
#[derive(Debug)]
pub(super) struct Entry {
    /// Offset of the first header that belongs to it, and its path.
    pub(super) place: Place,
    pub(super) path: Vec<u8>,
    pub(super) kind: EntryKind,
    pub(super) metadata: Metadata,
    /// Bytes of content; 0 for all but files.
    pub(super) size: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    File,
    Directory,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    Device(DeviceKind, u32, u32),
    Fifo,
}

/// Reads entries one by one.
pub(super) struct Entries<'l, R> {
    stream: Stream<R>,
    limits: &'l Limits,
    /// Bytes of the present entry's content and padding that were not read yet.
    left: u64,
    padding: u64,
    place: Place,
}

/// Headers that come before an entry's own.
#[derive(Default)]
struct Extensions {
    records: Option<Records>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

/// The largest size that a ustar header's 11 octal digits hold.
const USTAR_SIZE_MAX: u64 = 0o77_777_777_777;

impl<'l, R: Read> Entries<'l, R> {
    pub(super) fn new(reader: R, limits: &'l Limits) -> Self {
        let stream = Stream::new(reader, limits.bytes);
        Entries { stream, limits, left: 0, padding: 0, place: Place::default() }
    }

    /// Returns how many bytes of the archive were read.
    pub(super) fn position(&self) -> u64 {
        self.stream.position()
    }

    /// Passes over the rest of the present entry and reads the next; `None` when the archive has ended
    /// as it should.
    pub(super) fn next_entry(&mut self) -> Result<Option<Entry>, ArchiveError> {
        self.finish_entry()?;
        let mut extensions = Extensions::default();
        let start = self.stream.position();
        loop {
            self.place = Place { offset: self.stream.position(), path: None };
            let header = self.read_header()?;
            if header.is_zero() {
                if !extensions.is_empty() {
                    return Err(self.place.malformed("an extended header without its entry"));
                }
                return self.finish_archive();
            }
            let format = header.check().map_err(|problem| self.place.malformed(problem))?;
            match header.kind() {
                b'x' | b'g' | b'L' | b'K' => self.extend(&header, &mut extensions)?,
                _ => return self.entry(&header, format, extensions, start).map(Some),
            }
        }
    }

    /// Reads all of the present entry's content. The caller has bounded its size.
    pub(super) fn read_content(&mut self, size: u64) -> Result<Vec<u8>, ArchiveError> {
        let mut bytes = vec![0; size.min(self.left) as usize];
        self.stream.fill(&mut bytes, &self.place, "the content of an entry")?;
        self.left -= bytes.len() as u64;
        Ok(bytes)
    }

    fn finish_entry(&mut self) -> Result<(), ArchiveError> {
        let rest = std::mem::take(&mut self.left) + std::mem::take(&mut self.padding);
        self.stream.skip(rest, &self.place, "the content of an entry")
    }

    fn read_header(&mut self) -> Result<Header, ArchiveError> {
        let mut block = [0; TAR_BLOCK_BYTES];
        self.stream.fill(&mut block, &self.place, "a header, or the two zero blocks of the end")?;
        Ok(Header::new(block))
    }

    /// Checks what follows the first zero block: another, then nothing but zeros.
    fn finish_archive(&mut self) -> Result<Option<Entry>, ArchiveError> {
        let mut block = [0; TAR_BLOCK_BYTES];
        self.stream.fill(&mut block, &self.place, "the second zero block of the end")?;
        if !Header::new(block).is_zero() {
            return Err(self.place.malformed("a zero block between entries"));
        }
        self.stream.expect_zeros_to_the_end()?;
        Ok(None)
    }

    fn extend(&mut self, header: &Header, extensions: &mut Extensions) -> Result<(), ArchiveError> {
        let place = self.place.clone();
        let malformed = |problem: String| place.malformed(problem);
        let bytes = self.read_extension(header)?;
        match header.kind() {
            b'g' => Records::check_global(&bytes).map_err(malformed)?,
            b'x' if extensions.is_empty() => {
                extensions.records = Some(Records::parse(&bytes, self.limits).map_err(malformed)?);
            }
            b'L' if extensions.name.is_none() && extensions.records.is_none() => {
                extensions.name = Some(long_name(&bytes).map_err(malformed)?);
            }
            b'K' if extensions.link.is_none() && extensions.records.is_none() => {
                extensions.link = Some(long_name(&bytes).map_err(malformed)?);
            }
            _ => return Err(malformed("a second extended header for the same entry".into())),
        }
        Ok(())
    }

    fn read_extension(&mut self, header: &Header) -> Result<Vec<u8>, ArchiveError> {
        let size = header.size().map_err(|problem| self.place.malformed(problem))?;
        self.place.limit("bytes of an extended header", size, self.limits.extended_header_bytes)?;
        let mut bytes = vec![0; size as usize];
        self.stream.fill(&mut bytes, &self.place, "the rest of an extended header")?;
        self.stream.skip(padding(size), &self.place, "the padding of an extended header")?;
        Ok(bytes)
    }

    fn entry(
        &mut self,
        header: &Header,
        format: Format,
        extensions: Extensions,
        start: u64,
    ) -> Result<Entry, ArchiveError> {
        let records = extensions.records.unwrap_or_default();
        let path = records.path.or(extensions.name).unwrap_or_else(|| header.name(format));
        let place = Place { offset: start, path: Some(path.as_slice().into()) };
        let malformed = |problem: String| place.malformed(problem);
        let link = records.link.or(extensions.link).unwrap_or_else(|| header.link_name());
        let size = size(header, records.size).map_err(malformed)?;
        let kind = kind(header, format, &path, link, size).map_err(malformed)?;
        let uid = id("user", records.uid, header.uid()).map_err(malformed)?;
        let gid = id("group", records.gid, header.gid()).map_err(malformed)?;
        let mode = mode(header, &kind).map_err(malformed)?;
        let room = self.limits.bytes.saturating_sub(self.stream.position());
        place.limit(ANNOUNCED, size, room)?;
        self.left = size;
        self.padding = padding(size);
        self.place = place.clone();
        Ok(Entry { place, path, kind, metadata: Metadata { mode, uid, gid, xattrs: records.xattrs }, size })
    }
}

/// Gives the content of the present entry.
impl<R: Read> Read for Entries<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.left.min(buffer.len() as u64) as usize;
        if length == 0 {
            return Ok(0);
        }
        let read =
            self.stream.read_some(&mut buffer[..length], &self.place).map_err(std::io::Error::other)?;
        if read == 0 {
            let cut =
                ArchiveError::Truncated { place: self.place.clone(), missing: "the content of an entry" };
            return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, cut));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.records.is_none() && self.name.is_none() && self.link.is_none()
    }
}

/// Returns how many bytes bring a content to a whole block.
fn padding(size: u64) -> u64 {
    size.next_multiple_of(TAR_BLOCK_BYTES as u64) - size
}

/// Reads the content of GNU's long name header: the name and NULs behind it.
fn long_name(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let name = &bytes[..end];
    match name {
        b"" => Err("an empty long name".into()),
        _ if name.contains(&0) => Err(format!("a NUL byte in the long name {:?}", escaped(name))),
        _ => Ok(name.to_vec()),
    }
}

/// Returns the size on which header and record agree. Where they don't, two readers would find the next
/// header at different places (CVE-2025-62518), unless the header's field has no room for the size.
fn size(header: &Header, record: Option<u64>) -> Result<u64, String> {
    let stated = header.size()?;
    let size = match record {
        None => stated,
        Some(size) if size == stated => size,
        Some(size) if size > USTAR_SIZE_MAX && (stated == 0 || stated == USTAR_SIZE_MAX) => size,
        Some(size) => {
            return Err(format!("the header says {stated} bytes, its extended header {size}"));
        }
    };
    // Room for padding, with which offsets are counted.
    if size > i64::MAX as u64 { Err(format!("a size of {size} bytes")) } else { Ok(size) }
}

fn kind(header: &Header, format: Format, path: &[u8], link: Vec<u8>, size: u64) -> Result<EntryKind, String> {
    let slash = path.ends_with(b"/");
    let kind = match header.kind() {
        b'0' | b'7' => EntryKind::File,
        0 if slash => EntryKind::Directory,
        0 => EntryKind::File,
        b'1' => EntryKind::HardLink(link),
        b'2' => EntryKind::Symlink(link),
        b'3' => device(DeviceKind::Character, header, format)?,
        b'4' => device(DeviceKind::Block, header, format)?,
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        b'S' => return Err("a sparse file (GNU); make the archive without --sparse".into()),
        b'D' | b'M' | b'N' | b'V' => return Err("an incremental or multi-volume archive (GNU)".into()),
        other => return Err(format!("an entry of unknown type {:?}", escaped(&[other]))),
    };
    if kind != EntryKind::File && size != 0 {
        return Err(format!("{size} bytes of content on an entry that has none"));
    }
    if slash && kind != EntryKind::Directory {
        return Err("a path that ends with \"/\" and is no directory".into());
    }
    Ok(kind)
}

fn device(kind: DeviceKind, header: &Header, format: Format) -> Result<EntryKind, String> {
    let (major, minor) = header.device(format)?;
    if major > 0xfff || minor > 0xf_ffff {
        return Err(format!("device numbers go to 4095:1048575, this one is {major}:{minor}"));
    }
    Ok(EntryKind::Device(kind, major as u32, minor as u32))
}

/// Returns a user or group id. The highest means "no change" to the kernel and can't own a file.
fn id(what: &str, record: Option<u64>, stated: Result<u64, String>) -> Result<u32, String> {
    let id = match record {
        Some(id) => id,
        None => stated?,
    };
    match u32::try_from(id) {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(format!("{what} id {id}; ids go to 4294967294")),
    }
}

/// Returns the permission bits. Some writers add the file type, which then must be the entry's.
fn mode(header: &Header, kind: &EntryKind) -> Result<u16, String> {
    let mode = header.mode()?;
    let file_type = match kind {
        EntryKind::File | EntryKind::HardLink(_) => 0o100_000,
        EntryKind::Directory => 0o040_000,
        EntryKind::Symlink(_) => 0o120_000,
        EntryKind::Device(DeviceKind::Character, ..) => 0o020_000,
        EntryKind::Device(DeviceKind::Block, ..) => 0o060_000,
        EntryKind::Fifo => 0o010_000,
    };
    match mode & !0o7777 {
        0 => Ok(mode as u16),
        bits if bits == file_type => Ok((mode & 0o7777) as u16),
        _ => Err(format!("a mode of {mode:o}, with bits that are no permissions")),
    }
}
