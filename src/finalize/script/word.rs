//! Words of a script: quotes, parameters, substituted commands.

use std::rc::Rc;

use super::ast::{Operator, Part, Word};
use super::parse::{Parser, Result};

/// Characters that end a word outside of quotes.
const ENDS: [char; 10] = [' ', '\t', '\n', '\r', ';', '&', '|', '<', '>', ')'];

impl Word {
    /// Splits `name=value`, as an assignment before a command is.
    pub fn assignment(&self) -> Option<(String, Word)> {
        let Some(Part::Text { text, quoted: false }) = self.parts.first() else { return None };
        let (name, value) = text.split_once('=')?;
        if !is_name(name) {
            return None;
        }
        let mut parts = self.parts.clone();
        parts[0] = Part::Text { text: value.to_owned(), quoted: false };
        Some((name.to_owned(), Word { parts }))
    }
}

/// Tells whether a text may name a variable.
pub(super) fn is_name(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !text.is_empty() && !text.as_bytes()[0].is_ascii_digit() && text.bytes().all(is_part)
}

impl Parser<'_> {
    /// Reads a word; `None` where none begins.
    pub fn word(&mut self) -> Result<Option<Word>> {
        let mut word = Word::default();
        while let Some(character) = self.peek() {
            match character {
                '(' => break,
                _ if ENDS.contains(&character) => break,
                '\\' if self.rest().starts_with("\\\n") => {
                    self.next();
                    self.next();
                }
                _ => self.piece(&mut word, false)?,
            }
        }
        Ok((!word.parts.is_empty()).then_some(word))
    }

    /// Reads the next piece of a word: one character, a quoted text, an expansion.
    fn piece(&mut self, word: &mut Word, quoted: bool) -> Result<()> {
        match self.next() {
            Some('\\') => match self.next() {
                Some('\n') => {}
                Some(next) if !quoted || ['$', '`', '"', '\\'].contains(&next) => word.push_text(next, true),
                Some(next) => {
                    word.push_text('\\', true);
                    word.push_text(next, true);
                }
                None => word.push_text('\\', true),
            },
            Some('\'') if !quoted => self.single_quoted(word)?,
            Some('"') if !quoted => self.double_quoted(word)?,
            Some('$') => self.dollar(word, quoted)?,
            Some('`') => self.backquoted(word, quoted)?,
            Some(character) => word.push_text(character, quoted),
            None => {}
        }
        Ok(())
    }

    fn single_quoted(&mut self, word: &mut Word) -> Result<()> {
        let Some(length) = self.rest().find('\'') else {
            return Err(self.error("a quote is not closed"));
        };
        let text = self.rest()[..length].to_owned();
        self.line += text.matches('\n').count();
        self.at += length + 1;
        word.parts.push(Part::Text { text, quoted: true });
        Ok(())
    }

    fn double_quoted(&mut self, word: &mut Word) -> Result<()> {
        word.parts.push(Part::Text { text: String::new(), quoted: true });
        loop {
            match self.peek() {
                None => return Err(self.error("a quote is not closed")),
                Some('"') => {
                    self.next();
                    return Ok(());
                }
                Some(_) => self.piece(word, true)?,
            }
        }
    }

    /// Reads the text of a here-document, to its end: as if in double quotes.
    pub fn here_text(mut self) -> Result<Word> {
        let mut word = Word::default();
        while self.peek().is_some() {
            self.piece(&mut word, true)?;
        }
        Ok(word)
    }

    fn dollar(&mut self, word: &mut Word, quoted: bool) -> Result<()> {
        let part = match self.peek() {
            Some('(') if self.rest().starts_with("((") => self.arithmetic(quoted)?,
            Some('(') => {
                self.next();
                let list = Rc::new(self.list()?);
                if !self.eat(")") {
                    return Err(self.error("$( is not closed"));
                }
                Part::Command { list, quoted }
            }
            Some('{') => self.enter(|parser| parser.braces(quoted))?,
            Some(character) if character.is_ascii_digit() || "@*#?$!-".contains(character) => {
                self.next();
                Part::Parameter { name: character.into(), operation: None, quoted }
            }
            _ => match self.name() {
                Some(name) => Part::Parameter { name, operation: None, quoted },
                None => {
                    word.push_text('$', quoted);
                    return Ok(());
                }
            },
        };
        word.parts.push(part);
        Ok(())
    }

    fn name(&mut self) -> Option<String> {
        let rest = self.rest();
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let name = &rest[..rest.bytes().take_while(is_part).count()];
        is_name(name).then(|| {
            self.at += name.len();
            name.to_owned()
        })
    }

    /// Skips `$((…))`.
    fn arithmetic(&mut self, quoted: bool) -> Result<Part> {
        let mut open = 0usize;
        loop {
            match self.next() {
                Some('(') => open += 1,
                Some(')') if open == 1 => return Ok(Part::Opaque { quoted }),
                Some(')') => open -= 1,
                Some(_) => {}
                None => return Err(self.error("$(( is not closed")),
            }
        }
    }

    fn braces(&mut self, quoted: bool) -> Result<Part> {
        self.next();
        let is_length = self.rest().starts_with('#') && !self.rest().starts_with("#}");
        if is_length {
            self.next();
        }
        let name = match self.name() {
            Some(name) => name,
            None => {
                let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
                let length = if digits == 0 { self.peek().map_or(0, char::len_utf8) } else { digits };
                let name = self.rest()[..length].to_owned();
                self.at += length;
                name
            }
        };
        if self.eat("}") {
            let operation = is_length.then(|| Box::new((Operator::Length, Word::default())));
            return Ok(Part::Parameter { name, operation, quoted });
        }
        let operator = self.operator();
        let mut word = Word::default();
        loop {
            match self.peek() {
                None => return Err(self.error("${ is not closed")),
                Some('}') => {
                    self.next();
                    break;
                }
                Some('"') => {
                    self.next();
                    self.double_quoted(&mut word)?;
                }
                Some(_) => self.piece(&mut word, quoted)?,
            }
        }
        Ok(match operator {
            Some(operator) => Part::Parameter { name, operation: Some(Box::new((operator, word))), quoted },
            None => Part::Opaque { quoted },
        })
    }

    fn operator(&mut self) -> Option<Operator> {
        let empty = self.eat(":");
        match () {
            () if self.eat("-") => Some(Operator::Default { empty }),
            () if self.eat("=") => Some(Operator::Assign { empty }),
            () if self.eat("+") => Some(Operator::Alternate { empty }),
            () if self.eat("?") => Some(Operator::Fail { empty }),
            () if empty => None,
            () if self.eat("##") => Some(Operator::CutFront { longest: true }),
            () if self.eat("#") => Some(Operator::CutFront { longest: false }),
            () if self.eat("%%") => Some(Operator::CutBack { longest: true }),
            () if self.eat("%") => Some(Operator::CutBack { longest: false }),
            () => None,
        }
    }

    /// Reads `` `…` ``, in which a backslash hides a backslash, a dollar and a backquote.
    fn backquoted(&mut self, word: &mut Word, quoted: bool) -> Result<()> {
        let first = self.line;
        let mut text = String::new();
        loop {
            match self.next() {
                None => return Err(self.error("a backquote is not closed")),
                Some('`') => break,
                Some('\\') if self.rest().starts_with(['\\', '$', '`']) => text.extend(self.next()),
                Some('\\') if quoted && self.rest().starts_with('"') => text.extend(self.next()),
                Some(character) => text.push(character),
            }
        }
        let list = self.enter(|parser| {
            let mut inner = Parser::new(&text, first, parser.depth);
            let list = inner.list()?;
            inner.take_here_documents()?;
            match inner.peek() {
                None => Ok(list),
                Some(character) => Err(inner.error(format!("{character:?} is not expected here"))),
            }
        })?;
        word.parts.push(Part::Command { list: Rc::new(list), quoted });
        Ok(())
    }
}
