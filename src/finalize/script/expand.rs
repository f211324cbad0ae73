//! Words become fields: parameters, substituted commands, splitting, and names of the tree that fit.

use super::ast::{Operator, Part, Word};
use super::pattern;
use super::shell::{Shell, Status, Value};

/// Longest value that is followed, in bytes.
pub(super) const VALUE_BYTES_MAX: usize = 64 << 10;
/// Longest value that is cut at a pattern, in bytes.
const CUT_BYTES_MAX: usize = 4 << 10;
/// Most fields of one command.
const FIELDS_MAX: usize = 4096;

/// What a part of a word gives, before fields are made of it.
enum Piece {
    /// Stands in the word itself: it is never split.
    Literal {
        text: String,
        quoted: bool,
    },
    Expanded {
        value: Value,
        quoted: bool,
    },
    /// Where `"$@"` parts two fields.
    Part,
}

/// A field in the making: a pattern, or unknown.
#[derive(Default)]
struct Field {
    pattern: String,
    is_unknown: bool,
}

impl Field {
    fn add(&mut self, text: &str, quoted: bool) {
        match quoted {
            true => pattern::literal(text, &mut self.pattern),
            false => self.pattern.push_str(text),
        }
    }
}

impl Shell<'_, '_> {
    /// Expands words to the fields of a command.
    pub fn fields(&mut self, words: &[Word]) -> Vec<Value> {
        let mut fields = Vec::new();
        for word in words {
            if fields.len() > FIELDS_MAX {
                fields.push(Value::Unknown);
                break;
            }
            self.fields_of(word, &mut fields);
        }
        fields
    }

    fn fields_of(&mut self, word: &Word, fields: &mut Vec<Value>) {
        let separators = match self.variables.get("IFS") {
            None => Some(" \t\n".to_owned()),
            Some(Value::Known(text)) => Some(text.clone()),
            Some(Value::Unknown) => None,
        };
        let mut made = Vec::new();
        let mut field: Option<Field> = None;
        for piece in self.pieces(word) {
            match piece {
                Piece::Literal { text, quoted } => field.get_or_insert_default().add(&text, quoted),
                Piece::Expanded { value: Value::Known(text), quoted: true } => {
                    field.get_or_insert_default().add(&text, true);
                }
                Piece::Expanded { value: Value::Known(text), quoted: false } if separators.is_some() => {
                    let separators = separators.as_deref().unwrap_or_default();
                    split(&text, separators, &mut field, &mut made);
                }
                Piece::Expanded { .. } => field.get_or_insert_default().is_unknown = true,
                Piece::Part => made.extend(field.take()),
            }
        }
        made.extend(field);
        for field in made {
            match field {
                Field { is_unknown: true, .. } => fields.push(Value::Unknown),
                Field { pattern, .. } if pattern::is_glob(&pattern) => match self.names_that_fit(&pattern) {
                    names if names.is_empty() => fields.push(Value::Known(pattern::plain(&pattern))),
                    names => fields.extend(names.into_iter().map(Value::Known)),
                },
                Field { pattern, .. } => fields.push(Value::Known(pattern::plain(&pattern))),
            }
        }
    }

    /// Expands a word to one text: for assignments, redirections, words of `case`.
    pub fn text(&mut self, word: &Word) -> Value {
        self.joined(word, |text, _, all| all.push_str(text))
    }

    /// Expands a word to a pattern, in which quoted characters stand for themselves.
    pub fn pattern(&mut self, word: &Word) -> Value {
        self.joined(word, |text, quoted, all| match quoted {
            true => pattern::literal(text, all),
            false => all.push_str(text),
        })
    }

    fn joined(&mut self, word: &Word, add: fn(&str, bool, &mut String)) -> Value {
        let mut all = String::new();
        for piece in self.pieces(word) {
            match piece {
                Piece::Literal { text, quoted } | Piece::Expanded { value: Value::Known(text), quoted } => {
                    add(&text, quoted, &mut all);
                }
                Piece::Expanded { value: Value::Unknown, .. } => return Value::Unknown,
                Piece::Part => all.push(' '),
            }
        }
        Value::bounded(all)
    }

