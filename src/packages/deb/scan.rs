//! Scanning of `Packages` indexes: every line is looked at once, nothing is copied.

use std::ops::Range;

use super::index::{IndexError, MultiArch, Paragraph, Priority, Span, is_digest, size};
use super::{name, version};

/// Holds the packages of a piece of an index, and what was refused.
#[derive(Debug, Default)]
pub struct Scan {
    pub paragraphs: Vec<Paragraph>,
    pub refused: Vec<IndexError>,
}

/// Cuts an index between paragraphs, into pieces of at least `bytes` each but the last.
pub fn pieces(text: &str, bytes: usize) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let from = text.floor_char_boundary(start.saturating_add(bytes).min(text.len()));
        let end = text[from..].find("\n\n").map_or(text.len(), |at| from + at + 2);
        pieces.push(start..end);
        start = end;
    }
    pieces
}

/// Scans a piece of an index. A package whose fields are malformed is refused alone; a paragraph without
/// a name, or one that is no list of fields, refuses the index. Control texts of package files, which have
/// no `Filename`, `Size` and `SHA256`, are scanned with `is_file`.
pub fn scan(text: &str, piece: Range<usize>, is_file: bool) -> Result<Scan, IndexError> {
    let mut scan = Scan::default();
    let mut draft = Draft { text, start: piece.start, ..Draft::default() };
    for line in Lines::new(text.as_bytes(), piece.clone()) {
        let next = line.end + 1;
        if is_blank(&text.as_bytes()[line.clone()]) {
            scan.take(
                std::mem::replace(&mut draft, Draft { text, start: next, ..Draft::default() }),
                is_file,
            )?;
        } else {
            draft.line(line)?;
        }
    }
    scan.take(draft, is_file)?;
    Ok(scan)
}

impl Scan {
    fn take(&mut self, draft: Draft<'_>, is_file: bool) -> Result<(), IndexError> {
        if draft.end > 0 {
            match draft.finish(is_file)? {
                Ok(paragraph) => self.paragraphs.push(paragraph),
                Err(refused) => self.refused.push(refused),
            }
        }
        Ok(())
    }
}

/// Walks the lines of a piece, eight bytes at a time: the ends of lines in a word are found at once.
struct Lines<'a> {
    bytes: &'a [u8],
    /// Where the next line starts.
    start: usize,
    /// Behind the last word that was looked at.
    at: usize,
    end: usize,
    /// The top bit of each byte of that word that ends a line that has not been returned.
    found: u64,
}

impl<'a> Lines<'a> {
    fn new(bytes: &'a [u8], piece: Range<usize>) -> Self {
        Lines { bytes, start: piece.start, at: piece.start, end: piece.end, found: 0 }
    }

    /// Looks at words until one ends a line; false where the piece has no whole word left.
    fn look(&mut self) -> bool {
        const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
        const ENDS: u64 = 0x0a0a_0a0a_0a0a_0a0a;
        let (words, _) = self.bytes[self.at..self.end].as_chunks::<8>();
        for word in words {
            let word = u64::from_le_bytes(*word) ^ ENDS;
            self.at += 8;
            self.found = !(((word & LOW) + LOW) | word | LOW);
            if self.found != 0 {
                return true;
            }
        }
        false
    }
}

impl Iterator for Lines<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        if self.start >= self.end {
            return None;
        }
        let end = if self.found != 0 || self.look() {
            let end = self.at - 8 + self.found.trailing_zeros() as usize / 8;
            self.found &= self.found - 1;
            end
        } else {
            let rest = self.bytes[self.at..self.end].iter().position(|&byte| byte == b'\n');
            let end = rest.map_or(self.end, |length| self.at + length);
            self.at = (end + 1).min(self.end);
            end
        };
        let line = self.start..end;
        self.start = end + 1;
        Some(line)
    }
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}

/// The fields that choosing needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Package,
    Version,
    Architecture,
    Provides,
    Filename,
    Sha256,
    Size,
    MultiArch,
    Priority,
    Essential,
    Protected,
    Important,
}

