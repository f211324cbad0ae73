//! sed(1): substitutions and deletions, on a stream or in place.

use super::Call;
use super::filters::input;
use crate::finalize::script::regex::{Places, Regex};
use crate::finalize::script::shell::Shell;
use crate::finalize::script::value::{Status, Value};

/// What a call of sed says.
#[derive(Default)]
struct Sed<'c> {
    scripts: Vec<&'c str>,
    files: Vec<&'c str>,
    is_extended: bool,
    in_place: bool,
}

impl<'c> Sed<'c> {
    /// Reads the words; `None` for options that are not followed.
    fn parse(words: &[&'c str]) -> Option<Sed<'c>> {
        let mut sed = Sed::default();
        let mut operands = Vec::new();
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
                operands.push(word);
                continue;
            };
            match letters {
                "-in-place" => sed.in_place = true,
                "-regexp-extended" => sed.is_extended = true,
                "-expression" => sed.scripts.push(words.next()?),
                _ if letters.starts_with('-') => sed.scripts.push(letters.strip_prefix("-expression=")?),
                _ => sed.letters(letters, &mut words)?,
            }
        }
        let mut operands = operands.into_iter();
        if sed.scripts.is_empty() {
            sed.scripts.extend(operands.next());
        }
        sed.files = operands.collect();
        Some(sed)
    }

    fn letters(&mut self, letters: &'c str, words: &mut impl Iterator<Item = &'c str>) -> Option<()> {
        for (at, letter) in letters.char_indices() {
            match letter {
                'E' | 'r' => self.is_extended = true,
                'i' => {
                    self.in_place = true;
                    return letters[at + 1..].is_empty().then_some(());
                }
                'e' => {
                    let rest = &letters[at + 1..];
                    self.scripts.push(if rest.is_empty() { words.next()? } else { rest });
                    return Some(());
                }
                _ => return None,
            }
        }
        Some(())
    }

    /// Returns what becomes of a text; `None` where a command is not followed.
    fn on(&self, text: &str) -> Option<String> {
        let commands = self.scripts.iter().flat_map(|script| script.split(['\n', ';'])).map(str::trim);
        let edits: Option<Vec<Edit>> = commands
            .filter(|command| !command.is_empty())
            .map(|command| Edit::parse(command, self.is_extended))
            .collect();
        let edits = edits?;
        let edited = text
            .lines()
            .filter_map(|line| edits.iter().try_fold(line.to_owned(), |line, edit| edit.on(line)));
        Some(edited.map(|line| line + "\n").collect())
    }
}

/// `sed [-Ei] [-e] [/a/] s/b/c/[g]` and `/a/d`, in sequence; all else is not followed.
pub(super) fn sed(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let words = call.known();
    let changes = |word: &str| word.starts_with("--in-place") || word.starts_with("-i");
    let sed = words.as_deref().and_then(Sed::parse);
    let in_place = match &sed {
        Some(sed) => sed.in_place,
        None => call.arguments.iter().filter_map(Value::known).any(changes),
    };
    if in_place {
        return edit_in_place(shell, call, sed.as_ref());
    }
    let printed = sed.and_then(|sed| sed.on(&input(shell, &sed.files)?));
    let status = if printed.is_some() { Status::True } else { Status::Maybe };
    shell.print(&printed.map_or(Value::Unknown, Value::bounded));
    status
}

fn edit_in_place(shell: &mut Shell<'_, '_>, call: &Call<'_>, sed: Option<&Sed<'_>>) -> Status {
    if !shell.may(call.line) {
        return Status::Maybe;
    }
    for file in sed.map_or(&[][..], |sed| &sed.files) {
        let text = input(shell, &[file]);
        let edited = sed.and_then(|sed| sed.on(text.as_deref()?));
        let place = shell.path(file).and_then(|path| Some(shell.world.lead(&path)?.0));
        let (Some(edited), Some(place)) = (edited, place) else {
            return shell.unknown(call.line, "sed changes a file in a way that is not followed");
        };
        let Some(metadata) = shell.world.metadata_mut(&place).cloned() else { return Status::False };
        let result = shell.world.write_with(&place, edited.as_bytes(), metadata);
        shell.done(call.line, result);
    }
    match sed {
        Some(_) => Status::True,
        None => shell.unknown(call.line, "sed changes a file in a way that is not followed"),
    }
}

