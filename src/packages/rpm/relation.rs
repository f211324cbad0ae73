//! Dependencies: a name, perhaps with a version, and rich ones that combine several (RPM's manual, "Dependencies" and
//! "Boolean dependencies").

use std::cmp::Ordering;
use std::fmt;

use super::version::Evr;

/// Deepest nesting of a rich dependency.
const DEPTH_MAX: usize = 16;
/// Most names in a rich dependency.
const NAMES_MAX: usize = 200;

/// Which versions a dependency means, as bits: `<` 1, `>` 2, `=` 4; none of them: every version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Sense(pub u8);

impl Sense {
    pub const ANY: Sense = Sense(0);
    pub const LESS: u8 = 1;
    pub const GREATER: u8 = 2;
    pub const EQUAL: u8 = 4;

    /// Reads the word of a repository's metadata: `EQ`, `LT`, `LE`, `GT`, `GE`.
    pub fn of_word(word: &str) -> Option<Sense> {
        Some(Sense(match word {
            "EQ" => Self::EQUAL,
            "LT" => Self::LESS,
            "LE" => Self::LESS | Self::EQUAL,
            "GT" => Self::GREATER,
            "GE" => Self::GREATER | Self::EQUAL,
            _ => return None,
        }))
    }

    fn of_operator(text: &str) -> Option<Sense> {
        Some(Sense(match text {
            "=" | "==" => Self::EQUAL,
            "<" => Self::LESS,
            "<=" | "=<" => Self::LESS | Self::EQUAL,
            ">" => Self::GREATER,
            ">=" | "=>" => Self::GREATER | Self::EQUAL,
            _ => return None,
        }))
    }

    fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, sign) in [(Self::LESS, "<"), (Self::GREATER, ">"), (Self::EQUAL, "=")] {
            if self.has(bit) {
                f.write_str(sign)?;
            }
        }
        Ok(())
    }
}

/// Tells whether two ranges of versions have one in common, as rpm does: without a version on either side they have.
pub fn overlap(a: (Sense, &Evr), b: (Sense, &Evr)) -> bool {
    let ((a, a_evr), (b, b_evr)) = (a, b);
    if a == Sense::ANY || b == Sense::ANY || a_evr.version.is_empty() || b_evr.version.is_empty() {
        return true;
    }
    match a_evr.compare_loosely(b_evr) {
        Ordering::Less => a.has(Sense::GREATER) || b.has(Sense::LESS),
        Ordering::Greater => a.has(Sense::LESS) || b.has(Sense::GREATER),
        Ordering::Equal => {
            let both = |bit| a.has(bit) && b.has(bit);
            both(Sense::EQUAL) || both(Sense::LESS) || both(Sense::GREATER)
        }
    }
}

/// A plain dependency: `libfoo >= 1.2`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plain {
    pub name: String,
    pub sense: Sense,
    pub evr: Evr,
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sense {
            Sense::ANY => f.write_str(&self.name),
            sense => write!(f, "{} {sense} {}", self.name, self.evr),
        }
    }
}

/// A dependency of any form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rich {
    Plain(Plain),
    All(Vec<Rich>),
    Any(Vec<Rich>),
    /// The first, where the second holds; the third, where it does not.
    If(Box<Rich>, Box<Rich>, Option<Box<Rich>>),
    /// The first, where the second does not hold; the third, where it does.
    Unless(Box<Rich>, Box<Rich>, Option<Box<Rich>>),
    /// All by one package.
    With(Vec<Rich>),
    /// The first by a package that does not do the second.
    Without(Box<Rich>, Box<Rich>),
}

/// Reads a rich dependency: `(a or (b >= 1 with c))`.
pub fn parse(text: &str) -> Result<Rich, String> {
    let mut parser = Parser { rest: text, names: 0 };
    let rich = parser.operand(0)?;
    match parser.rest.trim_start() {
        "" => Ok(rich),
        rest => Err(format!("{rest:?} stands behind the end of {text:?}")),
    }
}

struct Parser<'a> {
    rest: &'a str,
    names: usize,
}

impl<'a> Parser<'a> {
    fn operand(&mut self, depth: usize) -> Result<Rich, String> {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix('(') {
            Some(_) if depth == DEPTH_MAX => {
                Err(format!("more than {DEPTH_MAX} parentheses inside each other"))
            }
            Some(rest) => {
                self.rest = rest;
                self.combination(depth + 1)
            }
            None => self.plain().map(Rich::Plain),
        }
    }

