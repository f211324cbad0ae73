//! What people type for a commit, taken apart before any store is asked.
//!
//! ```text
//! place    = revision [":" path]              path inside the tree; "" is the root, "etc/x" is "/etc/x"
//! revision = base ["~" [N]] ("^" [N])*
//! base     = name of a ref, or the first digits (4 to 64 of 0-9 a-f) of an id
//! ~N         where the ref led N moves ago; ~ is ~1
//! ^N         the Nth parent of the commit, from 1; ^ is ^1
//! ```

use std::fmt;
use std::str::FromStr;

use super::refs::RefName;
use crate::base::ImagePath;

/// Fewest digits of an id that stand for it.
pub(super) const DIGITS_MIN: usize = 4;
const DIGITS: usize = 64;
/// Most parents on the way: nobody types more.
const PARENTS_MAX: usize = 64;

/// Says how to get to a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    pub base: Base,
    /// How many moves ago the ref led there.
    pub moves: usize,
    /// Which parents to take from there, each from 1.
    pub parents: Vec<usize>,
}

/// Where a revision begins. A text that is both is a ref where there is one of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    pub text: String,
    /// The text as the name of a ref.
    pub name: Option<RefName>,
    /// Whether it may be the first digits of an id.
    pub is_digits: bool,
}

/// A revision, and a path in its tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub revision: Revision,
    pub path: Option<ImagePath>,
}

/// Says why a text is no revision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} names no commit: {problem}")]
pub struct RevisionError {
    pub text: String,
    pub problem: String,
}

impl FromStr for Revision {
    type Err = RevisionError;

    fn from_str(text: &str) -> Result<Self, RevisionError> {
        let error = |problem: String| RevisionError { text: text.to_owned(), problem };
        let end = text.find(['~', '^']).unwrap_or(text.len());
        let base = base(&text[..end]).map_err(error)?;
        let mut revision = Revision { base, moves: 0, parents: Vec::new() };
        let mut rest = &text[end..];
        let mut is_first = true;
        while let Some(mark) = rest.chars().next() {
            let end = rest[1..].find(['~', '^']).map_or(rest.len(), |end| end + 1);
            let number = number(&rest[1..end]).map_err(error)?;
            match mark {
                '~' if is_first => revision.moves = number,
                '~' => return Err(error("~N stands right behind the name of a ref, and once".to_owned())),
                _ if number == 0 => {
                    return Err(error("parents count from 1: ^1 is the first one".to_owned()));
                }
                _ if revision.parents.len() == PARENTS_MAX => {
                    return Err(error(format!("it goes back by more than {PARENTS_MAX} parents")));
                }
                _ => revision.parents.push(number),
            }
            is_first = false;
            rest = &rest[end..];
        }
        Ok(revision)
    }
}

fn base(text: &str) -> Result<Base, String> {
    let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_digits = (DIGITS_MIN..=DIGITS).contains(&text.len()) && text.bytes().all(digit);
    match (RefName::new(text), is_digits) {
        (Err(_), false) if text.bytes().all(|byte| byte.is_ascii_hexdigit()) && !text.is_empty() => {
            Err("an id is written with the digits 0-9 and a-f, at most 64 of them".to_owned())
        }
        (Err(error), false) => Err(format!("it is no id, and as the name of a ref, {}", error.problem)),
        (name, is_digits) => Ok(Base { text: text.to_owned(), name: name.ok(), is_digits }),
    }
}

fn number(text: &str) -> Result<usize, String> {
    if text.is_empty() {
        return Ok(1);
    }
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| format!("{text:?} is no number of moves or parents"))
}

impl FromStr for Place {
    type Err = RevisionError;

    fn from_str(text: &str) -> Result<Self, RevisionError> {
        let (revision, path) = match text.split_once(':') {
            Some((revision, path)) => (revision, Some(path)),
            None => (text, None),
        };
        let path = path.map(image_path).transpose();
        let path = path.map_err(|problem| RevisionError { text: text.to_owned(), problem })?;
        Ok(Place { revision: revision.parse()?, path })
    }
}

/// Reads a path inside a tree; a leading `/` may be left out.
fn image_path(text: &str) -> Result<ImagePath, String> {
    let absolute = if text.starts_with('/') { text.to_owned() } else { format!("/{text}") };
    ImagePath::new(absolute.as_bytes()).map_err(|error| error.to_string())
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base.text)?;
        if self.moves > 0 {
            write!(f, "~{}", self.moves)?;
        }
        self.parents.iter().try_for_each(|parent| write!(f, "^{parent}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(text: &str) -> (String, usize, Vec<usize>) {
        let revision: Revision = text.parse().unwrap_or_else(|error| panic!("{error}"));
        (revision.base.text, revision.moves, revision.parents)
    }

    #[test]
    fn revisions_are_taken_apart() {
        let is = |text: &str, base: &str, moves, parents: &[usize]| {
            assert_eq!(parts(text), (base.to_owned(), moves, parents.to_vec()), "{text}");
        };
        is("hello", "hello", 0, &[]);
        is("env/prod~2", "env/prod", 2, &[]);
        is("hello~", "hello", 1, &[]);
        is("hello~0", "hello", 0, &[]);
        is("abcd^", "abcd", 0, &[1]);
        is("hello~3^2^", "hello", 3, &[2, 1]);
    }

    #[test]
    fn what_is_no_revision_says_why() {
        for (text, why) in [
            ("", "a component is empty"),
            ("~1", "a component is empty"),
            ("hello~1~2", "right behind"),
            ("hello^~1", "right behind"),
            ("hello~x", "no number"),
            ("hello~-1", "no number"),
            ("hello~+1", "no number"),
            ("hello^0", "count from 1"),
            ("Hello", "begins with a-z"),
            ("ABCD", "0-9 and a-f"),
            ("hello~99999999999999999999999", "no number"),
            (&format!("a{}", "^".repeat(65)), "more than 64 parents"),
            (&"0".repeat(65), "at most 64"),
        ] {
            let error = text.parse::<Revision>().expect_err(text);
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn digits_may_be_a_name_as_well() {
        let revision: Revision = "beef".parse().expect("a revision");
        assert!(revision.base.is_digits && revision.base.name.is_some());
        let whole: Revision = "0".repeat(64).parse().expect("an id");
        assert!(whole.base.is_digits && whole.base.name.is_none());
        assert!("abc".parse::<Revision>().is_ok_and(|it| !it.base.is_digits));
    }

    #[test]
    fn places_have_a_path_behind_the_first_colon() {
        let path = |text: &str| text.parse::<Place>().expect(text).path.map(|path| path.to_string());
        assert_eq!(path("hello"), None);
        assert_eq!(path("hello:"), Some("/".to_owned()));
        assert_eq!(path("hello~1:etc/motd"), Some("/etc/motd".to_owned()));
        assert_eq!(path("hello:/etc/a:b"), Some("/etc/a:b".to_owned()));
        assert!("hello:/etc/../x".parse::<Place>().is_err());
        assert!(":/etc".parse::<Place>().is_err());
    }

    proptest! {
        #[test]
        fn nothing_that_is_typed_panics(text in "\\PC{0,80}") {
            if let Ok(place) = text.parse::<Place>() {
                prop_assert_eq!(place.revision.to_string().parse::<Revision>().ok(), Some(place.revision));
            }
        }

        #[test]
        fn what_looks_like_a_revision_does_not_either(text in "[a-f0-9/~^:.x]{0,24}") {
            if let Ok(revision) = text.parse::<Revision>() {
                prop_assert_eq!(revision.to_string().parse::<Revision>().ok(), Some(revision));
            }
        }
    }
}
