//! What the command line says when something went wrong: kind, message, causes, hint, exit code.

use std::error::Error;

use super::image_failure;
use crate::archive::ArchiveError;
use crate::base::{FileError, whole};
use crate::compose::{ComposeError, Problem};
use crate::packages::{FetchProblem, PackagesError};
use crate::pipeline::PipelineError;
use crate::report::ReportError;
use crate::sandbox::SandboxError;
use crate::store::StoreError;
use crate::tree::{ContentError, TreeError};
use crate::trust::TrustError;

/// What kind of failure it is. The codes are documented and stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Failed,
    Usage,
    Recipe,
    Input,
    NotFound,
    Damaged,
    Network,
    NoSpace,
    Interrupted,
}

impl Kind {
    /// Returns the exit code of the process.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::Recipe => 3,
            Kind::Input => 4,
            Kind::NotFound => 5,
            Kind::Damaged => 6,
            Kind::Network => 7,
            Kind::NoSpace => 8,
            Kind::Interrupted => 130,
        }
    }

    /// Returns the kind of a name.
    pub fn named(name: &str) -> Option<Kind> {
        let all = [
            Kind::Failed,
            Kind::Usage,
            Kind::Recipe,
            Kind::Input,
            Kind::NotFound,
            Kind::Damaged,
            Kind::Network,
            Kind::NoSpace,
            Kind::Interrupted,
        ];
        all.into_iter().find(|kind| kind.name() == name)
    }

    /// Returns the name of the kind in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Failed => "failed",
            Kind::Usage => "usage",
            Kind::Recipe => "recipe",
            Kind::Input => "input",
            Kind::NotFound => "not_found",
            Kind::Damaged => "damaged",
            Kind::Network => "network",
            Kind::NoSpace => "no_space",
            Kind::Interrupted => "interrupted",
        }
    }
}

/// Holds what is printed when a verb fails.
#[derive(Debug)]
pub struct Failure {
    pub kind: Kind,
    pub message: String,
    /// What it came from, outermost first.
    pub causes: Vec<String>,
    pub hint: Option<String>,
    pub report: Option<Box<Report>>,
}

/// What stands before the message, such as diagnostics with excerpts.
#[derive(Debug)]
pub struct Report {
    /// For people, as it is.
    pub text: String,
    /// The same for programs.
    pub details: serde_json::Value,
}

impl Failure {
    /// Makes a failure that has a message only.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Failure { kind, message: message.into(), causes: Vec::new(), hint: None, report: None }
    }

    /// Makes a failure of an error and all that it came from. A cause that its parent's text already
    /// ends with is not said again.
    pub fn of(kind: Kind, error: &(dyn Error + 'static)) -> Self {
        let mut failure = Failure::new(kind, error.to_string());
        let mut source = error.source();
        while let Some(error) = source {
            let text = error.to_string();
            let said = failure.causes.last().unwrap_or(&failure.message);
            if !said.ends_with(&text) {
                failure.causes.push(text);
            }
            source = error.source();
        }
        failure.refine(error);
        failure
    }

    /// Makes a failure of several errors, whose message says them all.
    fn of_all(kind: Kind, error: &PipelineError, all: &[&(dyn Error + 'static)]) -> Self {
        let mut failure = Failure::new(kind, error.to_string());
        for error in all {
            failure.refine(*error);
        }
        if let PipelineError::Packages(_) = error {
            let lines: String = all.iter().map(|error| format!("\n  {}", whole(*error))).collect();
            failure.message = format!("some packages can't be had:{lines}");
        }
        let details = all.iter().map(|error| whole(*error)).collect();
        failure.report = Some(Box::new(Report { text: String::new(), details }));
        failure
    }

    /// Adds what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Looks down the causes for what changes the kind: a full disk, an interruption, no permission.
    fn refine(&mut self, error: &(dyn Error + 'static)) {
        let mut next = Some(error);
        while let Some(error) = next {
            if error.is::<crate::base::Cancelled>() {
                // What was being done just then is nobody's fault and helps nobody.
                self.kind = Kind::Interrupted;
                self.message = error.to_string();
                self.causes.clear();
            }
            // Streams wrap what went wrong in an error of theirs.
            let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            let inner = inner.and_then(|inner| inner.downcast_ref::<ContentError>());
            let content = error.downcast_ref::<ContentError>().or(inner);
            let store = error.downcast_ref::<StoreError>();
            if matches!(content, Some(ContentError::Damaged { .. } | ContentError::Missing { .. }))
                || matches!(store, Some(StoreError::Malformed { .. } | StoreError::DamagedRef { .. }))
            {
                self.hint.get_or_insert_with(|| DAMAGE_HINT.into());
            }
            let io = error.downcast_ref::<std::io::Error>();
            match io.map(std::io::Error::kind) {
                Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) => {
                    self.kind = Kind::NoSpace;
                    self.hint
                        .get_or_insert_with(|| "free some space, then run the same command again".into());
                }
                Some(std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem) => {
                    self.hint.get_or_insert_with(|| ACCESS_HINT.into());
                }
                _ => {}
            }
            next = error.source();
        }
    }
}

pub(super) const ACCESS_HINT: &str = "mkimage needs no root, only access there; --store names another store";
const DAMAGE_HINT: &str = "`mkimage fsck` says what else is damaged, and what that touches; `mkimage fsck --repair \
    --from STORE` heals it";

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        let kind = if error.is_missing() { Kind::NotFound } else { Kind::Failed };
        Failure::of(kind, &error)
    }
}

