//! One verb a file: arguments → a room's door → what is printed.

pub(super) mod bisect;
mod build;
mod changes;
mod check;
pub(super) mod completion;
pub(super) mod cp;
pub(super) mod depfile;
pub(super) mod diff;
pub(super) mod du;
pub(super) mod events;
mod format;
mod fsck;
pub(super) mod gc;
mod inspect;
mod key;
mod lock;
pub(super) mod log;
pub(super) mod look;
pub(super) mod mount;
pub(super) mod ostree;
pub(super) mod paranoid;
mod patch;
pub(super) mod plan;
pub(super) mod promote;
mod pull;
mod push;
mod rebuild;
pub(super) mod refs;
mod remote;
mod remote_prune;
pub(super) mod report;
pub(super) mod run;
mod same;
pub(super) mod sbom;
pub(super) mod show;
pub(super) mod status;
pub(super) mod store;
mod subject;
pub(super) mod tag;
pub(super) mod test;
pub(super) mod tree;
pub(super) mod turn;
pub(super) mod undo;
pub(super) mod update;
mod verify;
pub(super) mod why;
pub(super) mod why_rebuilt;

pub use key::Key;
pub use pull::{Clone, Mirror, Pull};
pub use push::Push;
pub use rebuild::{Carried, Rebuild};
pub use remote::RemoteVerbs;
pub use same::Same;
pub use verify::Verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub use fsck::Fsck;

use super::Context;
use super::args::{Command, PackageArgs, RecipeArgs};
use super::failure::{Failure, Kind, Report};
use crate::base::clock::unix_seconds;
use crate::packages;
use crate::pipeline::{self, Options, PipelineError};
use crate::recipe::{Plan, Settings};
use crate::store::Store;

type Done = Result<ExitCode, Failure>;

