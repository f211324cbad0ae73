//! Steps of a recipe that run in the sandbox, on the tree so far. A step that ran once on the same tree with
//! the same inputs is not run again.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::error::{PipelineError, Result};
use super::step::{KeyBuilder, Memo};
use crate::archive::{self, Inputs, Limits};
use crate::base::{ImagePath, Job, StepKey};
use crate::recipe::plan::RunPlan;
use crate::sandbox;
use crate::store::{Objects, Transaction, TreeRef};
use crate::tree::{ContentSink, Directory, File, Metadata, Node};

/// Name and version of this step.
const STEP: &str = "run 1";

/// Everything that steps share.
pub struct Steps<'a> {
    pub memo: &'a Memo<'a>,
    pub epoch: u64,
    /// A folder of the host that the sandbox may use.
    pub scratch: &'a Path,
}

impl Steps<'_> {
    /// Runs a step on a tree and returns what it made of it.
    pub fn run(
        &self,
        plan: &RunPlan,
        inputs: &[Inputs],
        tree: &Directory,
        transaction: &Transaction<'_>,
        job: &Job,
    ) -> Result<Directory> {
        let sealed = tree.clone().seal().map_err(PipelineError::Tree)?;
        let before = transaction.put_tree(job, &sealed)?;
        let key = self.key(plan, inputs, &before);
        if let Some(tree) = self.memo.tree(&key) {
            job.cached(format!("run {:?}", plan.name));
            return Ok(transaction.read_tree(job, &tree)?);
        }
        let made = self.make(plan, inputs, tree, transaction, job)?;
        let sealed = made.clone().seal().map_err(PipelineError::Tree)?;
        self.memo.later(key, transaction.put_tree(job, &sealed)?);
        Ok(made)
    }

    fn key(&self, plan: &RunPlan, inputs: &[Inputs], before: &TreeRef) -> StepKey {
        let mut key = KeyBuilder::new(STEP);
        key.bytes("sandbox", sandbox::VERSION.as_bytes());
        key.bytes("tree", before.id.as_bytes());
        plan.command.iter().for_each(|word| key.bytes("command", word.as_bytes()));
        for ((at, _), inputs) in plan.inputs.iter().zip(inputs) {
            key.bytes("input", at.as_bytes());
            key.bytes("digest", inputs.digest().as_bytes());
        }
        for (name, value) in &plan.environment {
            key.bytes(name, value.as_bytes());
        }
        key.bytes("working directory", plan.working_directory.as_bytes());
        plan.outputs.iter().for_each(|output| key.bytes("output", output.as_bytes()));
        key.bytes("epoch", &self.epoch.to_le_bytes());
        key.finish()
    }

    fn make(
        &self,
        plan: &RunPlan,
        digested: &[Inputs],
        tree: &Directory,
        transaction: &Transaction<'_>,
        job: &Job,
    ) -> Result<Directory> {
        let mut inputs: BTreeMap<ImagePath, Directory> = BTreeMap::new();
        for ((at, path), digested) in plan.inputs.iter().zip(digested) {
            let (tree, inputs_now) = read(path, transaction, job)?;
            if inputs_now != *digested {
                return Err(PipelineError::InputChanged { path: path.clone(), origin: plan.origin.clone() });
            }
            match (tree, at.parent(), at.name()) {
                (Node::Directory(tree), ..) => {
                    inputs.entry(at.clone()).or_default().entries.extend(tree.entries)
                }
                (file, Some(parent), Some(name)) => {
                    inputs.entry(parent).or_default().entries.insert(name, file);
                }
                _ => {}
            }
        }
        let request = sandbox::Request {
            tree,
            source: transaction,
            commands: vec![plan.command.clone()],
            environment: plan.environment.clone(),
            working_directory: plan.working_directory.clone(),
            inputs: inputs.iter().map(|(at, tree)| (at.clone(), tree)).collect(),
            epoch: self.epoch,
            limits: sandbox::Limits {
                time: Duration::from_secs(plan.timeout_seconds.into()),
                ..sandbox::Limits::default()
            },
            scratch: self.scratch,
            label: format!("run {:?}", plan.name),
            program: None,
        };
        let failed = |source| PipelineError::Run { origin: plan.origin.clone(), source: Box::new(source) };
        let outcome = sandbox::run(&request, transaction, job).map_err(failed)?;
        let outside = outcome.outside(&plan.outputs).map_err(|(pattern, problem)| {
            PipelineError::OutputPattern { pattern, problem, origin: plan.origin.clone() }
        })?;
        match outside.is_empty() {
            true => Ok(outcome.tree),
            false => Err(PipelineError::Outside { paths: outside, origin: plan.origin.clone() }),
        }
    }
}

/// Digests what a step reads of the host, in the order of its inputs.
pub fn digest(plan: &RunPlan, job: &Job) -> Result<Vec<Inputs>> {
    plan.inputs.iter().map(|(_, path)| Ok(read(path, &archive::Digesting, job)?.1)).collect()
}

/// Reads a file or folder of the host.
fn read(path: &Path, sink: &dyn ContentSink, job: &Job) -> Result<(Node, Inputs)> {
    if path.is_dir() {
        let scanned = archive::scan(path, &Limits::default(), sink, job).map_err(PipelineError::Archive);
        return scanned.map(|(tree, inputs)| (Node::Directory(tree), inputs));
    }
    let one = |error| PipelineError::Archive(vec![error]);
    let inputs = archive::read_host_file(path, sink, job).map_err(one)?;
    let Some(archive::InputKind::File { content, executable }) =
        inputs.entries.first().map(|input| &input.kind)
    else {
        unreachable!("because the inputs of a file are that file");
    };
    let mode = if *executable { 0o755 } else { 0o644 };
    let file = File { metadata: Metadata::root(mode), content: *content };
    Ok((Node::File(file), inputs))
}
