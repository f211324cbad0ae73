//! A recipe as it was written: structure and spans, nothing looked up yet.

use super::source::Span;

/// Holds the attributes and blocks between two braces, or of a whole text.
#[derive(Clone, Debug, Default)]
pub(super) struct Body {
    pub items: Vec<Item>,
    /// A mistake of syntax swallowed part of it: what seems to be missing may be there.
    pub torn: bool,
}

impl Body {
    pub fn attributes(&self) -> impl Iterator<Item = &Attribute> {
        self.items.iter().filter_map(|item| match item {
            Item::Attribute(attribute) => Some(attribute),
            Item::Block(_) => None,
        })
    }

    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.items.iter().filter_map(|item| match item {
            Item::Block(block) => Some(block),
            Item::Attribute(_) => None,
        })
    }
}

#[derive(Clone, Debug)]
pub(super) enum Item {
    Attribute(Attribute),
    Block(Block),
}

/// A word of the text, such as a key, with its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Word {
    pub text: String,
    pub span: Span,
}

/// `name = value`
#[derive(Clone, Debug)]
pub(super) struct Attribute {
    pub name: Word,
    pub value: Expression,
}

/// `name "label" { … }`
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub name: Word,
    pub labels: Vec<Word>,
    pub body: Body,
    /// From the name to the last label.
    pub header: Span,
    /// The header could not be read as a whole.
    pub torn: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Expression {
    pub kind: Kind,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Text(String),
    Template(Vec<Piece>),
    Number(i64),
    Bool(bool),
    List(Vec<Expression>),
    Object(Vec<(Expression, Expression)>),
    /// `var.NAME`
    Variable(String),
    Call {
        function: Word,
        arguments: Vec<Expression>,
    },
    /// A bare word, such as the type of a variable.
    Word(String),
    /// Could not be read; its mistake has been reported.
    Broken,
}

/// A part of a string with interpolations.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    Literal(String),
    Interpolation(Expression),
}