impl From<ReportError> for Failure {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Store(error) => error.into(),
            ReportError::Content(error) => StoreError::from(error).into(),
            ReportError::Image(error) => error.into(),
            error @ (ReportError::Timeline { .. } | ReportError::TooMany { .. }) => {
                Failure::of(Kind::Input, &error)
            }
            error => Failure::of(Kind::Failed, &error),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let failure = Failure::of(store_kind(&error), &error);
        match &error {
            StoreError::Unknown { .. } => failure.hint("`mkimage refs` lists the refs of the store"),
            StoreError::Removed { .. } => failure.hint("`mkimage undo` takes the last moves back"),
            StoreError::TagMoves { name, .. } => {
                failure.hint(format!("take another name, or remove it first: mkimage refs --delete {name}"))
            }
            StoreError::RefInTheWay { .. } => {
                failure.hint("take another name, such as test/web beside prod/web")
            }
            StoreError::NoSuchMove { name, .. } => {
                failure.hint(format!("`mkimage log {name}` lists its moves"))
            }
            StoreError::NoSuchParent { .. } => failure
                .hint("a build records no parents: the log of its ref is its history, and REF~N goes back"),
            StoreError::Moved { .. } | StoreError::MovedSince { .. } => {
                failure.hint("nothing was moved; `mkimage log --all` shows who was faster")
            }
            StoreError::NothingToUndo { .. } | StoreError::NothingToRedo => {
                failure.hint("`mkimage log --all` shows all moves")
            }
            StoreError::Missing { kind: crate::store::Kind::Commit, .. } => failure.hint(
                "gc takes what refs led to long ago (its --reflog); where none ran, `mkimage fsck` heals it from another store",
            ),
            StoreError::Missing { .. } => {
                failure.hint("`mkimage fsck` says what else is missing, and heals it from another store")
            }
            StoreError::DamagedRef { .. } => {
                failure.hint("`mkimage fsck` says what is damaged, and `--repair` heals it")
            }
            StoreError::NotAStore { .. } => {
                failure.hint("name another place with --store DIR or MKIMAGE_STORE")
            }
            StoreError::Expired => failure.hint("run the same command again: it puts what is missing"),
            StoreError::GcDoubt { .. } => {
                failure.hint("`mkimage fsck` says what is wrong with the store; nothing was removed")
            }
            StoreError::Collecting { holder, .. } => {
                let unlock = holder.as_ref().map_or_else(String::new, |holder| {
                    format!("; if that machine never comes back, `mkimage store unlock {}`", holder.machine())
                });
                failure.hint(format!("wait until it is done, then run the command again{unlock}"))
            }
            StoreError::CutShort { .. } => failure.hint("`mkimage gc` brings it to its end"),
            StoreError::NotEmpty { .. } => failure.hint("name a directory that isn't there yet"),
            _ => failure,
        }
    }
}

impl From<TrustError> for Failure {
    fn from(error: TrustError) -> Self {
        match error {
            TrustError::File(error) => error.into(),
            error => {
                let failure = Failure::of(trust_kind(&error), &error);
                match trust_hint(&error) {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                }
            }
        }
    }
}

