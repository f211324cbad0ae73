//! What is known of a text, and of how a command ends.

use super::expand::VALUE_BYTES_MAX;

/// A text, or one that can't be known without running the script.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    Known(String),
    Unknown,
}

impl Default for Value {
    fn default() -> Self {
        Value::Known(String::new())
    }
}

impl Value {
    /// Keeps a text of reasonable length.
    pub fn bounded(text: String) -> Value {
        if text.len() > VALUE_BYTES_MAX { Value::Unknown } else { Value::Known(text) }
    }

    pub fn known(&self) -> Option<&str> {
        match self {
            Value::Known(text) => Some(text),
            Value::Unknown => None,
        }
    }

    /// Takes newlines off the end, as a substitution does.
    pub fn trimmed(self) -> Value {
        match self {
            Value::Known(text) => Value::Known(text.trim_end_matches('\n').to_owned()),
            Value::Unknown => Value::Unknown,
        }
    }
}

/// How a command ends, as far as that can be known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Status {
    True,
    False,
    Maybe,
}

impl Status {
    pub fn of(is_true: bool) -> Status {
        if is_true { Status::True } else { Status::False }
    }

    pub fn not(self) -> Status {
        match self {
            Status::True => Status::False,
            Status::False => Status::True,
            Status::Maybe => Status::Maybe,
        }
    }
}

/// Where the script goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    Next,
    Break(usize),
    Continue(usize),
    Return,
    Exit,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub status: Status,
    pub flow: Flow,
}

impl Outcome {
    pub fn next(status: Status) -> Outcome {
        Outcome { status, flow: Flow::Next }
    }
}
