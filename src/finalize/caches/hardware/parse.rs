//! The text of one source: records of patterns, each with properties below (hwdb(7)). What systemd warns
//! about and passes over is passed over here.

use super::super::lines::{LINE_BYTES_MAX, Lines};

/// Patterns, and the properties of devices that fit one of them.
#[derive(Default)]
pub(super) struct Record<'a> {
    pub patterns: Vec<&'a [u8]>,
    pub properties: Vec<Property<'a>>,
}

/// One property.
pub(super) struct Property<'a> {
    /// With one blank before it.
    pub key: &'a [u8],
    pub value: &'a [u8],
    /// From 1 on.
    pub line: u32,
}

/// Refuses what systemd's reader would stop at.
pub(super) fn check(text: &[u8]) -> Result<(), String> {
    match Lines::new(text).position(|line| line.len() > LINE_BYTES_MAX) {
        Some(line) => Err(format!("line {} has more than {LINE_BYTES_MAX} bytes", line + 1)),
        None => Ok(()),
    }
}

/// Reads the records of a source.
pub(super) fn records(text: &[u8]) -> Vec<Record<'_>> {
    let mut records: Vec<Record<'_>> = Vec::new();
    let mut open: Option<Record<'_>> = None;
    for (number, line) in (1u32..).zip(Lines::new(text)) {
        if line.first() == Some(&b'#') {
            continue;
        }
        let line = line.split(|&byte| byte == b'#').next().unwrap_or_default();
        let line = trim_end(line);
        match (&mut open, line.first()) {
            (None, None | Some(b' ')) => {}
            (None, Some(_)) => open = Some(Record { patterns: vec![line], ..Record::default() }),
            (Some(record), Some(b' ')) => record.properties.extend(property(line, number)),
            (Some(record), Some(_)) if !record.begun() => record.patterns.push(line),
            // An empty line ends a record, and so does a pattern behind its properties, which is lost.
            (Some(_), _) => records.extend(open.take()),
        }
    }
    records.extend(open);
    records
}

impl Record<'_> {
    fn begun(&self) -> bool {
        !self.properties.is_empty()
    }
}

fn property(line: &[u8], number: u32) -> Option<Property<'_>> {
    let at = line.iter().position(|&byte| byte == b'=')?;
    let (mut key, value) = (&line[..at], &line[at + 1..]);
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    while blank(key.first()) && blank(key.get(1)) {
        key = &key[1..];
    }
    (key.len() > 1).then_some(Property { key, value, line: number })
}

fn trim_end(line: &[u8]) -> &[u8] {
    let space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r');
    let end = line.iter().rposition(|byte| !space(byte)).map_or(0, |last| last + 1);
    &line[..end]
}
