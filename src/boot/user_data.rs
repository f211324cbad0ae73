//! User data: what a cloud hands to a machine, as far as it is meant for us.
//!
//! Two forms. Both may begin with a line `#mkimage`, which says that all of it is meant for us; without that
//! line, what is neither form is left alone, since it is somebody else's (`#cloud-config`, a script, …).
//!
//! Lines, one variable each. The value is all that stands behind the first `=`: quotes belong to it. Empty
//! lines and lines that begin with `#` mean nothing; a carriage return at the end of a line is dropped.
//!
//! ```text
//! #mkimage
//! GREETING=Hello from production
//! LOG_LEVEL=warn
//! ```
//!
//! JSON, where there is more to say. Values of variables are texts, numbers or truths. A file is a text, or
//! `{"base64": "…"}`. Files reach the app only under names that the recipe lists as credentials. `log` is the
//! address that logs are sent to.
//!
//! ```text
//! {
//!   "environment": { "GREETING": "Hello", "WORKERS": 4 },
//!   "files": { "token": "s3cr3t", "tls.key": { "base64": "LS0t…" } },
//!   "log": "tcp://logs.example:6514"
//! }
//! ```
//!
//! It is UTF-8 of at most 1 MiB. One mistake refuses the whole: a machine with half of its settings is worse
//! than one that says what it lacks. Values may be secrets: no error here holds one.

use serde_json::{Map, Value};

use super::environment::is_name;
use crate::base::base64;

/// Longest user data, in bytes. Clouds take 16 to 64 KiB.
pub const USER_DATA_MAX_BYTES: usize = 1 << 20;

const HEADER: &str = "#mkimage";
const KEYS: [&str; 3] = ["environment", "files", "log"];
/// How user data of others begins.
const OTHERS: [(&str, &str); 8] = [
    ("#cloud-config", "cloud-config"),
    ("#cloud-boothook", "a cloud-init boothook"),
    ("#include", "a cloud-init include"),
    ("#part-handler", "a cloud-init part handler"),
    ("## template", "a cloud-init template"),
    ("#!", "a script"),
    ("Content-Type:", "a MIME message"),
    ("MIME-Version:", "a MIME message"),
];
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What user data says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserData {
    pub variables: Vec<(String, String)>,
    pub files: Vec<(String, Vec<u8>)>,
    pub log: Option<String>,
}

/// Says why user data is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserDataError {
    #[error("it is {0}, which is not for us: left alone")]
    Foreign(&'static str),
    #[error("it has more than {USER_DATA_MAX_BYTES} bytes")]
    TooLong,
    #[error("it is not UTF-8")]
    Encoding,
    #[error("line {0} is not NAME=VALUE")]
    Line(usize),
    #[error("it is no JSON object: line {line}, column {column}")]
    Json { line: usize, column: usize },
    #[error("the key {0:?} is none of environment, files and log")]
    Key(String),
    #[error("the value of {0:?} is not what belongs there")]
    Value(String),
}

/// Reads user data. Empty user data says nothing.
pub fn parse(bytes: &[u8]) -> Result<UserData, UserDataError> {
    if bytes.len() > USER_DATA_MAX_BYTES {
        return Err(UserDataError::TooLong);
    }
    if bytes.starts_with(&GZIP) {
        return Err(UserDataError::Foreign("compressed"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| UserDataError::Encoding)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let first = text.lines().next().unwrap_or_default().trim_end();
    let ours = first == HEADER;
    if let Some((_, what)) = OTHERS.iter().find(|(start, _)| !ours && text.starts_with(start)) {
        return Err(UserDataError::Foreign(what));
    }
    // The header stays: to the lines it is a comment, and numbers of lines count it.
    match text.lines().skip(usize::from(ours)).any(|line| line.trim_start().starts_with('{')) {
        true if ours => json(&text[HEADER.len()..]),
        true if text.trim_start().starts_with('{') => match json(text) {
            Err(UserDataError::Key(_)) => Err(UserDataError::Foreign("JSON of another kind")),
            result => result,
        },
        _ => match lines(text) {
            Err(UserDataError::Line(_)) if !ours => Err(UserDataError::Foreign("text of another kind")),
            result => result,
        },
    }
}

fn lines(text: &str) -> Result<UserData, UserDataError> {
    let mut variables = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once('=') {
            Some((name, value)) if is_name(name) => variables.push((name.to_owned(), value.to_owned())),
            _ => return Err(UserDataError::Line(index + 1)),
        }
    }
    Ok(UserData { variables, ..UserData::default() })
}

fn json(text: &str) -> Result<UserData, UserDataError> {
    let parsed: Result<Map<String, Value>, _> = serde_json::from_str(text);
    let object =
        parsed.map_err(|error| UserDataError::Json { line: error.line(), column: error.column() })?;
    if let Some(key) = object.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(UserDataError::Key(short(key)));
    }
    let mut read = UserData::default();
    for (name, value) in members(&object, "environment")? {
        read.variables.push((name.clone(), scalar(value).ok_or_else(|| UserDataError::Value(short(name)))?));
    }
    for (name, value) in members(&object, "files")? {
        read.files.push((name.clone(), file(value).ok_or_else(|| UserDataError::Value(short(name)))?));
    }
    read.log = match object.get("log") {
        None => None,
        Some(Value::String(address)) => Some(address.clone()),
        Some(_) => return Err(UserDataError::Value("log".to_owned())),
    };
    Ok(read)
}

