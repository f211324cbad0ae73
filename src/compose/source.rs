//! Host input that is a file, a directory or an archive: which it is, its digest, its tree.

use std::io::Read;
use std::path::Path;

use super::contribute::Context;
use super::error::Problem;
use super::step::Prepared;
use crate::archive::{
    ArchiveError, Digesting, InputKind, Inputs, Limits, Options, allow_list, is_archive, read_archive,
    read_host_file, refuse, scan, set_owner,
};
use crate::base::fs::FileError;
use crate::base::{BlobId, Digest, Job};
use crate::recipe::plan::{Origin, SourcePlan};
use crate::tree::{ContentSink, Directory, File, Metadata, Node};

/// What stands at a source's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    Archive,
    File,
}

/// Ends of names that say "archive": then it must be one.
const ARCHIVE_ENDS: [&str; 8] =
    [".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.zst", ".tar.zstd", ".tzst"];

impl Kind {
    /// Looks at what stands there: an archive is what its name or its first bytes say is one.
    pub(super) fn of(path: &Path, limits: &Limits) -> Result<Kind, Problem> {
        let failed = |error: FileError| Problem::Source { path: path.to_owned(), source: error.into() };
        let metadata =
            std::fs::metadata(path).map_err(|error| failed(FileError::at("look at", path)(error)))?;
        if metadata.is_dir() {
            return Ok(Kind::Directory);
        }
        // What is neither is refused unopened: opening a fifo would wait.
        if !metadata.is_file() {
            return Err(Problem::Source {
                path: path.to_owned(),
                source: refuse(path, metadata.file_type()),
            });
        }
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        if ARCHIVE_ENDS.iter().any(|end| name.ends_with(end)) {
            return Ok(Kind::Archive);
        }
        let file = crate::base::fs::open(path).map_err(failed)?;
        Ok(if is_archive(file, limits) { Kind::Archive } else { Kind::File })
    }
}

/// Digests everything that a source reads.
pub(super) fn digest(plan: &SourcePlan, limits: &Limits, job: &Job) -> Result<(Kind, Inputs), Vec<Problem>> {
    let kind = Kind::of(&plan.path, limits).map_err(|problem| vec![problem])?;
    let problems = check(plan, kind);
    if !problems.is_empty() {
        return Err(problems);
    }
    let inputs = match kind {
        Kind::Directory => {
            scan(&plan.path, limits, &Digesting, job).map_err(|errors| failed(&plan.path, errors))?.1
        }
        Kind::Archive | Kind::File => digest_file(&plan.path, job)?,
    };
    Ok((kind, inputs))
}

/// Digests one file of the host.
pub(super) fn digest_file(path: &Path, job: &Job) -> Result<Inputs, Vec<Problem>> {
    read_host_file(path, &Digesting, job).map_err(|error| failed(path, vec![error]))
}

/// Reads a source into a tree with it at its place.
pub(super) fn read(
    plan: &SourcePlan,
    origin: &Origin,
    prepared: &Prepared,
    context: &Context<'_>,
) -> Result<Directory, Vec<Problem>> {
    let one = |problem: Problem| vec![problem];
    let kind = Kind::of(&plan.path, context.limits).map_err(one)?;
    let owner = plan.owner.as_ref().map(|owner| context.accounts.owner(owner));
    let owner = owner.transpose().map_err(one)?;
    let mut tree = match kind {
        Kind::Directory => read_directory(plan, prepared, context)?,
        Kind::Archive => read_tar(plan, origin, prepared, context).map_err(one)?,
        Kind::File => read_file(plan, prepared, context)?,
    };
    if let Some(owner) = owner {
        set_owner(&mut tree, &plan.target, owner);
    }
    Ok(tree)
}

/// Refuses settings that mean nothing for what stands there.
fn check(plan: &SourcePlan, kind: Kind) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut refuse = |key: &'static str, problem: &str| {
        let problem = format!("{}, and {} is none", problem, plan.path.display());
        problems.push(Problem::Setting { key, problem });
    };
    if plan.strip_components != 0 && kind != Kind::Archive {
        refuse("strip_components", "only the paths of a tar archive can lose components");
    }
    if plan.mode.is_some() && kind != Kind::File {
        refuse("mode", "only a source that is one file has one mode");
    }
    if kind == Kind::File && plan.target.is_root() {
        problems.push(Problem::Setting {
            key: "path",
            problem: format!("{} is a file and needs a path of its own, not \"/\"", plan.path.display()),
        });
    }
    problems
}

