//! Reads what a database of installed packages says (`rpmdb.sqlite`): the table `Packages` of a SQLite file, one header
//! a row. Foreign bytes: everything is bounded by the length of the file.
//!
//! Follows SQLite's "Database File Format" (b-tree pages, cells, overflow, records), and RPM's header structure without
//! its magic, in which tags behind the immutable region may stand in any order.

use std::collections::HashSet;

use super::tags;
use super::version::Evr;
use crate::base::ImagePath;

/// Starts every SQLite file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const TABLE_INTERIOR: u8 = 5;
const TABLE_LEAF: u8 = 13;
/// Most packages that are read.
const PACKAGES_MAX: usize = 1 << 16;
/// Most paths of one package.
const PATHS_MAX: usize = 1 << 20;

/// One installed package.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InstalledPackage {
    pub name: String,
    /// With epoch and release.
    pub version: String,
    /// Empty for what has none.
    pub architecture: String,
    /// As [`super::Unpacked`] names them.
    pub fields: Vec<(String, String)>,
    pub paths: Vec<ImagePath>,
}

/// Reads all packages. Fails with what is wrong with the file; a header that can't be read fails it too.
pub fn read_database(bytes: &[u8]) -> Result<Vec<InstalledPackage>, String> {
    let database = Database::open(bytes)?;
    let mut root = None;
    database.walk(1, &mut |row| {
        let [kind, name, _, page, ..] = &row[..] else { return Ok(()) };
        if kind == b"table" && name == b"Packages" {
            root = Some(page.iter().fold(0u32, |all, byte| all << 8 | u32::from(*byte)));
        }
        Ok(())
    })?;
    let root = root.ok_or("it has no table Packages")?;
    let mut packages = Vec::new();
    database.walk(root, &mut |row| {
        let blob = row.get(1).ok_or("a row of Packages has no header")?;
        if packages.len() == PACKAGES_MAX {
            return Err(format!("it has more than {PACKAGES_MAX} packages"));
        }
        packages.push(package(blob).ok_or_else(|| format!("header {} is damaged", packages.len() + 1))?);
        Ok(())
    })?;
    Ok(packages)
}

/// A SQLite file.
struct Database<'a> {
    bytes: &'a [u8],
    page_bytes: usize,
    /// Bytes of a page that hold content.
    usable: usize,
}

/// The values of a row as bytes: texts and blobs as they are, numbers big-endian.
type Row = Vec<Vec<u8>>;
type Visit<'v> = dyn FnMut(Row) -> Result<(), String> + 'v;

