//! Text becomes a [`Script`]. Hostile text ends in an error: nesting and length are bounded.

use std::cell::OnceCell;
use std::rc::Rc;

use super::ast::{AndOr, Command, Join, Kind, List, Part, Pipeline, Redirect, Target, Word};

/// Deepest nesting of commands and words.
const DEPTH_MAX: usize = 40;
/// Longest script, in bytes.
const SCRIPT_BYTES_MAX: usize = 1 << 20;

/// Words that end a list.
const CLOSERS: [&str; 8] = ["then", "else", "elif", "fi", "do", "done", "esac", "}"];

/// Says in which line a script stops being readable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// From 1 on.
    pub line: usize,
    pub problem: String,
}

pub(super) type Result<T> = std::result::Result<T, ParseError>;

/// Reads a whole script.
pub(super) fn parse(text: &str) -> Result<List> {
    let mut parser = Parser::new(text, 1, 0);
    if text.len() > SCRIPT_BYTES_MAX {
        return Err(parser.error(format!("a script has at most {SCRIPT_BYTES_MAX} bytes")));
    }
    let list = parser.list()?;
    parser.take_here_documents()?;
    match parser.peek() {
        None => Ok(list),
        Some(character) => Err(parser.error(format!("{character:?} is not expected here"))),
    }
}

pub(super) struct Parser<'t> {
    pub text: &'t str,
    pub at: usize,
    pub line: usize,
    pub depth: usize,
    /// Here-documents whose text begins with the next line.
    waiting: Vec<Waiting>,
}

/// A here-document that was announced.
struct Waiting {
    text: Rc<OnceCell<Word>>,
    end: String,
    is_quoted: bool,
    cuts_tabs: bool,
}

impl<'t> Parser<'t> {
    pub fn new(text: &'t str, line: usize, depth: usize) -> Self {
        Parser { text, at: 0, line, depth, waiting: Vec::new() }
    }

    pub fn error(&self, problem: impl Into<String>) -> ParseError {
        ParseError { line: self.line, problem: problem.into() }
    }

