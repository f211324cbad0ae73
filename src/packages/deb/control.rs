//! Paragraphs of fields (`deb822(5)`), borrowed from their text.

use std::fmt;

/// Most fields of one paragraph; Debian's have some thirty. Each new one is compared with all before it.
const FIELDS_MAX: usize = 1000;

/// Says in which line of a control text what is wrong.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[error("line {line}: {problem}")]
pub struct ControlError {
    /// From 1 on.
    pub line: usize,
    pub problem: String,
}

/// Holds the fields of one paragraph, in the order of the text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stanza<'a> {
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Stanza<'a> {
    /// Returns a field's value, continuation lines and all; names count without case.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.fields.iter().find(|field| field.0.eq_ignore_ascii_case(name)).map(|field| field.1)
    }

    /// Returns names and values, in the order of the text.
    pub fn fields(&self) -> &[(&'a str, &'a str)] {
        &self.fields
    }
}

impl fmt::Display for Stanza<'_> {
    /// Writes the text from which the same fields parse.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.fields {
            match value.starts_with('\n') || value.is_empty() {
                true => writeln!(f, "{name}:{value}")?,
                false => writeln!(f, "{name}: {value}")?,
            }
        }
        Ok(())
    }
}

/// Reads every paragraph of a text. A line that starts with a blank continues the field before it; a
/// field may stand once in a paragraph; empty and blank lines part paragraphs.
pub fn stanzas(text: &str) -> Result<Vec<Stanza<'_>>, ControlError> {
    let mut stanzas = Vec::new();
    let mut scan = Scan { text, at: 0, line: 1 };
    while let Some(stanza) = scan.stanza()? {
        stanzas.push(stanza);
    }
    Ok(stanzas)
}

/// Reads a text that must hold exactly one paragraph.
pub fn stanza(text: &str) -> Result<Stanza<'_>, ControlError> {
    let mut scan = Scan { text, at: 0, line: 1 };
    let first = scan.stanza()?;
    let line = scan.line;
    let wrong = |problem: &str| ControlError { line, problem: problem.to_owned() };
    match (first, scan.stanza()?) {
        (None, _) => Err(wrong("expected fields, found nothing")),
        (Some(_), Some(_)) => Err(wrong("expected one paragraph, found a second one")),
        (Some(stanza), None) => Ok(stanza),
    }
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Scan<'a> {
    /// Returns the line at hand without its end; `None` at the end of the text.
    fn peek(&self) -> Option<&'a str> {
        let rest = &self.text[self.at..];
        (!rest.is_empty()).then(|| rest.split('\n').next().unwrap_or(rest))
    }

    fn skip(&mut self, line: &str) {
        self.at = (self.at + line.len() + 1).min(self.text.len());
        self.line += 1;
    }

    fn stanza(&mut self) -> Result<Option<Stanza<'a>>, ControlError> {
        while let Some(line) = self.peek().filter(|line| line.trim().is_empty()) {
            self.skip(line);
        }
        let mut stanza = Stanza::default();
        while let Some(line) = self.peek().filter(|line| !line.trim().is_empty()) {
            let number = self.line;
            let field = self.field(line)?;
            if stanza.get(field.0).is_some() {
                let problem = format!("field {} stands twice in a paragraph", field.0);
                return Err(ControlError { line: number, problem });
            }
            if stanza.fields.len() == FIELDS_MAX {
                let problem = format!("a paragraph of more than {FIELDS_MAX} fields");
                return Err(ControlError { line: number, problem });
            }
            stanza.fields.push(field);
        }
        Ok((!stanza.fields.is_empty()).then_some(stanza))
    }

    fn field(&mut self, line: &'a str) -> Result<(&'a str, &'a str), ControlError> {
        let wrong = |problem: String| ControlError { line: self.line, problem };
        let Some((name, first)) = line.split_once(':') else {
            return Err(wrong(format!("expected \"Name: value\", found {:?}", shown(line))));
        };
        let is_plain = |byte: u8| byte.is_ascii_graphic();
        if name.is_empty() || !name.bytes().all(is_plain) || name.starts_with(['#', '-']) {
            return Err(wrong(format!("{:?} is no name of a field", shown(name))));
        }
        let start = self.at + name.len() + 1;
        let mut end = start + first.len();
        self.skip(line);
        while let Some(next) = self.peek().filter(|line| is_continuation(line)) {
            end = self.at + next.len();
            self.skip(next);
        }
        let value = &self.text[start..end];
        Ok((name, value.trim_end().trim_start_matches([' ', '\t', '\r'])))
    }
}

fn is_continuation(line: &str) -> bool {
    line.starts_with([' ', '\t']) && !line.trim().is_empty()
}

/// Cuts foreign text for a message.
fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_continue_and_paragraphs_part() {
        let text = "A: 1\nb: x\n y\n .\n z\n\n \nC:\n d\n";
        let stanzas = stanzas(text).expect("parsed");
        assert_eq!(stanzas.len(), 2);
        assert_eq!(stanzas[0].get("B"), Some("x\n y\n .\n z"));
        assert_eq!(stanzas[1].get("c"), Some("\n d"));
    }

    #[test]
    fn malformed_lines_are_named() {
        for (text, line) in
            [("A: 1\nnonsense\n", 2), (" a: b\n", 1), ("A: 1\na: 2\n", 2), (": x", 1), ("é: x", 1)]
        {
            assert_eq!(stanzas(text).expect_err(text).line, line, "{text}");
        }
        let fields = |count: usize| (0..count).map(|number| format!("F{number}:\n")).collect::<String>();
        assert!(stanza(&fields(FIELDS_MAX)).is_ok());
        assert_eq!(stanza(&fields(FIELDS_MAX + 1)).expect_err("too many").line, FIELDS_MAX + 1);
        assert!(stanza("A: 1\n\nB: 2\n").is_err());
        assert!(stanza("\n\n").is_err());
    }
}
