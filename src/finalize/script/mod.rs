//! Maintainer scripts are read, and what they would do on a fresh installation is done to the tree.
//!
//! A script is parsed ([`parse`]) and followed ([`shell`]) as `preinst install` and `postinst configure` with no
//! version before. Conditions about files are answered by the tree. Where only a run could tell which way a
//! script goes, both ways are followed and neither may change anything. Commands that are known do their
//! work on the tree ([`commands`]); others, and what can't be decided, are named with their lines.

mod ast;
mod commands;
mod expand;
mod known;
mod parse;
mod pattern;
mod regex;
mod shell;
mod word;

use super::world::World;
use super::{FinalizeError, Package, ScriptPolicy, UnknownLine};
use crate::finalize::order::configuration_order;
use shell::{Shell, Value};

/// What a maintainer script is, as far as reading it tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Class {
    /// There is none, or it does nothing on a fresh installation.
    None,
    /// Nothing stands outside of the sections that debhelper writes.
    OnlyDebhelper,
    /// All that it calls is known and was done.
    AllLiteral,
    /// A table says what it does: the reason.
    Known(&'static str),
    Unknown(Vec<UnknownLine>),
}

/// Reads the scripts of all packages, each behind those that it depends on, and does what they say. Packages
/// whose scripts are to be run are listed.
pub(super) fn evaluate(world: &mut World<'_>) -> Result<(), FinalizeError> {
    for index in configuration_order(&world.packages) {
        world.job.check()?;
        let package = world.packages[index];
        match world.settings.scripts.get(package.name).copied().unwrap_or_default() {
            ScriptPolicy::Ignore => {}
            ScriptPolicy::Run => world.to_run.push(package.name.to_owned()),
            ScriptPolicy::Refuse => {
                for script in ["preinst", "postinst"] {
                    if let Class::Unknown(unknown) = follow(world, package, script)? {
                        world.errors.push(FinalizeError::Script {
                            package: package.name.to_owned(),
                            script: script.to_owned(),
                            unknown,
                        });
                    }
                }
            }
        }
    }
    Ok(())
}

/// Reads one script of a package and does what it says.
fn follow<'a>(world: &mut World<'a>, package: Package<'a>, script: &str) -> Result<Class, FinalizeError> {
    let Some(bytes) = world.info(package.info, script)? else { return Ok(Class::None) };
    let Ok(text) = String::from_utf8(bytes) else {
        return Ok(Class::Unknown(vec![whole("the script is no text".to_owned(), "")]));
    };
    let known = known::reason(package.name, script);
    let parts = match known {
        Some(_) => sections(&text),
        None => vec![text.clone()],
    };
    let mut unknown = Vec::new();
    for part in &parts {
        unknown.extend(follow_text(world, package, script, part)?);
    }
    Ok(match known {
        _ if !unknown.is_empty() => Class::Unknown(unknown),
        Some(reason) => Class::Known(reason),
        None if outside(&text).is_empty() => Class::OnlyDebhelper,
        None => Class::AllLiteral,
    })
}

/// Follows the text of a script, and returns what was not understood.
fn follow_text<'a>(
    world: &mut World<'a>,
    package: Package<'a>,
    script: &str,
    text: &str,
) -> Result<Vec<UnknownLine>, FinalizeError> {
    let first = text.lines().next().unwrap_or_default();
    if let Some(interpreter) = first.strip_prefix("#!")
        && !is_shell(interpreter)
    {
        return Ok(vec![whole(format!("{} scripts are not read", interpreter.trim()), first)]);
    }
    let list = match parse::parse(text) {
        Ok(list) => list,
        Err(error) => {
            let text = text.lines().nth(error.line - 1).unwrap_or_default().trim();
            return Ok(vec![UnknownLine {
                line: error.line,
                text: text.chars().take(100).collect(),
                problem: error.problem,
            }]);
        }
    };
    let answers = answers(world, package, script)?;
    // The shell borrows the world for as long as the text: packages outlive both.
    let mut shell = Shell::new(world, package, script, text);
    shell.answers = answers;
    shell.fails_on_error =
        first.split_whitespace().skip(1).any(|word| word.starts_with('-') && word.contains('e'));
    let action = if script == "preinst" { "install" } else { "configure" };
    shell.positional = vec![Value::Known(action.to_owned())];
    if script != "preinst" {
        shell.positional.push(Value::default());
    }
    shell.run(&list);
    Ok(shell.unknown)
}

