//! Values: numbers, lists, objects, references, calls.

use nom::Parser;
use nom::character::complete::{char, digit1};
use nom::combinator::{opt, recognize};
use nom::sequence::pair;

use super::super::ast::{Expression, Kind, Word};
use super::super::diagnostics::{Code, Problem};
use super::Grammar;
use super::fault::{Fault, Parsed};
use super::trivia::{line_comment, name};

impl<'a> Grammar<'a> {
    /// Any value.
    pub(super) fn expression(&self, input: &'a str) -> Parsed<'a, Expression> {
        match input.chars().next() {
            Some('"') => self.quoted(input),
            Some('<') if input.starts_with("<<") => self.heredoc(input),
            Some('[') => self.nested(input, |input| self.list(input)),
            Some('{') => self.nested(input, |input| self.object(input)),
            Some(c) if c.is_ascii_digit() || c == '-' => self.number(input),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => self.reference(input),
            Some('(') => Err(self.not_offered(input, "parentheses around values", "remove them")),
            Some('!') => Err(self.not_offered(input, "operators", "write `true` or `false`")),
            Some('\'') => Err(self.unexpected(input, "a value", "strings are written in double quotes")),
            _ => {
                let hint = "a value is a \"string\", a number, true, false, [a list] or {an object}";
                Err(self.unexpected(input, "a value", hint))
            }
        }
    }

    fn made(&self, from: &'a str, to: &'a str, kind: Kind) -> Expression {
        Expression { kind, span: self.span(from, to) }
    }

    /// A whole number: `-` perhaps, digits without leading zeros.
    fn number(&self, input: &'a str) -> Parsed<'a, Expression> {
        let digits = recognize(pair(opt(char('-')), digit1)).parse(input);
        let (rest, text): (_, &str) = digits.map_err(|_: nom::Err<Fault>| {
            self.not_offered(input, "operators", "a minus stands directly before the digits of a number")
        })?;
        let tail = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let after = rest.trim_start_matches(tail);
        let whole = &input[..input.len() - after.len()];
        let digits = text.trim_start_matches('-');
        let hint = match rest.chars().next() {
            Some('.' | 'e' | 'E') => "fractions are not offered; where one is meant as text, quote it",
            Some(c) if tail(c) => "write it in quotes, as in \"64MiB\"",
            _ if digits.len() > 1 && digits.starts_with('0') => "modes are written in quotes, as in \"0644\"",
            _ => match text.parse() {
                Ok(number) => return Ok((rest, self.made(input, rest, Kind::Number(number)))),
                Err(_) => "numbers go from -9223372036854775808 to 9223372036854775807",
            },
        };
        let shown = &whole[..whole.len().min(40)];
        let problem =
            Problem::new(Code::BadNumber, self.span(input, after), format!("`{shown}` is no whole number"));
        Err(Fault::cut(problem.hint(hint)))
    }

    /// `true`, `false`, `var.NAME`, a call, or a bare word.
    fn reference(&self, input: &'a str) -> Parsed<'a, Expression> {
        let (rest, word) = name(input)?;
        match (word, rest.chars().next()) {
            (_, Some('(')) => {
                let function = self.word(input, rest);
                self.nested(rest, |rest| self.call(input, function, rest))
            }
            ("var", Some('.')) => self.variable(input, &rest[1..]),
            (_, Some('.')) => {
                let hint = "values of variables are written `var.NAME`";
                Err(self.not_offered(input, &format!("`{word}.…`"), hint))
            }
            ("true" | "false", _) => Ok((rest, self.made(input, rest, Kind::Bool(word == "true")))),
            ("null", _) => {
                Err(self.not_offered(input, "`null`", "leave the key out: then its default holds"))
            }
            _ => Ok((rest, self.made(input, rest, Kind::Word(word.to_owned())))),
        }
    }

    /// The name behind `var.`
    fn variable(&self, input: &'a str, rest: &'a str) -> Parsed<'a, Expression> {
        let (after, variable) =
            name(rest).map_err(|_| self.unexpected(rest, "the name of a variable", "write `var.NAME`"))?;
        if after.starts_with(['.', '[']) {
            let hint = "name a variable for each part";
            return Err(self.not_offered(after, "indexes and attributes of values", hint));
        }
        Ok((after, self.made(input, after, Kind::Variable(variable.to_owned()))))
    }

    /// `(argument, …)` behind the name of a function.
    fn call(&self, input: &'a str, function: Word, rest: &'a str) -> Parsed<'a, Expression> {
        let (after, arguments) = self.elements(rest, ')')?;
        Ok((after, self.made(input, after, Kind::Call { function, arguments })))
    }

    /// `[element, …]`
    fn list(&self, input: &'a str) -> Parsed<'a, Expression> {
        let (rest, elements) = self.elements(input, ']')?;
        Ok((rest, self.made(input, rest, Kind::List(elements))))
    }

    /// Values with commas between them, up to the closing bracket; a last comma is fine.
    fn elements(&self, input: &'a str, close: char) -> Parsed<'a, Vec<Expression>> {
        let mut elements = Vec::new();
        let (mut rest, ()) = self.gap(&input[1..])?;
        loop {
            if let Some(after) = rest.strip_prefix(close) {
                return Ok((after, elements));
            }
            self.no_for(rest)?;
            self.not_the_end(input, rest)?;
            let (after, element) = self.expression(rest)?;
            elements.push(element);
            let (after, ()) = self.gap(after)?;
            if let Some(after) = after.strip_prefix(',') {
                (rest, _) = self.gap(after)?;
            } else if after.starts_with(close) {
                rest = after;
            } else {
                self.not_the_end(input, after)?;
                return Err(self.between(after, &format!("`,` or `{close}`")));
            }
        }
    }

    /// Makes the mistake of something that is neither a comma nor the closing bracket.
    fn between(&self, input: &'a str, expected: &str) -> nom::Err<Fault> {
        if input.starts_with("...") {
            return self.not_offered(input, "expanded arguments", "join the lists with `concat`");
        }
        if input.starts_with(['+', '*', '/', '%', '=', '!', '<', '>', '&', '|', '?', '.', '-']) {
            let hint = "use a function instead, such as `format`, `join`, `concat` or `merge`";
            return self.not_offered(input, "operators", hint);
        }
        self.unexpected(input, expected, "elements are separated by commas")
    }

    /// `{ key = value … }`, with a new line or a comma behind each value but the last.
    fn object(&self, input: &'a str) -> Parsed<'a, Expression> {
        let mut members = Vec::new();
        let (mut rest, ()) = self.gap(&input[1..])?;
        loop {
            if let Some(after) = rest.strip_prefix('}') {
                return Ok((after, self.made(input, after, Kind::Object(members))));
            }
            self.no_for(rest)?;
            self.not_the_end(input, rest)?;
            let (after, member) = self.member(rest)?;
            members.push(member);
            (rest, _) = self.member_end(input, after)?;
        }
    }

    /// `key = value` or `key : value`
    fn member(&self, input: &'a str) -> Parsed<'a, (Expression, Expression)> {
        let (rest, key) = self.member_key(input)?;
        let (rest, ()) = self.blanks(rest)?;
        if !rest.starts_with(['=', ':']) || rest.starts_with("==") || rest.starts_with("::") {
            return Err(self.unexpected(rest, "`=` after the key", "write `KEY = VALUE`"));
        }
        let (rest, ()) = self.blanks(&rest[1..])?;
        let (rest, value) = self.expression(rest)?;
        Ok((rest, (key, value)))
    }

    fn member_key(&self, input: &'a str) -> Parsed<'a, Expression> {
        if input.starts_with('"') {
            return self.quoted(input);
        }
        let (rest, word) = name(input)
            .map_err(|_| self.unexpected(input, "a key", "a key is a name, or a string in quotes"))?;
        if matches!(word, "true" | "false" | "null" | "for") {
            return Err(self.unexpected(input, "a key", &format!("write it in quotes: \"{word}\"")));
        }
        Ok((rest, self.made(input, rest, Kind::Text(word.to_owned()))))
    }

    /// What separates two members: a comma or a new line; nothing before the closing brace.
    fn member_end(&self, open: &'a str, input: &'a str) -> Parsed<'a, ()> {
        let (rest, ()) = self.blanks(input)?;
        let (rest, _) = opt(line_comment).parse(rest)?;
        match rest.chars().next() {
            Some('}') => Ok((rest, ())),
            Some(',' | '\n') => self.gap(&rest[1..]),
            _ => {
                self.not_the_end(open, rest)?;
                Err(self.between(rest, "`,`, a new line or `}`"))
            }
        }
    }

    fn no_for(&self, input: &'a str) -> Result<(), nom::Err<Fault>> {
        match name(input) {
            Ok((_, "for")) => Err(self.not_offered(input, "`for`", "write the elements out")),
            _ => Ok(()),
        }
    }

    /// At the end of the text, the mistake is the bracket that is open.
    fn not_the_end(&self, open: &'a str, input: &'a str) -> Result<(), nom::Err<Fault>> {
        if !input.is_empty() {
            return Ok(());
        }
        let bracket = &open[..1];
        let message = format!("`{bracket}` is never closed");
        let hint = format!(
            "close it with `{}`",
            if bracket == "(" {
                ")"
            } else if bracket == "[" {
                "]"
            } else {
                "}"
            }
        );
        Err(Fault::cut(Problem::new(Code::Unclosed, self.ahead(open, 1), message).hint(hint)))
    }
}
