//! Values against the kinds of the table. Each kind is parsed here and nowhere else.

use std::collections::BTreeMap;

use super::super::diagnostics::{Code, Problem};
use super::super::evaluate::Evaluator;
use super::super::hint::{closest, suggest};
use super::super::keywords::{ACCOUNT_NAME, Kind, Pattern};
use super::super::plan::Account;
use super::super::value::{Data, Member, Value};
use super::fields::Typed;
use crate::base::capability::CAPABILITIES;
use crate::base::{Bytes, ImagePath};

/// Most bytes of the value of an extended attribute: Linux' `XATTR_SIZE_MAX`.
const ATTRIBUTE_BYTES_MAX: usize = 65_536;

/// Returns a value as its kind has it; what does not fit is reported. `what` names it: "`mode`".
pub(super) fn convert(kind: &Kind, value: &Value, what: &str, evaluator: &Evaluator<'_>) -> Option<Typed> {
    if value.is_unknown() {
        return None;
    }
    match try_convert(kind, value, what, evaluator) {
        Ok(typed) => Some(typed),
        Err(Mismatch::Reported) => None,
        Err(Mismatch::Kind) => {
            let message = format!("{what} must be {}, found {}", kind.wanted(), value.kind());
            let problem = Problem::new(Code::WrongType, value.span, message);
            let problem = problem.expected(format!("expected {}", kind.wanted()));
            evaluator.report(problem.hint(kind_hint(kind, value)));
            None
        }
        Err(Mismatch::Value(message, hint)) => {
            let problem = Problem::new(Code::BadValue, value.span, format!("{what}: {message}"));
            let problem = problem.expected(format!("expected {}", kind.wanted()));
            evaluator.report(problem.hint(hint));
            None
        }
    }
}

/// Why a value does not fit.
enum Mismatch {
    /// Another type of value.
    Kind,
    /// The right type; what is wrong, and a hint.
    Value(String, String),
    /// A part of it was reported already.
    Reported,
}

fn wrong(message: impl Into<String>, hint: impl Into<String>) -> Mismatch {
    Mismatch::Value(message.into(), hint.into())
}

/// Says how to write a value of the right type.
fn kind_hint(kind: &Kind, value: &Value) -> String {
    let shown = value.to_recipe();
    let short = shown.len() <= 60;
    match (kind, &value.data) {
        (_, Data::Bytes(_)) => "bytes stand only among the values of `xattrs`".to_owned(),
        (Kind::Mode, Data::Number(number)) => format!("modes are octal digits in quotes: \"{number:04}\""),
        (Kind::Size | Kind::AutoSize, Data::Number(number)) => {
            format!("sizes are written in quotes: \"{number}\" for bytes, or with a unit as in \"64MiB\"")
        }
        (Kind::List(..), Data::Text(_)) if short => format!("put it into brackets: [{shown}]"),
        (Kind::Number(..), Data::Text(text)) if text.parse::<i64>().is_ok() => {
            format!("remove the quotes: {text}")
        }
        (Kind::Bool, Data::Text(text)) if text == "true" || text == "false" => {
            format!("remove the quotes: {text}")
        }
        (Kind::Environment | Kind::Attributes | Kind::Map(..), _) => {
            "write `{ NAME = \"value\" }`".to_owned()
        }
        (Kind::List(..), _) => "write `[…]`".to_owned(),
        (Kind::Bool, _) => "write `true` or `false`".to_owned(),
        (Kind::Number(..), _) => "write digits without quotes".to_owned(),
        (_, Data::Number(_) | Data::Bool(_)) => format!("put it into quotes: \"{shown}\""),
        (_, Data::List(elements)) if elements.len() == 1 && short => "remove the brackets".to_owned(),
        _ => "write one string, in quotes".to_owned(),
    }
}

fn try_convert(kind: &Kind, value: &Value, what: &str, evaluator: &Evaluator<'_>) -> Result<Typed, Mismatch> {
    match kind {
        Kind::Any => Ok(Typed::Any(value.clone())),
        Kind::Bool => match value.data {
            Data::Bool(truth) => Ok(Typed::Bool(truth)),
            _ => Err(Mismatch::Kind),
        },
        Kind::Number(least, most) => number(value, *least, *most).map(Typed::Number),
        Kind::List(inner, filled) => list(inner, *filled, value, what, evaluator),
        Kind::Environment => environment(value, evaluator),
        Kind::Map(keys, values) => map(keys, values, value, what, evaluator),
        Kind::Attributes => attributes(value, evaluator),
        Kind::Account => match value.data {
            Data::Number(_) => {
                number(value, 0, i64::from(u32::MAX) - 1).map(|id| Typed::Account(Account::Id(id as u32)))
            }
            _ => account(&text(value)?),
        },
        Kind::Text => plain(text(value)?).map(Typed::Text),
        Kind::HostPath => host_path(text(value)?),
        Kind::Size => size(&text(value)?).map(|size| Typed::Size(Some(size))),
        Kind::AutoSize => match text(value)?.as_str() {
            "auto" => Ok(Typed::Size(None)),
            other => size(other).map(|size| Typed::Size(Some(size))),
        },
        Kind::Mode => mode(&text(value)?),
        Kind::ImagePath => image_path(&text(value)?),
        Kind::Word(words) => word(text(value)?, words),
        Kind::Pattern(pattern) => matching(text(value)?, pattern),
    }
}

