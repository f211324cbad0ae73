//! Texts and places in them.

/// Names a range of bytes of one text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub file: usize,
    pub start: usize,
    pub end: usize,
}

impl Span {
    /// Returns the range from the start of this one to the end of another one of the same text.
    pub fn to(self, other: Span) -> Span {
        Span { end: other.end.max(self.start), ..self }
    }
}

/// Holds one text with the offsets of its lines.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub name: String,
    pub text: String,
    lines: Vec<usize>,
}

impl Source {
    pub fn new(name: &str, text: String) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        Source { name: name.to_owned(), text, lines }
    }

    /// Returns line and column of a byte, both from 1; the column counts characters.
    pub fn place(&self, offset: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|&start| start <= offset).max(1);
        let start = self.lines[line - 1];
        let end = (start..=offset.min(self.text.len())).rev().find(|&at| self.text.is_char_boundary(at));
        let column = self.text[start..end.unwrap_or(start)].chars().count() + 1;
        (line, column)
    }

    /// Returns the range of bytes of the lines that hold a range, without the last line's end.
    pub fn lines_around(&self, start: usize, end: usize) -> std::ops::Range<usize> {
        let first = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let last = self.text[end..].find('\n').map_or(self.text.len(), |at| end + at);
        first..last
    }
}

/// Holds all texts of one run, in the order in which they were read.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    pub files: Vec<Source>,
}

impl Sources {
    pub fn add(&mut self, name: &str, text: String) -> usize {
        self.files.push(Source::new(name, text));
        self.files.len() - 1
    }

    /// Returns the line of a span's start, from 1.
    pub fn line(&self, span: Span) -> usize {
        self.files[span.file].place(span.start).0
    }
}
