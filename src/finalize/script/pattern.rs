//! Patterns of the shell (XCU 2.13): `*`, `?`, `[…]`; a backslash takes the next character as it is.

/// Tells whether a text fits a pattern as a whole. Takes at most the product of both lengths.
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut place) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&'*') {
            at += 1;
            retry = Some((at, place));
            continue;
        }
        let step = text.get(place).and_then(|character| one(&pattern[at..], *character));
        match step {
            Some(length) => {
                at += length;
                place += 1;
            }
            None if at == pattern.len() && place == text.len() => return true,
            None => match retry {
                Some((behind, from)) if from < text.len() => {
                    retry = Some((behind, from + 1));
                    (at, place) = (behind, from + 1);
                }
                _ => return false,
            },
        }
    }
}

/// Returns how much of a pattern a character fits; `None` where it does not fit.
fn one(pattern: &[char], character: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['\\', next, ..] => (*next == character).then_some(2),
        ['[', rest @ ..] => match set(rest, character) {
            Some((length, true)) => Some(length + 1),
            Some((_, false)) => None,
            None => (character == '[').then_some(1),
        },
        [next, ..] => (*next == character).then_some(1),
        [] => None,
    }
}

/// Reads a set of characters behind its `[`: its length with `]`, and whether the character is in it.
fn set(pattern: &[char], character: char) -> Option<(usize, bool)> {
    let is_negated = matches!(pattern.first(), Some('!' | '^'));
    let mut at = usize::from(is_negated);
    let first = at;
    let mut is_in = false;
    loop {
        match *pattern.get(at)? {
            ']' if at > first => return Some((at + 1, is_in != is_negated)),
            '[' if pattern.get(at + 1) == Some(&':') => {
                let end = pattern[at..].windows(2).position(|pair| pair == [':', ']'])? + at;
                let name: String = pattern.get(at + 2..end)?.iter().collect();
                is_in |= in_class(&name, character);
                at = end + 2;
            }
            low => {
                let high = match pattern.get(at + 1..at + 3) {
                    Some(['-', high]) if *high != ']' => {
                        at += 2;
                        *high
                    }
                    _ => low,
                };
                is_in |= (low..=high).contains(&character);
                at += 1;
            }
        }
    }
}

fn in_class(name: &str, character: char) -> bool {
    match name {
        "digit" => character.is_ascii_digit(),
        "alpha" => character.is_ascii_alphabetic(),
        "alnum" => character.is_ascii_alphanumeric(),
        "lower" => character.is_ascii_lowercase(),
        "upper" => character.is_ascii_uppercase(),
        "space" => character.is_ascii_whitespace(),
        _ => false,
    }
}

/// Puts a backslash before what a pattern would read as more than itself.
pub(super) fn literal(text: &str, pattern: &mut String) {
    for character in text.chars() {
        if ['*', '?', '[', ']', '\\'].contains(&character) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
}

/// Takes the backslashes of a pattern away: what it stands for where nothing fits it.
pub(super) fn plain(pattern: &str) -> String {
    let mut text = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.extend(characters.next()),
            _ => text.push(character),
        }
    }
    text
}

/// Tells whether a pattern holds more than characters that stand for themselves.
pub(super) fn is_glob(pattern: &str) -> bool {
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_a_shell() {
        for (pattern, text) in [
            ("*", ""),
            ("abort-*", "abort-upgrade"),
            ("a?c", "abc"),
            ("[a-c]x", "bx"),
            ("[!a]", "b"),
            ("*.gz", "a.gz.gz"),
            ("[[:digit:]]*", "1:2"),
            ("\\*", "*"),
            ("[]]", "]"),
            ("[", "["),
            ("*a*b*", "xaxbx"),
            ("[a-]", "-"),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", ""),
            ("abort-*", "abort"),
            ("[!a]", "a"),
            ("\\*", "x"),
            ("*a*b*", "xbxa"),
            ("[a", "a"),
        ] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
        assert!(!fits(&"*a".repeat(300), &"a".repeat(299)));
        let mut quoted = String::new();
        literal("a*[b]\\", &mut quoted);
        assert!(fits(&quoted, "a*[b]\\") && !is_glob(&quoted) && plain(&quoted) == "a*[b]\\");
    }
}
