use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

use super::super::args::PackageArgs;
use super::super::failure::{Failure, Kind};
use super::key::SigningArgs;
use super::{Context, Done};
use crate::base::{FileError, base64, fs};
use crate::pipeline::{self, Provenance, Rebuilt, Sources};
use crate::store::{Commit, Store};
use crate::trust::Signer;
use crate::verify::statement::{self, Facts, Subject};
use crate::verify::{Against, Divergence, Report};

/// Largest statement that is read.
const STATEMENT_BYTES_MAX: u64 = statement::STATEMENT_BYTES_MAX as u64;

#[derive(clap::Args, Debug)]
pub struct Rebuild {
    /// Image, statement of how it was built, or commit of the store
    #[arg(value_name = "IMAGE|STATEMENT|COMMIT")]
    what: String,
    /// Keep the image that was built
    #[arg(long, short, value_name = "IMAGE")]
    output: Option<PathBuf>,
    /// File or folder that the image was made of; which one it is, its digest says
    #[arg(long, value_name = "PATH")]
    input: Vec<PathBuf>,
    /// Folder in which the inputs lie as they lay beside the recipe
    #[arg(long, value_name = "DIR")]
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    packages: PackageArgs,
    /// PID 1 of app images [default: mkimage-init beside this program]
    #[arg(long, value_name = "FILE", env = "MKIMAGE_INIT", hide_env_values = true)]
    init: Option<PathBuf>,
    /// Write a statement of what came of it (in-toto); signed with --key
    #[arg(long, value_name = "FILE")]
    statement: Option<PathBuf>,
    /// What it states: that the image was reproduced, or how it is built
    #[arg(long, value_name = "WHICH", default_value = "reproduced", requires = "statement")]
    predicate: Predicate,
    #[command(flatten)]
    signing: SigningArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Predicate {
    Reproduced,
    Provenance,
}

/// What is to be built again: what it says of itself, and the image where there is one.
struct Subjects {
    provenance: Provenance,
    image: Option<PathBuf>,
    report: Option<Report>,
}

/// `mkimage rebuild`: exits with 0 where it was reproduced, with 1 where it was not, with 6 where the image does not
/// even say one thing.
pub fn run(context: &Context, arguments: &Rebuild) -> Done {
    let store = context.store().ok().filter(|store| store.path().exists());
    let mut subject = find(context, arguments, store.as_ref())?;
    let scratch = Scratch::new()?;
    let provenance = &subject.provenance;
    let recipe = Path::new(provenance.commit.recipe.first().map_or("recipe.hcl", |(name, _)| name));
    let options = context.options(recipe, &arguments.packages, arguments.init.clone())?;
    let sources = Sources { given: &arguments.input, folders: &arguments.inputs, store: store.as_ref() };
    let made = pipeline::rebuild(provenance, &sources, options, scratch.path(), &context.job);
    let made = made.map_err(|error| context.failure(error))?;
    let output = arguments.output.clone().unwrap_or_else(|| scratch.path().join("rebuilt.img"));
    let differences = held_against(context, &mut subject, &made, &output)?;
    let (reproduced, provenance) = (differences.is_reproduced(), &subject.provenance);
    if let Some(path) = &arguments.statement {
        state(arguments, &subject, &output, reproduced, path)?;
    }
    let value = serde_json::json!({
        "reproduced": reproduced,
        "commit": provenance.commit.id(),
        "rebuilt": made.commit,
        "unsound": subject.report.as_ref().map(|report| &report.findings),
        "settings": differences.settings,
        "divergences": differences.bytes,
        "elsewhere": differences.uncovered,
    });
    context.printer.data(&value, || as_text(&subject, &differences, &made, reproduced))?;
    Ok(match (reproduced, subject.report.as_ref().is_some_and(|report| !report.sound)) {
        (true, _) => ExitCode::SUCCESS,
        (false, true) => ExitCode::from(Kind::Damaged.exit_code()),
        (false, false) => ExitCode::from(Kind::Failed.exit_code()),
    })
}

/// Finds out what the argument is: a file that is an image, a file that is a statement, a commit of the store.
fn find(context: &Context, arguments: &Rebuild, store: Option<&Store>) -> Result<Subjects, Failure> {
    let path = Path::new(&arguments.what);
    if !path.exists() {
        let store = store
            .map_or_else(|| context.store(), |store| Store::open(store.path()).map_err(Failure::from))?;
        let id = store.resolve(&arguments.what)?;
        let provenance = Provenance::of(&store, &id).map_err(|error| context.failure(error))?;
        return Ok(Subjects { provenance, image: None, report: None });
    }
    let mut start = [0; 1];
    let file = fs::open(path)?;
    let read = std::os::unix::fs::FileExt::read_at(&file, &mut start, 0);
    if read.map_err(FileError::at("read", path))? == 1 && start == *b"{" {
        let bytes = fs::read_at_most(path, STATEMENT_BYTES_MAX)?;
        let (commit, recipe, lock) = statement::unverified_build(&arguments.what, &bytes)?;
        return Ok(Subjects { provenance: provenance(&commit, recipe, lock)?, image: None, report: None });
    }
    let carried: Carried = context.confined("carried", &Value::Null, &[path])?;
    let commit = base64::decode(carried.commit.as_bytes()).unwrap_or_default();
    let provenance = provenance(&commit, carried.recipe, carried.lock)?;
    Ok(Subjects { provenance, image: Some(path.to_owned()), report: None })
}

/// What the confined child reads out of an image.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Carried {
    pub commit: String,
    pub recipe: Vec<String>,
    pub lock: Option<String>,
}

