//! Mistakes of a recipe: many at once, each with its place and a hint.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::render;
use super::source::{Sources, Span};

/// Most mistakes that are kept; the rest is counted.
const PROBLEMS_MAX: usize = 200;

/// Tells what kind of mistake an entry is. Stable: scripts may match on it.
macro_rules! codes {
    ($($(#[$meta:meta])* $name:ident),* $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Code { $($(#[$meta])* $name),* }

        impl Code {
            /// Every code there is.
            pub const ALL: &'static [Code] = &[$(Code::$name),*];
        }
    };
}

codes! {
    /// Something else was expected at this place.
    Unexpected,
    /// A block, bracket, string, heredoc or comment has no end.
    Unclosed,
    /// A backslash before something that has no meaning.
    BadEscape,
    /// Not a whole number from -2^63 to 2^63-1 without leading zeros.
    BadNumber,
    /// A control character, such as a carriage return.
    BadCharacter,
    /// HCL has it, the recipe language does not.
    NotOffered,
    /// Lines of an indented heredoc that strip to nothing common.
    HeredocIndentation,
    TooDeep,
    TooLarge,
    UnknownBlock,
    UnknownKey,
    DuplicateKey,
    DuplicateBlock,
    MissingBlock,
    MissingKey,
    MissingLabel,
    UnwantedLabel,
    WrongType,
    BadValue,
    /// A bare word where a value must be.
    BareWord,
    UnknownVariable,
    UnknownFunction,
    WrongArguments,
    /// A variable that got no value.
    UnsetVariable,
    /// `--set` or a vars file names a variable that the recipe does not have.
    UnknownSetting,
    /// A file that can't be read.
    Unreadable,
    IncludeCycle,
    IncludeDepth,
    /// Two keys or blocks that exclude each other, or one that needs another.
    Conflict,
    UnknownAccount,
    DuplicatePath,
    DuplicateId,
    /// Warning: a variable that nothing uses.
    UnusedVariable,
    /// Warning: a block that has no effect.
    UnusedBlock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    Error,
    Warning,
}

/// Where something is: line and column from 1; the column counts characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    pub file: String,
    pub line: usize,
    pub column: usize,
    /// What is there.
    pub message: String,
}

/// One mistake, as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    pub severity: Severity,
    pub code: Code,
    pub file: String,
    pub line: usize,
    pub column: usize,
    pub message: String,
    /// What was expected at the place, where the message does not say it.
    pub expected: Option<String>,
    pub hint: Option<String>,
    /// Other places that belong to it, such as the first one of two.
    pub related: Vec<Place>,
}

/// Holds every mistake of a run, ordered by place. Prints as text without colour.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    pub(super) sources: Arc<Sources>,
    pub(super) problems: Vec<Problem>,
    pub(super) dropped: usize,
}

impl Diagnostics {
    /// Counts the mistakes.
    pub fn len(&self) -> usize {
        self.problems.len() + self.dropped
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the mistakes as data, at most 200 of them.
    pub fn entries(&self) -> Vec<Entry> {
        self.problems.iter().map(|problem| problem.entry(&self.sources)).collect()
    }

    /// Returns the mistakes as text for people: excerpt, caret, hint. With `colour`, for a terminal.
    pub fn render(&self, colour: bool) -> String {
        render::render(self, colour)
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

/// One mistake, with places as spans.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Problem {
    pub severity: Severity,
    pub code: Code,
    pub span: Span,
    pub message: String,
    pub expected: Option<String>,
    pub hint: Option<String>,
    pub related: Vec<(Span, String)>,
}

impl Problem {
    pub fn new(code: Code, span: Span, message: impl Into<String>) -> Self {
        let message = message.into();
        let (severity, expected, hint) = (Severity::Error, None, None);
        Problem { severity, code, span, message, expected, hint, related: Vec::new() }
    }

    pub fn warning(code: Code, span: Span, message: impl Into<String>) -> Self {
        Problem { severity: Severity::Warning, ..Self::new(code, span, message) }
    }

    /// Says under the caret what was expected.
    pub fn expected(mut self, text: impl Into<String>) -> Self {
        self.expected = Some(text.into());
        self
    }

    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }

    pub fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        self.related.push((span, text.into()));
        self
    }

    fn entry(&self, sources: &Sources) -> Entry {
        let place = |span: Span, message: &str| {
            let source = &sources.files[span.file];
            let (line, column) = source.place(span.start);
            Place { file: source.name.clone(), line, column, message: message.to_owned() }
        };
        let at = place(self.span, "");
        Entry {
            severity: self.severity,
            code: self.code,
            file: at.file,
            line: at.line,
            column: at.column,
            message: self.message.clone(),
            expected: self.expected.clone(),
            hint: self.hint.clone(),
            related: self.related.iter().map(|(span, text)| place(*span, text)).collect(),
        }
    }
}

/// Collects mistakes while a recipe is read.
#[derive(Debug, Default)]
pub(super) struct Problems {
    list: RefCell<Vec<Problem>>,
    dropped: Cell<usize>,
    torn: Cell<bool>,
}

impl Problems {
    pub fn report(&self, problem: Problem) {
        let mut list = self.list.borrow_mut();
        if list.contains(&problem) {
            return;
        }
        if list.len() < PROBLEMS_MAX {
            list.push(problem);
        } else if problem.severity == Severity::Error {
            self.dropped.set(self.dropped.get() + 1);
        }
    }

    /// Tells whether so many mistakes were found that reading on is of no use.
    pub fn full(&self) -> bool {
        self.list.borrow().len() >= PROBLEMS_MAX
    }

    /// Tells whether a mistake of syntax may have swallowed whole blocks.
    pub fn any_torn(&self) -> bool {
        self.torn.get()
    }

    /// Notes that a mistake of syntax swallowed something.
    pub fn tear(&self) {
        self.torn.set(true);
    }

    /// Tells whether there is a mistake that is no warning.
    pub fn any_error(&self) -> bool {
        self.dropped.get() > 0 || self.list.borrow().iter().any(|problem| problem.severity == Severity::Error)
    }

    pub fn into_diagnostics(self, sources: Sources) -> Diagnostics {
        let mut problems = self.list.into_inner();
        problems.sort_by_key(|problem| problem.span);
        Diagnostics { sources: Arc::new(sources), problems, dropped: self.dropped.get() }
    }
}