/// One command of sed, with the lines that it is for.
struct Edit {
    address: Option<Regex>,
    action: Action,
}

enum Action {
    Substitute { regex: Regex, by: String, all: bool },
    Delete,
}

impl Edit {
    fn parse(text: &str, extended: bool) -> Option<Edit> {
        let regex = |text: &str| Regex::parse(text, extended);
        let (address, text) = match text.strip_prefix('/') {
            Some(rest) => {
                let end =
                    rest.match_indices('/').map(|found| found.0).find(|at| !rest[..*at].ends_with('\\'))?;
                (Some(regex(&rest[..end].replace("\\/", "/"))?), rest[end + 1..].trim_start())
            }
            None => (None, text),
        };
        if text == "d" {
            return Some(Edit { address, action: Action::Delete });
        }
        let body = text.strip_prefix('s')?;
        let delimiter = body.chars().next()?;
        let parts: Vec<&str> = body[delimiter.len_utf8()..].split(delimiter).collect();
        let [pattern, by, flags @ ("" | "g")] = parts[..] else { return None };
        if pattern.ends_with('\\')
            || !by.split('\\').skip(1).all(|rest| rest.starts_with(|next: char| next.is_ascii_digit()))
        {
            return None;
        }
        let action = Action::Substitute { regex: regex(pattern)?, by: by.to_owned(), all: flags == "g" };
        Some(Edit { address, action })
    }

    /// Returns what becomes of a line; `None` where it goes.
    fn on(&self, line: String) -> Option<String> {
        if self.address.as_ref().is_some_and(|address| address.find(&line).is_none()) {
            return Some(line);
        }
        match &self.action {
            Action::Delete if self.address.is_some() => None,
            Action::Delete => Some(line),
            Action::Substitute { regex, by, all } => {
                let mut done = String::new();
                let mut rest = &line[..];
                while let Some(places) = regex.find(rest) {
                    let (start, end) = places[0].expect("because the whole always has its place");
                    done.push_str(&rest[..start]);
                    replace(by, rest, &places, &mut done);
                    rest = &rest[end..];
                    if !all || start == end {
                        break;
                    }
                }
                Some(done + rest)
            }
        }
    }
}

/// Writes what stands for a fit: `&` is all of it, `\1` its first group.
fn replace(by: &str, text: &str, places: &Places, done: &mut String) {
    let mut characters = by.chars();
    while let Some(character) = characters.next() {
        let group = match character {
            '&' => 0,
            '\\' => characters.next().and_then(|digit| digit.to_digit(10)).unwrap_or(0) as usize,
            character => {
                done.push(character);
                continue;
            }
        };
        if let Some((start, end)) = places[group] {
            done.push_str(&text[start..end]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_changed_as_sed_changes_them() {
        let sed = |edit: &str, line: &str| Edit::parse(edit, false).expect(edit).on(line.to_owned());
        assert_eq!(sed("s/dash/bash/", "dash-dash").as_deref(), Some("bash-dash"));
        assert_eq!(sed("s,/,_,g", "/a/b").as_deref(), Some("_a_b"));
        assert_eq!(sed("s/[[:space:]]*$//", "a  ").as_deref(), Some("a"));
        assert_eq!(sed("s/.*\\.\\(.*\\)\\..*/man\\1/", "psql.1.gz").as_deref(), Some("man1"));
        assert_eq!(sed("s/b/<&>/g", "abab").as_deref(), Some("a<b>a<b>"));
        assert_eq!(sed("/^###/d", "### x"), None);
        assert_eq!(
            sed("/^passwd:\\s[^#]*$/ s/$/ systemd/", "passwd:  files").as_deref(),
            Some("passwd:  files systemd")
        );
        assert_eq!(sed("/^passwd:/ s/$/ systemd/", "group: files").as_deref(), Some("group: files"));
        for edit in ["p", "", "/a", "s/\\(a/b/", "s/a/b/w x", "y/a/b/"] {
            assert!(Edit::parse(edit, false).is_none(), "{edit}");
        }
    }
}
