//! The key of a step: the digest of everything that its result depends on.

use std::path::Path;

use super::accounts::Accounts;
use super::closure::{self, Along, ElfSink};
use super::contribute::{Context, at};
use super::error::{ComposeError, Problem};
use super::source::{self, Kind};
use crate::archive::{Inputs, Limits};
use crate::base::{Digest, Job, StepKey};
use crate::recipe::plan::{AppPlan, FileContent, Part, SourcePlan};

/// Counts how often contributors changed what they make of the same input. Raise it with such a change:
/// results remembered from before are then not found any more.
const STEP_VERSION: u64 = 1;

/// What is known of a part before it is run.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Prepared {
    /// The key under which the part's tree may be remembered; `None` where making it again costs no
    /// more than asking.
    pub key: Option<StepKey>,
    /// What the part reads of the host; `None` where it reads nothing.
    pub inputs: Option<Inputs>,
    /// What an app takes along from this machine (`closure`).
    pub along: Along,
}

impl Prepared {
    /// Returns everything that the part reads of the host.
    pub fn all_inputs(&self) -> impl Iterator<Item = &Inputs> {
        self.inputs.iter().chain(self.along.taken.iter().map(|taken| &taken.inputs))
    }
}

/// Digests what a part reads, and makes its key. Packages have a key of their own kind elsewhere; nothing
/// is known of them here.
pub fn prepare(
    part: &Part,
    accounts: &Accounts,
    limits: &Limits,
    job: &Job,
) -> Result<Prepared, Vec<ComposeError>> {
    let prepared = match part {
        Part::App(app) => prepare_source(&app.source, accounts, limits, job),
        Part::Tree(tree) => prepare_source(&tree.source, accounts, limits, job),
        Part::File(file) => match &file.content {
            FileContent::Inline(_) => Ok(Prepared::default()),
            FileContent::Host(path) => source::digest_file(path, job)
                .map(|inputs| Prepared { inputs: Some(inputs), ..Prepared::default() }),
        },
        _ => Ok(Prepared::default()),
    };
    prepared.map_err(|problems| at(part, problems))
}

/// Prepares all parts at once. Results come in recipe order, or all errors do.
pub fn prepare_all(
    parts: &[Part],
    accounts: &Accounts,
    limits: &Limits,
    job: &Job,
) -> Result<Vec<Prepared>, Vec<ComposeError>> {
    let from_packages = parts.iter().any(|part| matches!(part, Part::Packages(_)));
    let prepared = job.workers.try_map(parts.iter().collect(), |part| {
        let prepared = prepare(part, accounts, limits, job)?;
        match part {
            Part::App(app) if app.closure.is_some() && !from_packages => {
                prepare_closure(app, prepared, accounts, limits, job).map_err(|problems| at(part, problems))
            }
            _ => Ok(prepared),
        }
    });
    prepared.map_err(|errors| errors.into_iter().flatten().collect())
}

/// Adds what an app takes along from this machine.
fn prepare_closure(
    app: &AppPlan,
    prepared: Prepared,
    accounts: &Accounts,
    limits: &Limits,
    job: &Job,
) -> Result<Prepared, Vec<Problem>> {
    let seen = ElfSink::default();
    let context = Context { sink: &seen, accounts, limits, job };
    let tree = source::read(&app.source, &app.origin, &prepared, &context)?;
    let along = closure::digest(app, &tree, &seen, Path::new("/"), limits, job)?;
    let mut fields = Fields::new("closure");
    fields.option(prepared.key, |fields, key| fields.bytes(key.as_bytes()));
    for taken in &along.taken {
        fields.bytes(taken.at.as_bytes());
        fields.bytes(taken.inputs.digest().as_bytes());
    }
    along.links.iter().for_each(|link| fields.bytes(link.as_bytes()));
    let key = StepKey(Digest::derive("mkimage 2026 compose step v1", &fields.0));
    Ok(Prepared { key: Some(key), along, ..prepared })
}

fn prepare_source(
    plan: &SourcePlan,
    accounts: &Accounts,
    limits: &Limits,
    job: &Job,
) -> Result<Prepared, Vec<Problem>> {
    let owner = plan.owner.as_ref().map(|owner| accounts.owner(owner));
    let owner = owner.transpose().map_err(|problem| vec![problem])?;
    let (kind, inputs) = source::digest(plan, limits, job)?;
    let key = source_key(plan, kind, owner, &inputs);
    Ok(Prepared { key: Some(key), inputs: Some(inputs), ..Prepared::default() })
}

fn source_key(plan: &SourcePlan, kind: Kind, owner: Option<(u32, u32)>, inputs: &Inputs) -> StepKey {
    let mut fields = Fields::new("source");
    fields.number(match kind {
        Kind::Directory => 0,
        Kind::Archive => 1,
        Kind::File => 2,
    });
    fields.bytes(plan.target.as_bytes());
    fields.number(plan.strip_components.into());
    fields.number(plan.allow.len() as u64);
    plan.allow.iter().for_each(|path| fields.bytes(path.as_bytes()));
    fields.option(owner, |fields, (uid, gid)| {
        fields.number(uid.into());
        fields.number(gid.into());
    });
    fields.option(plan.mode, |fields, mode| fields.number(mode.into()));
    fields.bytes(inputs.digest().as_bytes());
    StepKey(Digest::derive("mkimage 2026 compose step v1", &fields.0))
}

/// Writes fields so that no two lists of fields give the same bytes.
struct Fields(Vec<u8>);

impl Fields {
    fn new(kind: &str) -> Self {
        let mut fields = Fields(Vec::new());
        fields.number(STEP_VERSION);
        fields.bytes(kind.as_bytes());
        fields
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.number(value.is_some().into());
        if let Some(value) = value {
            write(self, value);
        }
    }
}
