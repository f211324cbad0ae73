//! Everything that people and programs read: data to standard output, talk to standard error.

use std::io::{ErrorKind, IsTerminal, Write};

use super::args::{Color, Global};
use super::failure::Failure;
use crate::base::FileError;

/// Whether anybody reads standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    There,
    Gone,
}

/// Prints data and talk in the form that was asked for. Cloning shares nothing: it only holds choices.
#[derive(Clone, Debug)]
pub struct Printer {
    json: bool,
    quiet: bool,
    color: bool,
}

impl Printer {
    /// Takes the choices of the command line. `NO_COLOR` counts where nothing was chosen.
    pub fn new(global: &Global) -> Self {
        let color = match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        Printer { json: global.json, quiet: global.quiet, color }
    }

    /// Makes a printer for a command line that asks for JSON and can't be read.
    pub fn json() -> Self {
        Printer { json: true, quiet: true, color: false }
    }

    pub fn wants_json(&self) -> bool {
        self.json
    }

    pub fn wants_color(&self) -> bool {
        self.color
    }

    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Prints a result: as JSON where that was asked for, else as the text. An empty text has no line.
    pub fn data(&self, value: &impl serde::Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let line = if self.json {
            serde_json::to_string_pretty(value).expect("because our results have string keys only")
        } else {
            text()
        };
        match line.trim_end_matches('\n') {
            "" => Ok(()),
            line => self.bytes(format!("{line}\n").as_bytes()).map(drop),
        }
    }

    /// Writes bytes to standard output as they are. A reader that went away (`| head`) is no error, but
    /// there is no use in writing on; anything else that keeps them from their reader is one.
    pub fn bytes(&self, bytes: &[u8]) -> Result<Reader, Failure> {
        let mut out = std::io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Ok(()) => Ok(Reader::There),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
            Err(source) => {
                let path = "standard output".into();
                Err(FileError { doing: "write to", path, source }.into())
            }
        }
    }

    /// Says something about the work to a person, unless `--quiet` or `--json`.
    pub fn say(&self, text: &str) {
        if !self.quiet && !self.json {
            self.talk(&format!("{text}\n"));
        }
    }

    /// Prints text for a person as it is. That nobody can read it is no reason to stop: a full disk or a
    /// closed pipe behind standard error changes nothing about the work.
    pub fn talk(&self, text: &str) {
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }

    /// Warns, also with `--quiet`.
    pub fn warn(&self, text: &str) {
        match self.json {
            true => self.talk(&format!("{}\n", serde_json::json!({ "warning": text }))),
            false => self.talk(&format!("{} {text}\n", self.paint("33", "warning:"))),
        }
    }

    /// Prints an error: what happened, what it came from, and what to do.
    pub fn error(&self, failure: &Failure) {
        if self.json {
            let details = failure.report.as_ref().map(|report| &report.details);
            let value = serde_json::json!({
                "error": failure.message, "kind": failure.kind.name(), "causes": failure.causes,
                "hint": failure.hint, "details": details,
            });
            return self.talk(&format!("{value}\n"));
        }
        let mut text = failure.report.as_ref().map(|report| report.text.clone()).unwrap_or_default();
        text.push_str(&format!("{} {}\n", self.paint("1;31", "error:"), failure.message));
        for cause in &failure.causes {
            text.push_str(&format!("  because: {cause}\n"));
        }
        if let Some(hint) = &failure.hint {
            text.push_str(&format!("{} {hint}\n", self.paint("1;36", "hint:")));
        }
        self.talk(&text);
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
