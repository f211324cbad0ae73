//! Versions and their order (Debian Policy 5.6.12).

use std::cmp::Ordering;

/// Holds the three parts of a version: `[epoch:]upstream[-revision]`. A missing epoch is 0, a missing revision
/// is empty, which orders as `0` does.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a> {
    epoch: u32,
    upstream: &'a str,
    revision: &'a str,
}

impl<'a> Version<'a> {
    /// Parts a text of at most 200 bytes, as dpkg does: the epoch ends at the first colon, the revision starts
    /// behind the last hyphen. `None` where it is no version. Costs some nanoseconds and no memory.
    pub fn parse(text: &'a str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".+~:-".contains(&byte);
        if text.len() > 200 || !text.bytes().all(plain) {
            return None;
        }
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) => (number(epoch)?, rest),
            None => (0, text),
        };
        let (upstream, revision) = match rest.rsplit_once('-') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (rest, ""),
        };
        let is_good = !upstream.is_empty() && !revision.contains(':');
        is_good.then_some(Version { epoch, upstream, revision })
    }
}

impl PartialEq for Version<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version<'_> {}

impl PartialOrd for Version<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.epoch
            .cmp(&other.epoch)
            .then_with(|| compare_parts(self.upstream.as_bytes(), other.upstream.as_bytes()))
            .then_with(|| compare_parts(self.revision.as_bytes(), other.revision.as_bytes()))
    }
}

/// Tells whether a text is a version that we can order and print in one word, of at most 200 bytes.
pub fn is_version(text: &str) -> bool {
    Version::parse(text).is_some()
}

/// Orders two versions as dpkg does; a text that is none comes before every version.
pub fn compare(a: &str, b: &str) -> Ordering {
    if a == b { Ordering::Equal } else { Version::parse(a).cmp(&Version::parse(b)) }
}

/// Tells whether a version matches a pattern, in which each `*` stands for any text.
pub fn matches(pattern: &str, version: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| version.strip_prefix(first)) else { return false };
    let mut last = None;
    for piece in pieces {
        if let Some(middle) = last.replace(piece) {
            let Some(at) = rest.find(middle) else { return false };
            rest = &rest[at + middle.len()..];
        }
    }
    last.map_or(rest.is_empty(), |end| rest.ends_with(end))
}

fn number(text: &str) -> Option<u32> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&epoch: &u32| is_plain && epoch <= i32::MAX as u32)
}

/// Compares as Policy says: turn by turn a part without digits, in which `~` comes before the end, the end before
/// letters and letters before the rest, then a number.
fn compare_parts(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !(a.is_empty() && b.is_empty()) {
        loop {
            let (x, y) = (rank(a.first()), rank(b.first()));
            if x != y {
                return x.cmp(&y);
            }
            if x == 0 {
                break;
            }
            (a, b) = (&a[1..], &b[1..]);
        }
        let (x, y) = (digits(&mut a), digits(&mut b));
        let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// Orders what is no digit; a digit is as the end.
fn rank(byte: Option<&u8>) -> i32 {
    match byte {
        None | Some(b'0'..=b'9') => 0,
        Some(b'~') => -1,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    }
}

/// Takes a number from the front, without its leading zeros.
fn digits<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = text.split_at(length);
    *text = rest;
    &number[number.iter().take_while(|&&byte| byte == b'0').count()..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_order_as_dpkg_orders_them() {
        let ascending =
            ["0:1~~", "1~~a", "1~", "1", "1+", "1.0", "1.0-1~deb", "1.0-1", "1.9", "1.10", "1a", "1:0.1"];
        let order = ["0:1~rc1-1", "1-1", "1-1+b1", "1.9", "1.10", "1:0.1"];
        for pair in order.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
        for text in ascending {
            assert!(is_version(text), "{text}");
        }
        assert_eq!(compare("1.0", "1.0-0"), Ordering::Equal);
        assert_eq!(compare("0:1.00", "1.0"), Ordering::Equal);
        for wrong in ["", "a b", "1\n", ":1", "x:1", "1-", "1:", "99999999999:1", "1-a:b", "1_2", "é"] {
            assert!(!is_version(wrong), "{wrong}");
            assert_eq!(compare(wrong, "0~"), Ordering::Less, "{wrong}");
        }
    }

    #[test]
    fn patterns_match_versions() {
        for (pattern, version) in [("1.2*", "1.2"), ("1.2*", "1.2.3"), ("*", "1"), ("1.2", "1.2")] {
            assert!(matches(pattern, version), "{pattern} {version}");
        }
        for (pattern, version) in [("1*+b*2", "1.0+b1.2"), ("*a*b*", "xaxbx"), ("a*a", "aa")] {
            assert!(matches(pattern, version), "{pattern} {version}");
        }
        for (pattern, version) in
            [("1.2*", "1.1"), ("1.2", "1.2.3"), ("a*a", "a"), ("*a*b", "xbxa"), ("", "1")]
        {
            assert!(!matches(pattern, version), "{pattern} {version}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_another_implementation(
            a in "([0-9]{1,2}:)?[0-9][0-9a-c.+~]{0,5}(-[0-9a-b.+~]{1,4})?",
            b in "([0-9]{1,2}:)?[0-9][0-9a-c.+~]{0,5}(-[0-9a-b.+~]{1,4})?",
        ) {
            let parsed = |text: &str| text.parse::<debversion::Version>().expect("a version");
            prop_assert_eq!(compare(&a, &b), parsed(&a).cmp(&parsed(&b)), "{} {}", a, b);
            prop_assert_eq!(compare(&b, &a), compare(&a, &b).reverse());
        }
    }
}
