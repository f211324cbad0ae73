//! A shell script as a value: the part of POSIX's language (XCU 2) that maintainer scripts are written in.

use std::cell::OnceCell;
use std::rc::Rc;

/// Commands joined by newlines and `;`.
pub(super) type List = Vec<AndOr>;

/// Pipelines joined by `&&` and `||`.
#[derive(Debug)]
pub(super) struct AndOr {
    pub first: Pipeline,
    pub rest: Vec<(Join, Pipeline)>,
    /// Ends with `&`.
    pub background: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Join {
    And,
    Or,
}

#[derive(Debug)]
pub(super) struct Pipeline {
    pub negated: bool,
    pub commands: Vec<Command>,
}

#[derive(Debug)]
pub(super) struct Command {
    /// From 1 on.
    pub line: usize,
    pub kind: Kind,
    pub redirects: Vec<Redirect>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Simple {
        assignments: Vec<(String, Word)>,
        words: Vec<Word>,
    },
    If {
        branches: Vec<(List, List)>,
        otherwise: List,
    },
    Case {
        word: Word,
        arms: Vec<(Vec<Word>, List)>,
    },
    /// Without `in`, the words are `"$@"`.
    For {
        name: String,
        words: Option<Vec<Word>>,
        body: List,
    },
    While {
        until: bool,
        condition: List,
        body: List,
    },
    Group(List),
    Subshell(List),
    Function {
        name: String,
        body: Rc<Command>,
    },
}

#[derive(Debug)]
pub(super) struct Redirect {
    pub file: u32,
    pub target: Target,
}

#[derive(Debug)]
pub(super) enum Target {
    /// `< word`
    Input(Word),
    /// `> word`
    Output(Word),
    /// `>> word`
    Append(Word),
    /// `>&n`, `<&n`
    Same,
    /// `<< word`: the text, which the parser reaches with the next line.
    Here(Rc<OnceCell<Word>>),
}

/// What becomes one or more fields when it is expanded.
#[derive(Clone, Debug, Default)]
pub(super) struct Word {
    pub parts: Vec<Part>,
}

#[derive(Clone, Debug)]
pub(super) enum Part {
    Text {
        text: String,
        quoted: bool,
    },
    Parameter {
        name: String,
        operation: Option<Box<(Operator, Word)>>,
        quoted: bool,
    },
    Command {
        list: Rc<List>,
        quoted: bool,
    },
    /// What is outside of the part of the language that is read: arithmetic.
    Opaque {
        quoted: bool,
    },
}

/// What `${name…word}` does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operator {
    /// `-`; with a colon, an empty value counts as none.
    Default { empty: bool },
    /// `=`
    Assign { empty: bool },
    /// `+`
    Alternate { empty: bool },
    /// `?`
    Fail { empty: bool },
    /// `#`, `##`
    CutFront { longest: bool },
    /// `%`, `%%`
    CutBack { longest: bool },
    /// `${#name}`
    Length,
}

impl Word {
    /// Returns the text of a word that is one literal, unquoted, as reserved words and names must be.
    pub fn plain(&self) -> Option<&str> {
        match &self.parts[..] {
            [Part::Text { text, quoted: false }] => Some(text),
            _ => None,
        }
    }

    pub fn push_text(&mut self, character: char, is_quoted: bool) {
        if let Some(Part::Text { text, quoted }) = self.parts.last_mut()
            && *quoted == is_quoted
        {
            return text.push(character);
        }
        self.parts.push(Part::Text { text: character.into(), quoted: is_quoted });
    }
}
