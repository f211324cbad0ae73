//! The functions of the language: pure, with the names and meanings that they have in Terraform.
//! (`hex` and `env` are ours.)

mod directive;

use super::value::{Data, Member, Value};
use directive::Directive;

/// A function of the language.
pub(super) struct Function {
    pub name: &'static str,
    pub usage: &'static str,
    pub description: &'static str,
    /// Is given the arguments and the bytes that the result may have.
    pub run: fn(&[Value], usize) -> Result<Data, Refusal>,
}

/// Says why a function has no result.
#[derive(Debug, PartialEq)]
pub(super) struct Refusal {
    /// Which argument is wrong; `None`: their number, or all of them.
    pub argument: Option<usize>,
    pub message: String,
}

type Outcome = Result<Data, Refusal>;

macro_rules! functions {
    ($($name:ident $usage:literal $description:literal;)*) => {
        pub(super) const FUNCTIONS: &[Function] = &[$(Function {
            name: stringify!($name), usage: $usage, description: $description, run: $name,
        }),*];
    };
}

functions! {
    upper "upper(text)" "All letters as capitals.";
    lower "lower(text)" "All letters as small ones.";
    trimspace "trimspace(text)" "Without white space at both ends.";
    trimprefix "trimprefix(text, prefix)" "Without the prefix, where it is there.";
    trimsuffix "trimsuffix(text, suffix)" "Without the suffix, where it is there.";
    replace "replace(text, old, new)" "Every `old` replaced by `new`. Plain text, no patterns.";
    join "join(separator, list)" "The elements as one text, with the separator between them.";
    split "split(separator, text)" "The parts of a text between separators, as a list.";
    format "format(format, value, …)" "Values put in for `%s`, `%d`, `%v`, `%q`, `%x`, `%X`, `%o`, `%b`; a width and the flags `-` and `0` may stand before the letter, as in `%05d`.";
    length "length(value)" "How many elements or keys; of an ASCII text, how many characters.";
    concat "concat(list, …)" "One list of all elements.";
    merge "merge(object, …)" "One object of all keys; later ones win.";
    contains "contains(list, value)" "Whether the list has the value.";
    lookup "lookup(object, key, default)" "The value of a key, else the default.";
    keys "keys(object)" "The keys, sorted.";
    values "values(object)" "The values, in the order of the sorted keys.";
    jsonencode "jsonencode(value)" "The value as JSON, keys sorted.";
    hex "hex(digits)" "Bytes from hexadecimal digits, for the values of `xattrs`.";
}

/// Returns the names of all functions.
pub(super) fn names() -> Vec<&'static str> {
    FUNCTIONS.iter().map(|function| function.name).chain(["env"]).collect()
}

fn refuse<T>(argument: usize, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { argument: Some(argument), message: message.into() })
}

fn count(values: &[Value], expected: usize) -> Result<(), Refusal> {
    if values.len() == expected {
        return Ok(());
    }
    let message = format!("expected {expected} arguments, found {}", values.len());
    Err(Refusal { argument: None, message })
}

fn text(values: &[Value], index: usize) -> Result<String, Refusal> {
    match values[index].to_text() {
        Some(text) => Ok(text),
        None => refuse(index, format!("expected a string, found {}", values[index].kind())),
    }
}

fn list(values: &[Value], index: usize) -> Result<&[Value], Refusal> {
    match &values[index].data {
        Data::List(elements) => Ok(elements),
        _ => refuse(index, format!("expected a list, found {}", values[index].kind())),
    }
}

fn object(values: &[Value], index: usize) -> Result<&[Member], Refusal> {
    match &values[index].data {
        Data::Object(members) => Ok(members),
        _ => refuse(index, format!("expected an object, found {}", values[index].kind())),
    }
}

/// Refuses a result that would pass the bound before it is made.
fn bounded(bytes: usize, room: usize) -> Result<(), Refusal> {
    if bytes <= room {
        return Ok(());
    }
    Err(Refusal {
        argument: None,
        message: format!("the result would have {bytes} bytes; {room} are left for all values"),
    })
}

