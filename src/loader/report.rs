//! Texts of bounded length, and device paths.

use core::fmt;

/// A text of at most 480 bytes: what is behind them is left out.
pub struct Note {
    bytes: [u8; 480],
    length: usize,
}

impl Note {
    pub fn new() -> Note {
        Note { bytes: [0; 480], length: 0 }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    pub fn text(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    pub fn push(&mut self, bytes: &[u8]) {
        let count = bytes.len().min(self.bytes.len() - self.length);
        self.bytes[self.length..self.length + count].copy_from_slice(&bytes[..count]);
        self.length += count;
    }
}

impl fmt::Write for Note {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

/// Returns the device path of a slot's UKI: that of the ESP, and the file's (UEFI §10.3.5.4).
pub fn device_path(partition: &[u8], slot: usize) -> Note {
    const FOLDER: &str = "\\EFI\\Linux\\";
    let letters = FOLDER.bytes().chain(super::FILES[slot].bytes()).chain([0]);
    let length = (4 + 2 * letters.clone().count()) as u16;
    let mut path = Note::new();
    path.push(partition);
    path.push(&[4, 4, length as u8, (length >> 8) as u8]);
    for letter in letters {
        path.push(&[letter, 0]);
    }
    path.push(&[0x7f, 0xff, 4, 0]);
    path
}

/// Returns the GUID of the partition that a device path leads to, as text (UEFI §10.3.5.1).
pub fn partition_guid(path: &[u8]) -> Option<Note> {
    let mut rest = path;
    let mut found = None;
    while let [kind, sub_kind, low, high, ..] = *rest {
        let (node, behind) = rest.split_at_checked(usize::from(u16::from_le_bytes([low, high])).max(4))?;
        // A hard disk with a GUID for its signature.
        if (kind, sub_kind) == (4, 1) && node.get(41) == Some(&2) {
            found = node.get(24..40);
        }
        rest = behind;
    }
    let guid = found?;
    let mut text = Note::new();
    for (at, order) in [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].into_iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push(b"-");
        }
        let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
        text.push(&[digit(guid[order] >> 4), digit(guid[order] & 15)]);
    }
    Some(text)
}
