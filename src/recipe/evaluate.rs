//! Expressions become values: references and functions are looked up.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use super::Loader;
use super::ast::{Expression, Kind, Piece, Word};
use super::diagnostics::{Code, Problem, Problems};
use super::functions::{self, FUNCTIONS};
use super::hint::suggest;
use super::source::Span;
use super::value::{Data, Member, Value};

/// Most bytes that all values of a recipe may expand to.
pub const EXPANSION_BYTES_MAX: usize = 16 << 20;

/// Evaluates expressions of one recipe.
pub(super) struct Evaluator<'a> {
    pub problems: &'a Problems,
    loader: &'a dyn Loader,
    /// The values of variables; `None` where none may be named (their own defaults, vars files).
    variables: Option<&'a BTreeMap<String, Value>>,
    budget: &'a Budget,
}

/// What all evaluations of a run share.
#[derive(Debug, Default)]
pub(super) struct Budget {
    spent: Cell<usize>,
    /// Variables that were named.
    pub used: RefCell<BTreeSet<String>>,
    /// Variables of the environment that were asked for, and the answers.
    pub environment: RefCell<BTreeMap<String, String>>,
}

impl<'a> Evaluator<'a> {
    pub fn new(
        problems: &'a Problems,
        loader: &'a dyn Loader,
        variables: Option<&'a BTreeMap<String, Value>>,
        budget: &'a Budget,
    ) -> Self {
        Evaluator { problems, loader, variables, budget }
    }

    pub fn report(&self, problem: Problem) {
        self.problems.report(problem);
    }

    /// Returns the value of an expression; `Unknown` where it has none, which has then been reported.
    pub fn value(&self, expression: &Expression) -> Value {
        let span = expression.span;
        match &expression.kind {
            Kind::Text(text) => self.spend(Value::new(Data::Text(text.clone()), span)),
            Kind::Number(number) => self.spend(Value::new(Data::Number(*number), span)),
            Kind::Bool(truth) => self.spend(Value::new(Data::Bool(*truth), span)),
            Kind::List(elements) => {
                let elements = elements.iter().map(|element| self.value(element)).collect();
                self.spend(Value::new(Data::List(elements), span))
            }
            Kind::Template(pieces) => self.template(pieces, span),
            Kind::Object(members) => self.object(members, span),
            Kind::Variable(name) => self.variable(name, span),
            Kind::Call { function, arguments } => self.call(function, arguments, span),
            Kind::Word(word) => self.bare_word(word, span),
            Kind::Broken => Value::unknown(span),
        }
    }

    /// Counts a new value against the bound; its elements have been counted.
    fn spend(&self, value: Value) -> Value {
        let own = match &value.data {
            Data::List(elements) => elements.len() * size_of::<Value>(),
            Data::Object(members) => members.len() * size_of::<Value>(),
            _ => value.weight(),
        };
        if self.reserve(own, value.span) { value } else { Value::unknown(value.span) }
    }

    /// Takes bytes from the budget; reports the first time that it has too few.
    fn reserve(&self, bytes: usize, span: Span) -> bool {
        let before = self.budget.spent.get();
        let after = before.saturating_add(bytes);
        self.budget.spent.set(after);
        if before <= EXPANSION_BYTES_MAX && after > EXPANSION_BYTES_MAX {
            let message =
                format!("the values of this recipe expand to more than {EXPANSION_BYTES_MAX} bytes");
            let hint = "put large content into files of its own and name them with `source`";
            self.report(Problem::new(Code::TooLarge, span, message).hint(hint));
        }
        after <= EXPANSION_BYTES_MAX
    }