fn members<'a>(
    object: &'a Map<String, Value>,
    key: &str,
) -> Result<impl Iterator<Item = (&'a String, &'a Value)>, UserDataError> {
    match object.get(key) {
        None => Ok(None.into_iter().flatten()),
        Some(Value::Object(members)) => Ok(Some(members).into_iter().flatten()),
        Some(_) => Err(UserDataError::Value(key.to_owned())),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

fn file(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Object(members) if members.len() == 1 => {
            base64::decode(members.get("base64")?.as_str()?.as_bytes())
        }
        _ => None,
    }
}

/// Returns the first of some members of a JSON object that is a text.
pub fn text_member(json: &[u8], keys: &[&str]) -> Option<String> {
    let object: Map<String, Value> = serde_json::from_slice(json).ok()?;
    keys.iter().find_map(|key| Some(object.get(*key)?.as_str()?.to_owned()))
}

/// A name for a message: keys are no secrets, but they may be long.
fn short(name: &str) -> String {
    name.chars().take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(text: &str) -> Vec<(String, String)> {
        parse(text.as_bytes()).expect(text).variables
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn lines_are_taken_as_they_are() {
        let text = "#mkimage\r\n\n# a note\nA=1\nB=\"quoted\" = kept \r\nC=\n";
        assert_eq!(variables(text), [pair("A", "1"), pair("B", "\"quoted\" = kept "), pair("C", "")]);
        assert_eq!(variables("A=1"), [pair("A", "1")], "without the header, too");
        assert_eq!(variables("\u{feff}A={\"json\": true}"), [pair("A", "{\"json\": true}")]);
        assert_eq!(variables(""), []);
        assert_eq!(variables("#mkimage"), []);
    }

    #[test]
    fn json_says_variables_files_and_the_log() {
        let text = r#"{ "environment": { "A": "x", "N": 4, "T": true },
                        "files": { "token": "s", "key": { "base64": "AP8=" } }, "log": "tcp://logs:1" }"#;
        for text in [text.to_owned(), format!("#mkimage\n\n{text}")] {
            let read = parse(text.as_bytes()).expect("is sound");
            assert_eq!(read.variables, [pair("A", "x"), pair("N", "4"), pair("T", "true")]);
            assert_eq!(read.files, [("token".to_owned(), b"s".to_vec()), ("key".to_owned(), vec![0, 255])]);
            assert_eq!(read.log.as_deref(), Some("tcp://logs:1"));
        }
        assert_eq!(parse(b"{}"), Ok(UserData::default()));
    }

    #[test]
    fn what_is_for_others_is_left_alone() {
        for (text, what) in [
            ("#cloud-config\npackages: [vim]\n", "cloud-config"),
            ("#!/bin/sh\nA=1\n", "a script"),
            ("Content-Type: multipart/mixed; boundary=x\n", "a MIME message"),
            ("{\"ignition\": {\"version\": \"3.0.0\"}}", "JSON of another kind"),
            ("<powershell>\n", "text of another kind"),
            ("A=1\nsome words\n", "text of another kind"),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(UserDataError::Foreign(what)), "{text}");
        }
        assert_eq!(parse(b"\x1f\x8b\x08\0"), Err(UserDataError::Foreign("compressed")));
    }

    #[test]
    fn mistakes_in_what_is_ours_refuse_the_whole_and_show_no_value() {
        let long = vec![b'#'; USER_DATA_MAX_BYTES + 1];
        for (bytes, error) in [
            (&b"#mkimage\nA=1\nsecret words\n"[..], UserDataError::Line(3)),
            (b"#mkimage\n1A=secret\n", UserDataError::Line(2)),
            (b"#mkimage\n{\"secret\": ", UserDataError::Json { line: 2, column: 11 }),
            (
                b"#mkimage\n{\"envrionment\": {\"A\": \"secret\"}}",
                UserDataError::Key("envrionment".to_owned()),
            ),
            (b"{\"environment\": {\"A\": [\"secret\"]}}", UserDataError::Value("A".to_owned())),
            (b"{\"environment\": \"secret\"}", UserDataError::Value("environment".to_owned())),
            (b"{\"files\": {\"key\": {\"base64\": \"se*cret\"}}}", UserDataError::Value("key".to_owned())),
            (
                b"{\"files\": {\"key\": {\"base64\": \"AP8=\", \"mode\": 1}}}",
                UserDataError::Value("key".to_owned()),
            ),
            (b"{\"log\": 3}", UserDataError::Value("log".to_owned())),
            (b"A=\xff", UserDataError::Encoding),
            (&long, UserDataError::TooLong),
        ] {
            let found = parse(bytes).expect_err("is wrong");
            assert_eq!(found, error);
            assert!(!found.to_string().contains("cret"), "{found}");
        }
    }

    #[test]
    fn members_are_found_in_objects_only() {
        assert_eq!(text_member(b"{\"a\": 1, \"b\": \"x\"}", &["a", "b"]).as_deref(), Some("x"));
        for json in ["", "[\"b\"]", "\"b\"", "{\"c\": \"x\"}", "{"] {
            assert_eq!(text_member(json.as_bytes(), &["b"]), None, "{json}");
        }
    }

    #[test]
    fn nesting_without_end_is_no_json() {
        let deep = format!("{{\"environment\": {}", "[".repeat(100_000));
        assert!(matches!(parse(deep.as_bytes()), Err(UserDataError::Json { .. })));
    }
}
