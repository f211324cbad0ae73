//! Blocks become a plan: first each against its row of the keyword table, then what spans blocks.

mod accounts;
mod app;
mod boot;
mod checks;
mod convert;
pub(super) mod fields;
mod inodes;
mod packages;
mod rows;
mod start;
mod update;
mod whole;

use super::ast::Block;
use super::diagnostics::{Code, Problem};
use super::evaluate::Evaluator;
use super::hint::suggest;
use super::keywords::{self, Count};
use super::plan::{Architecture, BasePlan, ImagePlan, Origin, Part, Plan};
use super::source::{Sources, Span};
use fields::Fields;

/// What the checks of all blocks share.
pub(super) struct Context<'a> {
    pub evaluator: &'a Evaluator<'a>,
    pub sources: &'a Sources,
}

impl Context<'_> {
    pub fn report(&self, problem: Problem) {
        self.evaluator.report(problem);
    }

    /// Returns where a block is, as plans name it.
    fn origin(&self, fields: &Fields<'_>) -> Origin {
        let span = fields.block.header;
        let file = self.sources.files[span.file].name.clone();
        Origin { block: fields.title(), file, line: self.sources.line(span) }
    }

    /// Returns where a block inside another one is.
    fn origin_within(&self, fields: &Fields<'_>, outer: &Fields<'_>) -> Origin {
        let block = format!("{} in {}", fields.title(), outer.title());
        Origin { block, ..self.origin(fields) }
    }

    /// Returns the name of the file that a span is in.
    fn file(&self, span: Span) -> &str {
        &self.sources.files[span.file].name
    }
}

/// Checks all blocks, in recipe order. `None` where a block can't be planned, which has been reported.
pub(super) fn plan(blocks: &[&Block], evaluator: &Evaluator<'_>, sources: &Sources) -> Option<Plan> {
    let context = Context { evaluator, sources };
    let checked: Vec<Fields<'_>> =
        blocks.iter().filter_map(|block| Fields::read(block, None, evaluator)).collect();
    counts(blocks, &context);
    let image = one(&checked, "image").map(|fields| self::image(fields, &context));
    let base = one(&checked, "base").map(|fields| self::base(fields, &context));
    let parts: Vec<Part> = checked.iter().filter_map(|fields| part(fields, &context)).collect();
    let all_planned = parts.len() == checked.iter().filter(|fields| is_part(fields)).count();
    let mut users = accounts::users(&checked, &context);
    let groups = accounts::groups(&checked, &context);
    accounts::app_user(&checked, &mut users, &context);
    let kernel_fields = one(&checked, "kernel");
    let debian = packages::first_debian(&checked);
    let kernel =
        kernel_fields.map(|fields| boot::kernel(fields, debian, image_architecture(&checked), &context));
    let program = boot::program(one(&checked, "boot"), image_architecture(&checked), &context);
    let boot = boot::boot(one(&checked, "boot"), program, kernel_fields, debian, &context);
    let disk = boot::disk(one(&checked, "disk"), program, &context);
    let update = one(&checked, "update").map(|fields| update::update(fields, kernel_fields, &context));
    let budget = one(&checked, "budget").map(|fields| checks::budget(fields, &context));
    let tests = checks::tests(&checked, &context);
    accounts::ids(&checked, &context);
    accounts::references(&checked, &context);
    whole::check(&checked, &context);
    if !all_planned {
        return None;
    }
    Some(Plan {
        image: image??,
        base: settled(base)?,
        parts,
        users: users.into_iter().collect::<Option<_>>()?,
        groups: groups.into_iter().collect::<Option<_>>()?,
        kernel: settled(kernel)?,
        boot: boot?,
        disk: disk?,
        update: settled(update)?,
        budget: settled(budget)?,
        tests: tests.into_iter().collect::<Option<_>>()?,
        variables: Default::default(),
        sources: Vec::new(),
    })
}

/// Tells a block that is not there, which is fine, from one that can't be planned: `None`.
fn settled<T>(block: Option<Option<T>>) -> Option<Option<T>> {
    match block {
        None => Some(None),
        Some(planned) => planned.map(Some),
    }
}