/// A string, or what stands for one: a number or truth in a string of its own.
fn text(value: &Value) -> Result<String, Mismatch> {
    match (&value.data, value.quoted) {
        (Data::Text(text), _) => Ok(text.clone()),
        (_, true) => value.to_text().ok_or(Mismatch::Kind),
        _ => Err(Mismatch::Kind),
    }
}

fn plain(text: String) -> Result<String, Mismatch> {
    if text.contains('\0') {
        return Err(wrong("a NUL character", "remove it"));
    }
    Ok(text)
}

fn number(value: &Value, least: i64, most: i64) -> Result<i64, Mismatch> {
    match value.data {
        Data::Number(number) if (least..=most).contains(&number) => Ok(number),
        Data::Number(number) => {
            let hint = if least == most {
                format!("{least} is the only one")
            } else {
                format!("from {least} to {most}")
            };
            Err(wrong(format!("{number} is out of range"), hint))
        }
        _ => Err(Mismatch::Kind),
    }
}

fn host_path(text: String) -> Result<Typed, Mismatch> {
    let text = plain(text)?;
    if text.is_empty() {
        return Err(wrong("an empty path", "paths are relative to the folder of the recipe file"));
    }
    Ok(Typed::Text(text))
}

fn size(text: &str) -> Result<Bytes, Mismatch> {
    let hint = "a whole number and a unit: B, KiB, MiB, GiB or TiB, as in \"64MiB\"";
    match Bytes::parse(text) {
        Some(Bytes(0)) => Err(wrong("a size of nothing", hint)),
        Some(size) => Ok(size),
        None => Err(wrong(format!("\"{}\" is no size", short(text)), hint)),
    }
}

fn mode(text: &str) -> Result<Typed, Mismatch> {
    let digits = (3..=5).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    match u16::from_str_radix(text, 8) {
        Ok(mode) if digits && mode <= 0o7777 => Ok(Typed::Mode(mode)),
        _ => {
            let hint = "three or four octal digits, as in \"0644\", \"0755\" or \"4755\"";
            Err(wrong(format!("\"{}\" is no mode", short(text)), hint))
        }
    }
}

fn image_path(text: &str) -> Result<Typed, Mismatch> {
    match ImagePath::new(text.as_bytes()) {
        Ok(path) => Ok(Typed::Path(path)),
        Err(error) => {
            let hint = "paths inside the image are written as \"/usr/bin/hello\"";
            Err(wrong(error.to_string(), hint))
        }
    }
}

fn word(text: String, words: &[&str]) -> Result<Typed, Mismatch> {
    if words.contains(&text.as_str()) {
        return Ok(Typed::Text(text));
    }
    Err(wrong(format!("\"{}\" is not known", short(&text)), suggest(&text, words)))
}

fn matching(text: String, pattern: &Pattern) -> Result<Typed, Mismatch> {
    if (pattern.matches)(&text) {
        return Ok(Typed::Text(text));
    }
    let known = pattern.what.starts_with("a capability").then(|| closest_capability(&text)).flatten();
    let hint = known.map_or(pattern.rule.to_owned(), |name| format!("did you mean \"{name}\"?"));
    Err(wrong(format!("\"{}\" is not {}", short(&text), pattern.what), hint))
}

fn closest_capability(text: &str) -> Option<&'static str> {
    let upper = text.to_ascii_uppercase();
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    closest(&full, CAPABILITIES)
}

fn account(text: &str) -> Result<Typed, Mismatch> {
    if (ACCOUNT_NAME.matches)(text) {
        return Ok(Typed::Account(Account::Name(text.to_owned())));
    }
    let hint = "a name such as \"www\", or a number without quotes";
    Err(wrong(format!("\"{}\" is no name of a user or group", short(text)), hint))
}

fn list(
    kind: &Kind,
    filled: bool,
    value: &Value,
    what: &str,
    evaluator: &Evaluator<'_>,
) -> Result<Typed, Mismatch> {
    let Data::List(elements) = &value.data else { return Err(Mismatch::Kind) };
    if filled && elements.is_empty() {
        return Err(wrong("an empty list", "name at least one"));
    }
    let element = |element: &Value| {
        convert(kind, element, &format!("an element of {what}"), evaluator).map(|typed| (typed, element.span))
    };
    let typed: Vec<_> = elements.iter().map(element).collect();
    typed.into_iter().collect::<Option<_>>().map(Typed::List).ok_or(Mismatch::Reported)
}

