//! From a name to a plan: reads texts, follows includes, sets variables, checks.

use std::collections::{BTreeMap, BTreeSet};

use super::ast::{Block, Body, Item};
use super::check;
use super::check::fields::{Fields, Typed};
use super::diagnostics::{Code, Diagnostics, Problem, Problems};
use super::evaluate::{Budget, Evaluator};
use super::grammar;
use super::plan::Plan;
use super::source::{Sources, Span};
use super::value::{Value, quote};
use super::variables::{self, Setting, Variable};
use super::{Loader, Settings};

/// Most files that may include one another in a row.
pub const INCLUDE_DEPTH_MAX: usize = 16;
/// Most texts of one recipe.
pub const FILES_MAX: usize = 256;

/// A plan, and what is doubtful about the recipe.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub plan: Plan,
    /// Warnings only; empty for most recipes.
    pub warnings: Diagnostics,
}

/// Reads a recipe with all that it includes, and checks it.
///
/// `name` is given to the loader and shown in messages. Fails with every mistake that was found, warnings
/// among them, at most 200.
pub fn load(name: &str, loader: &dyn Loader, settings: &Settings) -> Result<Loaded, Diagnostics> {
    let mut run =
        Run { loader, problems: Problems::default(), sources: Sources::default(), read: BTreeMap::new() };
    let mut blocks = Vec::new();
    run.file(name, None, &mut Vec::new(), &mut blocks);
    let recipes = run.sources.files.len();
    let given = run.given(settings);
    let budget = Budget::default();
    let plan = run.plan(&blocks, given, recipes, &budget);
    let failed = run.problems.any_error();
    let diagnostics = run.problems.into_diagnostics(run.sources);
    match plan {
        Some(plan) if !failed => Ok(Loaded { plan, warnings: diagnostics }),
        _ => Err(diagnostics),
    }
}

/// Values from outside, before the variables are known.
enum Given {
    File(Body),
    Set { name: String, file: usize },
}

struct Run<'a> {
    loader: &'a dyn Loader,
    problems: Problems,
    sources: Sources,
    /// Files that were read, by normal path.
    read: BTreeMap<String, usize>,
}