/// Their names, in the order of the kinds.
const FIELDS: [&str; 12] = [
    "Package",
    "Version",
    "Architecture",
    "Provides",
    "Filename",
    "SHA256",
    "Size",
    "Multi-Arch",
    "Priority",
    "Essential",
    "Protected",
    "Important",
];

/// Returns the field whose name a line starts with, and the length of the name.
fn known(line: &[u8]) -> Option<(Field, usize)> {
    let fields: &[Field] = match line.first()? | 0x20 {
        b'a' => &[Field::Architecture],
        b'e' => &[Field::Essential],
        b'f' => &[Field::Filename],
        b'i' => &[Field::Important],
        b'm' => &[Field::MultiArch],
        b'p' => &[Field::Package, Field::Provides, Field::Priority, Field::Protected],
        b's' => &[Field::Sha256, Field::Size],
        b'v' => &[Field::Version],
        _ => return None,
    };
    let is_it =
        |name: &[u8]| line.get(name.len()) == Some(&b':') && line[..name.len()].eq_ignore_ascii_case(name);
    fields
        .iter()
        .map(|&field| (field, FIELDS[field as usize]))
        .find(|(_, name)| is_it(name.as_bytes()))
        .map(|(field, name)| (field, name.len()))
}

/// A paragraph as its lines are read.
#[derive(Default)]
struct Draft<'a> {
    text: &'a str,
    start: usize,
    end: usize,
    values: [Span; FIELDS.len()],
    /// The field that continuation lines belong to.
    open: Option<Field>,
    twice: Option<&'static str>,
}

impl Draft<'_> {
    fn line(&mut self, line: Range<usize>) -> Result<(), IndexError> {
        let bytes = &self.text.as_bytes()[line.clone()];
        let is_first = self.end == 0;
        self.end = line.end;
        if matches!(bytes.first(), Some(b' ' | b'\t')) {
            if is_first {
                return Err(nameless(self.text, &line));
            }
            if let Some(field) = self.open {
                self.values[field as usize] =
                    self.trimmed(self.values[field as usize].start as usize, line.end);
            }
            return Ok(());
        }
        self.open = None;
        if let Some((field, length)) = known(bytes) {
            if self.values[field as usize].end != 0 {
                self.twice = Some(FIELDS[field as usize]);
            }
            self.values[field as usize] = self.trimmed(line.start + length + 1, line.end);
            self.open = Some(field);
        }
        Ok(())
    }

    /// Returns the place of a value without the blanks around it.
    fn trimmed(&self, start: usize, end: usize) -> Span {
        let value = self.text.as_bytes()[start..end].trim_ascii_end();
        let left = value.len() - value.trim_ascii_start().len();
        Span::new(start + left, start + value.len())
    }

    fn value(&self, field: Field) -> &str {
        self.place(field).of(self.text)
    }

    fn place(&self, field: Field) -> Span {
        self.values[field as usize]
    }

    /// Checks the fields. The outer error refuses the index, the inner one the package.
    fn finish(&self, is_file: bool) -> Result<Result<Paragraph, IndexError>, IndexError> {
        if self.value(Field::Package).is_empty() {
            return Err(nameless(self.text, &(self.start..self.end)));
        }
        if let Some(field) = self.twice {
            let (package, found) = (self.value(Field::Package).to_owned(), "stands twice".to_owned());
            return Ok(Err(IndexError::Field { package, field, found }));
        }
        let fields: [(Field, &dyn Fn(&str) -> bool); 6] = [
            (Field::Package, &name::is_package),
            (Field::Version, &version::is_version),
            (Field::Architecture, &name::is_architecture),
            (Field::Filename, &|text| is_file || name::is_archive_path(text)),
            (Field::Size, &|text| is_file || size(text).is_some()),
            (Field::Sha256, &|text| is_file || is_digest(text)),
        ];
        Ok(match fields.iter().find(|(field, is_good)| !is_good(self.value(*field))) {
            Some((field, _)) => Err(self.malformed(*field)),
            None => Ok(self.paragraph()),
        })
    }

    fn malformed(&self, field: Field) -> IndexError {
        let cut = |text: &str| text.chars().take(60).collect::<String>();
        let (package, found) = (cut(self.value(Field::Package)), cut(self.value(field)));
        IndexError::Field { package, field: FIELDS[field as usize], found }
    }

    fn paragraph(&self) -> Paragraph {
        let is_yes = |field| self.value(field).eq_ignore_ascii_case("yes");
        Paragraph {
            whole: Span::new(self.start, self.end),
            name: self.place(Field::Package),
            version: self.place(Field::Version),
            architecture: self.place(Field::Architecture),
            provides: self.place(Field::Provides),
            filename: self.place(Field::Filename),
            sha256: self.place(Field::Sha256),
            size: self.place(Field::Size),
            multi_arch: match self.value(Field::MultiArch) {
                "same" => MultiArch::Same,
                "foreign" => MultiArch::Foreign,
                "allowed" => MultiArch::Allowed,
                _ => MultiArch::No,
            },
            priority: match self.value(Field::Priority) {
                "required" => Priority::Required,
                "important" => Priority::Important,
                "standard" => Priority::Standard,
                "extra" => Priority::Extra,
                _ => Priority::Optional,
            },
            is_essential: is_yes(Field::Essential),
            is_protected: is_yes(Field::Protected) || is_yes(Field::Important),
        }
    }
}

