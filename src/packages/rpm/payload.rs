//! The payload of a package: a cpio archive, compressed. Two dialects: `newc`, whose headers repeat what the main
//! header says, and rpm's own without them (`07070X` and the number of a file), for files of 4 GiB and more.

use std::io::{BufReader, Read};

use super::error::RpmError;
use super::files::{FileKind, FileTable};
use super::header::Header;
use super::tags;
use crate::archive::{Compression, Limits, decompress};
use crate::base::path::escaped;

const NEWC: &[u8; 6] = b"070701";
const NEWC_CRC: &[u8; 6] = b"070702";
const STRIPPED: &[u8; 6] = b"07070X";
const TRAILER: &[u8] = b"TRAILER!!!";
/// Longest name in a payload, in bytes.
const NAME_BYTES_MAX: u64 = 4097;
/// Most memory of the decoder of the old lzma form, in bytes.
const LZMA_BYTES: u64 = 68 << 20;

/// Opens the payload with the compression that the header names.
pub fn open<'a>(
    header: &Header,
    payload: &'a [u8],
    limits: &Limits,
) -> Result<Box<dyn Read + Send + 'a>, RpmError> {
    match header.text(tags::PAYLOADFORMAT) {
        None | Some("cpio") => {}
        Some(other) => {
            let (expected, found) = ("cpio".to_owned(), other.chars().take(40).collect());
            return Err(RpmError::Form { what: "payload", expected, found });
        }
    }
    let name = header.text(tags::PAYLOADCOMPRESSOR).unwrap_or("gzip");
    let expected = match name {
        "bzip2" => return Ok(Box::new(bzip2::read::MultiBzDecoder::new(payload))),
        "lzma" => return lzma(payload),
        "gzip" => Compression::Gzip,
        "xz" => Compression::Xz,
        "zstd" => Compression::Zstd,
        "none" | "uncompressed" => return Ok(Box::new(payload)),
        other => return Err(RpmError::Compressor(other.chars().take(40).collect())),
    };
    let (found, reader) = decompress(payload, limits).map_err(RpmError::Compression)?;
    match found == expected {
        true => Ok(reader),
        false => Err(RpmError::Form {
            what: "compression of the payload",
            expected: name.to_owned(),
            found: format!("{found:?}"),
        }),
    }
}

fn lzma(payload: &[u8]) -> Result<Box<dyn Read + Send + '_>, RpmError> {
    let stream = liblzma::stream::Stream::new_lzma_decoder(LZMA_BYTES);
    let stream =
        stream.map_err(|error| RpmError::Payload { offset: 0, problem: format!("lzma: {error}") })?;
    let reader = BufReader::with_capacity(64 << 10, payload);
    Ok(Box::new(liblzma::bufread::XzDecoder::new_stream(reader, stream)))
}

/// Walks through a payload.
pub struct Cpio<'a, R> {
    reader: R,
    table: &'a FileTable,
    /// File numbers by path as the payload writes it.
    numbers: std::collections::HashMap<&'a [u8], usize>,
    /// The last of each set of links: where rpm's own form has the content.
    last_links: std::collections::HashMap<usize, bool>,
    offset: u64,
    /// Bytes of the current file that are not read yet, padding apart.
    left: u64,
}

/// The next file of a payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Next {
    /// Number in the file table.
    pub index: usize,
    /// Bytes that follow.
    pub size: u64,
}

impl<'a, R: Read> Cpio<'a, R> {
    pub fn new(reader: R, table: &'a FileTable) -> Self {
        let files = table.files.iter().enumerate();
        let numbers = files.map(|(index, file)| (file.path.as_bytes(), index)).collect();
        let mut last_links = std::collections::HashMap::new();
        for links in table.link_sets().values() {
            for (position, index) in links.iter().enumerate() {
                last_links.insert(*index, position + 1 == links.len());
            }
        }
        Cpio { reader, table, numbers, last_links, offset: 0, left: 0 }
    }

    /// Goes to the next file; what is left of the last one is an error. `None` at the end.
    pub fn next_file(&mut self) -> Result<Option<Next>, RpmError> {
        if self.left != 0 {
            return Err(self.wrong("a file that was not read"));
        }
        self.align()?;
        let mut magic = [0; 6];
        self.fill(&mut magic)?;
        let next = match &magic {
            NEWC | NEWC_CRC => self.newc()?,
            STRIPPED => Some(self.stripped()?),
            _ => return Err(self.wrong(&format!("no header of a file, but {:?}", escaped(&magic)))),
        };
        if let Some(next) = next {
            self.left = next.size;
        } else {
            self.check_end()?;
        }
        Ok(next)
    }