fn mapped(values: &[Value], map: impl Fn(&str) -> String) -> Outcome {
    count(values, 1)?;
    Ok(Data::Text(map(&text(values, 0)?)))
}

/// Maps letters one by one, as Go does: a letter whose other case has several letters stays.
fn letters<I: Iterator<Item = char>>(text: &str, map: impl Fn(char) -> I) -> String {
    let one = |c| {
        let mut mapped = map(c);
        match (mapped.next(), mapped.next()) {
            (Some(only), None) => only,
            _ => c,
        }
    };
    text.chars().map(one).collect()
}

fn upper(values: &[Value], _: usize) -> Outcome {
    mapped(values, |text| letters(text, char::to_uppercase))
}

fn lower(values: &[Value], _: usize) -> Outcome {
    mapped(values, |text| letters(text, char::to_lowercase))
}

fn trimspace(values: &[Value], _: usize) -> Outcome {
    mapped(values, |text| text.trim().to_owned())
}

fn trimprefix(values: &[Value], _: usize) -> Outcome {
    count(values, 2)?;
    let (whole, part) = (text(values, 0)?, text(values, 1)?);
    Ok(Data::Text(whole.strip_prefix(&part).unwrap_or(&whole).to_owned()))
}

fn trimsuffix(values: &[Value], _: usize) -> Outcome {
    count(values, 2)?;
    let (whole, part) = (text(values, 0)?, text(values, 1)?);
    Ok(Data::Text(whole.strip_suffix(&part).unwrap_or(&whole).to_owned()))
}

fn replace(values: &[Value], room: usize) -> Outcome {
    count(values, 3)?;
    let (whole, old, new) = (text(values, 0)?, text(values, 1)?, text(values, 2)?);
    if old.len() >= 2 && old.starts_with('/') && old.ends_with('/') {
        return refuse(1, "patterns between slashes are not offered");
    }
    let found = whole.matches(&old).count();
    bounded(whole.len().saturating_add(found.saturating_mul(new.len())), room)?;
    Ok(Data::Text(whole.replace(&old, &new)))
}

fn join(values: &[Value], room: usize) -> Outcome {
    count(values, 2)?;
    let separator = text(values, 0)?;
    let mut parts = Vec::new();
    for element in list(values, 1)? {
        match element.to_text() {
            Some(part) => parts.push(part),
            None => return refuse(1, format!("expected a list of strings, found {} in it", element.kind())),
        }
    }
    let own: usize = parts.iter().map(String::len).sum();
    bounded(own.saturating_add(parts.len().saturating_mul(separator.len())), room)?;
    Ok(Data::Text(parts.join(&separator)))
}

fn split(values: &[Value], room: usize) -> Outcome {
    count(values, 2)?;
    let (separator, whole) = (text(values, 0)?, text(values, 1)?);
    let made = |part: &str| Value::new(Data::Text(part.to_owned()), values[1].span);
    if separator.is_empty() {
        bounded(whole.len().saturating_mul(size_of::<Value>()), room)?;
        return Ok(Data::List(whole.chars().map(|c| made(c.encode_utf8(&mut [0; 4]))).collect()));
    }
    bounded(whole.matches(&separator).count().saturating_mul(size_of::<Value>()), room)?;
    Ok(Data::List(whole.split(&separator).map(made).collect()))
}

fn format(values: &[Value], room: usize) -> Outcome {
    if values.is_empty() {
        return Err(Refusal { argument: None, message: "expected a format, found nothing".to_owned() });
    }
    let template = text(values, 0)?;
    let mut made = String::new();
    let mut used = 1;
    let mut rest = template.as_str();
    while let Some(at) = rest.find('%') {
        made.push_str(&rest[..at]);
        let directive = Directive::read(&rest[at + 1..])?;
        rest = &rest[at + 1 + directive.length..];
        if directive.letter == '%' {
            made.push('%');
            continue;
        }
        let Some(value) = values.get(used) else {
            return refuse(0, format!("`%{}` has no value", directive.letter));
        };
        made.push_str(&directive.show(value, used)?);
        used += 1;
        bounded(made.len(), room)?;
    }
    made.push_str(rest);
    if used < values.len() {
        return refuse(used, "more values than `%` in the format");
    }
    Ok(Data::Text(made))
}

