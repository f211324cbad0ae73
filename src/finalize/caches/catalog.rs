//! `var/lib/systemd/catalog/database`: explanations of journal messages, by message id and language
//! (journalctl(1) `--update-catalog`; systemd `src/libsystemd/sd-journal/catalog.c`).
//!
//! The file is little-endian: a header of 40 bytes (signature, two words of flags, size of the header, number
//! of items, size of an item), items of 56 bytes sorted by id and language (id, language, offset of the
//! text), strings. A change here breaks the format: journalctl maps this file into memory.

use std::collections::BTreeMap;

use super::super::FinalizeError;
use super::lines::{LINE_BYTES_MAX, Lines};
use super::strings::Strings;
use super::view::{Outcome, View, path};
use crate::base::ImagePath;

const CACHE: &str = "catalog";
const SIGNATURE: &[u8; 8] = b"RHHHKSLP";
const HEADER_BYTES: u64 = 40;
const ITEM_BYTES: u64 = 56;
/// Room for a language, with its NUL.
const LANGUAGE_BYTES: usize = 32;
/// Folders of sources; a file of the first hides one of the second with its name.
const FOLDERS: [&str; 2] = ["/usr/local/lib/systemd/catalog", "/usr/lib/systemd/catalog"];
/// Length of a line that begins an entry, without a language: two dashes, a blank, 32 digits.
const ENTRY_LINE_BYTES: usize = 35;

/// Writes the database where `journalctl` is in the tree.
pub(super) fn write(view: &View<'_>) -> Result<Outcome, FinalizeError> {
    let mut outcome = Outcome::default();
    if view.file(&path("/usr/bin/journalctl")).is_none() {
        return Ok(outcome);
    }
    let mut items = Items::default();
    for file in view.configuration(&FOLDERS, ".catalog") {
        let text = view.read(CACHE, &file)?.unwrap_or_default();
        items.read(&file, &text).map_err(|(line, problem)| FinalizeError::Input {
            path: file,
            line,
            problem,
        })?;
    }
    if !items.order.is_empty() {
        let place = view.place(&path("/var/lib/systemd/catalog/database"));
        outcome.files.push((place, 0o644, items.encode()));
    }
    Ok(outcome)
}

/// Id of a message and language; the empty one for texts without.
type Key = ([u8; 16], Vec<u8>);
/// What is wrong, and in which line.
type Problem = (usize, String);

/// The entries of all sources.
#[derive(Default)]
struct Items {
    texts: BTreeMap<Key, Vec<u8>>,
    /// As they came.
    order: Vec<Key>,
}

impl Items {
    fn read(&mut self, file: &ImagePath, text: &[u8]) -> Result<(), Problem> {
        let default = file_language(file);
        let mut open: Option<(Key, Vec<u8>)> = None;
        let mut behind_empty = true;
        for (number, line) in (1..).zip(Lines::new(text)) {
            if line.len() > LINE_BYTES_MAX {
                return Err((number, format!("it has more than {LINE_BYTES_MAX} bytes")));
            }
            match line.first() {
                None => behind_empty = true,
                Some(b'#' | b';') => {}
                Some(_) => {
                    if let Some((id, language)) = entry_line(line).filter(|_| behind_empty) {
                        self.close(open.take(), number)?;
                        let language =
                            entry_language(language, &default).map_err(|problem| (number, problem))?;
                        open = Some(((id, language), Vec::new()));
                    } else {
                        let (_, text) = open
                            .as_mut()
                            .ok_or_else(|| (number, "there is text before the first id".to_owned()))?;
                        text.extend_from_slice(if behind_empty { b"\n" } else { b"" });
                        text.extend_from_slice(line);
                        text.push(b'\n');
                    }
                    behind_empty = false;
                }
            }
        }
        self.close(open, text.split(|&byte| byte == b'\n').count())
    }

    fn close(&mut self, entry: Option<(Key, Vec<u8>)>, line: usize) -> Result<(), Problem> {
        let Some((key, text)) = entry else { return Ok(()) };
        if text.is_empty() {
            return Err((line, "the entry before has no text".into()));
        }
        match self.texts.get_mut(&key) {
            Some(old) => *old = combine(&text, old),
            None => {
                self.order.push(key.clone());
                self.texts.insert(key, text);
            }
        }
        Ok(())
    }

    fn encode(&self) -> Vec<u8> {
        let mut strings = Strings::new();
        let offsets: BTreeMap<&Key, u32> =
            self.order.iter().map(|key| (key, strings.add(&self.texts[key]))).collect();
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0; 8]);
        for number in [HEADER_BYTES, offsets.len() as u64, ITEM_BYTES] {
            bytes.extend(number.to_le_bytes());
        }
        for ((id, language), offset) in offsets {
            bytes.extend_from_slice(id);
            bytes.extend_from_slice(language);
            bytes.resize(bytes.len() + LANGUAGE_BYTES - language.len(), 0);
            bytes.extend(u64::from(offset).to_le_bytes());
        }
        bytes.extend_from_slice(strings.bytes());
        bytes
    }
}

/// Reads `-- ID` or `-- ID LANGUAGE`.
fn entry_line(line: &[u8]) -> Option<([u8; 16], Option<&[u8]>)> {
    let digits = line.strip_prefix(b"-- ")?.get(..32)?;
    let rest = match line.get(ENTRY_LINE_BYTES) {
        None => None,
        Some(b' ') => Some(&line[ENTRY_LINE_BYTES + 1..]),
        Some(_) => return None,
    };
    let mut id = [0; 16];
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = (digit(0)? * 16 + digit(1)?) as u8;
    }
    Some((id, rest))
}

/// Returns the language in a file's name: `x.de.catalog`.
fn file_language(file: &ImagePath) -> Vec<u8> {
    let name = file.name().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
    let stem = name.strip_suffix(b".catalog").unwrap_or_default();
    let Some(dot) = stem.iter().rposition(|&byte| byte == b'.') else { return Vec::new() };
    let language = &stem[dot + 1..];
    if language.len() < LANGUAGE_BYTES - 1 { language.to_vec() } else { Vec::new() }
}

fn entry_language(language: Option<&[u8]>, default: &[u8]) -> Result<Vec<u8>, String> {
    let Some(language) = language else { return Ok(default.to_vec()) };
    let language = language.trim_ascii();
    match language.len() {
        2..LANGUAGE_BYTES => Ok(language.to_vec()),
        length => Err(format!("its language has {length} bytes, 2 to {} are possible", LANGUAGE_BYTES - 1)),
    }
}

/// Joins two texts of one key: headers of both, those of the first in front, and one body.
fn combine(first: &[u8], second: &[u8]) -> Vec<u8> {
    let (head, body) = first.split_at(header_bytes(first));
    let (second_head, second_body) = second.split_at(header_bytes(second));
    [head, second_head, if body.is_empty() { second_body } else { body }].concat()
}

/// Counts the bytes before the first empty line.
fn header_bytes(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(end) = text[at..].iter().position(|&byte| byte == b'\n') {
        if end == 0 {
            return at;
        }
        at += end + 1;
    }
    at
}