    fn pieces(&mut self, word: &Word) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for part in &word.parts {
            match part {
                Part::Text { text, quoted } => {
                    pieces.push(Piece::Literal { text: text.clone(), quoted: *quoted });
                }
                Part::Parameter { name, operation: None, quoted } if name == "@" || name == "*" => {
                    for (index, value) in self.positional.clone().into_iter().enumerate() {
                        if index > 0 {
                            pieces.push(Piece::Part);
                        }
                        pieces.push(Piece::Expanded { value, quoted: *quoted });
                    }
                }
                Part::Parameter { name, operation, quoted } => {
                    let value = self.parameter(name, operation.as_deref());
                    pieces.push(Piece::Expanded { value, quoted: *quoted });
                }
                Part::Command { list, quoted } => {
                    let value = self.captured(|shell| shell.in_subshell(|shell| shell.list(list)).status);
                    pieces.push(Piece::Expanded { value: value.trimmed(), quoted: *quoted });
                }
                Part::Opaque { quoted } => {
                    pieces.push(Piece::Expanded { value: Value::Unknown, quoted: *quoted });
                }
            }
        }
        pieces
    }

    /// Runs what prints, and returns what it printed; its status becomes that of the last substitution.
    pub fn captured(&mut self, work: impl FnOnce(&mut Self) -> Status) -> Value {
        self.output.push(Value::Known(String::new()));
        self.substituted = work(self);
        self.output.pop().unwrap_or(Value::Unknown)
    }

    /// Returns the value of a variable; `None` where it is not set.
    pub fn variable(&self, name: &str) -> Option<Value> {
        if let Ok(number) = name.parse::<usize>() {
            return match number {
                0 => Some(Value::Known(self.script.clone())),
                number => self.positional.get(number - 1).cloned(),
            };
        }
        match name {
            "#" => Some(Value::Known(self.positional.len().to_string())),
            "?" => Some(match self.last {
                Status::True => Value::Known("0".to_owned()),
                Status::False => Value::Known("1".to_owned()),
                Status::Maybe => Value::Unknown,
            }),
            "$" | "!" | "-" => Some(Value::Unknown),
            _ => self.variables.get(name).cloned(),
        }
    }

    fn parameter(&mut self, name: &str, operation: Option<&(Operator, Word)>) -> Value {
        let value = self.variable(name);
        let Some((operator, word)) = operation else { return value.unwrap_or_default() };
        let is_set = |empty: bool| match &value {
            None => Status::False,
            Some(Value::Unknown) if empty => Status::Maybe,
            Some(Value::Known(text)) if empty && text.is_empty() => Status::False,
            Some(_) => Status::True,
        };
        match *operator {
            Operator::Default { empty } | Operator::Assign { empty } | Operator::Fail { empty } => {
                match is_set(empty) {
                    Status::True => value.unwrap_or_default(),
                    Status::Maybe => Value::Unknown,
                    Status::False => {
                        let default = self.text(word);
                        if matches!(operator, Operator::Assign { .. }) {
                            self.variables.insert(name.to_owned(), default.clone());
                        }
                        default
                    }
                }
            }
            Operator::Alternate { empty } => match is_set(empty) {
                Status::True => self.text(word),
                Status::Maybe => Value::Unknown,
                Status::False => Value::default(),
            },
            Operator::Length => match value.unwrap_or_default() {
                Value::Known(text) => Value::Known(text.chars().count().to_string()),
                Value::Unknown => Value::Unknown,
            },
            Operator::CutFront { longest } => self.cut(value, word, true, longest),
            Operator::CutBack { longest } => self.cut(value, word, false, longest),
        }
    }

    fn cut(&mut self, value: Option<Value>, word: &Word, front: bool, longest: bool) -> Value {
        let (Value::Known(text), Value::Known(pattern)) = (value.unwrap_or_default(), self.pattern(word))
        else {
            return Value::Unknown;
        };
        if text.len() > CUT_BYTES_MAX || pattern.len() > CUT_BYTES_MAX / 16 {
            return Value::Unknown;
        }
        let mut cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        if front == longest {
            cuts.reverse();
        }
        let fits = |at: &usize| pattern::fits(&pattern, if front { &text[..*at] } else { &text[*at..] });
        let kept = match cuts.into_iter().find(fits) {
            None => &text[..],
            Some(at) if front => &text[at..],
            Some(at) => &text[..at],
        };
        Value::Known(kept.to_owned())
    }

    /// Returns the paths of the tree that fit a pattern, sorted.
    fn names_that_fit(&self, pattern: &str) -> Vec<String> {
        let absolute = pattern.starts_with('/');
        let mut found = vec![String::new()];
        for component in pattern.split('/').filter(|component| !component.is_empty()) {
            let mut next = Vec::new();
            for folder in found {
                let join = |name: &str| match (absolute, folder.is_empty()) {
                    (false, true) => name.to_owned(),
                    _ => format!("{folder}/{name}"),
                };
                if !pattern::is_glob(component) {
                    next.push(join(&pattern::plain(component)));
                    continue;
                }
                let at = if folder.is_empty() && absolute {
                    Some(crate::base::ImagePath::root())
                } else {
                    self.path(&folder)
                };
                let Some(at) = at else { continue };
                for name in self.world.names(&at) {
                    let Ok(name) = std::str::from_utf8(name.as_bytes()) else { continue };
                    let hidden = name.starts_with('.') && !component.starts_with('.');
                    if !hidden && pattern::fits(component, name) {
                        next.push(join(name));
                    }
                }
            }
            found = next;
            if found.len() > FIELDS_MAX {
                return Vec::new();
            }
        }
        found.retain(|path| self.path(path).is_some_and(|path| self.world.look(&path).is_some()));
        found
    }
}

/// Splits an expansion at separators: blanks at its ends and between fields vanish.
fn split(text: &str, separators: &str, field: &mut Option<Field>, made: &mut Vec<Field>) {
    for character in text.chars() {
        if separators.contains(character) {
            made.extend(field.take());
        } else {
            field.get_or_insert_default().pattern.push(character);
        }
        if made.len() > FIELDS_MAX {
            return;
        }
    }
}
