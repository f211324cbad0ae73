//! Names against shell patterns, as `glob(3)` does it: `*`, `?`, `[a-z]`, `[!a]`, `\x`.

/// Tells whether a name fits a pattern. A dot at its start is only matched by a dot.
///
/// Costs at most the product of both lengths.
pub(super) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    let (mut at, mut of) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while of < name.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at + 1, of));
            at += 1;
            continue;
        }
        match one(&pattern[at..], name[of]) {
            Some(length) => (at, of) = (at + length, of + 1),
            None => {
                let Some((behind, from)) = &mut star else { return false };
                *from += 1;
                (at, of) = (*behind, *from);
            }
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

/// Returns the length of the pattern's first element where it fits a byte.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern.first()? {
        b'?' => Some(1),
        b'[' => set(pattern, byte).unwrap_or((byte == b'[').then_some(1)),
        b'\\' if pattern.len() > 1 => (pattern[1] == byte).then_some(2),
        other => (other == byte).then_some(1),
    }
}

/// Looks a byte up in a set; the outer `None` says that the bracket is never closed.
fn set(pattern: &[u8], byte: u8) -> Option<Option<usize>> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let mut at = 1 + usize::from(negated);
    let (first, mut found) = (at, false);
    loop {
        let low = *pattern.get(at)?;
        if low == b']' && at > first {
            return Some((found != negated).then_some(at + 1));
        }
        match (pattern.get(at + 1), pattern.get(at + 2)) {
            (Some(b'-'), Some(&high)) if high != b']' => {
                found |= (low..=high).contains(&byte);
                at += 3;
            }
            _ => {
                found |= low == byte;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_are_those_of_the_shell() {
        for (pattern, name) in [
            ("*.conf", "a.conf"),
            ("*a*b*", "xxaxxbxx"),
            ("[a-c]?.conf", "bz.conf"),
            ("[!a]", "b"),
            ("[]a]", "]"),
            ("[", "["),
            (".*", ".x"),
            ("a\\*", "a*"),
            ("", ""),
        ] {
            assert!(matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*.conf", ".conf"),
            ("*.conf", "a.conf.dpkg-old"),
            ("?", ""),
            ("[!a]", "a"),
            ("a\\*", "ab"),
            ("[a-", "a"),
            ("*a*b*", "xxbxxaxx"),
        ] {
            assert!(!matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
    }
}
