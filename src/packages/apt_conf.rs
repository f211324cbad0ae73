//! apt's configuration (`apt.conf(5)`), as far as a proxy needs it: nested scopes become flat keys.

use std::collections::BTreeMap;
use std::path::Path;

use crate::base::fs;

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Deepest nesting that is followed.
const DEPTH_MAX: usize = 32;

/// Reads `apt.conf.d/*` and `apt.conf` of a folder, later files over earlier ones. Keys are lower case,
/// scopes parted by `::`. What can't be read or understood is passed over, as a proxy is a help and no need.
pub fn read(folder: &Path) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let parts = folder.join("apt.conf.d");
    let names = fs::list(&parts).unwrap_or_default();
    let mut files: Vec<_> = names.iter().filter(|name| is_part(name)).map(|name| parts.join(name)).collect();
    files.push(folder.join("apt.conf"));
    for file in files {
        if let Ok(bytes) = fs::read_at_most(&file, FILE_BYTES_MAX) {
            values.extend(parse(&String::from_utf8_lossy(&bytes)));
        }
    }
    values
}

/// apt reads files whose names have no extension or `.conf`.
fn is_part(name: &std::ffi::OsString) -> bool {
    let Some(name) = name.to_str() else { return false };
    let stem = name.strip_suffix(".conf").unwrap_or(name);
    !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// Returns the values of a configuration text by flat lower-case key. Malformed parts are passed over.
pub fn parse(text: &str) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let mut scopes: Vec<String> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    for token in tokens(text) {
        match token {
            Token::Word(word) => words.push(word),
            Token::Open => {
                let name = words.drain(..).next().unwrap_or_default();
                if scopes.len() == DEPTH_MAX {
                    return values;
                }
                scopes.push(name);
            }
            Token::Close => {
                words.clear();
                scopes.pop();
            }
            Token::End => {
                if let [name, value] = &words[..] {
                    let mut key = scopes.clone();
                    key.push(name.clone());
                    values.insert(key.join("::").to_ascii_lowercase(), value.clone());
                }
                words.clear();
            }
        }
    }
    values
}

enum Token {
    Word(String),
    Open,
    Close,
    End,
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |split| split.1);
        } else if rest.starts_with("//") || first == '#' {
            rest = rest.split_once('\n').map_or("", |split| split.1);
        } else if let Some(quoted) = rest.strip_prefix('"') {
            let (word, behind) = quoted.split_once('"').unwrap_or((quoted, ""));
            tokens.push(Token::Word(word.to_owned()));
            rest = behind;
        } else if first.is_whitespace() {
            rest = rest.trim_start();
        } else if "{};".contains(first) {
            tokens.push(match first {
                '{' => Token::Open,
                '}' => Token::Close,
                _ => Token::End,
            });
            rest = &rest[1..];
        } else {
            let is_end = |c: char| c.is_whitespace() || "{};\"".contains(c);
            let end = rest.find(is_end).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_and_nested_forms_agree() {
        let text = "// c\nAcquire::http::Proxy \"http://p:1/\";\n/* x; */ acquire { https { Proxy \"DIRECT\"; };\n\
            #clear foo;\n Retries 3; };\nDPkg::Options { \"--a\"; };\n";
        let values = parse(text);
        assert_eq!(values.get("acquire::http::proxy").map(String::as_str), Some("http://p:1/"));
        assert_eq!(values.get("acquire::https::proxy").map(String::as_str), Some("DIRECT"));
        assert_eq!(values.get("acquire::retries").map(String::as_str), Some("3"));
        assert!(parse(&"{".repeat(100_000)).is_empty());
        assert!(parse("\"unclosed").is_empty() && parse("/* unclosed").is_empty());
    }
}
