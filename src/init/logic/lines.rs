//! The app's output as lines that harm nobody: cut where it is too long, without control characters and broken
//! UTF-8, without secrets, with the severity that the app itself gave it.

use std::time::Duration;

/// Longest line, in bytes; what is longer is cut into pieces.
pub const LINE_MAX_BYTES: usize = 8 << 10;
/// How long an unfinished line may wait for its end.
pub const PATIENCE: Duration = Duration::from_millis(500);
/// Severity of a line that says none: informational (RFC 5424 §6.2.1).
pub const INFORMATIONAL: u8 = 6;
/// Least bytes of what is masked: shorter secrets would mask much that is none.
const SECRET_MIN_BYTES: usize = 8;
const SECRETS_MAX: usize = 256;
const SECRET_LINE_MAX_BYTES: usize = 4096;

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
pub struct Splitter {
    pending: Vec<u8>,
    since: Duration,
}

impl Splitter {
    /// Takes what came, and hands on what is whole: lines without their ends.
    pub fn push(&mut self, mut bytes: &[u8], now: Duration, mut each: impl FnMut(&[u8])) {
        if self.pending.is_empty() {
            self.since = now;
        }
        while !bytes.is_empty() {
            let room = LINE_MAX_BYTES - self.pending.len();
            let end = bytes.iter().take(room).position(|&byte| byte == b'\n');
            let length = end.unwrap_or(room.min(bytes.len()));
            self.pending.extend_from_slice(&bytes[..length]);
            bytes = &bytes[length + usize::from(end.is_some())..];
            if end.is_some() || self.pending.len() == LINE_MAX_BYTES {
                each(&self.pending);
                self.pending.clear();
                self.since = now;
            }
        }
    }

    /// Hands on an unfinished line that has waited long enough, or that no end will come for.
    pub fn flush(&mut self, now: Duration, ended: bool, each: impl FnOnce(&[u8])) {
        if !self.pending.is_empty() && (ended || now >= self.since + PATIENCE) {
            each(&self.pending);
            self.pending.clear();
        }
    }

    /// Returns when an unfinished line is due.
    pub fn due(&self) -> Option<Duration> {
        (!self.pending.is_empty()).then(|| self.since + PATIENCE)
    }
}

/// Takes the severity off a line that begins with one (`<3>`, sd-daemon(3)).
pub fn severity(line: &[u8]) -> (u8, &[u8]) {
    match line {
        [b'<', digit @ b'0'..=b'7', b'>', rest @ ..] => (digit - b'0', rest),
        _ => (INFORMATIONAL, line),
    }
}

/// Shows what a line holds: control characters as `\x1B`, what is not UTF-8 as U+FFFD.
pub fn clean(line: &[u8]) -> String {
    let mut text = String::with_capacity(line.len());
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    for character in String::from_utf8_lossy(line).chars() {
        match character {
            '\t' => text.push('\t'),
            // What turns the direction of writing around can make a line look like another one.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' => {
                text.push_str(&format!("\\u{{{:X}}}", u32::from(character)));
            }
            control if control.is_control() => text.push_str(&format!("\\x{:02X}", u32::from(control))),
            other => text.push(other),
        }
    }
    text
}

/// What must not be shown: the lines of secrets, with their names.
#[derive(Default)]
pub struct Mask(Vec<(String, Vec<u8>)>);

impl Mask {
    /// Takes a secret's lines that are long enough to be told from other text; the frames of PEM are none.
    pub fn add(&mut self, name: &str, secret: &[u8]) {
        for line in secret.split(|&byte| byte == b'\n') {
            let line = line.trim_ascii();
            let fits = (SECRET_MIN_BYTES..=SECRET_LINE_MAX_BYTES).contains(&line.len());
            if fits && !line.starts_with(b"-----") && self.0.len() < SECRETS_MAX {
                // The longest first: one that begins another must not hide what is left of that.
                let at =
                    self.0.iter().position(|(_, other)| other.len() < line.len()).unwrap_or(self.0.len());
                self.0.insert(at, (name.to_owned(), line.to_vec()));
            }
        }
    }

    /// Replaces each secret by its name.
    pub fn apply(&self, line: &[u8]) -> Option<Vec<u8>> {
        let mut masked: Option<Vec<u8>> = None;
        for (name, secret) in &self.0 {
            let mut from = 0;
            while let Some(at) = find(masked.as_deref().unwrap_or(line), secret, from) {
                let line = masked.get_or_insert_with(|| line.to_vec());
                let name = format!("[{name}]");
                line.splice(at..at + secret.len(), name.bytes());
                from = at + name.len();
            }
        }
        masked
    }
}