    fn newc(&mut self) -> Result<Option<Next>, RpmError> {
        let mut fields = [0u64; 13];
        for field in &mut fields {
            *field = self.hexadecimal()?;
        }
        let (size, name_size) = (fields[6], fields[11]);
        if !(2..=NAME_BYTES_MAX).contains(&name_size) {
            return Err(self.wrong(&format!("a name of {name_size} bytes")));
        }
        let mut name = vec![0; name_size as usize];
        self.fill(&mut name)?;
        self.align()?;
        if name.pop() != Some(0) || name.contains(&0) {
            return Err(self.wrong("a name without an end, or with several"));
        }
        if name == TRAILER {
            return Ok(None);
        }
        let path = match name.strip_prefix(b".") {
            Some([]) => b"/".to_vec(),
            Some(path) if path.starts_with(b"/") => path.to_vec(),
            _ if name.starts_with(b"/") => name.clone(),
            _ => [b"/", &name[..]].concat(),
        };
        let Some(index) = self.numbers.get(&path[..]).copied() else {
            return Err(self.wrong(&format!("{} is not in the header's list of files", escaped(&name))));
        };
        self.check_size(index, size)?;
        Ok(Some(Next { index, size }))
    }

    /// Every size in the payload must be the header's; all but one name of a file come without content.
    fn check_size(&self, index: usize, size: u64) -> Result<(), RpmError> {
        let file = &self.table.files[index];
        let expected = match file.kind {
            FileKind::Regular => file.size,
            FileKind::Symlink => file.target.len() as u64,
            _ => 0,
        };
        if size == expected || size == 0 && self.last_links.contains_key(&index) {
            return Ok(());
        }
        let problem = format!("the payload has {size} bytes, the header says {expected}");
        Err(RpmError::File { path: file.path.to_string(), problem })
    }

    fn stripped(&mut self) -> Result<Next, RpmError> {
        let index = self.hexadecimal()? as usize;
        self.align()?;
        let Some(file) = self.table.files.get(index) else {
            return Err(self.wrong(&format!("file {index} of {}", self.table.files.len())));
        };
        let size = match file.kind {
            FileKind::Regular if self.last_links.get(&index) == Some(&false) => 0,
            FileKind::Regular => file.size,
            FileKind::Symlink => file.target.len() as u64,
            _ => 0,
        };
        Ok(Next { index, size })
    }

    fn hexadecimal(&mut self) -> Result<u64, RpmError> {
        let mut digits = [0; 8];
        self.fill(&mut digits)?;
        let text =
            std::str::from_utf8(&digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
        let number = text.and_then(|text| u64::from_str_radix(text, 16).ok());
        number.ok_or_else(|| self.wrong(&format!("{:?} is no number of 8 digits", escaped(&digits))))
    }

    /// Skips to the next multiple of four.
    fn align(&mut self) -> Result<(), RpmError> {
        let mut padding = [0; 3];
        let length = (self.offset.next_multiple_of(4) - self.offset) as usize;
        self.fill(&mut padding[..length])
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), RpmError> {
        let failed =
            |error: std::io::Error| RpmError::Payload { offset: self.offset, problem: error.to_string() };
        self.reader.read_exact(buffer).map_err(failed)?;
        self.offset += buffer.len() as u64;
        Ok(())
    }

    /// Nothing but zeros may stand behind the last file.
    fn check_end(&mut self) -> Result<(), RpmError> {
        let mut buffer = [0; 512];
        loop {
            let read = self.reader.read(&mut buffer);
            let failed =
                |error: std::io::Error| RpmError::Payload { offset: self.offset, problem: error.to_string() };
            match read.map_err(failed)? {
                0 => return Ok(()),
                length if buffer[..length].iter().all(|byte| *byte == 0) => self.offset += length as u64,
                _ => return Err(self.wrong("bytes behind the end")),
            }
        }
    }

    fn wrong(&self, problem: &str) -> RpmError {
        RpmError::Payload { offset: self.offset, problem: problem.to_owned() }
    }
}

/// Reads the bytes of the current file.
impl<R: Read> Read for Cpio<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = (buffer.len() as u64).min(self.left) as usize;
        if length == 0 {
            return Ok(0);
        }
        let read = self.reader.read(&mut buffer[..length])?;
        if read == 0 {
            return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the payload is cut off"));
        }
        self.left -= read as u64;
        self.offset += read as u64;
        Ok(read)
    }
}
