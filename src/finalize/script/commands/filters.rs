//! Commands that read lines and print others: followed where lines and request are simple, else what they
//! print can't be known.

use super::{Call, Work};
use crate::finalize::script::regex::Regex;
use crate::finalize::script::shell::{Shell, Status, Value};

pub(super) fn work(name: &str) -> Option<Work> {
    Some(match name {
        "grep" | "egrep" | "fgrep" => grep,
        "sed" => sed,
        "cut" => |shell, call| lines(shell, call, cut),
        "tr" => |shell, call| lines(shell, call, tr),
        "head" => |shell, call| lines(shell, call, head),
        "sort" | "uniq" => |shell, call| lines(shell, call, sort),
        "seq" => seq,
        "getcap" => |_, _| Status::True,
        _ => return None,
    })
}

/// Longest text whose lines are followed, in bytes.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// Returns the text that a filter reads: files that are named, or its input. `None` where it can't be known.
fn input(shell: &Shell<'_, '_>, files: &[&str]) -> Option<String> {
    let text = match files {
        [] | ["-"] => shell.input.as_ref()?.known()?.to_owned(),
        files => {
            let mut text = String::new();
            for file in files {
                text.push_str(&shell.world.read_text(&shell.path(file)?).ok().flatten().unwrap_or_default());
            }
            text
        }
    };
    (text.len() <= TEXT_BYTES_MAX).then_some(text)
}

/// Prints what `work` makes of the input with the words of the call; what it can't do is not known.
fn lines(shell: &mut Shell<'_, '_>, call: &Call<'_>, work: fn(&[&str], &str) -> Option<String>) -> Status {
    let printed = call.known().and_then(|words| work(&words, &input(shell, &[])?));
    match printed {
        Some(text) => {
            shell.print(&Value::bounded(text));
            Status::True
        }
        None => {
            shell.print(&Value::Unknown);
            Status::Maybe
        }
    }
}

/// `cut -dX -fN`.
fn cut(words: &[&str], text: &str) -> Option<String> {
    let joined = words.join(" ").replace("-d ", "-d").replace("-f ", "-f");
    let mut words = joined.split(' ');
    let (delimiter, field) = match (words.next()?, words.next()?, words.next()) {
        (d, f, None) if d.starts_with("-d") && f.starts_with("-f") => (&d[2..], &f[2..]),
        (f, d, None) if d.starts_with("-d") && f.starts_with("-f") => (&d[2..], &f[2..]),
        _ => return None,
    };
    let (delimiter, field) = (delimiter.chars().next()?, field.parse::<usize>().ok()?.checked_sub(1)?);
    let line = |line: &str| match line.contains(delimiter) {
        true => line.split(delimiter).nth(field).unwrap_or_default().to_owned() + "\n",
        false => format!("{line}\n"),
    };
    Some(text.lines().map(line).collect())
}

/// `tr A-Z a-z`, `tr -d X`.
fn tr(words: &[&str], text: &str) -> Option<String> {
    match words {
        ["-d", from] => {
            let from = characters(from)?;
            Some(text.chars().filter(|character| !from.contains(character)).collect())
        }
        [from, to] if !from.starts_with('-') => {
            let (from, to) = (characters(from)?, characters(to)?);
            let last = *to.last()?;
            let change = |character: char| match from.iter().rposition(|known| *known == character) {
                Some(at) => to.get(at).copied().unwrap_or(last),
                None => character,
            };
            Some(text.chars().map(change).collect())
        }
        _ => None,
    }
}

/// Returns the characters of a set of tr: single ones, ranges and two classes.
fn characters(set: &str) -> Option<Vec<char>> {
    match set {
        "[:upper:]" | "[A-Z]" => return Some(('A'..='Z').collect()),
        "[:lower:]" | "[a-z]" => return Some(('a'..='z').collect()),
        "\\n" => return Some(vec!['\n']),
        set if set.contains(['[', '\\']) => return None,
        _ => {}
    }
    let set: Vec<char> = set.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&low) = set.get(at) {
        match set.get(at + 1..at + 3) {
            Some(['-', high]) if high.is_ascii() && low.is_ascii() => {
                found.extend(low..=*high);
                at += 3;
            }
            _ => {
                found.push(low);
                at += 1;
            }
        }
    }
    Some(found)
}

fn head(words: &[&str], text: &str) -> Option<String> {
    let count = match words {
        ["-n", count] => count,
        [word] => word.strip_prefix("-n").or_else(|| word.strip_prefix('-'))?,
        _ => return None,
    };
    Some(text.split_inclusive('\n').take(count.parse().ok()?).collect())
}

fn sort(words: &[&str], text: &str) -> Option<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    match words {
        [] => {}
        ["-u"] => lines.dedup(),
        _ => return None,
    }
    Some(lines.iter().flat_map(|line| [line, "\n"]).collect())
}

