//! Commands that read lines and print others: followed where lines and request are simple, else what they
//! print can't be known.

use super::{Call, Work};
use crate::finalize::script::regex::Regex;
use crate::finalize::script::shell::Shell;
use crate::finalize::script::value::{Status, Value};

pub(super) fn work(name: &str) -> Option<Work> {
    Some(match name {
        "grep" | "egrep" | "fgrep" => grep,
        "sed" => super::sed::sed,
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
pub(super) fn input(shell: &mut Shell<'_, '_>, files: &[&str]) -> Option<String> {
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
    (text.len() <= TEXT_BYTES_MAX && shell.spend(text.len() / 64)).then_some(text)
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
    let mut patterns = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            Some("e") => patterns.extend(words.next()),
            Some("-quiet" | "-silent") => options.push('q'),
            Some("-no-messages") => options.push('s'),
            Some(letters) if !letters.starts_with('-') => options.push_str(letters),
            Some(_) => return unknown(shell),
            None => operands.push(word),
        }
    }
    if patterns.is_empty() && !operands.is_empty() {
        patterns.push(operands.remove(0));
    }
    let stands = |name: &&str| shell.path(name).is_some_and(|path| shell.world.exists(&path));
    let files = &operands[..];
    if !files.is_empty() && !files.iter().any(stands) {
        return Status::False;
    }
    if options.contains(|letter| !"qsivFExHhn".contains(letter)) {
        return unknown(shell);
    }
    let tests: Option<Vec<_>> =
        patterns.iter().map(|pattern| matcher(call.name, pattern, &options)).collect();
    let (Some(tests), Some(text)) = (tests, input(shell, files)) else { return unknown(shell) };
    let fits = |line: &str| tests.iter().any(|test| test(line));
    let found: Vec<&str> = text.lines().filter(|line| fits(line) != options.contains('v')).collect();
    if !options.contains('q') {
        let printed = match options.contains(['H', 'n']) || files.len() > 1 {
            true => Value::Unknown,
            false => Value::bounded(found.iter().flat_map(|line| [line, "\n"]).collect()),
        };
        shell.print(&printed);
    }
    Status::of(!found.is_empty())
}

/// Tells whether a line fits.
type Test = Box<dyn Fn(&str) -> bool>;

/// Returns what tells whether a line fits a pattern.
fn matcher(name: &str, pattern: &str, options: &str) -> Option<Test> {
    let (whole, small) = (options.contains('x'), options.contains('i'));
    let fold = move |text: &str| if small { text.to_lowercase() } else { text.to_owned() };
    if name == "fgrep" || options.contains('F') {
        let pattern = fold(pattern);
        return Some(Box::new(move |line| match whole {
            true => fold(line) == pattern,
            false => fold(line).contains(&pattern),
        }));
    }
    let pattern = if whole { format!("^{}$", fold(pattern)) } else { fold(pattern) };
    let regex = Regex::parse(&pattern, name == "egrep" || options.contains('E'))?;
    Some(Box::new(move |line| regex.find(&fold(line)).is_some()))
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
    }
}
