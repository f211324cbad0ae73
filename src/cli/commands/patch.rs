//! The lines in which two texts differ, as `diff -u` shows them.

use super::super::failure::Failure;
use crate::store::{StoreError, TreeChange};
use crate::tree::{Content, ContentSource, Node};

/// Larger files are not shown by line, in bytes.
const TEXT_BYTES_MAX: u64 = 1 << 20;
/// Most lines that may differ before a text counts as written anew: time and memory grow with its square.
const EDITS_MAX: usize = 1000;
/// Equal lines that are shown around those that differ.
const CONTEXT: usize = 3;

/// Where the contents before and after come from.
pub type Sources<'a> = (&'a dyn ContentSource, &'a dyn ContentSource);

/// Shows the lines in which the contents of a file differ; nothing for what is no text.
pub fn of_change(sources: Sources<'_>, change: &TreeChange) -> Result<Vec<String>, Failure> {
    let content = |node: &Option<Node>| match node {
        Some(Node::File(file)) => Some(file.content),
        _ => None,
    };
    of_contents(sources, content(&change.old).as_ref(), content(&change.new).as_ref())
}

/// Shows the lines in which two contents differ.
pub fn of_contents(
    sources: Sources<'_>,
    old: Option<&Content>,
    new: Option<&Content>,
) -> Result<Vec<String>, Failure> {
    if old == new {
        return Ok(Vec::new());
    }
    let (Some(old), Some(new)) = (text(sources.0, old)?, text(sources.1, new)?) else {
        return Ok(vec!["  (no text, or too long to show)".to_owned()]);
    };
    Ok(unified(&lines(&old), &lines(&new)))
}

/// Shows the lines in which two texts differ.
pub fn of_texts(old: &str, new: &str) -> Vec<String> {
    unified(&lines(old), &lines(new))
}

fn text(source: &dyn ContentSource, content: Option<&Content>) -> Result<Option<String>, Failure> {
    let Some(content) = content else { return Ok(Some(String::new())) };
    if content.size > TEXT_BYTES_MAX {
        return Ok(None);
    }
    let bytes = source.read_all(content).map_err(StoreError::from).map_err(Failure::from)?;
    Ok(String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')))
}

/// Takes a text apart; a last line without an end is told from one with.
fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// One line of an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edit<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
}

fn unified(old: &[&str], new: &[&str]) -> Vec<String> {
    let edits = edits(old, new);
    let differs: Vec<usize> =
        (0..edits.len()).filter(|index| !matches!(edits[*index], Edit::Same(_))).collect();
    let is_near = |index: usize| {
        let next = differs.partition_point(|at| at + CONTEXT < index);
        differs.get(next).is_some_and(|at| *at <= index + CONTEXT)
    };
    let mut shown = Vec::new();
    let (mut old_line, mut new_line) = (1, 1);
    let mut is_inside = false;
    for (index, edit) in edits.iter().enumerate() {
        if is_near(index) {
            if !is_inside {
                shown.push(format!("@@ -{old_line} +{new_line} @@"));
            }
            shown.push(line(edit));
        }
        is_inside = is_near(index);
        old_line += usize::from(!matches!(edit, Edit::New(_)));
        new_line += usize::from(!matches!(edit, Edit::Gone(_)));
    }
    shown
}

fn line(edit: &Edit<'_>) -> String {
    let (mark, text) = match edit {
        Edit::Same(text) => (' ', text),
        Edit::Gone(text) => ('-', text),
        Edit::New(text) => ('+', text),
    };
    match text.strip_suffix('\n') {
        Some(text) => format!("{mark}{text}"),
        None => format!("{mark}{text}\n\\ No newline at end of file"),
    }
}

fn edits<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Edit<'a>> {
    let head = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let rest = (&old[head..], &new[head..]);
    let tail = rest.0.iter().rev().zip(rest.1.iter().rev()).take_while(|(old, new)| old == new).count();
    let (before, after) = (&rest.0[..rest.0.len() - tail], &rest.1[..rest.1.len() - tail]);
    let mut edits: Vec<Edit<'a>> = old[..head].iter().map(|line| Edit::Same(line)).collect();
    edits.extend(shortest(before, after).unwrap_or_else(|| {
        let gone = before.iter().map(|line| Edit::Gone(line));
        gone.chain(after.iter().map(|line| Edit::New(line))).collect()
    }));
    edits.extend(old[old.len() - tail..].iter().map(|line| Edit::Same(line)));
    edits
}

