//! A pull reader for the XML of repositories: elements, attributes, text, the five named entities and numeric ones.
//! Document types, and with them entities of one's own, are refused, as is everything that repositories don't use.
//!
//! It reads a stream in a window as large as the largest token, so that an index of 200 MB costs no more memory than
//! what is kept of it.

use std::borrow::Cow;
use std::io::Read;

/// Longest tag or run of text, in bytes.
const TOKEN_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting of elements; repositories have five.
const DEPTH_MAX: usize = 32;
/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

/// Says where a document breaks the rules.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[error("at byte {offset}: {problem}")]
pub struct XmlError {
    pub offset: u64,
    pub problem: String,
}

/// What comes next. Names carry their prefix: `rpm:entry`.
#[derive(PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// An element starts; an empty one ends at once, with an event of its own.
    Start(Tag<'a>),
    End(&'a str),
    Text(Cow<'a, str>),
    /// The document is over.
    Finish,
}

/// A start tag.
#[derive(PartialEq, Eq, Debug)]
pub struct Tag<'a> {
    pub name: &'a str,
    attributes: &'a str,
}

impl<'a> Tag<'a> {
    /// Returns the value of an attribute, blanks as they stand.
    pub fn get(&self, name: &str) -> Result<Option<Cow<'a, str>>, String> {
        let mut rest = self.attributes.trim_start();
        while !rest.is_empty() {
            let (found, value, behind) = attribute(rest)?;
            if found == name {
                return unescaped(value).map(Some);
            }
            rest = behind.trim_start();
        }
        Ok(None)
    }
}

/// Cuts one attribute from the front: name, raw value, and what follows.
fn attribute(text: &str) -> Result<(&str, &str, &str), String> {
    let wrong = || format!("{:?} is no attribute", text.chars().take(40).collect::<String>());
    let (name, rest) = text.split_once('=').ok_or_else(wrong)?;
    let rest = rest.trim_start();
    let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\'')).ok_or_else(wrong)?;
    let (value, behind) = rest[1..].split_once(quote).ok_or_else(wrong)?;
    let is_name = |name: &str| !name.is_empty() && !name.contains(char::is_whitespace);
    if is_name(name.trim_end()) && !value.contains('<') {
        Ok((name.trim_end(), value, behind))
    } else {
        Err(wrong())
    }
}

fn unescaped(text: &str) -> Result<Cow<'_, str>, String> {
    if !text.contains('&') {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('&') {
        out.push_str(before);
        let wrong = || format!("an unknown entity: &{}", behind.chars().take(20).collect::<String>());
        let (name, after) = behind.split_once(';').ok_or_else(wrong)?;
        out.push(entity(name).ok_or_else(wrong)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(Cow::Owned(out))
}

fn entity(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code).filter(|character| *character != '\0')
        }
    }
}

/// Reads a document event by event.
pub struct Reader<R> {
    input: R,
    window: Vec<u8>,
    /// What of the window was given out already.
    taken: usize,
    /// Offset of the window in the document.
    offset: u64,
    open: Vec<String>,
    /// The element that ended last.
    closed: String,
    /// The element that ends although no tag says so: `<a/>`.
    empty: bool,
    has_root: bool,
    is_over: bool,
}

impl<R: Read> Reader<R> {
    pub fn new(input: R) -> Self {
        Reader {
            input,
            window: Vec::new(),
            taken: 0,
            offset: 0,
            open: Vec::new(),
            closed: String::new(),
            empty: false,
            has_root: false,
            is_over: false,
        }
    }

    /// Makes an error for the place that was read last.
    pub fn wrong(&self, problem: impl Into<String>) -> XmlError {
        XmlError { offset: self.offset + self.taken as u64, problem: problem.into() }
    }