    fn combination(&mut self, depth: usize) -> Result<Rich, String> {
        let first = self.operand(depth)?;
        let Some(operator) = self.operator()? else { return Ok(first) };
        let mut operands = vec![first, self.operand(depth)?];
        let mut otherwise = None;
        while let Some(next) = self.operator()? {
            match (operator, next) {
                ("and" | "or" | "with", next) if next == operator => operands.push(self.operand(depth)?),
                ("if" | "unless", "else") if otherwise.is_none() => {
                    otherwise = Some(Box::new(self.operand(depth)?));
                }
                _ => return Err(format!("{next:?} behind {operator:?} needs parentheses")),
            }
        }
        let mut pair = || {
            let second = operands.pop().map(Box::new);
            operands.pop().map(Box::new).zip(second).ok_or_else(|| "an operand is missing".to_owned())
        };
        match operator {
            "and" => Ok(Rich::All(operands)),
            "or" => Ok(Rich::Any(operands)),
            "with" => Ok(Rich::With(operands)),
            "if" => pair().map(|(first, second)| Rich::If(first, second, otherwise)),
            "unless" => pair().map(|(first, second)| Rich::Unless(first, second, otherwise)),
            "without" => pair().map(|(first, second)| Rich::Without(first, second)),
            other => Err(format!("{other:?} is no operator")),
        }
    }

    /// Reads an operator; `None` where the parenthesis closes.
    fn operator(&mut self) -> Result<Option<&'a str>, String> {
        self.rest = self.rest.trim_start();
        if let Some(rest) = self.rest.strip_prefix(')') {
            self.rest = rest;
            return Ok(None);
        }
        let end = self.rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        match word {
            "and" | "or" | "if" | "unless" | "else" | "with" | "without" => {
                self.rest = rest;
                Ok(Some(word))
            }
            _ => Err(format!("expected an operator or \")\", found {:?}", shown(self.rest))),
        }
    }

    fn plain(&mut self) -> Result<Plain, String> {
        self.names += 1;
        if self.names > NAMES_MAX {
            return Err(format!("more than {NAMES_MAX} names"));
        }
        let name = self.word();
        if name.is_empty() {
            return Err(format!("expected a name, found {:?}", shown(self.rest)));
        }
        let before = self.rest;
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c: char| !"<>=".contains(c)).unwrap_or(self.rest.len());
        let Some(sense) = Sense::of_operator(&self.rest[..end]) else {
            self.rest = before;
            return Ok(Plain { name: name.to_owned(), sense: Sense::ANY, evr: Evr::default() });
        };
        self.rest = self.rest[end..].trim_start();
        match self.word() {
            "" => Err(format!("{name} has an operator and no version")),
            version => Ok(Plain { name: name.to_owned(), sense, evr: Evr::parse(version) }),
        }
    }

    /// Cuts a word from the front; parentheses that it opens belong to it: `libc.so.6()(64bit)`.
    fn word(&mut self) -> &'a str {
        let mut depth = 0usize;
        let mut end = self.rest.len();
        for (at, character) in self.rest.char_indices() {
            match character {
                '(' => depth += 1,
                ')' if depth == 0 => {
                    end = at;
                    break;
                }
                ')' => depth -= 1,
                character if character.is_whitespace() => {
                    end = at;
                    break;
                }
                _ => {}
            }
        }
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> (Sense, Evr) {
        match parse(text).expect("a dependency") {
            Rich::Plain(plain) => (plain.sense, plain.evr),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ranges_overlap_as_rpm_says() {
        for (a, b, expected) in [
            ("a", "a = 1", true),
            ("a >= 2", "a = 2-1", true),
            ("a > 2", "a = 2-1", false),
            ("a < 2", "a = 2~rc1-1", true),
            ("a = 1", "a = 1-5", true),
            ("a = 1-4", "a = 1-5", false),
            ("a >= 1:1", "a = 5", false),
            ("a < 1", "a > 1", false),
            ("a <= 1", "a >= 1", true),
            ("a < 3", "a > 1", true),
        ] {
            let ((a_sense, a_evr), (b_sense, b_evr)) = (range(a), range(b));
            assert_eq!(overlap((a_sense, &a_evr), (b_sense, &b_evr)), expected, "{a}, {b}");
            assert_eq!(overlap((b_sense, &b_evr), (a_sense, &a_evr)), expected, "{b}, {a}");
        }
    }

    #[test]
    fn rich_dependencies_are_read() {
        let plain =
            |name: &str| Rich::Plain(Plain { name: name.into(), sense: Sense::ANY, evr: Evr::default() });
        assert_eq!(parse("(a or b or c)"), Ok(Rich::Any(vec![plain("a"), plain("b"), plain("c")])));
        let with = Rich::With(vec![plain("libx.so()(64bit)"), plain("y")]);
        let expected = Rich::If(Box::new(with), Box::new(plain("z")), Some(Box::new(plain("w"))));
        assert_eq!(parse("((libx.so()(64bit) with y) if z else w)"), Ok(expected));
        assert!(matches!(parse("(a >= 1 without a >= 2)"), Ok(Rich::Without(..))));
        for wrong in [
            "",
            "(",
            "(a",
            "(a or)",
            "(a or b and c)",
            "(a xor b)",
            "(a >=)",
            "(a) b",
            "()",
            "(a if b else c else d)",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse(&"(".repeat(1000)).is_err());
    }
}