/// Finds the shortest edit (E. Myers, "An O(ND) Difference Algorithm and Its Variations", 1986); `None` where
/// it is longer than [`EDITS_MAX`].
fn shortest<'a>(old: &[&'a str], new: &[&'a str]) -> Option<Vec<Edit<'a>>> {
    let (rows, columns) = (old.len() as isize, new.len() as isize);
    let limit = (old.len() + new.len()).min(EDITS_MAX) as isize;
    // For each diagonal, the furthest row of `old` that was reached; one state for each number of edits.
    let middle = limit + 1;
    let at = |diagonal: isize| (diagonal + middle) as usize;
    let mut furthest = vec![0isize; 2 * middle as usize + 1];
    let mut trace: Vec<Vec<isize>> = Vec::new();
    for count in 0..=limit {
        trace.push(furthest[at(-count - 1)..=at(count + 1)].to_vec());
        for diagonal in (-count..=count).step_by(2) {
            let down = diagonal == -count
                || (diagonal != count && furthest[at(diagonal - 1)] < furthest[at(diagonal + 1)]);
            let mut x = if down { furthest[at(diagonal + 1)] } else { furthest[at(diagonal - 1)] + 1 };
            while x < rows && x - diagonal < columns && old[x as usize] == new[(x - diagonal) as usize] {
                x += 1;
            }
            furthest[at(diagonal)] = x;
            if x >= rows && x - diagonal >= columns {
                return Some(walk_back(old, new, &trace));
            }
        }
    }
    None
}

fn walk_back<'a>(old: &[&'a str], new: &[&'a str], trace: &[Vec<isize>]) -> Vec<Edit<'a>> {
    let (mut x, mut y) = (old.len() as isize, new.len() as isize);
    let mut edits = Vec::new();
    for (count, state) in trace.iter().enumerate().rev() {
        let count = count as isize;
        let reached = |diagonal: isize| state[(diagonal + count + 1) as usize];
        let diagonal = x - y;
        let down = diagonal == -count || (diagonal != count && reached(diagonal - 1) < reached(diagonal + 1));
        let previous = if down { diagonal + 1 } else { diagonal - 1 };
        let (from_x, from_y) =
            if count == 0 { (0, 0) } else { (reached(previous), reached(previous) - previous) };
        while x > from_x && y > from_y {
            (x, y) = (x - 1, y - 1);
            edits.push(Edit::Same(old[x as usize]));
        }
        if count > 0 {
            edits.push(if down { Edit::New(new[from_y as usize]) } else { Edit::Gone(old[from_x as usize]) });
            (x, y) = (from_x, from_y);
        }
    }
    edits.reverse();
    edits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hunks_have_three_lines_around_what_differs() {
        let old: Vec<String> = (1..=20).map(|number| format!("{number}\n")).collect();
        let mut new = old.clone();
        new[9] = "ten\n".to_owned();
        let (old, new) = (old.iter().map(String::as_str).collect(), new.iter().map(String::as_str).collect());
        let (old, new): (Vec<&str>, Vec<&str>) = (old, new);
        let shown = unified(&old, &new);
        assert_eq!(shown, ["@@ -7 +7 @@", " 7", " 8", " 9", "-10", "+ten", " 11", " 12", " 13"]);
        assert!(unified(&old, &old).is_empty());
    }

    #[test]
    fn a_last_line_without_an_end_is_another_line() {
        let shown = unified(&lines("a\nb"), &lines("a\nb\n"));
        assert_eq!(shown, ["@@ -1 +1 @@", " a", "-b\n\\ No newline at end of file", "+b"]);
        assert_eq!(unified(&lines(""), &lines("x\n")), ["@@ -1 +1 @@", "+x"]);
    }

    proptest! {
        #[test]
        fn an_edit_leads_from_one_text_to_the_other(old in "[abc\n]{0,60}", new in "[abc\n]{0,60}") {
            let (before, after) = (lines(&old), lines(&new));
            let edits = edits(&before, &after);
            let side = |skip_new: bool| -> String {
                edits.iter().filter_map(|edit| match edit {
                    Edit::Same(line) => Some(*line),
                    Edit::Gone(line) => skip_new.then_some(*line),
                    Edit::New(line) => (!skip_new).then_some(*line),
                }).collect()
            };
            prop_assert_eq!(side(true), old.clone());
            prop_assert_eq!(side(false), new.clone());
        }
    }
}
