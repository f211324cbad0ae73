//! Diversions: a preinst may say that a file of other packages goes elsewhere (`dpkg-divert(8)`).
//!
//! A preinst is a program, and only its literal calls of `dpkg-divert` are understood: what is asked stands in
//! them in full, whatever else the program does. That is how packages do it that divert in a preinst at all;
//! any other call that could add a diversion is an error. Conditions around a call are not looked at: a
//! fresh installation is what such code is for.

use super::error::LayError;
use super::{Layout, Member};
use crate::base::ImagePath;
use crate::tree::ContentSource;

/// A file that goes elsewhere when another package brings it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diversion {
    pub from: ImagePath,
    pub to: ImagePath,
    /// The package that may still bring `from` itself; `None` for a local diversion, which holds for all.
    pub package: Option<String>,
}

impl Diversion {
    /// Names who diverts, as dpkg's database does.
    pub fn by(&self) -> &str {
        self.package.as_deref().unwrap_or(":")
    }
}

const PROGRAM: &str = "dpkg-divert";

/// Collects the diversions of all packages, in their order. Two packages may state the same one.
pub(super) fn all(
    members: &[Member<'_>],
    layout: &Layout<'_>,
    source: &dyn ContentSource,
) -> Result<Vec<Diversion>, Vec<LayError>> {
    let mut diversions: Vec<Diversion> = Vec::new();
    let mut errors = Vec::new();
    for member in members {
        let name = &member.unpacked.control.name;
        let script = match member.unpacked.script("preinst", source) {
            Ok(Some(script)) => script,
            Ok(None) => continue,
            Err(problem) => {
                errors.push(LayError::Content { package: member.label.clone(), problem });
                continue;
            }
        };
        for call in calls(&String::from_utf8_lossy(&script)) {
            match diversion(&call, name) {
                Ok(None) => {}
                Ok(Some(diversion)) if diversions.contains(&diversion) => {}
                Ok(Some(diversion)) => diversions.push(diversion),
                Err(_) if layout.ignored_scripts.contains(name) => {}
                Err(problem) => errors.push(LayError::Diversion {
                    package: name.clone(),
                    line: call.line,
                    text: call.text(),
                    problem,
                }),
            }
        }
    }
    if errors.is_empty() { Ok(diversions) } else { Err(errors) }
}

/// A call of the program in a shell script.
struct Call {
    /// From 1 on.
    line: usize,
    arguments: Vec<Word>,
}

/// A word of a shell command.
#[derive(Clone, Default)]
struct Word {
    text: String,
    /// Nothing in it is left to the shell.
    is_literal: bool,
    is_quoted: bool,
}

impl Call {
    fn text(&self) -> String {
        let words = self.arguments.iter().map(|word| word.text.as_str());
        let text = std::iter::once(PROGRAM).chain(words).collect::<Vec<_>>().join(" ");
        text.chars().filter(|character| !character.is_control()).take(200).collect()
    }
}

/// Finds the calls of the program in a script: where its name is the first word of a command.
fn calls(script: &str) -> Vec<Call> {
    if !script.contains(PROGRAM) {
        return Vec::new();
    }
    let mut calls = Vec::new();
    for (line, command) in commands(script) {
        let mut words = command.into_iter().skip_while(is_before_program);
        if words.next().is_some_and(|word| word.text.rsplit('/').next() == Some(PROGRAM)) {
            calls.push(Call { line, arguments: without_redirections(words) });
        }
    }
    calls
}

/// Tells whether a word may stand before a command's program: a keyword, an assignment.
fn is_before_program(word: &Word) -> bool {
    const KEYWORDS: [&str; 10] = ["if", "then", "else", "elif", "while", "until", "do", "!", "{", "exec"];
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let is_assignment = word.text.split_once('=').is_some_and(|(name, _)| !name.is_empty() && is_name(name));
    KEYWORDS.contains(&word.text.as_str()) || is_assignment
}

fn without_redirections(words: impl Iterator<Item = Word>) -> Vec<Word> {
    let mut arguments = Vec::new();
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let operator = word.text.trim_start_matches(|c: char| c.is_ascii_digit());
        match operator.strip_prefix(['>', '<']) {
            Some(rest) if !word.is_quoted => {
                if rest.trim_start_matches(['>', '&']).is_empty() {
                    words.next();
                }
            }
            _ => arguments.push(word),
        }
    }
    arguments
}

/// Splits a script into commands, each with the line where it begins.
fn commands(script: &str) -> Vec<(usize, Vec<Word>)> {
    let mut commands = Vec::new();
    let (mut command, mut word) = (Vec::new(), None::<Word>);
    let (mut line, mut begins) = (1, 1);
    let mut characters = script.chars().peekable();
    while let Some(character) = characters.next() {
        let ends_word = character.is_ascii_whitespace() || ";&|()".contains(character);
        let is_redirection = character == '&' && word.as_ref().is_some_and(|word| word.text.ends_with('>'));
        if ends_word && !is_redirection {
            command.extend(word.take());
            if !matches!(character, ' ' | '\t' | '\r') && !command.is_empty() {
                commands.push((begins, std::mem::take(&mut command)));
            }
            line += usize::from(character == '\n');
            continue;
        }
        if character == '#' && word.is_none() {
            while characters.next_if(|next| *next != '\n').is_some() {}
            continue;
        }
        if character == '\\' && characters.next_if_eq(&'\n').is_some() {
            line += 1;
            continue;
        }
        if command.is_empty() && word.is_none() {
            begins = line;
        }
        let word = word.get_or_insert_with(|| Word { is_literal: true, ..Word::default() });
        match character {
            '\'' | '"' => {
                word.is_quoted = true;
                line += quoted(character, word, &mut characters);
            }
            '\\' => word.text.extend(characters.next()),
            '$' | '`' | '*' | '?' | '[' | '~' => {
                word.is_literal = false;
                word.text.push(character);
            }
            _ => word.text.push(character),
        }
    }
    command.extend(word);
    commands.push((begins, command));
    commands
}

