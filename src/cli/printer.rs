//! Everything that people and programs read: data to standard output, talk to standard error.
#![allow(clippy::disallowed_macros, reason = "the one file that prints")]

use std::io::{IsTerminal, Write};

use super::args::{Color, Global};

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

    pub fn wants_json(&self) -> bool {
        self.json
    }

    pub fn wants_color(&self) -> bool {
        self.color
    }

    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Prints a result: as JSON where that was asked for, else as the text. A reader that went away
    /// (`| head`) is no error.
    pub fn data(&self, value: &impl serde::Serialize, text: impl FnOnce() -> String) {
        let line = if self.json {
            serde_json::to_string_pretty(value).expect("because our results have string keys only")
        } else {
            text()
        };
        self.bytes(line.trim_end_matches('\n').as_bytes());
        self.bytes(b"\n");
    }

    /// Writes bytes to standard output as they are.
    pub fn bytes(&self, bytes: &[u8]) {
        let _ = std::io::stdout().lock().write_all(bytes);
    }

    /// Says something about the work to a person, unless `--quiet`.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// Prints text for a person as it is.
    pub fn talk(&self, text: &str) {
        eprint!("{text}");
    }

    /// Warns, also with `--quiet`.
    pub fn warn(&self, text: &str) {
        eprintln!("{} {text}", self.paint("33", "warning:"));
    }

    /// Prints an error: what happened, what it came from, and what to do.
    pub fn error(&self, failure: &super::failure::Failure) {
        if self.json {
            let details = failure.report.as_ref().map(|report| &report.details);
            let value = serde_json::json!({
                "error": failure.message, "kind": failure.kind.name(), "causes": failure.causes,
                "hint": failure.hint, "details": details,
            });
            eprintln!("{value}");
            return;
        }
        if let Some(report) = &failure.report {
            eprint!("{}", report.text);
        }
        eprintln!("{} {}", self.paint("1;31", "error:"), failure.message);
        for cause in &failure.causes {
            eprintln!("  because: {cause}");
        }
        if let Some(hint) = &failure.hint {
            eprintln!("{} {hint}", self.paint("1;36", "hint:"));
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