/// Returns the only block of a name, or the first.
fn one<'a, 'b>(checked: &'a [Fields<'b>], name: &str) -> Option<&'a Fields<'b>> {
    checked.iter().find(|fields| fields.row.name == name)
}

fn is_part(fields: &Fields<'_>) -> bool {
    ["app", "tree", "file", "directory", "symlink", "hard_link", "device", "packages", "run"]
        .contains(&fields.row.name)
}

fn part(fields: &Fields<'_>, context: &Context<'_>) -> Option<Part> {
    match fields.row.name {
        "app" => app::app(fields, context).map(Part::App),
        "tree" => app::tree(fields, context).map(Part::Tree),
        "file" => inodes::file(fields, context).map(Part::File),
        "directory" => inodes::directory(fields, context).map(Part::Directory),
        "symlink" => inodes::symlink(fields, context).map(Part::Symlink),
        "hard_link" => inodes::hard_link(fields, context).map(Part::HardLink),
        "device" => inodes::device(fields, context).map(Part::Device),
        "packages" => packages::packages(fields, context).map(Part::Packages),
        "run" => packages::run(fields, context).map(Part::Run),
        _ => None,
    }
}

/// Reports blocks that are there too often, or not at all.
fn counts(blocks: &[&Block], context: &Context<'_>) {
    for name in keywords::block_names(None) {
        let rows = keywords::rows(None, name);
        let found: Vec<&&Block> = blocks.iter().filter(|block| block.name.text == name).collect();
        let only_one = rows.iter().all(|row| row.count != Count::Any);
        if let (true, Some(first)) = (only_one, found.first()) {
            for again in &found[1..] {
                let message = format!("a recipe has at most one block `{name}`");
                let problem = Problem::new(Code::DuplicateBlock, again.header, message);
                context.report(
                    problem.also(first.header, "first here").hint("remove one of them, or join them"),
                );
            }
        }
        if found.is_empty() && rows.iter().any(|row| row.count == Count::ExactlyOne) {
            missing(name, blocks, context);
        }
    }
}

/// Reports that a block is missing, unless a misspelt one stands for it.
fn missing(name: &str, blocks: &[&Block], context: &Context<'_>) {
    let names = keywords::block_names(None);
    let unknown = blocks.iter().filter(|block| !names.contains(&block.name.text.as_str()));
    let mut misspelt = unknown.filter(|block| suggest(&block.name.text, &[name]).starts_with("did you"));
    if misspelt.next().is_some() || context.evaluator.problems.any_torn() {
        return;
    }
    let first = blocks.iter().map(|block| block.header).find(|header| header.file == 0);
    let at = first.unwrap_or(Span { file: 0, start: 0, end: 0 });
    let problem = Problem::new(Code::MissingBlock, at, format!("the recipe has no block `{name}`"));
    context.report(problem.hint(format!("add one: `{name} \"NAME\" {{}}`")));
}

fn image_architecture(checked: &[Fields<'_>]) -> Architecture {
    let word = one(checked, "image").and_then(|fields| fields.text("architecture"));
    if word.as_deref() == Some("aarch64") { Architecture::Aarch64 } else { Architecture::X86_64 }
}

fn base(fields: &Fields<'_>, context: &Context<'_>) -> Option<BasePlan> {
    fields.sound().then_some(())?;
    Some(BasePlan { commit: fields.text("commit")?, origin: context.origin(fields) })
}

fn image(fields: &Fields<'_>, context: &Context<'_>) -> Option<ImagePlan> {
    fields.sound().then_some(())?;
    Some(ImagePlan {
        name: fields.label_text()?,
        version: fields.text("version"),
        description: fields.text("description"),
        architecture: match fields.text("architecture").as_deref() {
            Some("aarch64") => Architecture::Aarch64,
            _ => Architecture::X86_64,
        },
        epoch: fields.number("epoch").map(|seconds| seconds as u64),
        init: fields.path("init"),
        origin: context.origin(fields),
    })
}
