use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use super::super::failure::{Failure, Kind};
use super::{Context, Done};
use crate::base::Bytes;
use crate::base::units::approximate;
use crate::ostree::wire::Mode;
use crate::ostree::{self, Export, Exported, Import, Imported, Library, OstreeError};
use crate::store::{Architecture, RefName, StoreError};

#[derive(Args, Debug)]
pub struct Ostree {
    #[command(subcommand)]
    verb: Verb,
    /// The program that knows OSTree's library [default: mkimage-ostree beside this program]
    #[arg(long, global = true, value_name = "FILE", env = "MKIMAGE_OSTREE", hide_env_values = true)]
    helper: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Write a commit into an OSTree repository, and print the checksum of the OSTree commit
    Export(ExportArgs),
    /// Bring an OSTree commit into the store, and print the id of the commit
    Import(ImportArgs),
}

#[derive(Args, Debug)]
struct ExportArgs {
    /// Ref or commit id
    #[arg(value_name = "COMMIT")]
    commit: String,
    /// The OSTree repository; made where nothing stands yet
    #[arg(long, value_name = "DIR")]
    repo: PathBuf,
    /// Branch of the repository that moves to the commit [default: the commit's name]
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// How the repository keeps files: `archive` for HTTP servers, `bare-user` to check out from, `bare` the
    /// same as root [default: archive for a new repository]
    #[arg(long, value_name = "MODE")]
    mode: Option<RepositoryMode>,
    /// Leave out what OSTree can't hold: devices, fifos, sockets, names that are not UTF-8
    #[arg(long)]
    lossy: bool,
    /// Leave out boot files, recipe and lock, which go to the branch mkimage/NAME otherwise
    #[arg(long)]
    tree_only: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RepositoryMode {
    Archive,
    BareUser,
    Bare,
}

#[derive(Args, Debug)]
struct ImportArgs {
    /// A branch of the repository, REMOTE:BRANCH, or the checksum of a commit
    #[arg(value_name = "BRANCH|CHECKSUM")]
    commit: String,
    /// The OSTree repository
    #[arg(long, value_name = "DIR")]
    repo: PathBuf,
    /// Ref of the store that moves to the commit [default: the commit's own name, or the branch's]
    #[arg(long, value_name = "REF")]
    name: Option<String>,
    /// What a commit is for that does not say so itself
    #[arg(long, value_name = "WHICH", default_value = "x86_64")]
    architecture: Processor,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Processor {
    #[value(name = "x86_64")]
    X86_64,
    Aarch64,
}

/// `mkimage ostree`: commits into OSTree repositories, and out of them.
pub fn run(context: &Context, arguments: Ostree) -> Done {
    let program = match arguments.helper {
        Some(program) => program,
        None => beside_this_program()?,
    };
    let library = Library { program };
    match arguments.verb {
        Verb::Export(arguments) => export(context, &library, arguments),
        Verb::Import(arguments) => import(context, &library, &arguments),
    }
}

/// Returns `mkimage-ostree` beside this program, where `make ostree` puts it.
fn beside_this_program() -> Result<PathBuf, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::of(Kind::Failed, &error))?;
    Ok(program.with_file_name("mkimage-ostree"))
}