/// Takes what stands in quotes into a word; returns how many lines that was.
fn quoted(quote: char, word: &mut Word, characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> usize {
    let mut lines = 0;
    while let Some(character) = characters.next() {
        lines += usize::from(character == '\n');
        match character {
            _ if character == quote => break,
            '\\' if quote == '"' => {
                let next = characters.next();
                lines += usize::from(next == Some('\n'));
                word.text.extend(next.filter(|next| *next != '\n'));
            }
            '$' | '`' if quote == '"' => {
                word.is_literal = false;
                word.text.push(character);
            }
            _ => word.text.push(character),
        }
    }
    lines
}

/// Reads a call; `None` where it adds nothing.
fn diversion(call: &Call, package: &str) -> Result<Option<Diversion>, &'static str> {
    let mut owner = Some(package.to_owned());
    let (mut file, mut to) = (None, None);
    let mut arguments = call.arguments.iter();
    while let Some(argument) = arguments.next() {
        let (option, value) = match argument.text.split_once('=') {
            Some((option, value)) if option.starts_with("--") => (option, Some(value)),
            _ => (argument.text.as_str(), None),
        };
        match option {
            "--remove" | "--list" | "--listpackage" | "--truename" | "--help" | "--version" | "--test" => {
                return Ok(None);
            }
            "--add" | "--rename" | "--no-rename" | "--quiet" => {}
            "--local" => owner = None,
            "--divert" | "--package" => {
                let literal = |word: &Word| word.is_literal.then(|| word.text.clone());
                let value = match value {
                    Some(value) => argument.is_literal.then(|| value.to_owned()),
                    None => arguments.next().ok_or("an option lacks its value").map(literal)?,
                };
                match (option, value) {
                    ("--divert", Some(value)) => to = Some(value),
                    ("--divert", None) => return Err(VARIABLE),
                    // Scripts name their own package through a variable.
                    (_, value) => owner = Some(value.unwrap_or_else(|| package.to_owned())),
                }
            }
            option if option.starts_with("--") => return Err("an option that is not known"),
            _ if !argument.is_literal => return Err(VARIABLE),
            path if file.is_none() => file = Some(path.to_owned()),
            _ => return Err("more than one path"),
        }
    }
    let file = file.ok_or("no path")?;
    let path = |text: &str| ImagePath::new(text.as_bytes()).map_err(|_| "a path that is not absolute");
    let to = to.unwrap_or_else(|| format!("{file}.distrib"));
    Ok(Some(Diversion { from: path(&file)?, to: path(&to)?, package: owner }))
}

const VARIABLE: &str = "what it diverts is left to the shell";

#[cfg(test)]
mod tests {
    use super::*;

    /// From, to, by.
    type Read = Result<Option<(String, String, String)>, &'static str>;

    fn read(script: &str) -> Vec<Read> {
        let read = |call: &Call| {
            let diversion = diversion(call, "own")?;
            Ok(diversion.map(|diversion| {
                let by = diversion.by().to_owned();
                (diversion.from.to_string(), diversion.to.to_string(), by)
            }))
        };
        calls(script).iter().map(read).collect()
    }

    fn added(from: &str, to: &str, by: &str) -> Read {
        Ok(Some((from.to_owned(), to.to_owned(), by.to_owned())))
    }

    #[test]
    fn literal_calls_are_read() {
        let script = "#!/bin/sh\nset -e\ncase \"$1\" in\n  install|upgrade)\n    dpkg-divert --package mine --add --rename \\\n      \
            --divert /usr/bin/other.real /usr/bin/other >/dev/null 2>&1 || true\n    ;;\nesac\n\
            if [ -e x ]; then LC_ALL=C /usr/sbin/dpkg-divert --divert=\"/b c\" --package=\"$NAME\" '/b'; fi\n\
            dpkg-divert --local --no-rename /lib/x # a comment\n";
        let expected = [
            added("/usr/bin/other", "/usr/bin/other.real", "mine"),
            added("/b", "/b c", "own"),
            added("/lib/x", "/lib/x.distrib", ":"),
        ];
        assert_eq!(read(script), expected);
        assert_eq!(calls(script).iter().map(|call| call.line).collect::<Vec<_>>(), [5, 9, 10]);
    }

    #[test]
    fn what_adds_nothing_is_passed_over() {
        let script = "# dpkg-divert --add /a\necho 'dpkg-divert --add /b'\ncommand -v dpkg-divert\n\
            dpkg-divert --package x --remove --rename --divert $a $b\nif dpkg-divert --list x | grep -q y; then :; fi\n\
            [ \"$(dpkg-divert --truename /x)\" = /x ]\n";
        assert!(read(script).iter().all(|read| *read == Ok(None)), "{:?}", read(script));
        assert!(calls("echo nothing of the kind").is_empty());
    }

    #[test]
    fn what_the_shell_decides_is_an_error() {
        for script in [
            "for f in a b; do dpkg-divert --add --divert $f.real $f; done",
            "dpkg-divert --add /usr/bin/`x`",
            "dpkg-divert --add \"/usr/$x\"",
            "dpkg-divert --add /usr/bin/*",
            "dpkg-divert --unheard-of /x",
            "dpkg-divert --add",
            "dpkg-divert --add relative",
            "dpkg-divert --add /a /b",
            "dpkg-divert --divert",
        ] {
            let read = read(script);
            assert!(read.len() == 1 && read[0].is_err(), "{script}: {read:?}");
        }
    }
}