fn shown_text(value: &Value, index: usize) -> Result<String, Refusal> {
    match value.to_text() {
        Some(text) => Ok(text),
        None => refuse(index, format!("expected a string, found {}", value.kind())),
    }
}

fn length(values: &[Value], _: usize) -> Outcome {
    count(values, 1)?;
    match &values[0].data {
        Data::List(elements) => Ok(Data::Number(elements.len() as i64)),
        Data::Object(members) => Ok(Data::Number(members.len() as i64)),
        Data::Text(text) if text.is_ascii() => Ok(Data::Number(text.len() as i64)),
        Data::Text(_) => refuse(0, "the length of a text beyond ASCII depends on who counts"),
        _ => refuse(0, format!("expected a list, an object or a string, found {}", values[0].kind())),
    }
}

fn concat(values: &[Value], room: usize) -> Outcome {
    bounded(values.iter().map(Value::weight).sum(), room)?;
    let mut all = Vec::new();
    for index in 0..values.len() {
        all.extend_from_slice(list(values, index)?);
    }
    Ok(Data::List(all))
}

fn merge(values: &[Value], room: usize) -> Outcome {
    bounded(values.iter().map(Value::weight).sum(), room)?;
    let mut all: Vec<Member> = Vec::new();
    let mut places = std::collections::BTreeMap::new();
    for index in 0..values.len() {
        for member in object(values, index)? {
            match places.get(&member.key) {
                Some(&place) => all[place] = member.clone(),
                None => {
                    places.insert(member.key.clone(), all.len());
                    all.push(member.clone());
                }
            }
        }
    }
    Ok(Data::Object(all))
}

/// Compares values without their places; keys in any order.
fn equal(left: &Value, right: &Value) -> bool {
    json(left) == json(right)
}

fn contains(values: &[Value], _: usize) -> Outcome {
    count(values, 2)?;
    Ok(Data::Bool(list(values, 0)?.iter().any(|element| equal(element, &values[1]))))
}

fn lookup(values: &[Value], _: usize) -> Outcome {
    count(values, 3)?;
    let key = text(values, 1)?;
    let found = object(values, 0)?.iter().find(|member| member.key == key);
    Ok(found.map_or(&values[2], |member| &member.value).data.clone())
}

fn sorted(members: &[Member]) -> Vec<&Member> {
    let mut sorted: Vec<&Member> = members.iter().collect();
    sorted.sort_by(|left, right| left.key.cmp(&right.key));
    sorted
}

fn keys(values: &[Value], _: usize) -> Outcome {
    count(values, 1)?;
    let key = |member: &Member| Value::new(Data::Text(member.key.clone()), member.key_span);
    Ok(Data::List(sorted(object(values, 0)?).into_iter().map(key).collect()))
}

fn values(values: &[Value], _: usize) -> Outcome {
    count(values, 1)?;
    Ok(Data::List(sorted(object(values, 0)?).into_iter().map(|member| member.value.clone()).collect()))
}

fn jsonencode(values: &[Value], room: usize) -> Outcome {
    count(values, 1)?;
    bounded(values[0].weight(), room)?;
    Ok(Data::Text(json(&values[0])))
}

