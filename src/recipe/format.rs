//! `mkimage fmt`: one way to write a recipe. Keeps comments, strings and heredocs as they are.
//!
//! Two blanks a level, one blank around `=`, the `=` of neighbouring one-line attributes in one column, at
//! most one blank line in a row. Formatting twice changes nothing; values never change.

use super::diagnostics::{Diagnostics, Problems};
use super::grammar::{self, Token, TokenKind};
use super::source::Sources;

const INDENT: &str = "  ";

/// Formats a recipe or vars file. Fails where the text has mistakes of syntax; others don't matter.
pub fn format(name: &str, text: &str) -> Result<String, Diagnostics> {
    let mut sources = Sources::default();
    let problems = Problems::default();
    let file = sources.add(name, text.to_owned());
    grammar::read_body(file, &sources.files[file], &problems);
    if problems.any_error() {
        return Err(problems.into_diagnostics(sources));
    }
    let tokens = grammar::tokens(&sources.files[file]);
    Ok(layout(&tokens))
}

/// A line as it will be written.
struct Line {
    level: usize,
    /// What stands before `=`, for lines that are one whole attribute; else nothing.
    key: Option<String>,
    text: String,
}

fn layout(tokens: &[Token<'_>]) -> String {
    let mut lines: Vec<Option<Line>> = Vec::new();
    let mut levels = Levels::default();
    for line in tokens.split(|token| token.kind == TokenKind::NewLine) {
        let closes = line.first().is_some_and(|token| token.closes());
        let after_open =
            lines.last().is_none_or(|last| last.as_ref().is_none_or(|line| ends_open(&line.text)));
        if line.is_empty() {
            if !after_open {
                lines.push(None);
            }
            continue;
        }
        if closes && lines.last().is_some_and(Option::is_none) {
            lines.pop();
        }
        lines.push(Some(line_of(line, &mut levels)));
    }
    while lines.last().is_some_and(Option::is_none) {
        lines.pop();
    }
    written(&lines)
}

fn ends_open(text: &str) -> bool {
    text.ends_with(['{', '[', '('])
}

/// Brackets that are open: one level for all that one line opens.
#[derive(Default)]
struct Levels(Vec<usize>);

impl Levels {
    fn open(&mut self, count: usize, into_last: bool) {
        match self.0.last_mut().filter(|_| into_last) {
            Some(last) => *last += count,
            None if count > 0 => self.0.push(count),
            None => {}
        }
    }

    /// Closes brackets; tells whether the last level keeps some that are open.
    fn close(&mut self, mut count: usize) -> bool {
        let mut partly = false;
        while let Some(last) = self.0.last_mut().filter(|_| count > 0) {
            let taken = count.min(*last);
            *last -= taken;
            count -= taken;
            partly = *last > 0;
            if !partly {
                self.0.pop();
            }
        }
        partly
    }
}

fn line_of(tokens: &[Token<'_>], levels: &mut Levels) -> Line {
    let leading = tokens.iter().take_while(|token| token.closes()).count();
    let partly = levels.close(leading);
    let level = levels.0.len() - usize::from(partly);
    let opened = tokens.iter().filter(|token| token.opens()).count();
    let closed = tokens.iter().filter(|token| token.closes()).count() - leading;
    levels.close(closed.saturating_sub(opened));
    levels.open(opened.saturating_sub(closed), partly);
    let whole =
        opened == closed && leading == 0 && tokens.iter().all(|token| token.kind != TokenKind::Heredoc);
    let assigns = tokens.len() > 2 && tokens[0].names() && tokens[1].text == "=";
    if !(whole && assigns) {
        return Line { level, key: None, text: joined(tokens) };
    }
    Line { level, key: Some(tokens[0].text.to_owned()), text: joined(&tokens[1..]) }
}

fn joined(tokens: &[Token<'_>]) -> String {
    let mut text = String::new();
    for (index, token) in tokens.iter().enumerate() {
        if index > 0 && spaced(&tokens[index - 1], token) {
            text.push(' ');
        }
        text.push_str(token.text);
    }
    text
}

/// Tells whether a blank stands between two tokens of a line.
fn spaced(left: &Token<'_>, right: &Token<'_>) -> bool {
    match (left.text, right.text) {
        _ if right.kind == TokenKind::Comment => true,
        ("(" | "[", _) | (_, ")" | "]" | "," | "(" | ":") => false,
        ("{", "}") => false,
        _ => true,
    }
}

fn written(lines: &[Option<Line>]) -> String {
    let mut text = String::new();
    let mut index = 0;
    while index < lines.len() {
        let Some(line) = &lines[index] else {
            text.push('\n');
            index += 1;
            continue;
        };
        let run = run_length(&lines[index..], line.level).max(1);
        let keys = lines[index..index + run].iter().flatten().filter_map(|line| line.key.as_ref());
        let width = keys.map(|key| key.chars().count()).max().unwrap_or(0);
        for line in lines[index..index + run].iter().flatten() {
            write_line(&mut text, line, width);
        }
        index += run;
    }
    text
}

/// Counts the attributes from here on that stand in a row on one level.
fn run_length(lines: &[Option<Line>], level: usize) -> usize {
    let joins =
        |line: &&Option<Line>| matches!(line, Some(line) if line.key.is_some() && line.level == level);
    lines.iter().take_while(joins).count()
}

fn write_line(text: &mut String, line: &Line, width: usize) {
    text.push_str(&INDENT.repeat(line.level));
    if let Some(key) = &line.key {
        text.push_str(key);
        text.push_str(&" ".repeat(width - key.chars().count() + 1));
    }
    text.push_str(&line.text);
    text.push('\n');
}
