//! What the commands say: bounded, its beginning and its end kept.

use std::collections::VecDeque;

use crate::base::Job;

/// Lines that are passed on while the commands run; the log has them all.
const NOTED_LINES_MAX: usize = 400;
/// Longest line that is passed on, in bytes.
const NOTED_BYTES_MAX: usize = 300;

/// Collects output.
pub struct Log {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    /// Bytes that each of the two may hold.
    half: usize,
    total: u64,
    line: Vec<u8>,
    noted: usize,
}

impl Log {
    /// Makes a log of at most `limit` bytes, and a line that says what is left out.
    pub fn new(limit: u64) -> Log {
        let half = usize::try_from(limit / 2).unwrap_or(usize::MAX);
        Log { head: Vec::new(), tail: VecDeque::new(), half, total: 0, line: Vec::new(), noted: 0 }
    }

    /// Takes bytes, and tells `job` the lines that are complete.
    pub fn push(&mut self, bytes: &[u8], label: &str, job: &Job) {
        self.total += bytes.len() as u64;
        let to_head = bytes.len().min(self.half - self.head.len());
        self.head.extend_from_slice(&bytes[..to_head]);
        let rest = &bytes[to_head..];
        let rest = &rest[rest.len().saturating_sub(self.half)..];
        let over = (self.tail.len() + rest.len()).saturating_sub(self.half);
        self.tail.drain(..over);
        self.tail.extend(rest);
        for &byte in bytes {
            match byte {
                b'\n' | b'\r' => self.note(label, job),
                _ if self.line.len() < NOTED_BYTES_MAX => self.line.push(byte),
                _ => {}
            }
        }
    }

    fn note(&mut self, label: &str, job: &Job) {
        let line = String::from_utf8_lossy(&self.line);
        let line = line.trim_end();
        if !line.is_empty() && self.noted <= NOTED_LINES_MAX {
            let shown = crate::base::path::escaped(line.as_bytes());
            job.note(match self.noted {
                NOTED_LINES_MAX => format!("{label}: … (further lines are in the log only)"),
                _ => format!("{label}: {shown}"),
            });
            self.noted += 1;
        }
        self.line.clear();
    }

    /// Returns the log.
    pub fn bytes(&self) -> Vec<u8> {
        let kept = (self.head.len() + self.tail.len()) as u64;
        let mut out = self.head.clone();
        if kept < self.total {
            out.extend(format!("\n[… {} bytes left out …]\n", self.total - kept).into_bytes());
        }
        out.extend(&self.tail);
        out
    }

    /// Returns the last lines, for a message.
    pub fn last_lines(&self) -> String {
        const LINES: usize = 20;
        const BYTES: usize = 4096;
        let bytes = self.bytes();
        let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(BYTES)..]).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let shown = lines[lines.len().saturating_sub(LINES)..].iter();
        shown
            .map(|line| format!("  {}", crate::base::path::escaped(line.as_bytes())))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_and_the_end_are_kept() {
        let job = Job::quiet(1);
        let mut log = Log::new(20);
        for chunk in [&b"0123456"[..], b"789abcdefghijk", b"lmnop", b"qrstuvwxyz\n"] {
            log.push(chunk, "test", &job);
        }
        let text = String::from_utf8(log.bytes()).expect("text");
        assert_eq!(text, "0123456789\n[… 17 bytes left out …]\nrstuvwxyz\n");
        assert!(log.last_lines().ends_with("rstuvwxyz"));
    }

    #[test]
    fn a_short_log_is_whole() {
        let mut log = Log::new(1000);
        log.push(b"one\ntwo", "test", &Job::quiet(1));
        assert_eq!(log.bytes(), b"one\ntwo");
        assert_eq!(log.last_lines(), "  one\n  two");
    }

    #[test]
    fn one_huge_piece_keeps_its_end() {
        let mut log = Log::new(8);
        log.push(b"abcdefghijklmnop", "test", &Job::quiet(1));
        assert_eq!(String::from_utf8(log.bytes()).expect("text"), "abcd\n[… 8 bytes left out …]\nmnop");
    }
}