impl<'a> Database<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, String> {
        if bytes.len() < 100 || bytes[..16] != *MAGIC {
            return Err("it is no SQLite database".to_owned());
        }
        let page_bytes = match u16::from_be_bytes([bytes[16], bytes[17]]) {
            1 => 65536,
            size if size >= 512 && size.is_power_of_two() => usize::from(size),
            size => return Err(format!("pages of {size} bytes")),
        };
        let usable = page_bytes - usize::from(bytes[20]);
        if usable < 480 {
            Err("its pages have no room".to_owned())
        } else {
            Ok(Database { bytes, page_bytes, usable })
        }
    }

    fn page(&self, number: u32) -> Result<&'a [u8], String> {
        let start = (number as usize).checked_sub(1).and_then(|index| index.checked_mul(self.page_bytes));
        let page = start.and_then(|start| self.bytes.get(start..start.checked_add(self.page_bytes)?));
        page.ok_or_else(|| format!("page {number} is not in the file"))
    }

    /// Visits the rows of a table in the order of their keys. Each page is visited once.
    fn walk(&self, root: u32, visit: &mut Visit<'_>) -> Result<(), String> {
        let mut seen = HashSet::new();
        let mut waiting = vec![root];
        while let Some(number) = waiting.pop() {
            if !seen.insert(number) {
                return Err(format!("page {number} is in the table twice"));
            }
            let page = self.page(number)?;
            let at = if number == 1 { 100 } else { 0 };
            let count = usize::from(u16::from_be_bytes([page[at + 3], page[at + 4]]));
            let short = || format!("page {number} is cut off");
            match page[at] {
                TABLE_LEAF => {
                    for index in 0..count {
                        let cell = pointer(page, at + 8 + 2 * index).ok_or_else(short)?;
                        visit(
                            self.row(page, cell)
                                .ok_or_else(|| format!("a cell of page {number} is damaged"))?,
                        )?;
                    }
                }
                TABLE_INTERIOR => {
                    waiting.push(word(page, at + 8).ok_or_else(short)?);
                    for index in (0..count).rev() {
                        let cell = pointer(page, at + 12 + 2 * index).ok_or_else(short)?;
                        waiting.push(word(page, cell).ok_or_else(short)?);
                    }
                }
                kind => return Err(format!("page {number} is of kind {kind}, a table has 5 and 13")),
            }
        }
        Ok(())
    }

    fn row(&self, page: &[u8], cell: usize) -> Option<Row> {
        let (length, at) = varint(page, cell)?;
        let (_, at) = varint(page, at)?;
        let payload = self.payload(page, at, usize::try_from(length).ok()?)?;
        let (header_bytes, mut at) = varint(&payload, 0)?;
        let mut start = usize::try_from(header_bytes).ok()?;
        let end_of_header = start;
        let mut row = Vec::new();
        while at < end_of_header {
            let (kind, next) = varint(&payload, at)?;
            at = next;
            let length = match kind {
                0 | 8 | 9 => 0,
                1..=4 => kind as usize,
                5 => 6,
                6 | 7 => 8,
                _ => usize::try_from(kind.checked_sub(12)? / 2).ok()?,
            };
            row.push(payload.get(start..start.checked_add(length)?)?.to_vec());
            start += length;
        }
        Some(row)
    }

    /// Gathers a payload from its page and the pages that it flows over to.
    fn payload(&self, page: &[u8], at: usize, length: usize) -> Option<Vec<u8>> {
        let most = self.usable - 35;
        if length <= most {
            return Some(page.get(at..at.checked_add(length)?)?.to_vec());
        }
        if length > self.bytes.len() {
            return None;
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let over = least + (length - least) % (self.usable - 4);
        let local = if over <= most { over } else { least };
        let mut payload = page.get(at..at + local)?.to_vec();
        let mut next = word(page, at + local)?;
        while payload.len() < length {
            let page = self.page(next).ok()?;
            let part = (length - payload.len()).min(self.usable - 4);
            payload.extend_from_slice(&page[4..4 + part]);
            next = word(page, 0)?;
        }
        Some(payload)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk::<4>()?))
}

fn pointer(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes(*bytes.get(at..)?.first_chunk::<2>()?)))
}

/// Reads a number of SQLite's and returns where the next byte stands.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for index in 0..9 {
        let byte = *bytes.get(at + index)?;
        if index == 8 {
            return Some((value << 8 | u64::from(byte), at + 9));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some((value, at + index + 1));
        }
    }
    None
}

/// A header without its magic.
struct Header<'a> {
    index: &'a [u8],
    data: &'a [u8],
}

impl<'a> Header<'a> {
    fn parse(blob: &'a [u8]) -> Option<Self> {
        let (entries, data_bytes) = (word(blob, 0)? as usize, word(blob, 4)? as usize);
        let (index, data) = blob.get(8..)?.split_at_checked(entries.checked_mul(16)?)?;
        Some(Header { index, data: data.get(..data_bytes)? })
    }

    /// Returns kind, count and the bytes from the first value on. What stands behind the region wins: it was added
    /// when the package was installed.
    fn find(&self, tag: u32) -> Option<(u32, usize, &'a [u8])> {
        let entry = self.index.chunks_exact(16).rev().find(|entry| word(entry, 0) == Some(tag))?;
        Some((word(entry, 4)?, word(entry, 12)? as usize, self.data.get(word(entry, 8)? as usize..)?))
    }

