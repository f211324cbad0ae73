//! Lines out of a serial console: without escape sequences, of bounded length.

/// Longest line, in bytes; a longer one is cut into several.
const LINE_BYTES_MAX: usize = 4096;
/// How many lines are kept to explain a failure.
const LINES_KEPT: usize = 25;

/// Collects bytes of a console into lines.
#[derive(Default)]
pub struct Console {
    line: Vec<u8>,
    state: State,
    last: std::collections::VecDeque<String>,
}

/// Where in an escape sequence the console is (ECMA-48 §5).
#[derive(Default, Clone, Copy, PartialEq)]
enum State {
    #[default]
    Text,
    Escape,
    Control,
}

impl Console {
    /// Takes bytes and returns the lines that they complete. Empty lines are left out.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for &byte in bytes {
            self.state = match (self.state, byte) {
                (State::Text, 0x1b) => State::Escape,
                (State::Escape, b'[') => State::Control,
                (State::Control, 0x40..=0x7e) | (State::Escape, _) => State::Text,
                (State::Control, _) => State::Control,
                (State::Text, byte) => {
                    self.put(byte, &mut lines);
                    State::Text
                }
            };
        }
        lines
    }

    /// Returns what stands in a line that is not complete yet, and begins a new one.
    pub fn rest(&mut self) -> Option<String> {
        let mut lines = Vec::new();
        self.end_line(&mut lines);
        lines.pop()
    }

    /// Returns the last lines, for messages.
    pub fn last_words(&self) -> String {
        let mut text: Vec<String> = self.last.iter().map(|line| format!("  {line}")).collect();
        if !self.line.is_empty() {
            text.push(format!("  {}", String::from_utf8_lossy(&self.line)));
        }
        if text.is_empty() { "  (none)".to_owned() } else { text.join("\n") }
    }

    fn put(&mut self, byte: u8, lines: &mut Vec<String>) {
        match byte {
            b'\n' => self.end_line(lines),
            b'\t' => self.line.push(byte),
            0..0x20 | 0x7f => {}
            _ => self.line.push(byte),
        }
        if self.line.len() >= LINE_BYTES_MAX {
            self.end_line(lines);
        }
    }

    fn end_line(&mut self, lines: &mut Vec<String>) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).trim_end().to_owned();
        if line.is_empty() {
            return;
        }
        if self.last.len() == LINES_KEPT {
            self.last.pop_front();
        }
        self.last.push_back(line.clone());
        lines.push(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_whatever_the_pieces() {
        let text = b"\x1b[2J\x1b[01;01H\x1b[=3hBdsDxe: starting\r\n\r\nhello \xff\r\nlogin: ";
        let mut all = Console::default();
        let expected = all.take(text);
        assert_eq!(expected, ["BdsDxe: starting", "hello \u{fffd}"]);
        let mut one = Console::default();
        let pieces: Vec<String> = text.iter().flat_map(|&byte| one.take(&[byte])).collect();
        assert_eq!(pieces, expected);
        assert!(one.last_words().ends_with("login: "));
        assert_eq!(one.rest().as_deref(), Some("login:"));
    }

    #[test]
    fn an_endless_line_is_cut() {
        let mut console = Console::default();
        assert_eq!(console.take(&vec![b'x'; 3 * LINE_BYTES_MAX]).len(), 3);
        assert!(console.last.len() <= LINES_KEPT);
    }
}
