//! The grammar, in `nom`: one function a production. A mistake is reported where it is, and reading goes on.
//!
//! ```text
//! body       = { gap item line-end }                    structure.rs
//! item       = name "=" expression | name { label } block
//! expression = string | heredoc | number | "true" | "false" | list | object | "var." name | call
//!                                                        expression.rs
//! string     = '"' { literal | escape | "${" expression "}" } '"'
//! heredoc    = "<<" [ "-" ] name newline { line } name   template.rs
//! gap        = { blank | newline | comment }             trivia.rs
//! ```

mod expression;
mod fault;
mod recover;
mod structure;
mod template;
mod tokens;
mod trivia;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use super::ast::{Body, Expression, Kind, Word};
use super::diagnostics::{Code, Problem, Problems};
use super::source::{Source, Span};
use fault::{Fault, Parsed};
pub(super) use tokens::{Token, TokenKind, tokens};

/// Most bytes of one text.
pub const TEXT_BYTES_MAX: u64 = 4 << 20;
/// Most levels of blocks, brackets, calls and interpolations in one another.
pub const NESTING_MAX: usize = 64;

/// Reads a whole text. What can't be read is reported and left out.
pub(super) fn read_body(file: usize, source: &Source, problems: &Problems) -> Body {
    let grammar = Grammar::new(file, &source.text, problems);
    if !grammar.acceptable() {
        return Body { items: Vec::new(), torn: true };
    }
    grammar.document(&source.text)
}

/// Reads a text that is one expression from `start` on, such as the value of `--set`.
pub(super) fn read_expression(file: usize, source: &Source, start: usize, problems: &Problems) -> Expression {
    let grammar = Grammar::new(file, &source.text, problems);
    let broken = Expression { kind: Kind::Broken, span: Span { file, start, end: source.text.len() } };
    if !grammar.acceptable() {
        return broken;
    }
    grammar.lone_expression(&source.text[start..]).unwrap_or(broken)
}

/// Tells whether a text is a name, such as that of a variable.
pub(super) fn is_name(text: &str) -> bool {
    trivia::name(text).is_ok_and(|(rest, _)| rest.is_empty())
}

/// What every production is given besides its input: the whole text, and where mistakes go.
pub(super) struct Grammar<'a> {
    file: usize,
    text: &'a str,
    problems: &'a Problems,
    depth: Cell<usize>,
    /// End markers of heredocs that no further line is.
    endless: RefCell<BTreeSet<&'a str>>,
}

impl<'a> Grammar<'a> {
    pub fn new(file: usize, text: &'a str, problems: &'a Problems) -> Self {
        Grammar { file, text, problems, depth: Cell::new(0), endless: RefCell::default() }
    }

    /// Refuses texts that are too large or hold bytes that no production may meet.
    fn acceptable(&self) -> bool {
        let start = Span { file: self.file, start: 0, end: 0 };
        if self.text.len() as u64 > TEXT_BYTES_MAX {
            let bytes = self.text.len();
            let message = format!("this text has {bytes} bytes, a recipe has at most {TEXT_BYTES_MAX}");
            let hint = "put large content into files of its own and name them with `source`";
            self.problems.report(Problem::new(Code::TooLarge, start, message).hint(hint));
            self.problems.tear();
            return false;
        }
        let wrong = |c: char| c.is_control() && c != '\n' && c != '\t' || c == '\u{feff}';
        let Some((at, character)) = self.text.char_indices().find(|(_, c)| wrong(*c)) else {
            return true;
        };
        let span = Span { file: self.file, start: at, end: at + character.len_utf8() };
        let (what, hint) = match character {
            '\r' => ("a carriage return", "end lines with a line feed alone; in a string write `\\r`"),
            '\u{feff}' => ("a byte order mark", "save the file as UTF-8 without one"),
            _ => ("a control character", "in a string write it as an escape, such as `\\u001b`"),
        };
        self.problems.report(Problem::new(Code::BadCharacter, span, format!("found {what}")).hint(hint));
        self.problems.tear();
        false
    }

    /// Returns the span between two inputs, each a rest of the text.
    fn span(&self, from: &str, to: &str) -> Span {
        Span { file: self.file, start: self.text.len() - from.len(), end: self.text.len() - to.len() }
    }

    /// Returns the span of the next `length` bytes.
    fn ahead(&self, input: &str, length: usize) -> Span {
        self.span(input, &input[length..])
    }

    fn word(&self, from: &'a str, to: &'a str) -> Word {
        Word { text: from[..from.len() - to.len()].to_owned(), span: self.span(from, to) }
    }

    fn broken(&self, from: &str, to: &str) -> Expression {
        Expression { kind: Kind::Broken, span: self.span(from, to) }
    }

    /// Runs a production one level deeper.
    fn nested<T>(&self, input: &'a str, production: impl FnOnce(&'a str) -> Parsed<'a, T>) -> Parsed<'a, T> {
        if self.depth.get() >= NESTING_MAX {
            let message = format!("more than {NESTING_MAX} levels of brackets and blocks in one another");
            let problem = Problem::new(Code::TooDeep, self.ahead(input, input.len().min(1)), message);
            return Err(Fault::cut(problem.hint("move an inner part into a variable of its own")));
        }
        self.depth.set(self.depth.get() + 1);
        let result = production(input);
        self.depth.set(self.depth.get() - 1);
        result
    }

    /// Makes the mistake "expected this, found that".
    fn unexpected(&self, input: &'a str, expected: &str, hint: &str) -> nom::Err<Fault> {
        Fault::cut(self.unexpected_problem(input, expected, hint))
    }

    fn unexpected_problem(&self, input: &'a str, expected: &str, hint: &str) -> Problem {
        let (found, length) = fault::found(input);
        let message = format!("expected {expected}, found {found}");
        Problem::new(Code::Unexpected, self.ahead(input, length), message)
            .expected(format!("expected {expected}"))
            .hint(hint)
    }
}
