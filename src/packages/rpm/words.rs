//! Words and signs of a shell script.

use std::collections::VecDeque;

/// What a token is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Text, and whether something in it is left to the shell.
    Word(String, bool),
    /// `;`, newline, `&&`, `||`, and everything else that has a meaning.
    Sign(&'static str),
    /// What a here document feeds.
    Document(Vec<String>),
}

/// One token of a script.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    pub kind: Kind,
    /// From 1 on.
    pub line: usize,
}

/// Cuts a script into words and signs. Redirections to nowhere vanish.
pub fn lex(script: &str) -> VecDeque<Token> {
    let mut lexer = Lexer { rest: script, line: 1, tokens: VecDeque::new(), documents: Vec::new() };
    while lexer.step() {}
    lexer.tokens
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: VecDeque<Token>,
    /// Ends of here documents that start at the next line, and where their text belongs.
    documents: Vec<(String, usize)>,
}

const SIGNS: [&str; 13] = ["&&", "||", ";;", "$(", "(", ")", ";", "|", "&", "`", "{", "}", "!"];
const NOWHERE: [&str; 9] = [
    "&>/dev/null",
    "&> /dev/null",
    ">/dev/null",
    "> /dev/null",
    "1>/dev/null",
    "2>/dev/null",
    "2> /dev/null",
    "2>&1",
    ">&2",
];

impl Lexer<'_> {
    fn push(&mut self, kind: Kind) {
        self.tokens.push_back(Token { kind, line: self.line });
    }

    /// Reads one token; `false` at the end.
    fn step(&mut self) -> bool {
        let trimmed = self.rest.trim_start_matches(|c: char| c.is_whitespace() && c != '\n');
        self.rest = trimmed;
        let Some(first) = trimmed.chars().next() else { return false };
        if let Some(rest) = trimmed.strip_prefix("\\\n") {
            (self.rest, self.line) = (rest, self.line + 1);
        } else if let Some(rest) = trimmed.strip_prefix('\n') {
            self.push(Kind::Sign("\n"));
            (self.rest, self.line) = (rest, self.line + 1);
            self.read_documents();
        } else if first == '#' {
            self.rest = trimmed.find('\n').map_or("", |end| &trimmed[end..]);
        } else if let Some(rest) = NOWHERE.iter().find_map(|redirection| trimmed.strip_prefix(redirection)) {
            self.rest = rest;
        } else if let Some(rest) = trimmed.strip_prefix("<<") {
            self.start_document(rest);
        } else if let Some(sign) = SIGNS.iter().find(|sign| trimmed.starts_with(**sign)) {
            self.push(Kind::Sign(sign));
            self.rest = &trimmed[sign.len()..];
        } else if matches!(first, '<' | '>') {
            self.push(Kind::Sign(">"));
            self.rest = &trimmed[1..];
        } else {
            self.word();
        }
        true
    }

    fn start_document(&mut self, rest: &str) {
        let rest = rest.trim_start_matches(['-', ' ']);
        let end = rest.find(|c: char| c.is_whitespace() || "&|;>".contains(c)).unwrap_or(rest.len());
        let word = rest[..end].trim_matches(['"', '\'']).to_owned();
        let consumed = self.rest.len() - rest.len() + end;
        self.rest = &self.rest[consumed..];
        self.documents.push((word, self.tokens.len()));
        self.push(Kind::Document(Vec::new()));
    }

    fn read_documents(&mut self) {
        for (end, index) in std::mem::take(&mut self.documents) {
            let mut lines = Vec::new();
            while !self.rest.is_empty() {
                let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
                (self.rest, self.line) = (rest, self.line + 1);
                if line.trim() == end {
                    break;
                }
                lines.push(line.to_owned());
            }
            self.tokens[index].kind = Kind::Document(lines);
        }
    }

    fn word(&mut self) {
        let mut text = String::new();
        let mut is_open = false;
        let mut quote = None;
        let mut end = self.rest.len();
        let mut characters = self.rest.char_indices();
        let start = self.line;
        while let Some((at, character)) = characters.next() {
            match (quote, character) {
                (None, c) if c.is_whitespace() || ";&|()<>`".contains(c) => {
                    end = at;
                    break;
                }
                (None, '\'' | '"') => quote = Some(character),
                (Some(open), c) if c == open => quote = None,
                (None | Some('"'), '\\') => match characters.next() {
                    Some((_, '\n')) => self.line += 1,
                    Some((_, next)) => text.push(next),
                    None => {}
                },
                (None | Some('"'), '$' | '`') => {
                    is_open = true;
                    text.push(character);
                }
                (None, '*' | '?' | '[') if !text.is_empty() || character != '[' => {
                    is_open = true;
                    text.push(character);
                }
                (_, c) => {
                    if c == '\n' {
                        self.line += 1;
                    }
                    text.push(c);
                }
            }
        }
        self.rest = &self.rest[end..];
        self.tokens.push_back(Token { kind: Kind::Word(text, is_open || quote.is_some()), line: start });
    }
}
