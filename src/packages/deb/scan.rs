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
    let mut at = piece.start;
    while at < piece.end {
        let mut draft = Draft { text, start: at, ..Draft::default() };
        while at < piece.end {
            let end = text[at..piece.end].find('\n').map_or(piece.end, |length| at + length);
            let line = at..end;
            at = (end + 1).min(piece.end).max(end);
            if is_blank(&text.as_bytes()[line.clone()]) {
                break;
            }
            draft.line(line)?;
        }
        if draft.end > 0 {
            match draft.finish(is_file)? {
                Ok(paragraph) => scan.paragraphs.push(paragraph),
                Err(refused) => scan.refused.push(refused),
            }
        }
    }
    Ok(scan)
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

const FIELDS: [(&str, Field); 12] = [
    ("Package", Field::Package),
    ("Version", Field::Version),
    ("Architecture", Field::Architecture),
    ("Provides", Field::Provides),
    ("Filename", Field::Filename),
    ("SHA256", Field::Sha256),
    ("Size", Field::Size),
    ("Multi-Arch", Field::MultiArch),
    ("Priority", Field::Priority),
    ("Essential", Field::Essential),
    ("Protected", Field::Protected),
    ("Important", Field::Important),
];

/// Returns the field whose name a line starts with, and the length of the name.
fn known(line: &[u8]) -> Option<(Field, usize)> {
    if !matches!(line.first()?.to_ascii_lowercase(), b'a' | b'e' | b'f' | b'i' | b'm' | b'p' | b's' | b'v') {
        return None;
    }
    let length = line.iter().take(13).position(|&byte| byte == b':')?;
    let name = &line[..length];
    FIELDS
        .iter()
        .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name))
        .map(|(_, field)| (*field, length))
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
                self.values[field as usize].end = line.end as u32;
            }
            return Ok(());
        }
        self.open = None;
        if let Some((field, length)) = known(bytes) {
            let value = &mut self.values[field as usize];
            if value.end != 0 {
                self.twice = Some(FIELDS[field as usize].0);
            }
            *value = Span::new(line.start + length + 1, line.end);
            self.open = Some(field);
        }
        Ok(())
    }

    fn value(&self, field: Field) -> &str {
        self.values[field as usize].of(self.text).trim()
    }

    /// Returns the place of a value without the blanks around it.
    fn place(&self, field: Field) -> Span {
        let Span { start, end } = self.values[field as usize];
        let value = Span { start, end }.of(self.text);
        let left = (value.len() - value.trim_start().len()) as u32;
        let right = (value.len() - value.trim_end().len()) as u32;
        Span { start: start + left.min(end - start), end: (end - right).max(start + left.min(end - start)) }
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
        IndexError::Field { package, field: FIELDS[field as usize].0, found }
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