    fn texts(&self, tag: u32) -> Vec<&'a [u8]> {
        match self.find(tag) {
            Some((6 | 8 | 9, count, bytes)) => {
                bytes.split(|&byte| byte == 0).take(count.min(PATHS_MAX)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn text(&self, tag: u32) -> Option<String> {
        self.texts(tag).first().and_then(|text| std::str::from_utf8(text).ok()).map(str::to_owned)
    }

    fn numbers(&self, tag: u32) -> Vec<u32> {
        match self.find(tag) {
            Some((4, count, bytes)) => {
                let words = bytes.chunks_exact(4).take(count.min(PATHS_MAX));
                words.filter_map(|bytes| word(bytes, 0)).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn package(blob: &[u8]) -> Option<InstalledPackage> {
    let header = Header::parse(blob)?;
    let epoch = header.numbers(tags::EPOCH).first().copied();
    let version = Evr { epoch, version: header.text(tags::VERSION)?, release: header.text(tags::RELEASE) };
    let fields = [
        ("Summary", tags::SUMMARY),
        ("License", tags::LICENSE),
        ("Vendor", tags::VENDOR),
        ("Url", tags::URL),
        ("Source", tags::SOURCERPM),
    ];
    let field = |(name, tag): (&str, u32)| Some((name.to_owned(), header.text(tag)?));
    Some(InstalledPackage {
        name: header.text(tags::NAME)?,
        version: version.to_string(),
        architecture: header.text(tags::ARCH).unwrap_or_default(),
        fields: fields.into_iter().filter_map(field).collect(),
        paths: paths(&header),
    })
}

fn paths(header: &Header<'_>) -> Vec<ImagePath> {
    let folders = header.texts(tags::DIRNAMES);
    let indexes = header.numbers(tags::DIRINDEXES);
    let names = header.texts(tags::BASENAMES);
    let path = |(name, index): (&&[u8], &u32)| {
        let folder = folders.get(*index as usize)?;
        ImagePath::new(&[folder, *name].concat()).ok()
    };
    names.iter().zip(&indexes).filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sqlite::{self, Table, Value};
    use super::*;

    /// A header without its magic: texts, and one array of numbers.
    fn header(texts: &[(u32, u32, &[&str])], numbers: &[(u32, &[u32])]) -> Vec<u8> {
        let (mut index, mut data) = (Vec::new(), Vec::new());
        let mut enter = |tag: u32, kind: u32, at: usize, count: usize| {
            for number in [tag, kind, at as u32, count as u32] {
                index.extend(number.to_be_bytes());
            }
        };
        for (tag, values) in numbers {
            enter(*tag, 4, data.len(), values.len());
            data.extend(values.iter().flat_map(|value| value.to_be_bytes()));
        }
        for (tag, kind, values) in texts {
            enter(*tag, *kind, data.len(), values.len());
            values.iter().for_each(|value| data.extend([value.as_bytes(), b"\0"].concat()));
        }
        let counts = [(index.len() / 16) as u32, data.len() as u32];
        [&counts[0].to_be_bytes()[..], &counts[1].to_be_bytes(), &index, &data].concat()
    }

    fn database(blobs: Vec<Vec<u8>>) -> Vec<u8> {
        let rows = (1..).zip(blobs.into_iter().map(|blob| vec![Value::Null, Value::Blob(blob)])).collect();
        let sql =
            "CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL)".to_owned();
        sqlite::write(&[Table { name: "Packages".to_owned(), sql, rows, indexes: Vec::new() }])
    }

    fn sample(number: usize, padding: usize) -> Vec<u8> {
        let (name, summary) = (format!("package-{number}"), "x".repeat(padding));
        let texts: [(u32, u32, &[&str]); 7] = [
            (tags::NAME, 6, &[&name]),
            (tags::VERSION, 6, &["1.0"]),
            (tags::RELEASE, 6, &["2.fc40"]),
            (tags::ARCH, 6, &["x86_64"]),
            (tags::SUMMARY, 9, &[&summary]),
            (tags::BASENAMES, 8, &["bash", "sh"]),
            (tags::DIRNAMES, 8, &["/usr/bin/", "/bin/"]),
        ];
        header(&texts, &[(tags::EPOCH, &[3]), (tags::DIRINDEXES, &[0, 1])])
    }

    #[test]
    fn what_was_written_is_read_whatever_its_size() {
        // Many pages, interior ones among them, and headers that flow over.
        let blobs = (0..300).map(|number| sample(number, number * 97)).collect();
        let packages = read_database(&database(blobs)).expect("packages");
        assert_eq!(packages.len(), 300);
        let last = &packages[299];
        assert_eq!((last.name.as_str(), last.version.as_str()), ("package-299", "3:1.0-2.fc40"));
        assert_eq!(last.fields[0].1.len(), 299 * 97);
        let paths: Vec<String> = last.paths.iter().map(ToString::to_string).collect();
        assert_eq!(paths, ["/usr/bin/bash", "/bin/sh"]);
    }

    #[test]
    fn damage_is_an_error_or_another_answer_and_never_a_panic() {
        let sound = database((0..40).map(|number| sample(number, 900)).collect());
        for at in (0..sound.len()).step_by(37) {
            let mut bytes = sound.clone();
            bytes[at] ^= 0x81;
            let _ = read_database(&bytes);
            let _ = read_database(&sound[..at]);
        }
        assert!(read_database(b"").is_err());
        assert!(read_database(&sound[..4096]).is_err());
    }
}