fn seq(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let numbers: Option<Vec<i64>> =
        call.known().and_then(|words| words.iter().map(|word| word.parse().ok()).collect());
    let (first, step, last) = match numbers.as_deref() {
        Some([last]) => (1, 1, *last),
        Some([first, last]) => (*first, 1, *last),
        Some([first, step, last]) if *step != 0 => (*first, *step, *last),
        _ => {
            shell.print(&Value::Unknown);
            return Status::Maybe;
        }
    };
    let numbers = std::iter::successors(Some(first), |number| number.checked_add(step));
    let numbers = numbers.take_while(|number| if step > 0 { *number <= last } else { *number >= last });
    let text: String = numbers.take(1000).map(|number| format!("{number}\n")).collect();
    shell.print(&Value::bounded(text));
    Status::True
}

/// `grep [-qsivFEx] PATTERN [FILE]…`.
fn grep(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
    let unknown = |shell: &mut Shell<'_, '_>| {
        shell.print(&Value::Unknown);
        Status::Maybe
    };
    let Some(words) = call.known() else { return unknown(shell) };
    let (mut options, mut operands) = (String::new(), Vec::new());
    for word in words {
        match word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            Some("-quiet" | "-silent") => options.push('q'),
            Some("-no-messages") => options.push('s'),
            Some(letters) if !letters.starts_with('-') => options.push_str(letters),
            Some(_) => return unknown(shell),
            None => operands.push(word),
        }
    }
    let stands = |name: &&str| shell.path(name).is_some_and(|path| shell.world.exists(&path));
    let files = operands.get(1..).unwrap_or_default();
    if !files.is_empty() && !files.iter().any(stands) {
        return Status::False;
    }
    if options.contains(|letter| !"qsivFExHhn".contains(letter)) {
        return unknown(shell);
    }
    let (Some(pattern), Some(text)) = (operands.first(), input(shell, files)) else { return unknown(shell) };
    let Some(test) = matcher(call.name, pattern, &options) else { return unknown(shell) };
    let found: Vec<&str> = text.lines().filter(|line| test(line) != options.contains('v')).collect();
    if !options.contains('q') {
        let printed = match options.contains(['H', 'n']) || files.len() > 1 {
            true => Value::Unknown,
            false => Value::bounded(found.iter().flat_map(|line| [line, "\n"]).collect()),
        };
        shell.print(&printed);
    }
    Status::of(!found.is_empty())
}

/// Returns what tells whether a line fits a pattern.
fn matcher(name: &str, pattern: &str, options: &str) -> Option<Box<dyn Fn(&str) -> bool>> {
    let (whole, small) = (options.contains('x'), options.contains('i'));
    let fold = move |text: &str| if small { text.to_lowercase() } else { text.to_owned() };
    if name == "fgrep" || options.contains('F') {
        let pattern = fold(pattern);
        return Some(Box::new(move |line| match whole {
            true => fold(line) == pattern,
            false => fold(line).contains(&pattern),
        }));
    }
    let regex = Regex::parse(&fold(pattern), name == "egrep" || options.contains('E'))?;
    regex.is_cheap().then_some(())?;
    Some(Box::new(move |line| {
        let line = fold(line);
        let found = regex.find(&line);
        found.is_some_and(|found| !whole || found == (0, line.len()))
    }))
}

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
fn sed(shell: &mut Shell<'_, '_>, call: &Call<'_>) -> Status {
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
        let regex = |text: &str| Regex::parse(text, extended).filter(Regex::is_cheap);
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
        if by.contains(['&', '\\']) || pattern.ends_with('\\') {
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
                while let Some((start, end)) = regex.find(rest) {
                    done.push_str(&rest[..start]);
                    done.push_str(by);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_and_changed() {
        assert_eq!(cut(&["-d:", "-f1"], "a:b\nc\n").as_deref(), Some("a\nc\n"));
        assert_eq!(cut(&["-f", "2", "-d", ":"], "a:b").as_deref(), Some("b\n"));
        assert_eq!(tr(&["A-Z", "a-z"], "AbC").as_deref(), Some("abc"));
        assert_eq!(tr(&["-d", "\\n"], "a\nb\n").as_deref(), Some("ab"));
        let sed = |edit: &str, line: &str| Edit::parse(edit, false).expect(edit).on(line.to_owned());
        assert_eq!(sed("s/dash/bash/", "dash-dash").as_deref(), Some("bash-dash"));
        assert_eq!(sed("s,/,_,g", "/a/b").as_deref(), Some("_a_b"));
        assert_eq!(sed("s/[[:space:]]*$//", "a  ").as_deref(), Some("a"));
        assert_eq!(sed("/^###/d", "### x"), None);
        assert_eq!(
            sed("/^passwd:\\s[^#]*$/ s/$/ systemd/", "passwd:  files").as_deref(),
            Some("passwd:  files systemd")
        );
        assert_eq!(sed("/^passwd:/ s/$/ systemd/", "group: files").as_deref(), Some("group: files"));
        for edit in ["p", "", "/a", "s/a/&/", "s/\\(a\\)/b/", "s/a/b/w x", "y/a/b/"] {
            assert!(Edit::parse(edit, false).is_none(), "{edit}");
        }
    }
}