impl Run<'_> {
    /// Reads a file and those it includes; appends their blocks in order.
    fn file(&mut self, path: &str, named: Option<Span>, above: &mut Vec<String>, blocks: &mut Vec<Block>) {
        let normal = normal(path);
        if !self.may_include(path, &normal, named, above) {
            return;
        }
        let Some(file) = self.text(path, named) else { return };
        self.read.insert(normal.clone(), file);
        let body = grammar::read_body(file, &self.sources.files[file], &self.problems);
        above.push(normal);
        for item in body.items {
            match item {
                Item::Attribute(attribute) => self.stray_key(&attribute.name),
                Item::Block(block) if block.name.text == "include" => {
                    self.include(path, &block, above, blocks)
                }
                Item::Block(block) => blocks.push(block),
            }
        }
        above.pop();
    }

    fn may_include(&self, path: &str, normal: &str, named: Option<Span>, above: &[String]) -> bool {
        let Some(span) = named else { return true };
        if above.iter().any(|file| file == normal) {
            let problem = Problem::new(Code::IncludeCycle, span, format!("`{path}` includes itself"));
            let way = above.iter().map(String::as_str).chain([normal]).collect::<Vec<_>>().join(" → ");
            self.problems.report(problem.hint(format!("the way round: {way}")));
            return false;
        }
        if self.read.contains_key(normal) {
            return false;
        }
        if above.len() >= INCLUDE_DEPTH_MAX {
            let message = format!("more than {INCLUDE_DEPTH_MAX} files include one another in a row");
            let problem = Problem::new(Code::IncludeDepth, span, message);
            self.problems.report(problem.hint("include the inner files from the outermost one"));
            return false;
        }
        if self.sources.files.len() >= FILES_MAX {
            let problem = Problem::new(Code::IncludeDepth, span, format!("more than {FILES_MAX} files"));
            self.problems.report(problem.hint("join some of them"));
            return false;
        }
        true
    }

    /// Reads a text; a file that can't be read is blamed on the place that names it.
    fn text(&mut self, path: &str, named: Option<Span>) -> Option<usize> {
        match self.loader.read(path) {
            Ok(text) => Some(self.sources.add(path, text)),
            Err(error) => {
                let span = named.unwrap_or_else(|| {
                    let file = self.sources.add(path, String::new());
                    Span { file, start: 0, end: 0 }
                });
                let problem = Problem::new(Code::Unreadable, span, format!("can't read `{path}`: {error}"));
                let hint = match named {
                    Some(_) => "paths of includes are relative to the file that names them",
                    None => "check the name; paths are relative to the current folder",
                };
                self.problems.report(problem.hint(hint));
                None
            }
        }
    }

    fn stray_key(&self, name: &super::ast::Word) {
        let message = format!("the key `{}` stands outside of any block", name.text);
        let problem = Problem::new(Code::UnknownKey, name.span, message);
        let homes: Vec<String> = super::keywords::BLOCKS
            .iter()
            .filter(|block| block.keys.iter().any(|key| key.name == name.text))
            .map(|block| format!("`{}`", block.name))
            .collect();
        let hint = match (super::keywords::rows(None, &name.text).is_empty(), homes.first()) {
            (false, _) => format!("`{0}` is a block: write `{0} … {{` without `=`", name.text),
            (true, Some(home)) => format!("it is a key of {home}: move it there"),
            (true, None) => "a recipe consists of blocks such as `image \"NAME\" {`".to_owned(),
        };
        self.problems.report(problem.hint(hint));
    }

    fn include(&mut self, from: &str, block: &Block, above: &mut Vec<String>, blocks: &mut Vec<Block>) {
        let (values, budget) = (BTreeMap::new(), Budget::default());
        let evaluator = Evaluator::new(&self.problems, self.loader, Some(&values), &budget);
        let Some((Typed::Text(target), span)) = Fields::read(block, None, &evaluator).and_then(|f| f.label)
        else {
            return;
        };
        self.file(&joined(from, &target), Some(span), above, blocks);
    }

    /// Reads what comes from outside: vars files, then `--set`, each as a text of its own for messages.
    fn given(&mut self, settings: &Settings) -> Vec<Given> {
        let mut given = Vec::new();
        for path in &settings.vars_files {
            if let Some(file) = self.text(path, None) {
                given.push(Given::File(grammar::read_body(file, &self.sources.files[file], &self.problems)));
            }
        }
        for (name, value) in &settings.set {
            let file = self.sources.add("--set", format!("{name}={value}"));
            given.push(Given::Set { name: name.clone(), file });
        }
        given
    }

    fn settings(&self, given: Vec<Given>, declared: &[Variable], evaluator: &Evaluator<'_>) -> Vec<Setting> {
        let mut settings = Vec::new();
        for one in given {
            match one {
                Given::File(body) => settings.extend(variables::vars_file(&body, evaluator)),
                Given::Set { name, file } => {
                    let name_span = Span { file, start: 0, end: name.len() };
                    match declared.iter().find(|variable| variable.name == name) {
                        None => variables::unknown_setting(declared, &name, name_span, evaluator),
                        Some(variable) => {
                            let value = self.set_value(variable, file, name.len() + 1, evaluator);
                            settings.push(Setting { name, name_span, value });
                        }
                    }
                }
            }
        }
        settings
    }

    /// The value of one `--set`; places are those in the text `NAME=VALUE`.
    fn set_value(&self, variable: &Variable, file: usize, start: usize, evaluator: &Evaluator<'_>) -> Value {
        let source = &self.sources.files[file];
        let span = Span { file, start, end: source.text.len() };
        let read = || evaluator.value(&grammar::read_expression(file, source, start, &self.problems));
        variables::from_text(variable, &source.text[start..], span, read, evaluator)
    }

    fn plan(&self, blocks: &[Block], given: Vec<Given>, recipes: usize, budget: &Budget) -> Option<Plan> {
        let constant = Evaluator::new(&self.problems, self.loader, None, budget);
        let declarations: Vec<&Block> = blocks.iter().filter(|block| block.name.text == "variable").collect();
        let declared = variables::declared(&declarations, &constant);
        let settings = self.settings(given, &declared, &constant);
        let values = variables::resolved(&declared, settings, &constant);
        let evaluator = Evaluator::new(&self.problems, self.loader, Some(&values), budget);
        let parts: Vec<&Block> = blocks.iter().filter(|block| block.name.text != "variable").collect();
        let mut plan = check::plan(&parts, &evaluator, &self.sources)?;
        if !self.problems.any_error() {
            self.unused(&declared, &budget.used.borrow());
        }
        plan.variables = values.iter().map(|(name, value)| (name.clone(), value.to_recipe())).collect();
        for (name, value) in budget.environment.borrow().iter() {
            plan.variables.insert(format!("env.{name}"), quote(value));
        }
        let texts = self.sources.files[..recipes].iter();
        plan.sources = texts.map(|source| (source.name.clone(), source.text.clone())).collect();
        Some(plan)
    }

    fn unused(&self, declared: &[Variable], used: &BTreeSet<String>) {
        for variable in declared.iter().filter(|variable| !used.contains(&variable.name)) {
            let message = format!("nothing uses the variable `{}`", variable.name);
            let problem = Problem::warning(Code::UnusedVariable, variable.span, message);
            self.problems.report(problem.hint(format!("use it as `var.{}`, or remove it", variable.name)));
        }
    }
}

/// Joins a path with the folder of the file that names it.
pub(super) fn joined(from: &str, path: &str) -> String {
    match from.rfind('/') {
        Some(at) if !path.starts_with('/') => format!("{}/{path}", &from[..at]),
        _ => path.to_owned(),
    }
}

/// Drops `.` and resolves `..` in words, so that two ways to write a path compare equal.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}