fn trust_kind(error: &TrustError) -> Kind {
    match error {
        TrustError::Threshold { .. } => Kind::Usage,
        TrustError::KeyExists { .. } | TrustError::Random { .. } | TrustError::Signer { .. } => Kind::Failed,
        _ => Kind::Input,
    }
}

pub(super) fn trust_hint(error: &TrustError) -> Option<String> {
    let hint = match error {
        TrustError::LooseMode { path, .. } => return Some(format!("chmod 600 {}", path.display())),
        TrustError::KeyExists { .. } => "name another file: a key that is written over is lost",
        TrustError::NotSigned { .. } => {
            "compare the ids with the one that the publisher shows with `mkimage key show`"
        }
        TrustError::Rollback { .. } => {
            "a mirror that lags behind looks the same: try another one, or try later"
        }
        TrustError::Equivocation { .. } => "ask the publisher; until then nothing of it is taken over",
        TrustError::Expired { .. } => {
            "the publisher renews it with every push; is this machine's clock right?"
        }
        TrustError::FromTheFuture { .. } => "is this machine's clock right?",
        _ => return None,
    };
    Some(hint.to_owned())
}

pub(super) fn store_kind(error: &StoreError) -> Kind {
    match error {
        StoreError::Unknown { .. }
        | StoreError::Missing { .. }
        | StoreError::Removed { .. }
        | StoreError::NoSuchMove { .. }
        | StoreError::NoSuchParent { .. }
        | StoreError::NothingToUndo { .. }
        | StoreError::NothingToRedo
        | StoreError::Ambiguous { .. }
        | StoreError::Path { .. } => Kind::NotFound,
        StoreError::RefName(_)
        | StoreError::RefTwice { .. }
        | StoreError::Revision(_)
        | StoreError::OtherKind { .. } => Kind::Usage,
        StoreError::Malformed { .. } | StoreError::DamagedRef { .. } | StoreError::GcDoubt { .. } => {
            Kind::Damaged
        }
        StoreError::Content(error) => content_kind(error),
        StoreError::Cancelled(_) => Kind::Interrupted,
        _ => Kind::Failed,
    }
}

pub(super) fn content_kind(error: &ContentError) -> Kind {
    match error {
        ContentError::Missing { .. } | ContentError::Damaged { .. } => Kind::Damaged,
        ContentError::Input(_) => Kind::Input,
        ContentError::File(_) => Kind::Failed,
        ContentError::Cancelled(_) => Kind::Interrupted,
    }
}

impl From<PipelineError> for Failure {
    fn from(error: PipelineError) -> Self {
        match error {
            PipelineError::Store(error) => error.into(),
            PipelineError::View(error) => error.into(),
            PipelineError::File(error) => error.into(),
            error => {
                let kind = pipeline_kind(&error);
                let failure = match &error.several()[..] {
                    [] => Failure::of(kind, &error),
                    [one] => Failure::of(kind, *one),
                    all => Failure::of_all(kind, &error, all),
                };
                match hint(&error) {
                    Some(hint) if failure.hint.is_none() => failure.hint(hint),
                    _ => failure,
                }
            }
        }
    }
}

fn pipeline_kind(error: &PipelineError) -> Kind {
    match error {
        PipelineError::Recipe(_)
        | PipelineError::Budget(_)
        | PipelineError::Tree(_)
        | PipelineError::Lay(_)
        | PipelineError::Finalize(_)
        | PipelineError::Rpm(_)
        | PipelineError::OutputPattern { .. }
        | PipelineError::Outside { .. }
        | PipelineError::Renumbered { .. }
        | PipelineError::NoKernel
        | PipelineError::NotInPackage { .. } => Kind::Recipe,
        PipelineError::Compose(errors) => match errors.first() {
            _ if errors.iter().any(ComposeError::is_cancelled) => Kind::Interrupted,
            Some(error) => compose_kind(&error.problem),
            None => Kind::Recipe,
        },
        PipelineError::Archive(_)
        | PipelineError::Boot(_)
        | PipelineError::BootFile { .. }
        | PipelineError::UpdateKey { .. }
        | PipelineError::UpdateCertificates { .. }
        | PipelineError::Init { .. }
        | PipelineError::InputChanged { .. }
        | PipelineError::Lock { .. } => Kind::Input,
        PipelineError::Base { source, .. } => store_kind(source),
        PipelineError::Scripts(error) => sandbox_kind(error),
        PipelineError::Run { source, .. } => sandbox_kind(source),
        PipelineError::Image(error) => image_failure::kind(error),
        PipelineError::Writing { source, .. } => image_failure::writing_kind(source),
        PipelineError::Output { .. } | PipelineError::Epoch { .. } | PipelineError::Annotated { .. } => {
            Kind::Usage
        }
        PipelineError::NoInit { .. }
        | PipelineError::NoAgent { .. }
        | PipelineError::NoLock { .. }
        | PipelineError::NoLockOfCommit { .. } => Kind::NotFound,
        PipelineError::NotRebuildable { .. } => Kind::Input,
        PipelineError::MissingInputs { .. } => Kind::NotFound,
        PipelineError::Depfile { .. } => Kind::Input,
        PipelineError::NotReproduced { .. } => Kind::Failed,
        PipelineError::Packages(error) => packages_kind(error),
        PipelineError::Content(error) => content_kind(error),
        PipelineError::Cancelled(_) => Kind::Interrupted,
        PipelineError::Store(_) | PipelineError::View(_) | PipelineError::File(_) => Kind::Failed,
    }
}