    /// A string that is one interpolation has that value; all others are text.
    fn template(&self, pieces: &[Piece], span: Span) -> Value {
        if let [Piece::Interpolation(inner)] = pieces {
            let value = self.value(inner);
            return Value { quoted: true, ..value.at(span) };
        }
        let mut text = String::new();
        let mut known = true;
        for piece in pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Interpolation(inner) => match self.interpolated(inner) {
                    Some(inner) => text.push_str(&inner),
                    None => known = false,
                },
            }
            if text.len() > EXPANSION_BYTES_MAX {
                break;
            }
        }
        if known { self.spend(Value::new(Data::Text(text), span)) } else { Value::unknown(span) }
    }

    fn interpolated(&self, inner: &Expression) -> Option<String> {
        let value = self.value(inner);
        let text = value.to_text();
        if text.is_none() && !value.is_unknown() {
            let message = format!("{} can't stand inside a string", value.kind());
            let hint = "turn a list into text with `join`, an object with `jsonencode`";
            self.report(Problem::new(Code::WrongType, inner.span, message).hint(hint));
        }
        text
    }

    fn object(&self, members: &[(Expression, Expression)], span: Span) -> Value {
        let mut object: Vec<Member> = Vec::new();
        let mut seen: BTreeMap<String, Span> = BTreeMap::new();
        for (key, value) in members {
            let value = self.value(value);
            let Some(name) = self.interpolated(key) else { continue };
            if let Some(first) = seen.insert(name.clone(), key.span) {
                let problem =
                    Problem::new(Code::DuplicateKey, key.span, format!("the key `{name}` is there twice"));
                self.report(problem.also(first, "first here").hint("remove one of them"));
                continue;
            }
            object.push(Member { key: name, key_span: key.span, value });
        }
        self.spend(Value::new(Data::Object(object), span))
    }

    fn variable(&self, name: &str, span: Span) -> Value {
        let Some(variables) = self.variables else {
            let problem =
                Problem::new(Code::NotOffered, span, "a value of a variable can't name another variable");
            self.report(problem.hint("write the value out, or join the two where they are used"));
            return Value::unknown(span);
        };
        self.budget.used.borrow_mut().insert(name.to_owned());
        let Some(value) = variables.get(name) else {
            let names: Vec<&str> = variables.keys().map(String::as_str).collect();
            let hint = match names.as_slice() {
                [] => format!("declare it: `variable \"{name}\" {{ type = string }}`"),
                _ => suggest(name, &names),
            };
            self.report(
                Problem::new(Code::UnknownVariable, span, format!("no variable `{name}`")).hint(hint),
            );
            return Value::unknown(span);
        };
        if self.reserve(value.weight(), span) { value.clone().at(span) } else { Value::unknown(span) }
    }

    fn bare_word(&self, word: &str, span: Span) -> Value {
        let problem = Problem::new(Code::BareWord, span, format!("`{word}` is no value"));
        let known = self.variables.is_some_and(|variables| variables.contains_key(word));
        let hint = match known {
            true => format!("a variable's value is written `var.{word}`"),
            false => format!("strings are written in quotes: \"{word}\""),
        };
        self.report(problem.expected("expected a value").hint(hint));
        Value::unknown(span)
    }

    fn call(&self, name: &Word, arguments: &[Expression], span: Span) -> Value {
        let values: Vec<Value> = arguments.iter().map(|argument| self.value(argument)).collect();
        if name.text == "env" {
            return self.environment(name, &values, span);
        }
        let Some(function) = FUNCTIONS.iter().find(|function| function.name == name.text) else {
            let names: Vec<&str> = functions::names();
            let problem =
                Problem::new(Code::UnknownFunction, name.span, format!("no function `{}`", name.text));
            self.report(problem.hint(suggest(&name.text, &names)));
            return Value::unknown(span);
        };
        if values.iter().any(Value::is_unknown) {
            return Value::unknown(span);
        }
        let room = EXPANSION_BYTES_MAX.saturating_sub(self.budget.spent.get());
        match (function.run)(&values, room) {
            Ok(data) => {
                let value = Value::new(data, span);
                if self.reserve(value.weight(), span) { value.at(span) } else { Value::unknown(span) }
            }
            Err(functions::Refusal { argument, message }) => {
                let at = argument.and_then(|index| values.get(index)).map_or(span, |value| value.span);
                let problem = Problem::new(Code::WrongArguments, at, format!("`{}`: {message}", name.text));
                self.report(problem.hint(format!("it is written `{}`", function.usage)));
                Value::unknown(span)
            }
        }
    }

    /// `env("NAME")` or `env("NAME", "default")`
    fn environment(&self, name: &Word, values: &[Value], span: Span) -> Value {
        let usage = "it is written `env(\"NAME\")` or `env(\"NAME\", \"default\")`";
        if values.iter().any(Value::is_unknown) {
            return Value::unknown(span);
        }
        let texts: Option<Vec<String>> = values.iter().map(Value::to_text).collect();
        let texts = texts.filter(|texts| matches!(texts.len(), 1 | 2)).unwrap_or_default();
        let Some(variable) = texts.first() else {
            let problem = Problem::new(Code::WrongArguments, name.span, "`env`: expected one or two strings");
            self.report(problem.hint(usage));
            return Value::unknown(span);
        };
        let Some(text) = self.loader.environment(variable).or_else(|| texts.get(1).cloned()) else {
            let message = format!("the environment has no variable `{variable}`");
            let hint = format!("set it, or give a default: `env(\"{variable}\", \"\")`");
            self.report(Problem::new(Code::UnsetVariable, span, message).hint(hint));
            return Value::unknown(span);
        };
        self.budget.environment.borrow_mut().insert(variable.clone(), text.clone());
        self.spend(Value::new(Data::Text(text), span))
    }
}
