//! Strings and heredocs, with interpolations.

use nom::Parser;
use nom::bytes::complete::tag;
use nom::character::complete::{char, newline};
use nom::combinator::opt;

use super::super::ast::{Expression, Kind, Piece};
use super::super::diagnostics::{Code, Problem};
use super::fault::{Fault, Parsed};
use super::trivia::{name, spaces};
use super::{Grammar, recover};

/// Collects the parts of a string; neighbouring literals become one.
#[derive(Default)]
struct Pieces(Vec<Piece>);

impl Pieces {
    fn push(&mut self, text: &str) {
        match self.0.last_mut() {
            Some(Piece::Literal(last)) => last.push_str(text),
            _ => self.0.push(Piece::Literal(text.to_owned())),
        }
    }

    /// A string without interpolations is plain text.
    fn into_kind(mut self) -> Kind {
        match self.0.as_mut_slice() {
            [] => Kind::Text(String::new()),
            [Piece::Literal(text)] => Kind::Text(std::mem::take(text)),
            _ => Kind::Template(self.0),
        }
    }
}

/// One line of a heredoc, with its line end.
struct Line<'a> {
    start: &'a str,
    end: &'a str,
    pieces: Pieces,
}

impl<'a> Grammar<'a> {
    /// `"…"`, on one line.
    pub(super) fn quoted(&self, input: &'a str) -> Parsed<'a, Expression> {
        let (mut rest, _) = char('"').parse(input)?;
        let mut pieces = Pieces::default();
        loop {
            match rest.chars().next() {
                Some('"') => break,
                None | Some('\n') => return Err(self.open_string(input)),
                Some('\\') => rest = self.escape(rest, &mut pieces)?.0,
                _ => rest = self.template_piece(rest, &mut pieces, &['"', '\\', '\n'])?.0,
            }
        }
        let rest = &rest[1..];
        Ok((rest, Expression { kind: pieces.into_kind(), span: self.span(input, rest) }))
    }

    /// A string without interpolation, for labels.
    pub(super) fn literal_string(&self, input: &'a str) -> Parsed<'a, String> {
        let (rest, string) = self.quoted(input)?;
        match string.kind {
            Kind::Text(text) => Ok((rest, text)),
            _ => {
                let what = "interpolation in labels";
                Err(self.not_offered(
                    input,
                    what,
                    "labels are plain strings, so that a block can be found by them",
                ))
            }
        }
    }

    fn open_string(&self, input: &'a str) -> nom::Err<Fault> {
        let problem =
            Problem::new(Code::Unclosed, self.ahead(input, 1), "this string has no end on its line");
        let hint = "close it with `\"`; text over several lines is written as a heredoc: `<<EOT`";
        Fault::cut(problem.expected("expected `\"` before the end of the line").hint(hint))
    }

    /// `\n`, `\r`, `\t`, `\"`, `\\`, `\uNNNN`, `\UNNNNNNNN`. Another one is reported, and reading goes on.
    fn escape(&self, input: &'a str, pieces: &mut Pieces) -> Parsed<'a, ()> {
        let (rest, _) = char('\\').parse(input)?;
        let known = match rest.chars().next() {
            Some('n') => Some(('\n', 1)),
            Some('r') => Some(('\r', 1)),
            Some('t') => Some(('\t', 1)),
            Some('"') => Some(('"', 1)),
            Some('\\') => Some(('\\', 1)),
            Some('u') => code_point(rest, 4),
            Some('U') => code_point(rest, 8),
            _ => None,
        };
        if let Some((character, length)) = known {
            pieces.push(character.encode_utf8(&mut [0; 4]));
            return Ok((&rest[length..], ()));
        }
        let length = rest.chars().next().filter(|c| *c != '\n').map_or(0, char::len_utf8);
        let shown = &input[..1 + length];
        let message = format!("`{shown}` is no escape");
        let hint = "escapes are `\\n`, `\\r`, `\\t`, `\\\"`, `\\\\`, `\\uNNNN` and `\\UNNNNNNNN`; a backslash is `\\\\`";
        self.problems
            .report(Problem::new(Code::BadEscape, self.ahead(input, 1 + length), message).hint(hint));
        Ok((&rest[length..], ()))
    }

    /// `$${`, `%%{`, `${ … }`, or literal text up to one of these or a stop character.
    fn template_piece(&self, input: &'a str, pieces: &mut Pieces, stops: &[char]) -> Parsed<'a, ()> {
        if input.starts_with("$$${") || input.starts_with("%%%{") {
            let hint = "HCL parsers differ here: write the first one as `${\"$\"}` or `${\"%\"}`";
            return Err(self.not_offered(input, "three such signs before a brace", hint));
        }
        for (marker, text) in [("$${", "${"), ("%%{", "%{")] {
            if let Some(rest) = input.strip_prefix(marker) {
                pieces.push(text);
                return Ok((rest, ()));
            }
        }
        if input.starts_with("${") {
            let (rest, value) = self.nested(input, |input| self.interpolation(input))?;
            pieces.0.push(Piece::Interpolation(value));
            return Ok((rest, ()));
        }
        if input.starts_with("%{") {
            return Err(self.not_offered(input, "template directives", "a literal `%{` is written `%%{`"));
        }
        let markers = ["${", "%{", "$${", "%%{", "$$${", "%%%{"];
        let ends =
            |at: usize, c: char| stops.contains(&c) || markers.iter().any(|m| input[at..].starts_with(m));
        let length =
            input.char_indices().skip(1).find(|(at, c)| ends(*at, *c)).map_or(input.len(), |(at, _)| at);
        pieces.push(&input[..length]);
        Ok((&input[length..], ()))
    }

    /// `${ value }`
    fn interpolation(&self, input: &'a str) -> Parsed<'a, Expression> {
        let (rest, _) = tag("${").parse(input)?;
        if rest.starts_with('~') {
            return Err(self.not_offered(rest, "strip markers", "use `trimspace`"));
        }
        let (rest, ()) = self.blanks(rest)?;
        let (rest, value) = self.expression(rest)?;
        let (rest, ()) = self.blanks(rest)?;
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((rest, value));
        }
        if rest.starts_with('~') {
            return Err(self.not_offered(rest, "strip markers", "use `trimspace`"));
        }
        if rest.starts_with(['+', '*', '/', '%', '=', '!', '<', '>', '&', '|', '?', '.', '[', '-']) {
            let hint = "use a function instead, such as `format`, `join`, `concat` or `merge`";
            return Err(self.not_offered(rest, "operators", hint));
        }
        Err(self.unexpected(rest, "`}` at the end of `${…`", "a literal `${` is written `$${`"))
    }

    /// `<<EOT` or `<<-EOT`, lines, and the marker on a line of its own.
    pub(super) fn heredoc(&self, input: &'a str) -> Parsed<'a, Expression> {
        let (rest, _) = tag("<<").parse(input)?;
        let (rest, indented) = opt(char('-')).parse(rest)?;
        let (rest, marker) =
            name(rest).map_err(|_| self.unexpected(rest, "the end marker of a heredoc", "write `<<EOT`"))?;
        let (rest, _) = newline(rest).map_err(|_: nom::Err<Fault>| {
            self.unexpected(rest, "the end of the line", "the text of a heredoc starts on the next line")
        })?;
        if !self.ends(rest, marker) {
            return Err(self.open_heredoc(input, marker));
        }
        let (rest, mut lines) = self.heredoc_lines(input, rest, marker)?;
        if lines.is_empty() {
            return Err(self.not_offered(input, "heredocs without lines", "write `\"\"`"));
        }
        if indented.is_some() {
            self.strip_indentation(&mut lines);
        }
        let mut pieces = Pieces::default();
        for piece in lines.into_iter().flat_map(|line| line.pieces.0) {
            match piece {
                Piece::Literal(text) => pieces.push(&text),
                other => pieces.0.push(other),
            }
        }
        Ok((rest, Expression { kind: pieces.into_kind(), span: self.span(input, rest) }))
    }

    /// Tells whether the end marker follows. Where it does not, it does not further down either: remembered,
    /// so that many open heredocs cost one search.
    fn ends(&self, input: &'a str, marker: &'a str) -> bool {
        let mut endless = self.endless.borrow_mut();
        if endless.contains(marker) {
            return false;
        }
        let ends = recover::heredoc_rest(input, marker).is_some();
        if !ends {
            endless.insert(marker);
        }
        ends
    }

    fn open_heredoc(&self, open: &'a str, marker: &str) -> nom::Err<Fault> {
        let message = format!("this heredoc has no end: no line `{marker}` follows");
        let problem = Problem::new(Code::Unclosed, self.ahead(open, 2), message);
        Fault::cut(problem.hint(format!("put `{marker}` on a line of its own")))
    }

    fn heredoc_lines(&self, open: &'a str, input: &'a str, marker: &str) -> Parsed<'a, Vec<Line<'a>>> {
        let mut lines = Vec::new();
        let mut rest = input;
        loop {
            if let Some(after) = self.heredoc_end(rest, marker)? {
                return Ok((after, lines));
            }
            let start = rest;
            let mut pieces = Pieces::default();
            while !rest.is_empty() && !rest.starts_with('\n') {
                rest = self.template_piece(rest, &mut pieces, &['\n'])?.0;
            }
            let Ok((after, _)) = newline::<_, Fault>(rest) else {
                return Err(self.open_heredoc(open, marker));
            };
            pieces.push("\n");
            lines.push(Line { start, end: rest, pieces });
            rest = after;
        }
    }

    /// The line of the end marker: blanks, the marker, nothing else.
    fn heredoc_end(&self, line: &'a str, marker: &str) -> Result<Option<&'a str>, nom::Err<Fault>> {
        let text = spaces(line).map_or(line, |(rest, _)| rest);
        let Ok((rest, found)) = name(text) else { return Ok(None) };
        if found != marker || rest.chars().next().is_some_and(|c| c.is_alphanumeric()) {
            return Ok(None);
        }
        let after = spaces(rest).map_or(rest, |(rest, _)| rest);
        if after.is_empty() || after.starts_with('\n') {
            return Ok(Some(rest));
        }
        let hint = "choose another marker if this line belongs to the text";
        Err(self.unexpected(after, "the end of the line after the end marker", hint))
    }

    /// Removes what all lines that are not empty have in common before their first word. Where parsers
    /// differ (some lines without indentation, blank lines with less of it), that is a mistake.
    fn strip_indentation(&self, lines: &mut [Line<'a>]) {
        let text = |line: &Line<'a>| &line.start[..line.start.len() - line.end.len()];
        let indentation = |text: &str| text.chars().take_while(|c| c.is_whitespace()).count();
        let filled = lines.iter().filter(|line| !text(line).trim().is_empty());
        let Some(common) = filled.clone().map(|line| indentation(text(line))).min() else {
            let blank = lines.iter().find(|line| !text(line).is_empty());
            blank.into_iter().for_each(|line| self.uneven(line, "this blank line holds spaces"));
            return;
        };
        if common == 0 {
            let deeper = lines.iter().any(|line| indentation(text(line)) > 0);
            if let Some(line) = filled.clone().find(|line| indentation(text(line)) == 0).filter(|_| deeper) {
                self.uneven(line, "this line has no indentation, so that `<<-` would strip nothing");
            }
            return;
        }
        let short = |line: &&Line<'a>| !text(line).is_empty() && indentation(text(line)) < common;
        if let Some(line) = lines.iter().find(short) {
            self.uneven(line, "this blank line holds fewer spaces than the others are indented by");
        }
        for line in lines {
            if let Some(Piece::Literal(literal)) =
                line.pieces.0.first_mut().filter(|_| line.start.len() > line.end.len())
            {
                *literal = literal.chars().skip(common).collect();
            }
        }
    }

    fn uneven(&self, line: &Line<'a>, message: &str) {
        let problem = Problem::new(Code::HeredocIndentation, self.span(line.start, line.end), message);
        let hint =
            "indent all lines of the text alike and leave blank lines empty, or write `<<` without `-`";
        self.problems.report(problem.hint(hint));
    }
}

/// Reads `uNNNN`; returns the character and how many bytes it took.
fn code_point(input: &str, digits: usize) -> Option<(char, usize)> {
    let hexadecimal = input.get(1..1 + digits)?;
    if !hexadecimal.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let number = u32::from_str_radix(hexadecimal, 16).ok()?;
    char::from_u32(number).map(|character| (character, 1 + digits))
}