/// Writes JSON as Go does: no blanks, keys sorted, `<`, `>`, `&` and the two line separators escaped.
fn json(value: &Value) -> String {
    let string = |text: &str| {
        let mut json = serde_json::Value::from(text).to_string();
        for (plain, escape) in [
            ('<', "\\u003c"),
            ('>', "\\u003e"),
            ('&', "\\u0026"),
            ('\u{2028}', "\\u2028"),
            ('\u{2029}', "\\u2029"),
        ] {
            json = json.replace(plain, escape);
        }
        json
    };
    match &value.data {
        Data::Text(text) => string(text),
        Data::List(elements) => format!("[{}]", elements.iter().map(json).collect::<Vec<_>>().join(",")),
        Data::Object(members) => {
            let member = |member: &Member| format!("{}:{}", string(&member.key), json(&member.value));
            format!("{{{}}}", sorted(members).into_iter().map(member).collect::<Vec<_>>().join(","))
        }
        Data::Bytes(bytes) => {
            string(&super::value::Value::new(Data::Bytes(bytes.clone()), value.span).to_recipe())
        }
        _ => value.to_text().unwrap_or_default(),
    }
}

fn hex(values: &[Value], _: usize) -> Outcome {
    count(values, 1)?;
    let digits = text(values, 0)?;
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(nibble(*high)? << 4 | nibble(*low)?),
        _ => None,
    };
    match pairs.map(byte).collect::<Option<Vec<u8>>>() {
        Some(bytes) => Ok(Data::Bytes(bytes)),
        None => refuse(0, "expected pairs of hexadecimal digits"),
    }
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::source::Span;

    const NOWHERE: Span = Span { file: 0, start: 0, end: 0 };

    fn value(data: Data) -> Value {
        Value::new(data, NOWHERE)
    }

    fn words(words: &[&str]) -> Vec<Value> {
        words.iter().map(|word| value(Data::Text((*word).into()))).collect()
    }

    fn shows(run: fn(&[Value], usize) -> Outcome, arguments: &[Value], expected: &str) {
        assert_eq!(run(arguments, 1 << 20), Ok(Data::Text(expected.to_owned())));
    }

    #[test]
    fn text_functions_do_what_terraform_does() {
        shows(upper, &words(&["straße é"]), "STRAßE É");
        shows(lower, &words(&["ÀB"]), "àb");
        shows(trimspace, &words(&["\n a b \t"]), "a b");
        shows(trimprefix, &words(&["helloworld", "hello"]), "world");
        shows(trimsuffix, &words(&["helloworld", "hello"]), "helloworld");
        shows(replace, &words(&["1 + 2 + 3", "+", "-"]), "1 - 2 - 3");
        assert!(replace(&words(&["a", "/a/", "b"]), 99).is_err());
    }

    #[test]
    fn format_pads_signs_and_counts_its_values() {
        let mut arguments = words(&["%s|%5d|%-4d|%05d|%x|%%|%q"]);
        arguments.extend(words(&["a"]));
        arguments.extend([7, 8, -9, 255].map(|number| value(Data::Number(number))));
        arguments.extend(words(&["q\""]));
        shows(format, &arguments, "a|    7|8   |-0009|ff|%|\"q\\\"\"");
        assert!(format(&words(&["%s"]), 99).is_err());
        assert!(format(&words(&["x", "y"]), 99).is_err());
        assert!(format(&words(&["%d", "y"]), 99).is_err());
        assert!(format(&words(&["%z", "y"]), 99).is_err());
        assert!(format(&words(&["%99999s", "y"]), 99).is_err());
        assert!(format(&words(&["%"]), 99).is_err());
    }

    #[test]
    fn json_is_sorted_and_escaped_as_go_does() {
        let member = |key: &str, data| Member { key: key.into(), key_span: NOWHERE, value: value(data) };
        let object = Data::Object(vec![member("b", Data::Number(1)), member("a", Data::Text("<&>".into()))]);
        shows(jsonencode, &[value(object)], r#"{"a":"\u003c\u0026\u003e","b":1}"#);
    }

    #[test]
    fn a_result_past_the_bound_is_refused_before_it_is_made() {
        let long = "x".repeat(1000);
        assert!(replace(&words(&[&long, "x", &long]), 10_000).is_err());
        let parts = value(Data::List(words(&[&long, &long])));
        assert!(join(&[words(&[&long])[0].clone(), parts], 2_000).is_err());
    }
}
