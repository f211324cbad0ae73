//! The JSON that signed files are written in: the part of RFC 8259 that all readers understand alike.
//!
//! Texts, whole numbers from 0 to 2^53, objects and lists. No name twice in one object (readers differ on
//! which one counts), no fractions, no negative numbers, no `null`, no names that nobody asked for.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Largest number that every reader of JSON keeps whole.
pub(super) const NUMBER_MAX: u64 = 1 << 53;

/// A value of the strict subset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(u64),
    List(Vec<Value>),
    Object(Object),
}

/// The members of an object; each is taken out once, and [`Object::finish`] refuses what is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object(BTreeMap<String, Value>);

pub(super) type Read<T> = std::result::Result<T, String>;

/// Parses bytes that hold one value and nothing else. Nesting is bounded by the parser (128), memory by a small
/// multiple of the input, which the caller has bounded.
pub(super) fn parse(bytes: &[u8]) -> Read<Value> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

impl Value {
    pub fn text(self, what: &str) -> Read<String> {
        match self {
            Value::Text(text) => Ok(text),
            other => Err(other.is_not(what, "a text")),
        }
    }

    pub fn number(self, what: &str) -> Read<u64> {
        match self {
            Value::Number(number) => Ok(number),
            other => Err(other.is_not(what, "a number")),
        }
    }

    pub fn list(self, what: &str) -> Read<Vec<Value>> {
        match self {
            Value::List(list) => Ok(list),
            other => Err(other.is_not(what, "a list")),
        }
    }

    pub fn object(self, what: &str) -> Read<Object> {
        match self {
            Value::Object(object) => Ok(object),
            other => Err(other.is_not(what, "an object")),
        }
    }

    fn is_not(&self, what: &str, expected: &str) -> String {
        let found = match self {
            Value::Text(_) => "a text",
            Value::Number(_) => "a number",
            Value::List(_) => "a list",
            Value::Object(_) => "an object",
        };
        format!("{what:?} is {found}, not {expected}")
    }
}

impl Object {
    /// Takes a member that must be there.
    pub fn take(&mut self, name: &str) -> Read<Value> {
        self.0.remove(name).ok_or_else(|| format!("{name:?} is missing"))
    }

    pub fn text(&mut self, name: &str) -> Read<String> {
        self.take(name)?.text(name)
    }

    pub fn number(&mut self, name: &str) -> Read<u64> {
        self.take(name)?.number(name)
    }

    pub fn list(&mut self, name: &str) -> Read<Vec<Value>> {
        self.take(name)?.list(name)
    }

    /// Refuses members that nobody took: what is not understood may be what matters.
    pub fn finish(self) -> Read<()> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(format!("{name:?} is unknown here")),
        }
    }

    /// Returns the members, by name.
    pub fn members(self) -> impl ExactSizeIterator<Item = (String, Value)> {
        self.0.into_iter()
    }
}

/// Writes a text with its quotes. Everything but printable ASCII is escaped, so that it has one form.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            ' '..='~' => out.push(character),
            _ => {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
    out
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text, a whole number up to 2^53, a list or an object")
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value, E> {
        match number {
            0..=NUMBER_MAX => Ok(Value::Number(number)),
            _ => Err(E::custom(format!("{number} is larger than 2^53"))),
        }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = BTreeMap::new();
        while let Some((name, value)) = members.next_entry::<String, Value>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom(format!("{name:?} stands there twice")));
            }
            object.insert(name, value);
        }
        Ok(Value::Object(Object(object)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strict_subset_is_read_and_the_rest_of_json_is_refused() {
        let value = parse(br#" {"a": [1, "x", {}], "b": 9007199254740992} "#).expect("strict JSON");
        let mut object = value.object("it").expect("an object");
        assert_eq!(object.number("b"), Ok(NUMBER_MAX));
        assert_eq!(object.list("a").map(|list| list.len()), Ok(3));
        assert_eq!(object.finish(), Ok(()));
        for wrong in [
            "",
            "{",
            "null",
            "true",
            "1.0",
            "1e3",
            "-1",
            "-0",
            "01",
            "9007199254740993",
            "18446744073709551616",
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":1}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            "{}{}",
            "[1,]",
            "{\"a\":1,}",
            "'a'",
            "\"\\ud800\"",
            "\u{feff}{}",
            "NaN",
            "{a:1}",
            "// x\n1",
            "\"\u{1}\"",
        ] {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        assert!(parse(b"\"\xff\"").is_err());
    }

    #[test]
    fn depth_is_bounded() {
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
        assert!(parse("{\"a\":".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn what_is_left_or_missing_or_of_another_kind_is_named() {
        let object = || parse(br#"{"a":1,"b":"x"}"#).and_then(|value| value.object("it")).expect("an object");
        assert_eq!(object().text("a"), Err(r#""a" is a number, not a text"#.to_owned()));
        assert_eq!(object().number("c"), Err(r#""c" is missing"#.to_owned()));
        assert_eq!(object().finish(), Err(r#""a" is unknown here"#.to_owned()));
    }

    #[test]
    fn a_quoted_text_is_read_back() {
        for text in ["", "plain", "a\"b\\c", "é\u{1f600}\n\u{7f}\0"] {
            let quoted = quoted(text);
            assert!(quoted.is_ascii());
            assert_eq!(parse(quoted.as_bytes()), Ok(Value::Text(text.to_owned())));
        }
    }
}
