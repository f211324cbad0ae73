//! Basic regular expressions (XBD 9.3), as far as scripts need them: characters, `.`, `[…]`, `*`, `^`, `$`.

/// Longest expression that is understood, in characters: matching takes a call for each.
const LENGTH_MAX: usize = 200;
/// Longest text that is matched, in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// An expression that was understood.
pub(super) struct Regex {
    at_start: bool,
    at_end: bool,
    pieces: Vec<Piece>,
}

struct Piece {
    one: One,
    repeats: bool,
}

enum One {
    Any,
    Character(char),
    Set { is_negated: bool, ranges: Vec<(char, char)> },
}

impl One {
    fn fits(&self, character: char) -> bool {
        match self {
            One::Any => true,
            One::Character(own) => *own == character,
            One::Set { is_negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&character)) != *is_negated
            }
        }
    }
}

impl Regex {
    /// Reads an expression; `None` for one that has more than is understood. `extended` says that `+ ? | ( ) { }`
    /// are special without a backslash.
    pub fn parse(text: &str, extended: bool) -> Option<Regex> {
        let mut pieces = Vec::<Piece>::new();
        let (at_start, text) = match text.strip_prefix('^') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if text.chars().count() > LENGTH_MAX {
            return None;
        }
        let mut at_end = false;
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let one = match character {
                '*' if !pieces.is_empty() => {
                    let last = pieces.last_mut()?;
                    if std::mem::replace(&mut last.repeats, true) {
                        return None;
                    }
                    continue;
                }
                '$' if characters.peek().is_none() => {
                    at_end = true;
                    continue;
                }
                '.' => One::Any,
                '[' => set(&mut characters)?,
                '\\' => match characters.next()? {
                    's' => One::Set { is_negated: false, ranges: class("space")? },
                    'S' => One::Set { is_negated: true, ranges: class("space")? },
                    next if next.is_ascii_punctuation() && (extended || !"+?|(){}<>".contains(next)) => {
                        One::Character(next)
                    }
                    _ => return None,
                },
                '+' | '?' | '|' | '(' | ')' | '{' | '}' if extended => return None,
                character => One::Character(character),
            };
            pieces.push(Piece { one, repeats: false });
        }
        Some(Regex { at_start, at_end, pieces })
    }

    /// Returns the first place that fits, of those that begin there the longest: (start, end) in bytes. `None`
    /// where none fits, or the text is too long to be sure.
    pub fn find(&self, text: &str) -> Option<(usize, usize)> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let mut starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        starts.find_map(|start| {
            if self.at_start && start > 0 {
                return None;
            }
            self.end(&text[start..], &self.pieces).map(|left| (start, text.len() - left))
        })
    }

    /// Returns how many bytes are left behind the longest fit of pieces at the start of a text.
    fn end(&self, text: &str, pieces: &[Piece]) -> Option<usize> {
        let Some((piece, rest)) = pieces.split_first() else {
            return (!self.at_end || text.is_empty()).then_some(text.len());
        };
        let mut ends = vec![0];
        let mut at = 0;
        for character in text.chars() {
            if !piece.one.fits(character) {
                break;
            }
            at += character.len_utf8();
            ends.push(at);
            if !piece.repeats {
                break;
            }
        }
        match piece.repeats {
            true => ends.into_iter().rev().find_map(|end| self.end(&text[end..], rest)),
            false => ends.get(1).and_then(|end| self.end(&text[*end..], rest)),
        }
    }

    /// Returns whether finding takes reasonably long: every `*` multiplies it.
    pub fn is_cheap(&self) -> bool {
        self.pieces.iter().filter(|piece| piece.repeats).count() <= 2
    }
}

fn set(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<One> {
    let is_negated = characters.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    let mut is_first = true;
    loop {
        let low = characters.next()?;
        match low {
            ']' if !is_first => return Some(One::Set { is_negated, ranges }),
            '[' if characters.peek() == Some(&':') => {
                characters.next();
                let name: String =
                    std::iter::from_fn(|| characters.next_if(char::is_ascii_alphabetic)).collect();
                (characters.next()? == ':' && characters.next()? == ']').then_some(())?;
                ranges.extend(class(&name)?);
            }
            low => {
                let mut ahead = characters.clone();
                let high = match (ahead.next(), ahead.next()) {
                    (Some('-'), Some(high)) if high != ']' => {
                        characters.next();
                        characters.next();
                        high
                    }
                    _ => low,
                };
                ranges.push((low, high));
            }
        }
        is_first = false;
    }
}

fn class(name: &str) -> Option<Vec<(char, char)>> {
    Some(match name {
        "space" => vec![(' ', ' '), ('\t', '\r')],
        "blank" => vec![(' ', ' '), ('\t', '\t')],
        "digit" => vec![('0', '9')],
        "alpha" => vec![('a', 'z'), ('A', 'Z')],
        "alnum" => vec![('a', 'z'), ('A', 'Z'), ('0', '9')],
        "upper" => vec![('A', 'Z')],
        "lower" => vec![('a', 'z')],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_fit_as_grep_fits_them() {
        let find = |regex: &str, text: &str| Regex::parse(regex, false).expect(regex).find(text);
        assert_eq!(find("^shadow:[^:]*:42", "shadow:x:42:"), Some((0, 11)));
        assert_eq!(find("b*", "abb"), Some((0, 0)));
        assert_eq!(find("ab*", "xabbb"), Some((1, 5)));
        assert_eq!(find("a.c$", "abcabc"), Some((3, 6)));
        assert_eq!(find("^x", "ax"), None);
        assert_eq!(find("[[:space:]]", "a b"), Some((1, 2)));
        assert_eq!(find("a+", "aa+"), Some((1, 3)));
        for regex in ["a\\+", "\\(a\\)", "[a", "a**", "\\w", "\\"] {
            assert!(Regex::parse(regex, false).is_none(), "{regex}");
        }
        for regex in ["a+", "(a)", "a|b", "a{2}"] {
            assert!(Regex::parse(regex, true).is_none(), "{regex}");
        }
    }
}