/// Runs a verb.
pub(super) fn run(context: &Context, command: Command) -> Done {
    match command {
        Command::Build(arguments) => build::build(context, arguments),
        Command::Compose(arguments) => build::compose(context, arguments),
        Command::Check(arguments) => check::run(context, &arguments),
        Command::Plan(arguments) => plan::run(context, arguments),
        Command::WhyRebuilt(arguments) => why_rebuilt::run(context, arguments),
        Command::Test(arguments) => test::run(context, arguments),
        Command::Fmt(arguments) => format::run(context, &arguments),
        Command::Lock(arguments) => lock::run(context, arguments),
        Command::Why(arguments) => why::run(context, &arguments),
        Command::Vendor(arguments) => lock::vendor(context, arguments),
        Command::Reference => {
            let text = crate::recipe::reference();
            context.printer.data(&text, || text.clone())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Run(arguments) => run::run(context, arguments),
        Command::Inspect(arguments) => inspect::run(context, &arguments),
        Command::Status(arguments) => status::run(context, &arguments),
        Command::Update(arguments) => update::run(context, &arguments),
        Command::Rollback(arguments) => turn::rollback(context, &arguments),
        Command::Switch(arguments) => turn::switch(context, &arguments),
        Command::Confirm(arguments) => turn::confirm(context, &arguments),
        Command::Refs(arguments) => refs::run(context, &arguments),
        Command::Log(arguments) => log::run(context, &arguments),
        Command::Show(arguments) => show::run(context, &arguments),
        Command::Diff(arguments) => diff::run(context, &arguments),
        Command::Tag(arguments) => tag::run(context, &arguments),
        Command::Promote(arguments) => promote::run(context, &arguments),
        Command::Undo(arguments) => undo::undo(context, &arguments),
        Command::Redo(arguments) => undo::redo(context, &arguments),
        Command::Bisect(arguments) => bisect::run(context, &arguments),
        Command::Gc(arguments) => gc::gc(context, &arguments),
        Command::Repack => gc::repack(context),
        Command::Store(command) => store::run(context, &command),
        Command::Ls(arguments) => look::ls(context, &arguments),
        Command::Cat(arguments) => look::cat(context, &arguments),
        Command::Cp(arguments) => cp::run(context, &arguments),
        Command::Tree(arguments) => tree::run(context, &arguments),
        Command::Du(arguments) => du::run(context, &arguments),
        Command::Mount(arguments) => mount::run(context, &arguments),
        Command::Checkout(arguments) => look::checkout(context, &arguments),
        Command::Completion(arguments) => completion::script(context, &arguments),
        Command::Complete(arguments) => completion::complete(context, &arguments),
        Command::Events(arguments) => events::run(context, &arguments),
        Command::Key(arguments) => key::run(context, &arguments),
        Command::Push(arguments) => push::run(context, &arguments),
        Command::Pull(arguments) => pull::pull(context, &arguments),
        Command::Clone(arguments) => pull::clone(context, &arguments),
        Command::Mirror(arguments) => pull::mirror(context, &arguments),
        Command::Remote(arguments) => remote::run(context, &arguments),
        Command::Report(arguments) => report::run(context, &arguments),
        Command::Sbom(arguments) => sbom::run(context, &arguments),
        Command::Fsck(arguments) => fsck::run(context, arguments),
        Command::Verify(arguments) => verify::run(context, &arguments),
        Command::Same(arguments) => same::run(context, &arguments),
        Command::Rebuild(arguments) => rebuild::run(context, &arguments),
        Command::Ostree(arguments) => ostree::run(context, arguments),
    }
}

impl Context {
    /// Opens the store that the command line, the environment or the user's home names.
    fn store(&self) -> Result<Store, Failure> {
        let store = open_store(self.global.store.as_deref())?;
        // A directory of something else is told before any work is done.
        store.exists().map_err(Failure::from)?;
        Ok(store)
    }

    fn store_path(&self) -> Result<PathBuf, Failure> {
        self.global.store.clone().map_or_else(default_store, Ok)
    }

    /// Reads a recipe; what is doubtful about it is printed as a warning.
    fn load(&self, arguments: &RecipeArgs) -> Result<Plan, Failure> {
        let set = arguments.set.iter().map(|text| match text.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(Failure::new(Kind::Usage, format!("--set {text}: expected NAME=VALUE"))),
        });
        let settings = Settings {
            set: set.collect::<Result<_, _>>()?,
            vars_files: arguments.vars.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
        };
        let loaded = pipeline::load(&arguments.recipe, &settings).map_err(|error| self.failure(error))?;
        if !loaded.warnings.is_empty() && !self.printer.is_quiet() {
            let warnings = loaded.warnings.entries();
            match self.printer.wants_json() {
                true => self.printer.talk(&format!("{}\n", serde_json::json!({ "warnings": warnings }))),
                false => self.printer.talk(&loaded.warnings.render(self.printer.wants_color())),
            }
        }
        Ok(loaded.plan)
    }

    /// Translates an error of the pipeline; diagnostics get their excerpts.
    fn failure(&self, error: PipelineError) -> Failure {
        let report = match &error {
            PipelineError::Recipe(diagnostics) => {
                let details = serde_json::to_value(diagnostics.entries()).unwrap_or_default();
                Some(Report { text: diagnostics.render(self.printer.wants_color()), details })
            }
            _ => None,
        };
        let mut failure = Failure::from(error);
        if let Some(report) = report {
            failure.report = Some(Box::new(report));
        }
        failure
    }

    /// Gathers what composing needs beside the plan.
    fn options(
        &self,
        recipe: &Path,
        packages: &PackageArgs,
        init: Option<PathBuf>,
    ) -> Result<Options, Failure> {
        let environment = |name: &str| std::env::var(name).ok();
        let mut settings = packages::Settings::of_machine(unix_seconds(), &environment)
            .map_err(|error| self.failure(error.into()))?;
        if let Some(mirrors) = &packages.mirror {
            settings.mirrors =
                packages::MirrorRule::parse_list(mirrors).map_err(|error| self.failure(error.into()))?;
        }
        settings.offline = packages.offline;
        settings.vendor.clone_from(&packages.vendor);
        Ok(Options {
            recipe: recipe.to_owned(),
            packages: settings,
            init: match init {
                Some(init) => init,
                None => beside_this_program("mkimage-init")?,
            },
            agent: match std::env::var_os("MKIMAGE_AGENT").filter(|path| !path.is_empty()) {
                Some(agent) => agent.into(),
                None => beside_this_program("mkimage-agent")?,
            },
            epoch: source_date_epoch(environment("SOURCE_DATE_EPOCH"))
                .map_err(|error| self.failure(error))?,
            scratch: std::env::temp_dir(),
            annotations: std::collections::BTreeMap::new(),
            depfile: None,
            base: None,
        })
    }
}

/// Returns a program of images beside this one, where `make` puts it.
fn beside_this_program(name: &str) -> Result<PathBuf, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::of(Kind::Failed, &error))?;
    Ok(program.with_file_name(name))
}

/// Opens the store at a path, or where the environment or the user's home has it.
fn open_store(path: Option<&Path>) -> Result<Store, Failure> {
    let path = match path {
        Some(path) => path.to_owned(),
        None => default_store()?,
    };
    Store::open(path).map_err(Failure::from)
}

fn default_store() -> Result<PathBuf, Failure> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")));
    data.map(|data| data.join("mkimage")).ok_or_else(|| {
        Failure::new(Kind::Usage, "there is no place for the store: neither XDG_DATA_HOME nor HOME is set")
            .hint("name one with --store DIR or MKIMAGE_STORE")
    })
}

/// Latest epoch that FAT can hold: 2107-12-31 23:59:59.
const EPOCH_MAX: u64 = 4_354_819_199;

fn source_date_epoch(value: Option<String>) -> Result<Option<u64>, PipelineError> {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
    match value.parse() {
        Ok(seconds) if seconds <= EPOCH_MAX => Ok(Some(seconds)),
        _ => Err(PipelineError::Epoch { value, limit: EPOCH_MAX }),
    }
}