    pub fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    pub fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    pub fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        if character == '\n' {
            self.line += 1;
        }
        Some(character)
    }

    pub fn eat(&mut self, text: &str) -> bool {
        let is_there = self.rest().starts_with(text);
        if is_there {
            self.at += text.len();
        }
        is_there
    }

    /// Enters a nested construct.
    pub fn enter<T>(&mut self, inside: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == DEPTH_MAX {
            return Err(self.error(format!("commands nest deeper than {DEPTH_MAX}")));
        }
        self.depth += 1;
        let result = inside(self);
        self.depth -= 1;
        result
    }

    /// Skips blanks, continued lines and a remark.
    fn blanks(&mut self) {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\r') => drop(self.next()),
                Some('\\') if self.rest().starts_with("\\\n") => {
                    self.next();
                    self.next();
                }
                Some('#') => {
                    while self.peek().is_some_and(|character| character != '\n') {
                        self.next();
                    }
                }
                _ => return,
            }
        }
    }

    /// Skips what parts commands of a list: newlines, blanks, remarks.
    fn newlines(&mut self) -> Result<()> {
        loop {
            self.blanks();
            if self.peek() != Some('\n') {
                return Ok(());
            }
            self.next();
            self.take_here_documents()?;
        }
    }

    /// Reads commands up to a word or character that ends a list; leaves it.
    pub fn list(&mut self) -> Result<List> {
        self.enter(|parser| {
            let mut list = Vec::new();
            loop {
                parser.newlines()?;
                if parser.is_closed() {
                    return Ok(list);
                }
                let mut command = parser.and_or()?;
                parser.blanks();
                match parser.peek() {
                    Some(';') if !parser.rest().starts_with(";;") => drop(parser.next()),
                    Some('&') if !parser.rest().starts_with("&&") => {
                        parser.next();
                        command.background = true;
                    }
                    _ => {}
                }
                list.push(command);
            }
        })
    }

    fn is_closed(&self) -> bool {
        match self.peek() {
            None | Some(')') => true,
            Some(';') => self.rest().starts_with(";;"),
            _ => CLOSERS.contains(&self.peek_name()),
        }
    }

    /// Returns the characters up to the next one that ends a word.
    fn peek_name(&self) -> &'t str {
        let rest = self.rest();
        &rest[..rest.find([' ', '\t', '\n', '\r', ';', '&', '|', '(', ')', '<', '>']).unwrap_or(rest.len())]
    }

    fn and_or(&mut self) -> Result<AndOr> {
        let first = self.pipeline()?;
        let mut rest = Vec::new();
        loop {
            self.blanks();
            let join = match () {
                () if self.eat("&&") => Join::And,
                () if self.eat("||") => Join::Or,
                () => return Ok(AndOr { first, rest, background: false }),
            };
            self.newlines()?;
            rest.push((join, self.pipeline()?));
        }
    }

    fn pipeline(&mut self) -> Result<Pipeline> {
        self.blanks();
        let mut negated = false;
        while self.peek_name() == "!" {
            self.eat("!");
            negated = !negated;
            self.blanks();
        }
        let mut commands = vec![self.command()?];
        loop {
            self.blanks();
            if self.peek() != Some('|') || self.rest().starts_with("||") {
                return Ok(Pipeline { negated, commands });
            }
            self.next();
            self.newlines()?;
            commands.push(self.command()?);
        }
    }

    fn command(&mut self) -> Result<Command> {
        self.blanks();
        let line = self.line;
        let name = self.peek_name();
        let kind = match name {
            "if" => self.enter(Self::if_command)?,
            "case" => self.enter(Self::case_command)?,
            "for" => self.enter(Self::for_command)?,
            "while" | "until" => self.enter(Self::while_command)?,
            "{" => {
                self.eat("{");
                let list = self.list()?;
                self.expect("}")?;
                Kind::Group(list)
            }
            "[[" | "select" | "time" | "function" => {
                return Err(self.error(format!("{name} is no part of the shell language that is read")));
            }
            _ if CLOSERS.contains(&name) => return Err(self.error(format!("{name} is not expected here"))),
            _ if self.eat("(") => {
                let list = self.list()?;
                self.expect(")")?;
                Kind::Subshell(list)
            }
            _ => return self.simple(line),
        };
        let redirects = self.redirects()?;
        Ok(Command { line, kind, redirects })
    }

    fn redirects(&mut self) -> Result<Vec<Redirect>> {
        let mut redirects = Vec::new();
        loop {
            self.blanks();
            match self.redirect()? {
                Some(redirect) => redirects.push(redirect),
                None => return Ok(redirects),
            }
        }
    }

    /// Takes a word or character that must come next.
    fn expect(&mut self, what: &str) -> Result<()> {
        self.newlines()?;
        let is_word = what.chars().all(|character| character.is_ascii_alphabetic());
        if (is_word && self.peek_name() != what) || !self.eat(what) {
            let found = self.peek().map_or("the end".to_owned(), |_| format!("{:?}", self.peek_name()));
            return Err(self.error(format!("expected {what:?}, found {found}")));
        }
        Ok(())
    }

    fn if_command(&mut self) -> Result<Kind> {
        self.expect("if")?;
        let mut branches = Vec::new();
        let mut otherwise = Vec::new();
        loop {
            let condition = self.list()?;
            self.expect("then")?;
            branches.push((condition, self.list()?));
            match self.peek_name() {
                "elif" => self.expect("elif")?,
                "else" => {
                    self.expect("else")?;
                    otherwise = self.list()?;
                    break;
                }
                _ => break,
            }
        }
        self.expect("fi")?;
        Ok(Kind::If { branches, otherwise })
    }

    fn case_command(&mut self) -> Result<Kind> {
        self.expect("case")?;
        self.blanks();
        let word = self.word()?.ok_or_else(|| self.error("case without a word"))?;
        self.expect("in")?;
        let mut arms = Vec::new();
        loop {
            self.newlines()?;
            if self.peek_name() == "esac" {
                break;
            }
            self.eat("(");
            let mut patterns = Vec::new();
            loop {
                self.blanks();
                patterns.push(self.word()?.ok_or_else(|| self.error("an arm of case without a pattern"))?);
                self.blanks();
                if !self.eat("|") {
                    break;
                }
            }
            self.expect(")")?;
            arms.push((patterns, self.list()?));
            self.newlines()?;
            if !self.eat(";;") {
                break;
            }
        }
        self.expect("esac")?;
        Ok(Kind::Case { word, arms })
    }

    fn for_command(&mut self) -> Result<Kind> {
        self.expect("for")?;
        self.blanks();
        let name = self.word()?.and_then(|word| word.plain().map(str::to_owned));
        let name = name.ok_or_else(|| self.error("for without a name"))?;
        self.newlines()?;
        let mut words = None;
        if self.peek_name() == "in" {
            self.expect("in")?;
            let mut listed = Vec::new();
            loop {
                self.blanks();
                match self.word()? {
                    Some(word) => listed.push(word),
                    None => break,
                }
            }
            words = Some(listed);
        }
        self.blanks();
        self.eat(";");
        self.expect("do")?;
        let body = self.list()?;
        self.expect("done")?;
        Ok(Kind::For { name, words, body })
    }

    fn while_command(&mut self) -> Result<Kind> {
        let until = self.peek_name() == "until";
        self.expect(if until { "until" } else { "while" })?;
        let condition = self.list()?;
        self.expect("do")?;
        let body = self.list()?;
        self.expect("done")?;
        Ok(Kind::While { until, condition, body })
    }

    /// Reads a simple command, or the definition of a function.
    fn simple(&mut self, line: usize) -> Result<Command> {
        let (mut assignments, mut words) = (Vec::new(), Vec::<Word>::new());
        let mut redirects = Vec::new();
        loop {
            self.blanks();
            if let Some(redirect) = self.redirect()? {
                redirects.push(redirect);
                continue;
            }
            if self.peek() == Some('(') && words.len() == 1 && assignments.is_empty() {
                let name = words[0].plain().map(str::to_owned);
                let name = name.ok_or_else(|| self.error("a function without a name"))?;
                return self.enter(|parser| parser.function(line, name));
            }
            let Some(word) = self.word()? else { break };
            match word.assignment() {
                Some(assignment) if words.is_empty() => assignments.push(assignment),
                _ => words.push(word),
            }
        }
        if words.is_empty() && assignments.is_empty() && redirects.is_empty() {
            let found = self.peek().map_or("the end".to_owned(), |character| format!("{character:?}"));
            return Err(self.error(format!("expected a command, found {found}")));
        }
        Ok(Command { line, kind: Kind::Simple { assignments, words }, redirects })
    }

    fn function(&mut self, line: usize, name: String) -> Result<Command> {
        self.expect("(")?;
        self.expect(")")?;
        self.newlines()?;
        let body = Rc::new(self.command()?);
        Ok(Command { line, kind: Kind::Function { name, body }, redirects: Vec::new() })
    }

    fn redirect(&mut self) -> Result<Option<Redirect>> {
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let behind = &self.rest()[digits..];
        if digits > 2 || !behind.starts_with(['<', '>']) {
            return Ok(None);
        }
        let number: Option<u32> = self.rest()[..digits].parse().ok();
        self.at += digits;
        let operator = ["<<-", "<<", "<&", "<>", "<", ">>", ">&", ">|", ">"];
        let operator = operator.into_iter().find(|operator| self.eat(operator)).unwrap_or(">");
        self.blanks();
        let word = self.word()?.ok_or_else(|| self.error(format!("{operator} without a target")))?;
        let target = match operator {
            "<<" | "<<-" => Target::Here(self.here_document(&word, operator == "<<-")),
            "<&" | ">&" => Target::Same,
            "<" | "<>" => Target::Input(word),
            ">>" => Target::Append(word),
            _ => Target::Output(word),
        };
        let file = number.unwrap_or(u32::from(!operator.starts_with('<')));
        Ok(Some(Redirect { file, target }))
    }

    fn here_document(&mut self, end: &Word, cuts_tabs: bool) -> Rc<OnceCell<Word>> {
        let is_quoted = end.parts.iter().any(|part| matches!(part, Part::Text { quoted: true, .. }));
        let text = end.parts.iter().map(|part| match part {
            Part::Text { text, .. } => text.as_str(),
            _ => "",
        });
        let cell = Rc::new(OnceCell::new());
        self.waiting.push(Waiting { text: cell.clone(), end: text.collect(), is_quoted, cuts_tabs });
        cell
    }

    /// Takes the texts of here-documents, which begin with this line.
    pub fn take_here_documents(&mut self) -> Result<()> {
        for waiting in std::mem::take(&mut self.waiting) {
            let first = self.line;
            let mut text = String::new();
            loop {
                if self.rest().is_empty() {
                    let end = waiting.end;
                    return Err(self.error(format!("a here-document has no line {end:?} at its end")));
                }
                let line = self.rest().split('\n').next().unwrap_or_default();
                self.at = (self.at + line.len() + 1).min(self.text.len());
                self.line += 1;
                let line = if waiting.cuts_tabs { line.trim_start_matches('\t') } else { line };
                if line == waiting.end {
                    break;
                }
                text.push_str(line);
                text.push('\n');
            }
            let word = match waiting.is_quoted {
                true => Word { parts: vec![Part::Text { text, quoted: true }] },
                false => Parser::new(&text, first, self.depth).here_text()?,
            };
            waiting.text.set(word).expect("because each here-document waits once");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maintainer_scripts_parse() {
        let text = "#!/bin/sh\nset -e\nf() {\n\tlocal x=\"$1\"; shift\n\t[ -e \"${x%.gz}\" ] || return 0\n}\n\
                    if [ \"$1\" = configure ] && ! test -d /x; then\n  f a `echo b` $(dirname \"$2\") \\\n   c >/dev/null 2>&1 || true\nelif a | b; then :\nelse\n\tcat <<-EOF > /etc/x\n\tText $1\n\tEOF\nfi\n\
                    case \"$1\" in\n (configure|abort-*) a;;\n  *) b\nesac\nfor f in a b; do echo $f; done\n( cd / ; x ) &\nwhile read l; do :; done < /etc/x\nexit 0";
        assert_eq!(parse(text).expect("parsed").len(), 8);
    }

    #[test]
    fn what_is_malformed_or_bottomless_is_an_error() {
        for (text, line) in [
            ("if x; then\n", 2),
            ("fi", 1),
            ("a\ncase x in\n", 3),
            ("echo \"a", 1),
            ("echo $(a", 1),
            ("[[ a ]]", 1),
            ("cat <<E\nx\n", 3),
            ("a ||", 1),
            ("x )", 1),
            ("a | | b", 1),
        ] {
            assert_eq!(parse(text).expect_err(text).line, line, "{text}");
        }
        for open in ["(", "{ ", "$(", "if ", "`", "\"$(", "${a:-", "! (", "x() ", "$((", "case a in a) "] {
            assert!(parse(&open.repeat(20_001)).is_err(), "{open}");
        }
    }
}
