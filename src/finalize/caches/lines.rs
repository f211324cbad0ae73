//! Lines as systemd's tools read them: LF, CR and NUL end one, and two different of them in a row end one
//! line, not two.

/// Longest line, in bytes.
pub(super) const LINE_BYTES_MAX: usize = 1 << 20;

/// Iterates over the lines of a file.
pub(super) struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Lines { rest: bytes }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let ends = |byte: &u8| matches!(byte, b'\n' | b'\r' | 0);
        let Some(end) = self.rest.iter().position(ends) else {
            return Some(std::mem::take(&mut self.rest));
        };
        let line = &self.rest[..end];
        let mut behind = end;
        let mut seen = Vec::new();
        while let Some(byte) = self.rest.get(behind).filter(|byte| ends(byte))
            && !seen.contains(byte)
            && !seen.contains(&0)
        {
            seen.push(*byte);
            behind += 1;
        }
        self.rest = &self.rest[behind..];
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::Lines;

    #[test]
    fn a_pair_of_different_ends_is_one_end() {
        let lines = |text: &str| Lines::new(text.as_bytes()).map(<[u8]>::len).collect::<Vec<_>>();
        assert_eq!(lines("a\nbb\r\nccc\n\nd"), [1, 2, 3, 0, 1]);
        assert_eq!(lines("a\0\nb"), [1, 0, 1]);
        assert_eq!(lines("a\n\0b"), [1, 1]);
        assert_eq!(lines(""), [] as [usize; 0]);
        assert_eq!(lines("\n"), [0]);
    }
}
