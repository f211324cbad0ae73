//! Where reading goes on after a mistake. Looks at brackets, strings and comments only, so that a mistake
//! in a list over several lines is one mistake and not one a line.

use super::trivia::{block_comment, line_comment, name, spaces};

/// How often the end of a comment or heredoc is looked for in vain, so that the time stays linear.
const TRIES_MAX: u32 = 16;
/// How far it is looked for.
const SEARCH_BYTES_MAX: usize = 64 << 10;

/// Returns the rest of the text where the item after a broken one may start. `item` is the text from the
/// broken item on, `at` the text from the mistake on.
pub(super) fn next_item<'a>(item: &'a str, at: &'a str) -> &'a str {
    let mut open: Vec<char> = Vec::new();
    let mut tries = TRIES_MAX;
    let mut rest = item;
    while let Some(next) = rest.chars().next() {
        let passed = rest.len() <= at.len();
        match next {
            '[' | '(' | '{' => open.push(next),
            ']' | ')' if open.last().is_some_and(|bracket| *bracket != '{') => {
                open.pop();
            }
            '}' if open.contains(&'{') => while open.pop().is_some_and(|bracket| bracket != '{') {},
            '}' if passed => return rest,
            '\n' if passed && (open.is_empty() || starts_item(&rest[1..], &open)) => return &rest[1..],
            _ => {}
        }
        rest = skip(rest, next, &mut tries);
    }
    ""
}

/// Returns the first line of a text without the comment at its end.
pub(super) fn code_of_line(input: &str) -> &str {
    let mut tries = TRIES_MAX;
    let mut rest = input;
    while let Some(next) = rest.chars().next() {
        if next == '\n' || line_comment(rest).is_ok() {
            break;
        }
        rest = skip(rest, next, &mut tries);
    }
    &input[..input.len() - rest.len()]
}

/// Skips a string, a comment, a heredoc or one character. `tries` counts down where the end of a comment or
/// heredoc was looked for in vain.
fn skip<'a>(input: &'a str, next: char, tries: &mut u32) -> &'a str {
    if next == '"' {
        return skip_string(input);
    }
    if let Ok((rest, _)) = line_comment(input) {
        return rest;
    }
    if *tries > 0 && (input.starts_with("/*") || input.starts_with("<<")) {
        let end = (0..=input.len().min(SEARCH_BYTES_MAX)).rev().find(|&at| input.is_char_boundary(at));
        let near = &input[..end.unwrap_or(0)];
        let comment = block_comment(near).ok().map(|(rest, _)| rest);
        if let Some(rest) = comment.or_else(|| near.strip_prefix("<<").and_then(skip_heredoc)) {
            return &input[near.len() - rest.len()..];
        }
        *tries -= 1;
    }
    &input[next.len_utf8()..]
}

/// Skips a string, at most to the end of its line.
fn skip_string(input: &str) -> &str {
    let mut escaped = false;
    for (at, character) in input.char_indices().skip(1) {
        match character {
            '\n' => return &input[at..],
            '"' if !escaped => return &input[at + 1..],
            _ => escaped = character == '\\' && !escaped,
        }
    }
    ""
}

/// Skips a heredoc up to its end marker; `None` where it has none.
fn skip_heredoc(input: &str) -> Option<&str> {
    let (rest, marker) = name(input.strip_prefix('-').unwrap_or(input)).ok()?;
    let mut rest = rest.strip_prefix('\n')?;
    loop {
        rest = heredoc_rest(rest, marker)?;
        if rest.is_empty() || rest.starts_with('\n') {
            return Some(rest);
        }
    }
}

/// Returns the rest of the text behind a heredoc that has no end: the next line that closes a block.
pub(super) fn behind_open_heredoc(at: &str) -> &str {
    let mut rest = at;
    while let Some(end) = rest.find('\n') {
        rest = &rest[end + 1..];
        if rest.trim_start_matches([' ', '\t']).starts_with('}') {
            return rest;
        }
    }
    ""
}

/// Returns the text behind the first line that starts with a heredoc's end marker; `None` where there is none.
pub(super) fn heredoc_rest<'a>(input: &'a str, marker: &str) -> Option<&'a str> {
    let mut rest = input;
    loop {
        let text = rest.trim_start_matches([' ', '\t']);
        if let Some(after) = text.strip_prefix(marker)
            && !after.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '-')
        {
            return Some(after);
        }
        rest = &rest[rest.find('\n')? + 1..];
    }
}

/// Tells whether a line inside open brackets looks like the next item: then a closing bracket is missing.
fn starts_item(line: &str, open: &[char]) -> bool {
    let line = spaces(line).map_or(line, |(rest, _)| rest);
    let in_object = open.contains(&'{');
    let Ok((rest, _)) = name(line) else {
        return line.starts_with('}') && !in_object;
    };
    let rest = spaces(rest).map_or(rest, |(rest, _)| rest);
    let is_block = || code_of_line(line).trim_end().ends_with('{') && !code_of_line(line).contains('=');
    !in_object && rest.starts_with('=') && !rest.starts_with("==") || is_block()
}
