//! Bodies, attributes and blocks.

use nom::Parser;
use nom::character::complete::char;
use nom::combinator::opt;

use super::super::ast::{Attribute, Block, Body, Expression, Item, Kind, Word};
use super::super::diagnostics::{Code, Problem};
use super::fault::{Fault, Parsed};
use super::trivia::{line_comment, name};
use super::{Grammar, recover};

impl<'a> Grammar<'a> {
    /// A whole text: items up to its end.
    pub(super) fn document(&self, input: &'a str) -> Body {
        let mut body = Body::default();
        let mut rest = self.items(input, &mut body);
        while rest.starts_with('}') {
            let problem = Problem::new(Code::Unexpected, self.ahead(rest, 1), "this brace closes nothing");
            let hint = "remove it, or look above for a block that is closed too early";
            self.problems.report(problem.hint(hint));
            self.problems.tear();
            body.torn = true;
            rest = self.items(&rest[1..], &mut body);
        }
        body
    }

    /// A text that is one expression and nothing else.
    pub(super) fn lone_expression(&self, input: &'a str) -> Option<Expression> {
        let parse = || -> Parsed<'a, Expression> {
            let (rest, ()) = self.gap(input)?;
            let (rest, value) = self.expression(rest)?;
            let (rest, ()) = self.gap(rest)?;
            match rest {
                "" => Ok((rest, value)),
                _ => Err(self.unexpected(rest, "the end of the value", "a setting is one value")),
            }
        };
        parse().map_err(|fault| self.report(fault, input)).ok().map(|(_, value)| value)
    }

    /// Items up to a closing brace or the end of the text; never fails, mistakes are reported and skipped.
    fn items(&self, input: &'a str, body: &mut Body) -> &'a str {
        let mut rest = input;
        loop {
            match self.gap(rest) {
                Ok((next, ())) => rest = next,
                Err(fault) => {
                    self.report(fault, rest);
                    body.torn = true;
                    return "";
                }
            }
            if rest.is_empty() || rest.starts_with('}') {
                return rest;
            }
            if self.problems.full() {
                return "";
            }
            rest = self.item_or_recover(rest, body);
        }
    }

    fn item_or_recover(&self, input: &'a str, body: &mut Body) -> &'a str {
        let mut rest = input;
        let fault = match self.item(input) {
            Ok((after, mut item)) => {
                rest = after;
                let end = self.line_end(after);
                if let (Item::Attribute(attribute), Err(_)) = (&mut item, &end) {
                    attribute.value.kind = Kind::Broken;
                }
                body.items.push(item);
                match end {
                    Ok((next, ())) => return next,
                    Err(fault) => fault,
                }
            }
            Err(fault) => fault,
        };
        let at = self.report(fault, rest);
        body.torn = true;
        if let Some((after, block)) = self.torn_block(input, at) {
            body.items.push(Item::Block(block));
            return after;
        }
        if let Some(item) = self.torn_attribute(input, at).filter(|_| rest.len() == input.len()) {
            body.items.push(Item::Attribute(item));
        }
        if at.starts_with("<<") {
            return recover::behind_open_heredoc(at);
        }
        recover::next_item(input, at)
    }

    /// `name = …` or `name "label" { … }`
    fn item(&self, input: &'a str) -> Parsed<'a, Item> {
        let (rest, key) = self.item_name(input)?;
        let (rest, ()) = self.blanks(rest)?;
        match rest.chars().next() {
            Some('=') => self.attribute(key, rest).map(|(rest, found)| (rest, Item::Attribute(found))),
            Some('{' | '"') => self.block(key, rest).map(|(rest, found)| (rest, Item::Block(found))),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                self.block(key, rest).map(|(rest, found)| (rest, Item::Block(found)))
            }
            _ => {
                let hint = format!("write `{0} = VALUE` or `{0} \"LABEL\" {{`", key.text);
                Err(self.unexpected(rest, &format!("`=` or `{{` after `{}`", key.text), &hint))
            }
        }
    }

    fn item_name(&self, input: &'a str) -> Parsed<'a, Word> {
        let (rest, _) = name(input).map_err(|_| {
            let hint = match input.starts_with('"') {
                true => "keys are written without quotes",
                false => {
                    "names have letters from a to z, digits, `_` and `-`, and start with a letter or `_`"
                }
            };
            self.unexpected(input, "a key or the name of a block", hint)
        })?;
        Ok((rest, self.word(input, rest)))
    }

    /// `= expression`, behind the name.
    fn attribute(&self, name: Word, input: &'a str) -> Parsed<'a, Attribute> {
        let (rest, _) = char('=').parse(input)?;
        if rest.starts_with('=') {
            return Err(self.unexpected(rest, "a value", "one `=` is enough"));
        }
        let (rest, ()) = self.blanks(rest)?;
        let (rest, value) = self.expression(rest)?;
        Ok((rest, Attribute { name, value }))
    }

    /// `"label" { … }`, behind the name.
    fn block(&self, name: Word, input: &'a str) -> Parsed<'a, Block> {
        let (rest, labels) = self.labels(input)?;
        let end = labels.last().map_or(name.span, |label| label.span);
        let header = name.span.to(end);
        if !rest.starts_with('{') {
            let hint = match rest.starts_with('=') {
                true => "a key is one word".to_owned(),
                false => format!("a block is written `{} \"LABEL\" {{`", name.text),
            };
            return Err(self.unexpected(rest, "`{`", &hint));
        }
        let (rest, body) = self.nested(rest, |input| self.block_body(input, &name))?;
        Ok((rest, Block { name, labels, body, header, torn: false }))
    }

    /// Labels: strings without interpolation, or names.
    fn labels(&self, input: &'a str) -> Parsed<'a, Vec<Word>> {
        let mut labels = Vec::new();
        let mut rest = input;
        loop {
            if rest.starts_with('"') {
                let (after, text) = self.literal_string(rest)?;
                labels.push(Word { text, span: self.span(rest, after) });
                rest = after;
            } else if let Ok((after, _)) = name(rest) {
                labels.push(self.word(rest, after));
                rest = after;
            } else {
                return Ok((rest, labels));
            }
            (rest, _) = self.blanks(rest)?;
        }
    }

    /// `{ … }`: items on lines of their own, or at most one attribute on the same line.
    fn block_body(&self, input: &'a str, of: &Word) -> Parsed<'a, Body> {
        let (inner, _) = char('{').parse(input)?;
        let (after, ()) = self.blanks(inner)?;
        let (after_comment, _) = opt(line_comment).parse(after)?;
        if !after_comment.is_empty() && !after_comment.starts_with('\n') {
            return self.one_line_body(after);
        }
        let mut body = Body::default();
        let rest = self.items(after_comment, &mut body);
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((rest, body));
        }
        let message = format!("the block `{}` is never closed", of.text);
        let problem = Problem::new(Code::Unclosed, self.ahead(input, 1), message);
        self.problems.report(problem.expected("this brace").hint("close it with `}` on a line of its own"));
        self.problems.tear();
        body.torn = true;
        Ok((rest, body))
    }

    fn one_line_body(&self, input: &'a str) -> Parsed<'a, Body> {
        let mut body = Body::default();
        if let Some(rest) = input.strip_prefix('}') {
            return Ok((rest, body));
        }
        let (rest, item) = self.item(input)?;
        let (rest, ()) = self.blanks(rest)?;
        if matches!(item, Item::Block(_)) {
            let hint = "write the inner block on lines of its own";
            return Err(self.not_offered(input, "blocks in a block on one line", hint));
        }
        if !rest.starts_with('}') {
            return Err(self.unexpected(
                rest,
                "`}`",
                "a block on one line holds one key; use a line for each",
            ));
        }
        body.items.push(item);
        Ok((&rest[1..], body))
    }

    /// Records a fault; returns the rest of the text at its place.
    pub(super) fn report(&self, fault: nom::Err<Fault>, input: &'a str) -> &'a str {
        let problem = match fault {
            nom::Err::Error(Fault { problem: Some(problem) })
            | nom::Err::Failure(Fault { problem: Some(problem) }) => *problem,
            _ => self.unexpected_problem(input, "something else", "look at the line above"),
        };
        let at = &self.text[problem.span.start.min(self.text.len())..];
        self.problems.report(problem);
        self.problems.tear();
        at
    }

    /// After a mistake in a block's header that ends in `{`: reads the body, for the mistakes in it.
    fn torn_block(&self, input: &'a str, at: &'a str) -> Option<(&'a str, Block)> {
        let line = recover::code_of_line(input);
        let (after_name, _) = name(input).ok()?;
        let header = line.trim_end().strip_suffix('{')?;
        let broke_in_header = input.len() - at.len() <= header.len() && !header.contains('=');
        if !broke_in_header || self.depth.get() >= super::NESTING_MAX {
            return None;
        }
        let word = self.word(input, after_name);
        let (rest, body) = self.nested(&input[header.len()..], |open| self.block_body(open, &word)).ok()?;
        let rest = self.line_end(rest).map_or(rest, |(rest, ())| rest);
        let header = word.span;
        Some((rest, Block { name: word, labels: Vec::new(), body, header, torn: true }))
    }

    /// After a mistake in a value: keeps the key, so that it does not count as missing.
    fn torn_attribute(&self, input: &'a str, at: &'a str) -> Option<Attribute> {
        let (rest, _) = name(input).ok()?;
        let (value, ()) = self.blanks(rest).ok()?;
        value.strip_prefix('=')?;
        Some(Attribute { name: self.word(input, rest), value: self.broken(value, at) })
    }
}