/// Follows a package's `config`, which debconf runs first, for the answers that it sets. Where it is not
/// understood, no answer of the package is known.
fn answers<'a>(
    world: &mut World<'a>,
    package: Package<'a>,
    script: &str,
) -> Result<std::collections::BTreeMap<String, Value>, FinalizeError> {
    let config = if script == "postinst" { world.info(package.info, "config")? } else { None };
    let Some(text) = config.and_then(|bytes| String::from_utf8(bytes).ok()) else {
        return Ok(Default::default());
    };
    let mut understood = false;
    let mut answers = std::collections::BTreeMap::new();
    if let Ok(list) = parse::parse(&text) {
        let mut shell = Shell::new(world, package, "config", &text);
        shell.positional = vec![Value::Known("configure".to_owned()), Value::default()];
        // It may ask and answer, and change nothing.
        shell.only_asks = true;
        shell.run(&list);
        understood = shell.unknown.is_empty();
        answers = std::mem::take(&mut shell.answers);
    }
    if !understood {
        let templates = world.info(package.info, "templates")?.unwrap_or_default();
        let text = String::from_utf8_lossy(&templates).into_owned();
        for question in text.lines().filter_map(|line| line.strip_prefix("Template:")) {
            answers.insert(question.trim().to_owned(), Value::Unknown);
        }
    }
    Ok(answers)
}

fn is_shell(interpreter: &str) -> bool {
    let mut words = interpreter.split_whitespace();
    let program = words.next().unwrap_or_default();
    let program = if program.ends_with("/env") { words.next().unwrap_or_default() } else { program };
    ["sh", "bash", "dash"].contains(&program.rsplit('/').next().unwrap_or_default())
}

fn whole(problem: String, text: &str) -> UnknownLine {
    UnknownLine { line: 1, text: text.chars().take(100).collect(), problem }
}

const SECTION_BEGINS: &str = "# Automatically added by ";
const SECTION_ENDS: &str = "# End automatically added section";

/// Returns the sections of a script that debhelper wrote, each with the lines above it left empty, so that
/// line numbers stay.
fn sections(text: &str) -> Vec<String> {
    let mut sections = Vec::new();
    let mut section: Option<String> = None;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with(SECTION_BEGINS) {
            section = Some("\n".repeat(index));
        } else if line.starts_with(SECTION_ENDS) {
            sections.extend(section.take());
            continue;
        }
        if let Some(section) = &mut section {
            section.push_str(line);
            section.push('\n');
        }
    }
    sections
}

/// Returns the commands of a script that stand outside of debhelper's sections.
fn outside(text: &str) -> Vec<&str> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.starts_with(SECTION_BEGINS) {
            inside = true;
        } else if line.starts_with(SECTION_ENDS) {
            inside = false;
        } else if !inside && !matches!(line.trim(), "" | "set -e" | "exit 0") && !line.trim().starts_with('#')
        {
            lines.push(line);
        }
    }
    lines
}

/// Parses a text as a script and follows it over an empty tree: for tests that feed it anything. Returns how
/// many lines were not understood.
pub fn read_script(text: &str) -> usize {
    use crate::tree::{Directory, MemoryContents};
    let (mut tree, info, data) = (Directory::default(), Directory::default(), Directory::default());
    let package =
        Package { name: "test", version: "1", architecture: "all", fields: &[], info: &info, data: &data };
    let (settings, contents) = (super::Settings::default(), MemoryContents::default());
    let job = crate::base::Job::quiet(1);
    let mut world = World::new(&mut tree, &[package], &settings, &contents, &contents, &job);
    follow_text(&mut world, package, "postinst", text).map_or(1, |unknown| unknown.len())
}
