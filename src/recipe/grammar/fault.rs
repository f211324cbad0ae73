//! Why a production did not match.

use nom::error::{ErrorKind, ParseError};

use super::super::diagnostics::Problem;
use super::trivia;

/// Result of a production: the rest of the text and a value.
pub(super) type Parsed<'a, T> = nom::IResult<&'a str, T, Fault>;

/// Says why a production did not match. Without a problem: something else may match here.
#[derive(Debug)]
pub(super) struct Fault {
    pub problem: Option<Box<Problem>>,
}

impl Fault {
    /// Makes a fault that no other production can mend.
    pub fn cut(problem: Problem) -> nom::Err<Fault> {
        nom::Err::Failure(Fault { problem: Some(Box::new(problem)) })
    }
}

impl ParseError<&str> for Fault {
    fn from_error_kind(_: &str, _: ErrorKind) -> Self {
        Fault { problem: None }
    }

    fn append(_: &str, _: ErrorKind, other: Self) -> Self {
        other
    }
}

/// Names what comes next, for people, and how many bytes it has.
pub(super) fn found(input: &str) -> (String, usize) {
    let Some(first) = input.chars().next() else {
        return ("the end of the text".to_owned(), 0);
    };
    if first == '\n' {
        return ("the end of the line".to_owned(), 0);
    }
    if let Ok((rest, name)) = trivia::name(input) {
        return (format!("`{name}`"), input.len() - rest.len());
    }
    if first.is_ascii_digit() {
        let length = input.len() - input.trim_start_matches(|c: char| c.is_ascii_alphanumeric()).len();
        return (format!("`{}`", shortened(&input[..length])), length);
    }
    match first {
        ' ' | '\t' => ("a blank".to_owned(), 1),
        '"' => ("a string".to_owned(), 1),
        '#' => ("a comment".to_owned(), 1),
        '/' if input.starts_with("//") || input.starts_with("/*") => ("a comment".to_owned(), 2),
        _ => (format!("`{first}`"), first.len_utf8()),
    }
}

fn shortened(text: &str) -> &str {
    &text[..text.len().min(40)]
}
