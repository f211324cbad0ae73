//! A text that was read without mistakes, as words: for the formatter.

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::take_while1;
use nom::character::complete::{char, digit1};
use nom::combinator::{opt, recognize};
use nom::multi::many0_count;
use nom::sequence::{pair, preceded};

use super::super::diagnostics::Problems;
use super::super::source::Source;
use super::Grammar;
use super::fault::Parsed;
use super::trivia::{block_comment, line_comment, name, spaces};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) enum TokenKind {
    NewLine,
    /// With its end: `# …`, `// …` or `/* … */`.
    Comment,
    /// A name, a number, or `var.NAME`.
    Word,
    /// A string, with all that is interpolated in it.
    Quoted,
    /// A heredoc from `<<` to its end marker.
    Heredoc,
    Mark,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Token<'a> {
    pub kind: TokenKind,
    pub text: &'a str,
}

impl Token<'_> {
    pub fn opens(&self) -> bool {
        self.kind == TokenKind::Mark && matches!(self.text, "{" | "[" | "(")
    }

    pub fn closes(&self) -> bool {
        self.kind == TokenKind::Mark && matches!(self.text, "}" | "]" | ")")
    }

    /// Tells whether it may be a key.
    pub fn names(&self) -> bool {
        matches!(self.kind, TokenKind::Word | TokenKind::Quoted)
    }
}

/// Returns the words of a text that has no mistakes of syntax.
pub(in super::super) fn tokens(source: &Source) -> Vec<Token<'_>> {
    let unread = Problems::default();
    let grammar = Grammar::new(0, &source.text, &unread);
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = source.text[at..].chars().next() {
        let rest = &source.text[at..];
        if let Ok((after, _)) = spaces(rest) {
            at += rest.len() - after.len();
            continue;
        }
        let read = grammar.token(rest, first).map(|(after, kind)| (rest.len() - after.len(), kind));
        let (length, kind) = read.unwrap_or((first.len_utf8(), TokenKind::Mark));
        tokens.push(Token { kind, text: &source.text[at..at + length] });
        at += length;
    }
    tokens
}

/// A name or a number, and names behind dots.
fn word(input: &str) -> Parsed<'_, &str> {
    let number = recognize((opt(char('-')), digit1));
    let dotted = recognize(pair(name, many0_count(preceded(char('.'), name))));
    alt((number, dotted, take_while1(char::is_alphanumeric))).parse(input)
}

impl<'a> Grammar<'a> {
    fn token(&self, input: &'a str, first: char) -> Parsed<'a, TokenKind> {
        let kind = |kind: TokenKind| move |(rest, _): (&'a str, _)| (rest, kind);
        match first {
            '\n' => Ok((&input[1..], TokenKind::NewLine)),
            '#' | '/' => alt((line_comment, block_comment)).parse(input).map(kind(TokenKind::Comment)),
            '"' => self.quoted(input).map(|(rest, _)| (rest, TokenKind::Quoted)),
            '<' => self.heredoc(input).map(|(rest, _)| (rest, TokenKind::Heredoc)),
            _ => word(input).map(kind(TokenKind::Word)),
        }
    }
}
