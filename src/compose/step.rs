//! The key of a step: the digest of everything that its result depends on.

use super::accounts::Accounts;
use super::contribute::at;
use super::error::{ComposeError, Problem};
use super::source::{self, Kind};
use crate::archive::{Inputs, Limits};
use crate::base::{Digest, Job, StepKey};
use crate::recipe::plan::{FileContent, Part, SourcePlan};

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
            FileContent::Host(path) => {
                source::digest_file(path, job).map(|inputs| Prepared { key: None, inputs: Some(inputs) })
            }
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
    let prepared = job.workers.try_map(parts.iter().collect(), |part| prepare(part, accounts, limits, job));
    prepared.map_err(|errors| errors.into_iter().flatten().collect())
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
    Ok(Prepared { key: Some(key), inputs: Some(inputs) })
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