fn nameless(text: &str, place: &Range<usize>) -> IndexError {
    IndexError::Nameless { found: text[place.clone()].chars().take(60).collect() }
}

#[cfg(test)]
mod tests {
    use super::super::index::{field, relations};
    use super::*;

    const INDEX: &str = "Package: abc\nVersion: 1\nArchitecture: all\nFilename: pool/a.deb\nSize: 3\nSHA256: \
        ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\nDepends: x,\n y\n\nPackage: broken\nSize: -1\n";

    #[test]
    fn a_scan_marks_places_and_refuses_single_packages() {
        let text = format!(
            "\n{}\n\nversion: 1:2-3\nPACKAGE:  x1 \nArchitecture: amd64\nMulti-Arch: same\nEssential: yes\nImportant: yes\n\
             Provides: a,\n b (= 1)\nPriority: required\nFilename: p/x.deb\nSize: 07\nSHA256: {}\nDepends: c,\n d\n",
            INDEX.trim_end(),
            "0".repeat(64)
        );
        for piece_bytes in [1, 50, 1000] {
            let scans: Vec<Scan> = pieces(&text, piece_bytes)
                .into_iter()
                .map(|piece| scan(&text, piece, false).expect("an index"))
                .collect();
            let refused: Vec<String> =
                scans.iter().flat_map(|scan| &scan.refused).map(ToString::to_string).collect();
            assert_eq!(refused, ["package broken: field Version is missing or malformed: \"\""]);
            let all: Vec<Paragraph> = scans.into_iter().flat_map(|scan| scan.paragraphs).collect();
            let [first, second] = &all[..] else { panic!("{all:?}") };
            assert_eq!(
                (first.name.of(&text), first.version.of(&text), first.provides.of(&text)),
                ("abc", "1", "")
            );
            assert_eq!((second.name.of(&text), second.version.of(&text)), ("x1", "1:2-3"));
            assert_eq!((second.provides.of(&text), second.size.of(&text)), ("a,\n b (= 1)", "07"));
            assert!(second.is_essential && second.is_protected && second.multi_arch == MultiArch::Same);
            assert_eq!(second.priority, Priority::Required);
            assert_eq!(relations(second.whole.of(&text)).depends, "c,\n d");
            assert_eq!(field(second.whole.of(&text), "essential"), Some("yes"));
        }
    }

    #[test]
    fn what_is_no_index_is_refused() {
        for text in ["nonsense", "Version: 1\n", " x\nPackage: aa\n", "<html>\n"] {
            assert!(scan(text, 0..text.len(), false).is_err(), "{text}");
        }
        let twice = "Package: aa\nVersion: 1\nVersion: 2\nArchitecture: all\n";
        let scanned = scan(twice, 0..twice.len(), true).expect("an index");
        assert_eq!(scanned.refused.len(), 1);
        assert_eq!(scan("\n \n\n", 0..4, false).expect("empty").paragraphs.len(), 0);
    }
}