/// Tells whether the host's answer to a system call is behind an error.
pub(super) fn comes_from_host(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<std::io::Error>() {
            return true;
        }
        next = error.source();
    }
    false
}

fn compose_kind(problem: &Problem) -> Kind {
    match problem {
        // What our own store says of an input's content is no fault of the input.
        Problem::Source { source: ArchiveError::Content(error), .. } => content_kind(error),
        Problem::Source { .. } | Problem::Changed { .. } => Kind::Input,
        Problem::Content(error) => content_kind(error),
        _ => Kind::Recipe,
    }
}

fn sandbox_kind(error: &SandboxError) -> Kind {
    match error {
        SandboxError::Cancelled(_) => Kind::Interrupted,
        SandboxError::Content { source, .. } => content_kind(source),
        _ => Kind::Failed,
    }
}

fn packages_kind(error: &PackagesError) -> Kind {
    match error {
        PackagesError::NoMirror { .. }
        | PackagesError::Suite { .. }
        | PackagesError::Fetch { .. }
        | PackagesError::Gone { .. }
        | PackagesError::Offline { .. } => Kind::Network,
        PackagesError::Address { .. } | PackagesError::Proxy { .. } => Kind::Usage,
        PackagesError::Request { .. }
        | PackagesError::Unsolvable { .. }
        | PackagesError::Bare { .. }
        | PackagesError::NotLocked { .. }
        | PackagesError::Stale { .. } => Kind::Recipe,
        PackagesError::NotInLock { .. } => Kind::NotFound,
        PackagesError::Cancelled(_) => Kind::Interrupted,
        PackagesError::Several(errors) => errors.first().map_or(Kind::Input, packages_kind),
        _ => Kind::Input,
    }
}

fn hint(error: &PipelineError) -> Option<&'static str> {
    match error {
        PipelineError::NoInit { .. } | PipelineError::Init { .. } => {
            Some("`make all` puts mkimage-init beside mkimage; --init FILE or MKIMAGE_INIT names another")
        }
        PipelineError::NoAgent { .. } => {
            Some("`make all` puts mkimage-agent beside mkimage; MKIMAGE_AGENT names another")
        }
        PipelineError::UpdateKey { .. } => {
            Some("`mkimage key generate` makes a key; its public half goes in here")
        }
        PipelineError::UpdateCertificates { .. } => Some(
            "it is the certificate of whoever signed the server's: `-----BEGIN CERTIFICATE-----` and so on",
        ),
        PipelineError::Packages(PackagesError::Fetch { problem: FetchProblem::Offline, .. }) => {
            Some("run once without --offline; `mkimage lock` does no more than pin the versions")
        }
        PipelineError::Packages(PackagesError::Fetch { .. }) => {
            Some("name another mirror with --mirror URL or MKIMAGE_MIRROR, a directory as file:/path")
        }
        PipelineError::Lock { .. } => Some("`mkimage lock --update` writes it anew"),
        PipelineError::Image(error) => image_failure::hint(error),
        PipelineError::Tree(errors)
            if errors.iter().any(|error| matches!(error, TreeError::Conflict { .. })) =>
        {
            Some(
                "where the later part should win, say so there: replace = [\"/its/path\"] in `app`, `tree` and `packages`, replace = true elsewhere",
            )
        }
        _ => None,
    }
}