fn provenance(commit: &[u8], recipe: Vec<String>, lock: Option<String>) -> Result<Provenance, Failure> {
    let commit = Commit::decode(commit).map_err(|error| Failure::of(Kind::Damaged, &error))?;
    Ok(Provenance { commit, recipe, lock })
}

/// In what the rebuilt one differs.
#[derive(Default)]
struct Differences {
    /// Between the commits.
    settings: Vec<String>,
    /// Between the images, where the commit decides.
    bytes: Vec<Divergence>,
    /// Between the images, where it does not: what was booted or updated since.
    uncovered: Vec<Divergence>,
}

impl Differences {
    fn is_reproduced(&self) -> bool {
        self.settings.is_empty() && self.bytes.is_empty()
    }
}

/// Writes the image again and holds it against the one that was given, both verified: then that one has its report.
fn held_against(
    context: &Context,
    subject: &mut Subjects,
    made: &Rebuilt,
    output: &Path,
) -> Result<Differences, Failure> {
    let expected = &subject.provenance.commit;
    let found = crate::store::Objects::read_commit(&made.store, &made.commit)?;
    let settings = pipeline::commit_differences(expected, &found);
    let boots = found.boot.is_some();
    if boots {
        pipeline::write(&made.store, made.commit, output, &context.job)
            .map_err(|error| context.failure(error))?;
    }
    let bytes = match &subject.image {
        None => return Ok(Differences { settings, ..Differences::default() }),
        Some(image) if boots => {
            let against: Against = context.confined("against", &Value::Null, &[image, output])?;
            subject.report = Some(against.report);
            against.differences
        }
        Some(image) => {
            subject.report = Some(context.confined("verify", &Value::Null, &[image])?);
            Vec::new()
        }
    };
    let report = subject.report.as_ref();
    let is_covered = |difference: &Divergence| {
        let inside = |range: &crate::verify::Range| {
            (range.offset..range.offset + range.bytes).contains(&difference.offset)
        };
        // Of an image that is damaged nothing was covered for certain.
        !report.is_some_and(|report| report.sound && report.uncovered.iter().any(inside))
    };
    let (bytes, uncovered) = bytes.into_iter().partition(is_covered);
    Ok(Differences { settings, bytes, uncovered })
}

fn state(
    arguments: &Rebuild,
    subject: &Subjects,
    output: &Path,
    reproduced: bool,
    path: &Path,
) -> Result<(), Failure> {
    if !reproduced {
        return Err(Failure::new(Kind::Failed, "nothing is stated: the image was not reproduced"));
    }
    let image = subject.image.as_deref().unwrap_or(output);
    let name = image.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut file = fs::open(image)?;
    let digests = Subject::of(&name, &mut file).map_err(FileError::at("read", image))?;
    let provenance = &subject.provenance;
    let lock = provenance.lock.as_deref();
    let facts = Facts { subject: digests, commit: &provenance.commit, recipe: &provenance.recipe, lock };
    let signers = arguments.signing.signers()?;
    let signers: Vec<&dyn Signer> = signers.iter().map(|signer| &**signer).collect();
    let builder = signers.first().map_or("urn:mkimage:builder:unsigned".to_owned(), |signer| {
        format!("urn:mkimage:key:{}", signer.public().id())
    });
    let text = match arguments.predicate {
        Predicate::Reproduced => facts.reproduced(),
        Predicate::Provenance => facts.provenance(&builder),
    };
    let bytes = if signers.is_empty() { text } else { statement::sign(&text, &signers)? };
    let publication = crate::base::publish::Publication::create(path)?;
    std::io::Write::write_all(&mut publication.file(), &bytes).map_err(FileError::at("write", path))?;
    Ok(publication.publish()?)
}

fn as_text(subject: &Subjects, differences: &Differences, made: &Rebuilt, reproduced: bool) -> String {
    let mut text = String::new();
    for finding in subject.report.iter().flat_map(|report| &report.findings) {
        let _ = writeln!(text, "wrong by itself: {finding}");
    }
    for difference in &differences.settings {
        let _ = writeln!(text, "the commits differ in {difference}");
    }
    for difference in &differences.bytes {
        let follows = if difference.derived { " (follows from another)" } else { "" };
        let path = difference.path.as_ref().filter(|_| difference.partition.as_deref() != Some("esp"));
        let line = path.and_then(|path| pipeline::asked_for(&made.plan, path));
        let line = line.map(|line| format!(" → {line}")).unwrap_or_default();
        let _ = writeln!(text, "differs: {difference}{line}{follows}");
    }
    if !differences.uncovered.is_empty() {
        let count = differences.uncovered.len();
        let _ = writeln!(
            text,
            "{count} differences lie where the commit decides nothing: it was booted or updated"
        );
    }
    let verdict = if reproduced { "reproduced" } else { "NOT reproduced" };
    let _ = writeln!(text, "{verdict}: {}", subject.provenance.commit.id());
    text
}

/// A folder that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let name = format!("mkimage-rebuild-{}-{}", std::process::id(), crate::base::clock::unix_seconds());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).map_err(FileError::at("create the directory", &path))?;
        Ok(Scratch(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
