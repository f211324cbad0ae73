//! RPM's order of versions (`rpmvercmp`, manual page `rpm-version(7)`), and versions with epoch and release.

use std::cmp::Ordering;
use std::fmt;

/// Holds an epoch, a version and a release: `1:2.0~rc1-3.fc40`. Parts that a text leaves out are absent.
#[derive(Clone, PartialEq, Eq, Debug, Default, Hash)]
pub struct Evr {
    /// Absent counts as 0.
    pub epoch: Option<u32>,
    pub version: String,
    /// Absent fits every release where dependencies are compared.
    pub release: Option<String>,
}

impl Evr {
    /// Reads `[EPOCH:]VERSION[-RELEASE]`. What stands before a `:` and is no number is part of the version.
    pub fn parse(text: &str) -> Evr {
        let (epoch, rest) = match text.split_once(':') {
            Some(("", rest)) => (Some(0), rest),
            Some((epoch, rest)) if epoch.bytes().all(|byte| byte.is_ascii_digit()) => match epoch.parse() {
                Ok(epoch) => (Some(epoch), rest),
                Err(_) => (None, text),
            },
            _ => (None, text),
        };
        let (version, release) = match rest.rsplit_once('-') {
            Some((version, release)) => (version, Some(release.to_owned())),
            None => (rest, None),
        };
        Evr { epoch, version: version.to_owned(), release }
    }

    /// Orders two packages: epoch, version, release.
    pub fn compare(&self, other: &Evr) -> Ordering {
        let release = |evr: &'_ Evr| evr.release.clone().unwrap_or_default();
        let epochs = self.epoch.unwrap_or(0).cmp(&other.epoch.unwrap_or(0));
        epochs
            .then_with(|| compare(&self.version, &other.version))
            .then_with(|| compare(&release(self), &release(other)))
    }

    /// Orders two versions of dependencies: a release counts only where both have one.
    pub fn compare_loosely(&self, other: &Evr) -> Ordering {
        let epochs = self.epoch.unwrap_or(0).cmp(&other.epoch.unwrap_or(0));
        epochs.then_with(|| compare(&self.version, &other.version)).then_with(|| {
            match (&self.release, &other.release) {
                (Some(own), Some(other)) if !own.is_empty() && !other.is_empty() => compare(own, other),
                _ => Ordering::Equal,
            }
        })
    }
}

impl fmt::Display for Evr {
    /// Writes `1:2.0-3`; an epoch of 0 is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.epoch {
            Some(epoch) if epoch != 0 => write!(f, "{epoch}:{}", self.version)?,
            _ => f.write_str(&self.version)?,
        }
        match &self.release {
            Some(release) => write!(f, "-{release}"),
            None => Ok(()),
        }
    }
}

/// Orders two versions or two releases as rpm does: runs of digits as numbers, runs of letters as text,
/// numbers above letters; `~` sorts before everything, even the end; `^` after the end, but before more of the
/// same. Everything else only separates.
pub fn compare(a: &str, b: &str) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        a = skip_separators(a);
        b = skip_separators(b);
        match (a.first(), b.first()) {
            (Some(b'~'), Some(b'~')) => {
                (a, b) = (&a[1..], &b[1..]);
                continue;
            }
            (Some(b'~'), _) => return Ordering::Less,
            (_, Some(b'~')) => return Ordering::Greater,
            (Some(b'^'), Some(b'^')) => {
                (a, b) = (&a[1..], &b[1..]);
                continue;
            }
            (Some(b'^'), None) => return Ordering::Greater,
            (None, Some(b'^')) => return Ordering::Less,
            (Some(b'^'), Some(_)) => return Ordering::Less,
            (Some(_), Some(b'^')) => return Ordering::Greater,
            (None, _) | (_, None) => return a.len().cmp(&b.len()),
            (Some(first), Some(_)) => {
                let is_number = first.is_ascii_digit();
                let (own, rest) = run(a, is_number);
                let (other, other_rest) = run(b, is_number);
                if other.is_empty() {
                    return if is_number { Ordering::Greater } else { Ordering::Less };
                }
                let order = if is_number { compare_numbers(own, other) } else { own.cmp(other) };
                if order.is_ne() {
                    return order;
                }
                (a, b) = (rest, other_rest);
            }
        }
    }
}

fn skip_separators(text: &[u8]) -> &[u8] {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'~' | b'^');
    let start = text.iter().position(is_part).unwrap_or(text.len());
    &text[start..]
}

/// Cuts the run of digits, or of letters, from the front.
fn run(text: &[u8], digits: bool) -> (&[u8], &[u8]) {
    let is_in = |byte: &u8| if digits { byte.is_ascii_digit() } else { byte.is_ascii_alphabetic() };
    text.split_at(text.iter().position(|byte| !is_in(byte)).unwrap_or(text.len()))
}

fn compare_numbers(a: &[u8], b: &[u8]) -> Ordering {
    let strip = |digits: &'_ [u8]| digits.iter().position(|&byte| byte != b'0').unwrap_or(digits.len());
    let (a, b) = (&a[strip(a)..], &b[strip(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_order_as_rpm_documents_it() {
        let ascending =
            ["1.0~rc1", "1.0~rc2", "1.0", "1.0^git1", "1.0^git2", "1.0a", "1.0.1", "1.1", "1.10", "2"];
        for pair in ascending.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        for (a, b) in [("1.05", "1.5"), ("1_0", "1.0"), ("a.1", "a1"), ("", "")] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} {b}");
        }
    }

    #[test]
    fn epochs_come_first_and_releases_count_where_both_have_one() {
        let evr = Evr::parse;
        assert_eq!(evr("1:1-1").compare(&evr("2-1")), Ordering::Greater);
        assert_eq!(evr("0:2-1").compare(&evr("2-1")), Ordering::Equal);
        assert_eq!(evr("2-1").compare_loosely(&evr("2")), Ordering::Equal);
        assert_eq!(evr("2-1").compare_loosely(&evr("2-2")), Ordering::Less);
        assert_eq!(evr("1:2.0~rc1-3.fc40").to_string(), "1:2.0~rc1-3.fc40");
        assert_eq!(evr("0:1-1").to_string(), "1-1");
        assert_eq!(evr("99999999999:1").epoch, None);
    }
}