fn environment(value: &Value, evaluator: &Evaluator<'_>) -> Result<Typed, Mismatch> {
    let Data::Object(members) = &value.data else { return Err(Mismatch::Kind) };
    let mut map = BTreeMap::new();
    let mut complete = true;
    for member in members {
        complete &= environment_key(member, evaluator);
        match member.value.to_text() {
            Some(text) if !text.contains('\0') => drop(map.insert(member.key.clone(), text)),
            _ => {
                let what = format!("the variable `{}`", member.key);
                complete &= convert(&Kind::Text, &member.value, &what, evaluator).is_some();
            }
        }
    }
    if complete { Ok(Typed::Environment(map)) } else { Err(Mismatch::Reported) }
}

fn map(
    keys: &Pattern,
    values: &Kind,
    value: &Value,
    what: &str,
    evaluator: &Evaluator<'_>,
) -> Result<Typed, Mismatch> {
    let Data::Object(members) = &value.data else { return Err(Mismatch::Kind) };
    let mut map = BTreeMap::new();
    let mut complete = true;
    for member in members {
        if !(keys.matches)(&member.key) {
            let message = format!("{what}: `{}` is not {}", short(&member.key), keys.what);
            let problem = Problem::new(Code::BadValue, member.key_span, message);
            evaluator.report(problem.hint(keys.rule));
            complete = false;
        }
        match convert(values, &member.value, &format!("{what} of `{}`", short(&member.key)), evaluator) {
            Some(Typed::Text(text)) => drop(map.insert(member.key.clone(), text)),
            _ => complete = false,
        }
    }
    if complete { Ok(Typed::Environment(map)) } else { Err(Mismatch::Reported) }
}

fn environment_key(member: &Member, evaluator: &Evaluator<'_>) -> bool {
    let first = member.key.bytes().next();
    let right = first.is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && member.key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !right {
        let message = format!("`{}` is no name of an environment variable", short(&member.key));
        let hint = "letters, digits and `_`, the first one no digit";
        evaluator.report(Problem::new(Code::BadValue, member.key_span, message).hint(hint));
    }
    right
}

fn attributes(value: &Value, evaluator: &Evaluator<'_>) -> Result<Typed, Mismatch> {
    let Data::Object(members) = &value.data else { return Err(Mismatch::Kind) };
    let mut map = BTreeMap::new();
    let mut complete = true;
    for member in members {
        complete &= attribute_name(member, evaluator);
        match attribute_bytes(member, evaluator) {
            Some(bytes) => drop(map.insert(member.key.clone(), bytes)),
            None => complete = false,
        }
    }
    if complete { Ok(Typed::Attributes(map)) } else { Err(Mismatch::Reported) }
}

fn attribute_name(member: &Member, evaluator: &Evaluator<'_>) -> bool {
    let spaces = ["user.", "trusted.", "security.", "system."];
    let rest = spaces.iter().find_map(|space| member.key.strip_prefix(space));
    let right =
        rest.is_some_and(|rest| !rest.is_empty()) && member.key.len() <= 255 && !member.key.contains('\0');
    if !right {
        let message = format!("`{}` is no name of an extended attribute", short(&member.key));
        let hint =
            "names start with `user.`, `trusted.`, `security.` or `system.` and have at most 255 bytes";
        evaluator.report(Problem::new(Code::BadValue, member.key_span, message).hint(hint));
    }
    right
}

fn attribute_bytes(member: &Member, evaluator: &Evaluator<'_>) -> Option<Vec<u8>> {
    let value = &member.value;
    let bytes = match &value.data {
        Data::Unknown => return None,
        Data::Text(text) => text.clone().into_bytes(),
        Data::Bytes(bytes) => bytes.clone(),
        _ => {
            let message =
                format!("the attribute `{}` must be a string or bytes, found {}", member.key, value.kind());
            let hint = "write text in quotes, bytes as `hex(\"…\")`";
            evaluator.report(Problem::new(Code::WrongType, value.span, message).hint(hint));
            return None;
        }
    };
    if bytes.len() > ATTRIBUTE_BYTES_MAX {
        let message = format!("the attribute `{}` has {} bytes", member.key, bytes.len());
        let hint = format!("Linux allows {ATTRIBUTE_BYTES_MAX}");
        evaluator.report(Problem::new(Code::BadValue, value.span, message).hint(hint));
        return None;
    }
    Some(bytes)
}

/// Cuts a long text for a message.
fn short(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
