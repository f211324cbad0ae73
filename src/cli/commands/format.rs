use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use super::super::args::Format;
use super::super::failure::{Failure, Kind};
use super::{Context, Done};
use crate::base::{fs, publish};
use crate::pipeline::PipelineError;
use crate::recipe;

/// `mkimage fmt`: formats recipes in place, or says which are not formatted.
pub fn run(context: &Context, arguments: &Format) -> Done {
    let mut wrong = Vec::new();
    for path in &arguments.recipes {
        let is_stdin = path == Path::new("-");
        let text = if is_stdin { read_stdin()? } else { read_text(path)? };
        let name = path.to_string_lossy();
        let formatted = recipe::format(&name, &text)
            .map_err(|diagnostics| context.failure(PipelineError::Recipe(Box::new(diagnostics))))?;
        match (formatted == text, arguments.check) {
            (false, true) => wrong.push(path.display().to_string()),
            (false, false) if !is_stdin => {
                publish::publish_bytes(path, formatted.as_bytes()).map_err(Failure::from)?;
                context.printer.say(&format!("formatted {}", path.display()));
            }
            (_, false) if is_stdin => drop(context.printer.bytes(formatted.as_bytes())?),
            _ => {}
        }
    }
    if wrong.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let hint = format!("mkimage fmt {}", wrong.join(" "));
    Err(Failure::new(Kind::Failed, format!("not formatted: {}", wrong.join(", "))).hint(hint))
}

fn read_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(recipe::TEXT_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| Failure::new(Kind::Input, format!("cannot read standard input: {error}")))?;
    Ok(text)
}

fn read_text(path: &Path) -> Result<String, Failure> {
    let bytes = fs::read_at_most(path, recipe::TEXT_BYTES_MAX + 1).map_err(Failure::from)?;
    String::from_utf8(bytes)
        .map_err(|_| Failure::new(Kind::Recipe, format!("{} is no UTF-8 text", path.display())))
}
