//! Blanks, comments, line ends and names.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_until, take_while, take_while1};
use nom::character::complete::{char, one_of, satisfy};
use nom::combinator::{recognize, value};
use nom::multi::many0_count;
use nom::sequence::{delimited, pair, preceded};
use nom::{IResult, Parser};

use super::super::diagnostics::{Code, Problem};
use super::Grammar;
use super::fault::{Fault, Parsed};

type Plain<'a, T> = IResult<&'a str, T, Fault>;

/// `# …` or `// …`, up to the end of the line.
pub(super) fn line_comment(input: &str) -> Plain<'_, &str> {
    recognize(preceded(alt((tag("#"), tag("//"))), take_till(|c| c == '\n'))).parse(input)
}

/// `/* … */`
pub(super) fn block_comment(input: &str) -> Plain<'_, &str> {
    recognize(delimited(tag("/*"), take_until("*/"), tag("*/"))).parse(input)
}

/// Spaces and tabs, at least one.
pub(super) fn spaces(input: &str) -> Plain<'_, &str> {
    take_while1(|c| c == ' ' || c == '\t').parse(input)
}

/// A letter or `_`, then letters, digits, `_` and `-`. (HCL allows letters of all scripts.)
pub(super) fn name(input: &str) -> Plain<'_, &str> {
    recognize(pair(
        satisfy(|c| c.is_ascii_alphabetic() || c == '_'),
        take_while(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-'),
    ))
    .parse(input)
}

fn blanks_once(input: &str) -> Plain<'_, &str> {
    recognize(many0_count(alt((spaces, block_comment)))).parse(input)
}

fn gap_once(input: &str) -> Plain<'_, &str> {
    let newlines = recognize(one_of(" \t\n"));
    recognize(many0_count(alt((newlines, line_comment, block_comment)))).parse(input)
}

impl<'a> Grammar<'a> {
    /// What may stand between two words of a line: spaces, tabs, `/* … */`.
    pub(super) fn blanks(&self, input: &'a str) -> Parsed<'a, ()> {
        let (rest, _) = blanks_once(input)?;
        self.closed_comment(rest)
    }

    /// What may stand between two lines: blanks, line ends, comments.
    pub(super) fn gap(&self, input: &'a str) -> Parsed<'a, ()> {
        let (rest, _) = gap_once(input)?;
        self.closed_comment(rest)
    }

    /// A comment that is still there after the blanks has no end.
    fn closed_comment(&self, input: &'a str) -> Parsed<'a, ()> {
        if !input.starts_with("/*") {
            return Ok((input, ()));
        }
        let problem = Problem::new(Code::Unclosed, self.ahead(input, 2), "this comment has no end");
        Err(Fault::cut(problem.expected("expected `*/` somewhere below").hint("close the comment with `*/`")))
    }

    /// The end of an item: blanks, perhaps a comment, then a new line or the end of the text.
    pub(super) fn line_end(&self, input: &'a str) -> Parsed<'a, ()> {
        let (rest, ()) = self.blanks(input)?;
        let (rest, _) = nom::combinator::opt(line_comment).parse(rest)?;
        if rest.is_empty() {
            return Ok((rest, ()));
        }
        value((), char('\n')).parse(rest).map_err(|_: nom::Err<Fault>| self.extra(rest))
    }

    /// Makes the mistake of something behind a complete item.
    fn extra(&self, input: &'a str) -> nom::Err<Fault> {
        let next = input.chars().next().unwrap_or(' ');
        if next == '.' || next == '[' {
            return self.not_offered(
                input,
                "indexes and attributes of values",
                "name a variable for each part",
            );
        }
        if "+-*/%=!<>&|?:".contains(next) {
            let hint = "use a function instead, such as `format`, `join`, `concat` or `merge`";
            return self.not_offered(input, "operators", hint);
        }
        let hint = match next {
            '}' => "in a block over several lines, put the closing brace on a line of its own",
            ',' => "no comma is needed: keys of a block stand on lines of their own",
            _ => "put each key and each block on a line of its own",
        };
        self.unexpected(input, "the end of the line", hint)
    }

    /// Makes the mistake of something that HCL has and recipes don't.
    pub(super) fn not_offered(&self, input: &'a str, what: &str, hint: &str) -> nom::Err<Fault> {
        let length = input.chars().next().map_or(0, char::len_utf8);
        let message = format!("recipes have no {what}");
        Fault::cut(Problem::new(Code::NotOffered, self.ahead(input, length), message).hint(hint))
    }
}