fn read_directory(
    plan: &SourcePlan,
    prepared: &Prepared,
    context: &Context<'_>,
) -> Result<Directory, Vec<Problem>> {
    let read = scan(&plan.path, context.limits, context.sink, context.job);
    let (content, inputs) = read.map_err(|errors| failed(&plan.path, errors))?;
    same(prepared, &inputs, &plan.path).map_err(|problem| vec![problem])?;
    if plan.target.is_root() {
        return Ok(content);
    }
    let mut tree = Directory::default();
    tree.insert(&plan.target, Node::Directory(content)).map_err(|error| vec![error.into()])?;
    Ok(tree)
}

fn read_file(
    plan: &SourcePlan,
    prepared: &Prepared,
    context: &Context<'_>,
) -> Result<Directory, Vec<Problem>> {
    let inputs = read_one(&plan.path, context.sink, prepared, context.job)?;
    let mut tree = Directory::default();
    if let Some(InputKind::File { content, executable }) = inputs.entries.first().map(|input| &input.kind) {
        let mode = plan.mode.unwrap_or(if *executable { 0o755 } else { 0o644 });
        let file = Node::File(File { metadata: Metadata::root(mode), content: *content });
        tree.insert(&plan.target, file).map_err(|error| vec![error.into()])?;
    }
    Ok(tree)
}

/// Reads one file of the host that was digested before.
pub(super) fn read_one(
    path: &Path,
    sink: &dyn ContentSink,
    prepared: &Prepared,
    job: &Job,
) -> Result<Inputs, Vec<Problem>> {
    let inputs = read_host_file(path, sink, job).map_err(|error| failed(path, vec![error]))?;
    same(prepared, &inputs, path).map_err(|problem| vec![problem])?;
    Ok(inputs)
}

fn read_tar(
    plan: &SourcePlan,
    origin: &Origin,
    prepared: &Prepared,
    context: &Context<'_>,
) -> Result<Directory, Problem> {
    let failed = |source: ArchiveError| Problem::Source { path: plan.path.clone(), source };
    let file = crate::base::fs::open(&plan.path).map_err(|error| failed(error.into()))?;
    let mut file = Hashing { inner: file, hasher: blake3::Hasher::new() };
    let policy = allow_list(&plan.allow);
    let options = Options {
        label: origin.block.clone(),
        prefix: plan.target.clone(),
        strip_components: plan.strip_components,
        owner: None,
        policy: &policy,
        parallel: true,
        limits: context.limits.clone(),
    };
    let tree = read_archive(&mut file, &options, context.sink, context.job).map_err(failed)?;
    std::io::copy(&mut file, &mut std::io::sink())
        .map_err(|error| failed(FileError::at("read", &plan.path)(error).into()))?;
    let read = BlobId(Digest(*file.hasher.finalize().as_bytes()));
    let digested = prepared.inputs.as_ref().and_then(|inputs| inputs.entries.first());
    match digested.map(|input| &input.kind) {
        Some(InputKind::File { content, .. }) if content.id == read => Ok(tree),
        _ => Err(Problem::Changed { path: plan.path.clone() }),
    }
}

fn same(prepared: &Prepared, inputs: &Inputs, path: &Path) -> Result<(), Problem> {
    let digested = prepared.inputs.as_ref().map(Inputs::digest);
    if digested == Some(inputs.digest()) { Ok(()) } else { Err(Problem::Changed { path: path.to_owned() }) }
}

fn failed(path: &Path, errors: Vec<ArchiveError>) -> Vec<Problem> {
    errors.into_iter().map(|source| Problem::Source { path: path.to_owned(), source }).collect()
}

/// Hashes what is read through it.
struct Hashing<R> {
    inner: R,
    hasher: blake3::Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