fn export(context: &Context, library: &Library, arguments: ExportArgs) -> Done {
    let store = context.store()?;
    let commit = store.resolve(&arguments.commit).map_err(Failure::from)?;
    let branch = match arguments.branch {
        Some(branch) => branch,
        None => crate::store::Objects::read_commit(&store, &commit).map_err(Failure::from)?.name,
    };
    let mode = arguments.mode.map(|mode| match mode {
        RepositoryMode::Archive => Mode::Archive,
        RepositoryMode::BareUser => Mode::BareUser,
        RepositoryMode::Bare => Mode::Bare,
    });
    let (lossy, tree_only) = (arguments.lossy, arguments.tree_only);
    let request = Export { commit, branch, mode, lossy, tree_only };
    let done = ostree::export(&store, library, &arguments.repo, &request, &context.job);
    let exported = done.map_err(|error| failure(error, &arguments.repo))?;
    tell_of_export(context, &exported);
    context.printer.data(&exported, || exported.checksum.to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn tell_of_export(context: &Context, exported: &Exported) {
    let Exported { objects, bytes, branch, mode, .. } = exported;
    let repository = exported.repository.display();
    context.printer.say(&format!(
        "{branch} of {repository} ({mode}): {objects} objects are new, {}",
        approximate(Bytes(*bytes))
    ));
    for loss in &exported.losses {
        context.printer.warn(&format!("{}: {} stays behind", loss.path, loss.what));
    }
    if exported.hard_links > 0 {
        context.printer.say(&format!(
            "hard links: OSTree clients see {} more names of files as files of their own; an import links them again",
            exported.hard_links
        ));
    }
    match &exported.companion {
        Some(companion) => {
            context.printer.say(&format!("boot files, recipe and lock are at the branch {companion}"));
        }
        None => context.printer.say("without boot files, recipe and lock: an import gives the tree alone"),
    }
}

fn import(context: &Context, library: &Library, arguments: &ImportArgs) -> Done {
    let store = context.store()?;
    let reference = arguments.name.as_deref().map(RefName::new).transpose();
    let reference = reference.map_err(|error| Failure::from(StoreError::from(error)))?;
    let architecture = match arguments.architecture {
        Processor::X86_64 => Architecture::X86_64,
        Processor::Aarch64 => Architecture::Aarch64,
    };
    let disk = Import::default_disk(architecture);
    let request = Import { name: arguments.commit.clone(), reference, disk };
    let done = ostree::import(&store, library, &arguments.repo, &request, &context.job);
    let imported = done.map_err(|error| failure(error, &arguments.repo))?;
    tell_of_import(context, &imported);
    context.printer.data(&imported, || imported.commit.to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn tell_of_import(context: &Context, imported: &Imported) {
    let Imported { reference, objects, bytes, .. } = imported;
    let whose = match imported.restored {
        true => "the commit that was exported",
        false => "a new commit, with the tree alone",
    };
    context
        .printer
        .say(&format!("{reference}: {whose}; {objects} objects are new, {}", approximate(Bytes(*bytes))));
    if let Some(note) = &imported.note {
        context.printer.say(note);
    }
}

fn failure(error: OstreeError, repository: &Path) -> Failure {
    let kind = match &error {
        OstreeError::NoHelper { .. } | OstreeError::NoRepository { .. } | OstreeError::UnknownRef { .. } => {
            Kind::NotFound
        }
        OstreeError::CannotHold { .. } | OstreeError::Epoch { .. } | OstreeError::Tree(_) => Kind::Input,
        OstreeError::TooLarge { .. } => Kind::Input,
        OstreeError::NotARepository { .. }
        | OstreeError::Mode { .. }
        | OstreeError::Forgetful { .. }
        | OstreeError::Name { .. } => Kind::Usage,
        OstreeError::Missing { .. } | OstreeError::Malformed { .. } | OstreeError::Damaged { .. } => {
            Kind::Damaged
        }
        OstreeError::Library { problem, .. } if is_full(problem) => Kind::NoSpace,
        OstreeError::Library { .. }
        | OstreeError::Start { .. }
        | OstreeError::Ended { .. }
        | OstreeError::Protocol { .. } => Kind::Failed,
        OstreeError::Cancelled(_) => Kind::Interrupted,
        OstreeError::Store(_) | OstreeError::Content(_) | OstreeError::File(_) => Kind::Failed,
    };
    let hint = hint(&error, repository);
    let failure = match error {
        OstreeError::Store(error) => Failure::from(error),
        OstreeError::Content(error) => Failure::from(StoreError::from(error)),
        OstreeError::File(error) => Failure::from(error),
        error => Failure::of(kind, &error),
    };
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Tells whether libostree stopped for want of room; it keeps some of the disk free by itself.
fn is_full(problem: &str) -> bool {
    ["No space left on device", "Disk quota exceeded", "min-free-space"]
        .iter()
        .any(|text| problem.contains(text))
}

fn hint(error: &OstreeError, repository: &Path) -> Option<String> {
    let repository = repository.display();
    match error {
        OstreeError::NoHelper { .. } => Some(
            "libostree can't be linked into a static program: `make ostree` builds mkimage-ostree beside mkimage \
             (Debian packages: libostree-dev, pkg-config); --helper FILE or MKIMAGE_OSTREE names another"
                .to_owned(),
        ),
        OstreeError::Ended { said, .. } if said.contains("shared librar") => {
            Some("install OSTree's library (Debian package: libostree-1-1)".to_owned())
        }
        OstreeError::CannotHold { .. } => {
            Some("--lossy exports the rest, and says what stays behind".to_owned())
        }
        OstreeError::UnknownRef { .. } => Some(format!("`ostree refs --repo={repository}` lists what is there")),
        OstreeError::Missing { .. } => {
            Some(format!("`ostree fsck --repo={repository}` checks it; `ostree pull` fetches what is missing"))
        }
        OstreeError::Malformed { .. } | OstreeError::Damaged { .. } => {
            Some(format!("`ostree fsck --repo={repository}` lists what is damaged; nothing was imported"))
        }
        OstreeError::Name { .. } => Some("--name REF names one".to_owned()),
        OstreeError::Library { problem, .. } if is_full(problem) => {
            Some("free some space, then run the same command again".to_owned())
        }
        OstreeError::Library { problem, .. } if problem.contains("Operation not permitted") => {
            Some("only root can keep owners in a `bare` repository: use --mode archive or bare-user".to_owned())
        }
        _ => None,
    }
}