    /// Returns the next event. Blanks between elements come as text.
    pub fn next_event(&mut self) -> Result<Event<'_>, XmlError> {
        if std::mem::take(&mut self.empty) {
            return self.close(None);
        }
        loop {
            match self.peek()? {
                None => return self.finish(),
                Some(b'<') => {
                    let length = self.find(b'>')?.ok_or_else(|| self.wrong("a tag that does not end"))? + 1;
                    match self.window[self.taken + 1] {
                        b'!' => self.skip_comment()?,
                        b'?' => self.skip_declaration(length)?,
                        b'/' => return self.end_tag(length),
                        _ => return self.start_tag(length),
                    }
                }
                Some(_) => {
                    let length = self.find(b'<')?.unwrap_or(self.window.len() - self.taken);
                    return self.text(length);
                }
            }
        }
    }

    fn finish(&self) -> Result<Event<'_>, XmlError> {
        match self.open.last() {
            Some(name) => Err(self.wrong(format!("the document ends inside <{name}>"))),
            None if !self.has_root => Err(self.wrong("there is no element")),
            None => Ok(Event::Finish),
        }
    }

    fn start_tag(&mut self, length: usize) -> Result<Event<'_>, XmlError> {
        let range = self.take(length);
        let tag = self.utf8(range.start + 1, range.end - 1)?;
        let is_empty = tag.ends_with('/');
        let tag = tag.strip_suffix('/').unwrap_or(tag);
        let cut = tag.find(char::is_whitespace).unwrap_or(tag.len());
        let name = tag[..cut].to_owned();
        if !is_name(&name) {
            return Err(self.wrong(format!("{:?} is no name of an element", name)));
        }
        if self.open.is_empty() && std::mem::replace(&mut self.has_root, true) {
            return Err(self.wrong("a second root element"));
        }
        if self.open.len() == DEPTH_MAX {
            return Err(self.wrong(format!("more than {DEPTH_MAX} elements inside each other")));
        }
        self.empty = is_empty;
        let start = range.start + 1;
        let end = range.end - 1 - usize::from(is_empty);
        self.open.push(name);
        let tag = self.utf8(start, end)?;
        Ok(Event::Start(Tag { name: &tag[..cut], attributes: &tag[cut..] }))
    }

    fn end_tag(&mut self, length: usize) -> Result<Event<'_>, XmlError> {
        let range = self.take(length);
        let name = self.utf8(range.start + 2, range.end - 1)?.trim_end().to_owned();
        self.close(Some(name))
    }

    fn close(&mut self, name: Option<String>) -> Result<Event<'_>, XmlError> {
        let open = self.open.pop();
        match (open, name) {
            (None, name) => Err(self.wrong(format!("</{}> without a start", name.unwrap_or_default()))),
            (Some(open), Some(name)) if open != name => Err(self.wrong(format!("</{name}> ends <{open}>"))),
            (Some(open), _) => {
                self.closed = open;
                Ok(Event::End(&self.closed))
            }
        }
    }

    fn text(&mut self, length: usize) -> Result<Event<'_>, XmlError> {
        let range = self.take(length);
        let offset = self.offset + range.start as u64;
        let text = self.utf8(range.start, range.end)?;
        if self.open.is_empty() && !text.trim().is_empty() {
            return Err(self.wrong("text outside of the root element"));
        }
        match unescaped(self.utf8(range.start, range.end)?) {
            Ok(text) => Ok(Event::Text(text)),
            Err(problem) => Err(XmlError { offset, problem }),
        }
    }

    fn skip_comment(&mut self) -> Result<(), XmlError> {
        while self.window.len() - self.taken < 4 && self.fill()? {}
        if !self.window[self.taken..].starts_with(b"<!--") {
            return Err(self.wrong("a declaration: document types are refused"));
        }
        let mut from = 4;
        loop {
            let end = self.find_from(from, b'>')?;
            let end = end.ok_or_else(|| self.wrong("a comment that does not end"))?;
            if end >= 6 && self.window[self.taken..self.taken + end].ends_with(b"--") {
                self.take(end + 1);
                return Ok(());
            }
            from = end + 1;
        }
    }

    fn skip_declaration(&mut self, length: usize) -> Result<(), XmlError> {
        if self.has_root || !self.window[self.taken..].starts_with(b"<?xml") {
            return Err(self.wrong("an instruction to a processor"));
        }
        self.take(length);
        Ok(())
    }

    /// Marks bytes of the window as given out.
    fn take(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.taken;
        self.taken += length;
        start..self.taken
    }

    fn utf8(&self, start: usize, end: usize) -> Result<&str, XmlError> {
        let bytes = self.window.get(start..end).unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| self.wrong("bytes that are no UTF-8"))
    }

    /// Returns the next byte, which stays.
    fn peek(&mut self) -> Result<Option<u8>, XmlError> {
        while self.taken == self.window.len() {
            if !self.fill()? {
                return Ok(None);
            }
        }
        Ok(Some(self.window[self.taken]))
    }

    /// Returns how far ahead a byte is; `None` where the document ends before it.
    fn find(&mut self, byte: u8) -> Result<Option<usize>, XmlError> {
        self.find_from(1, byte)
    }

    fn find_from(&mut self, from: usize, byte: u8) -> Result<Option<usize>, XmlError> {
        let mut from = from;
        loop {
            let ahead = self.window.get(self.taken + from..).unwrap_or_default();
            if let Some(found) = ahead.iter().position(|other| *other == byte) {
                return Ok(Some(from + found));
            }
            from = from.max(self.window.len() - self.taken);
            if from > TOKEN_BYTES_MAX {
                return Err(self.wrong(format!("a tag or text of more than {TOKEN_BYTES_MAX} bytes")));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Reads more, dropping what was given out; `false` at the end.
    fn fill(&mut self) -> Result<bool, XmlError> {
        if self.is_over {
            return Ok(false);
        }
        self.window.drain(..self.taken);
        self.offset += std::mem::take(&mut self.taken) as u64;
        let length = self.window.len();
        self.window.resize(length + READ_BYTES, 0);
        let read = self.input.read(&mut self.window[length..]);
        let read = read.map_err(|error| self.wrong(error.to_string()))?;
        self.window.truncate(length + read);
        self.is_over = read == 0;
        Ok(read != 0)
    }
}

fn is_name(text: &str) -> bool {
    let is_part = |character: char| character.is_ascii_alphanumeric() || "_:.-".contains(character);
    !text.is_empty() && text.len() <= 100 && text.chars().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str) -> Result<Vec<String>, XmlError> {
        // One byte at a time: tokens must not depend on how the bytes come.
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let length = self.0.len().min(1);
                buffer[..length].copy_from_slice(&self.0[..length]);
                self.0 = &self.0[length..];
                Ok(length)
            }
        }
        let mut reader = Reader::new(Slow(text.as_bytes()));
        let mut events = Vec::new();
        loop {
            events.push(match reader.next_event()? {
                Event::Start(tag) => format!("<{} {:?}", tag.name, tag.get("k").unwrap_or(None)),
                Event::End(name) => format!("/{name}"),
                Event::Text(text) => text.into_owned(),
                Event::Finish => return Ok(events),
            });
        }
    }

    #[test]
    fn elements_attributes_and_entities_are_read() {
        let text = "<?xml version=\"1.0\"?><!-- > -- --><a k='1 &lt; \"2\"'>x &amp; &#x41;<b j = \"\" k=\"3\"/></a>\n";
        let expected = ["<a Some(\"1 < \\\"2\\\"\")", "x & A", "<b Some(\"3\")", "/b", "/a", "\n"];
        assert_eq!(events(text).expect("read"), expected);
    }

    #[test]
    fn what_repositories_do_not_use_is_refused() {
        for wrong in [
            "",
            "x",
            "<a>",
            "<a></b>",
            "</a>",
            "<a/><b/>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><a/>",
            "<a>&b;</a>",
            "<a>&#0;</a>",
            "<a>&amp</a>",
            "<a><![CDATA[x]]></a>",
            "<a><?php ?></a>",
            "<a",
            "<a><!-- ",
            "< a/>",
        ] {
            assert!(events(wrong).is_err(), "{wrong}");
        }
        assert!(events(&"<a>".repeat(40)).is_err());
        let tag = Tag { name: "a", attributes: " k=v" };
        assert!(tag.get("k").is_err());
    }

    #[test]
    fn a_token_without_end_is_refused_before_it_fills_memory() {
        let mut reader = Reader::new(std::io::repeat(b'<'));
        assert!(reader.next_event().is_err());
    }
}
