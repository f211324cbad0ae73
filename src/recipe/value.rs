//! Values that expressions have, with the place that gave them.

use std::fmt::Write;

use super::source::Span;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    Text(String),
    Number(i64),
    Bool(bool),
    List(Vec<Value>),
    Object(Vec<Member>),
    /// What `hex("…")` gives: only where bytes may be.
    Bytes(Vec<u8>),
    /// Could not be had; its mistake has been reported. Fits everywhere.
    Unknown,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Value {
    pub data: Data,
    pub span: Span,
    /// Written as a string that is one interpolation: `"${var.port}"`. May serve as text.
    pub quoted: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Member {
    pub key: String,
    pub key_span: Span,
    pub value: Value,
}

impl Value {
    pub fn new(data: Data, span: Span) -> Self {
        Value { data, span, quoted: false }
    }

    pub fn unknown(span: Span) -> Self {
        Value::new(Data::Unknown, span)
    }

    pub fn is_unknown(&self) -> bool {
        self.data == Data::Unknown
    }

    /// Names what it is, for people.
    pub fn kind(&self) -> &'static str {
        match self.data {
            Data::Text(_) => "a string",
            Data::Number(_) => "a number",
            Data::Bool(_) => "true or false",
            Data::List(_) => "a list",
            Data::Object(_) => "an object",
            Data::Bytes(_) => "bytes",
            Data::Unknown => "something unknown",
        }
    }

    /// Returns strings, numbers and booleans as text, as an interpolation shows them.
    pub fn to_text(&self) -> Option<String> {
        match &self.data {
            Data::Text(text) => Some(text.clone()),
            Data::Number(number) => Some(number.to_string()),
            Data::Bool(truth) => Some(truth.to_string()),
            _ => None,
        }
    }

    /// Returns an estimate of its memory, for the bound on expansion.
    pub fn weight(&self) -> usize {
        let own = size_of::<Value>();
        own + match &self.data {
            Data::Text(text) => text.len(),
            Data::Bytes(bytes) => bytes.len(),
            Data::List(elements) => elements.iter().map(Value::weight).sum(),
            Data::Object(members) => members.iter().map(|m| m.key.len() + m.value.weight()).sum(),
            _ => 0,
        }
    }

    /// Gives all parts one place, so that a value of a variable is blamed where it is used.
    pub fn at(mut self, span: Span) -> Self {
        self.relocate(span);
        self
    }

    fn relocate(&mut self, span: Span) {
        self.span = span;
        match &mut self.data {
            Data::List(elements) => elements.iter_mut().for_each(|element| element.relocate(span)),
            Data::Object(members) => {
                for member in members {
                    member.key_span = span;
                    member.value.relocate(span);
                }
            }
            _ => {}
        }
    }

    /// Returns the value as recipe text, on one line.
    pub fn to_recipe(&self) -> String {
        match &self.data {
            Data::Text(text) => quote(text),
            Data::Number(number) => number.to_string(),
            Data::Bool(truth) => truth.to_string(),
            Data::List(elements) => {
                format!("[{}]", elements.iter().map(Value::to_recipe).collect::<Vec<_>>().join(", "))
            }
            Data::Object(members) => {
                let shown =
                    |member: &Member| format!("{} = {}", quote(&member.key), member.value.to_recipe());
                format!("{{ {} }}", members.iter().map(shown).collect::<Vec<_>>().join(", "))
            }
            Data::Bytes(bytes) => {
                let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("hex(\"{digits}\")")
            }
            Data::Unknown => "unknown".to_owned(),
        }
    }
}

/// Writes a string as a recipe holds it.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            // Three such signs before a brace mean different things to different parsers.
            '$' if rest.starts_with("$${") => quoted.push_str("\\u0024"),
            '%' if rest.starts_with("%%{") => quoted.push_str("\\u0025"),
            '$' | '%' if rest[1..].starts_with('{') => {
                quoted.push(character);
                quoted.push(character);
            }
            _ if character.is_control() || character == '\u{feff}' => {
                write!(quoted, "\\u{:04x}", character as u32)
                    .expect("because writing to a string does not fail");
            }
            _ => quoted.push(character),
        }
        rest = &rest[character.len_utf8()..];
    }
    quoted.push('"');
    quoted
}
