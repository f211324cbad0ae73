//! Diagnostics as text.

use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::diagnostics::{Diagnostics, Problem, Severity};
use super::source::{Source, Sources, Span};

/// Longest excerpt that is shown as it is; a longer line is cut around the place.
const EXCERPT_BYTES_MAX: usize = 400;
/// Bytes that are kept on either side of a place in a line that is cut.
const EXCERPT_SIDE_BYTES: usize = 60;

pub(super) fn render(diagnostics: &Diagnostics, colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut text = String::new();
    for problem in &diagnostics.problems {
        text.push_str(&renderer.render(&[group(problem, &diagnostics.sources)]));
        text.push_str("\n\n");
    }
    if diagnostics.dropped > 0 {
        text.push_str(&format!("and {} more\n\n", diagnostics.dropped));
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn group<'a>(problem: &'a Problem, sources: &'a Sources) -> Group<'a> {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(problem.message.as_str()));
    group = excerpt(group, sources, problem.span, problem.expected.as_deref(), AnnotationKind::Primary);
    for (span, text) in &problem.related {
        group = excerpt(group, sources, *span, Some(text), AnnotationKind::Context);
    }
    match &problem.hint {
        Some(hint) => group.element(Level::HELP.message(hint.as_str())),
        None => group,
    }
}

fn excerpt<'a>(
    group: Group<'a>,
    sources: &'a Sources,
    span: Span,
    label: Option<&'a str>,
    kind: AnnotationKind,
) -> Group<'a> {
    let source = &sources.files[span.file];
    let (line, column) = source.place(span.start);
    let (shown, within) = window(source, span);
    let annotation = kind.span(within).label(label);
    let snippet: Snippet<'a, Annotation<'a>> =
        Snippet::source(&source.text[shown.clone()]).line_start(line).fold(false).annotation(annotation);
    let whole_line = shown.start == 0 || source.text.as_bytes()[shown.start - 1] == b'\n';
    if whole_line {
        return group.element(snippet.path(source.name.as_str()));
    }
    group.element(Origin::path(source.name.as_str()).line(line).char_column(column)).element(snippet)
}

/// Returns the bytes to show, and the place of the span among them. A span over several lines is marked on
/// its first line only.
fn window(source: &Source, span: Span) -> (Range<usize>, Range<usize>) {
    let text = &source.text;
    let start = boundary(text, span.start);
    let line = source.lines_around(start, start);
    let end = boundary(text, span.end).clamp(start, line.end.max(start));
    let (mut from, mut until) = (line.start, line.end);
    if until - from > EXCERPT_BYTES_MAX {
        from = boundary(text, start.saturating_sub(EXCERPT_SIDE_BYTES).max(from));
        until = boundary(text, (start + 2 * EXCERPT_SIDE_BYTES).min(until));
    }
    (from..until, start - from..end.min(until).max(start) - from)
}

fn boundary(text: &str, offset: usize) -> usize {
    (0..=offset.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}