fn find(line: &[u8], secret: &[u8], from: usize) -> Option<usize> {
    line.get(from..)?.windows(secret.len()).position(|window| window == secret).map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    fn split(pieces: &[&[u8]]) -> (Vec<String>, Splitter) {
        let (mut splitter, mut lines) = (Splitter::default(), Vec::new());
        for piece in pieces {
            splitter.push(piece, NOW, |line| lines.push(clean(line)));
        }
        (lines, splitter)
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        let (lines, splitter) = split(&[b"one\ntw", b"o\n", b"\n", b"three\r\nfour"]);
        assert_eq!(lines, ["one", "two", "", "three"]);
        assert_eq!(splitter.due(), Some(NOW + PATIENCE));
    }

    #[test]
    fn unfinished_lines_wait_a_little_and_come_once() {
        let (_, mut splitter) = split(&[b"name: "]);
        let mut lines = Vec::new();
        splitter.flush(NOW, false, |line| lines.push(clean(line)));
        assert!(lines.is_empty());
        splitter.flush(NOW + PATIENCE, false, |line| lines.push(clean(line)));
        splitter.push(b"mkimage\nlast", NOW, |line| lines.push(clean(line)));
        splitter.flush(NOW, true, |line| lines.push(clean(line)));
        splitter.flush(NOW, true, |line| lines.push(clean(line)));
        assert_eq!(lines, ["name: ", "mkimage", "last"]);
        assert_eq!(splitter.due(), None);
    }

    #[test]
    fn endless_lines_are_cut_and_nothing_of_them_is_lost() {
        let endless = vec![b'x'; 3 * LINE_MAX_BYTES + 5];
        let (mut lines, mut splitter) = split(&[&endless[..100], &endless[100..]]);
        splitter.flush(NOW, true, |line| lines.push(clean(line)));
        assert_eq!(
            lines.iter().map(String::len).collect::<Vec<_>>(),
            [LINE_MAX_BYTES, LINE_MAX_BYTES, LINE_MAX_BYTES, 5]
        );
        let (exact, splitter) = split(&[&endless[..LINE_MAX_BYTES], b"\nnext\n"]);
        assert_eq!(exact.iter().map(String::len).collect::<Vec<_>>(), [LINE_MAX_BYTES, 0, 4]);
        assert_eq!(splitter.due(), None);
    }

    #[test]
    fn garbage_is_shown_and_does_nothing() {
        assert_eq!(clean(b"a\x1b[31mred\x07\0\tb"), "a\\x1B[31mred\\x07\\x00\tb");
        assert_eq!(clean(b"\xff\xfe ok \xc3\xa4"), "\u{fffd}\u{fffd} ok \u{e4}");
        assert_eq!(clean("a\u{9b}2J\u{202e}b\u{2028}".as_bytes()), "a\\x9B2J\\u{202E}b\\u{2028}");
        assert!(!clean(&(0..=255).collect::<Vec<u8>>()).contains('\n'));
    }

    #[test]
    fn apps_may_say_how_severe_a_line_is() {
        assert_eq!(severity(b"<3>failed"), (3, &b"failed"[..]));
        assert_eq!(severity(b"<8>failed"), (INFORMATIONAL, &b"<8>failed"[..]));
        assert_eq!(severity(b"<3"), (INFORMATIONAL, &b"<3"[..]));
    }

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let mut mask = Mask::default();
        mask.add("token", b"s3cr3t-token\n");
        mask.add("longer", b"s3cr3t-token-2");
        mask.add("tls.key", b"-----BEGIN KEY-----\nMIIBVwIBADANBg\n-----END KEY-----\n");
        mask.add("pin", b"1234");
        let masked = |line: &[u8]| mask.apply(line).map(|line| String::from_utf8(line).expect("text"));
        assert_eq!(masked(b"a s3cr3t-token, s3cr3t-token-2 b").as_deref(), Some("a [token], [longer] b"));
        assert_eq!(masked(b"MIIBVwIBADANBg").as_deref(), Some("[tls.key]"));
        for harmless in [&b"1234"[..], b"-----BEGIN KEY-----", b"", b"s3cr3t"] {
            assert_eq!(masked(harmless), None);
        }
    }
}
