use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::super::args::{PackageArgs, RecipeArgs};
use super::super::failure::{Failure, Kind};
use super::super::text::plural;
use super::run::Accelerator;
use super::{Context, Done};
use crate::base::units::Bytes;
use crate::machine::Acceleration;
use crate::pipeline::{self, Asserted};
use crate::recipe::plan::Origin;
use crate::view::View;

mod boot;

/// `mkimage test`: checks what the recipe says of its tree, then boots the image and checks what it says of that.
#[derive(Args, Debug)]
#[command(after_help = "Checks are the `test` blocks of the recipe, the app's `health`, and the budget's \
    `max_boot_seconds`. Exit codes: 0 all hold, 1 one does not; others as everywhere.")]
pub struct Test {
    #[command(flatten)]
    pub recipe: RecipeArgs,
    #[command(flatten)]
    pub packages: PackageArgs,
    /// PID 1 of app images [default: mkimage-init beside this program]
    #[arg(long, value_name = "FILE", env = "MKIMAGE_INIT", hide_env_values = true)]
    pub init: Option<std::path::PathBuf>,
    /// Check the tree only
    #[arg(long)]
    pub no_boot: bool,
    /// Memory of the machine
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    pub memory: String,
    /// Processors of the machine
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub cpus: u32,
    /// How the processor is run; `auto` tries KVM with a time limit and falls back to TCG
    #[arg(long, value_name = "WHICH", default_value = "auto")]
    pub accel: Accelerator,
    /// Give the app an environment variable
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Show the machine's console
    #[arg(long)]
    pub console: bool,
}

/// What became of one check.
pub(super) struct Checked {
    /// The name of the test.
    pub test: String,
    pub what: String,
    pub problems: Vec<String>,
    pub origin: Origin,
    /// How long it took in the booted machine.
    pub after: Option<Duration>,
}

impl From<Asserted> for Checked {
    fn from(asserted: Asserted) -> Self {
        let Asserted { test, what, problems, origin } = asserted;
        Checked { test, what, problems, origin, after: None }
    }
}

pub fn run(context: &Context, arguments: Test) -> Done {
    let machine = machine(&arguments)?;
    let plan = context.load(&arguments.recipe)?;
    let store = context.store()?;
    let options = context.options(&arguments.recipe.recipe, &arguments.packages, arguments.init)?;
    // No ref moves: what fails its tests is no release.
    let commit = pipeline::recompose(&plan, &options, &store, &context.job);
    let commit = commit.map_err(|error| context.failure(error))?;
    let mut report = Report { context, checked: Vec::new() };
    {
        let view = View::of_commit(&store, commit)?;
        let tree = view.tree(&context.job)?;
        let asserted = pipeline::assert_tree(&plan, tree, &view).map_err(|error| context.failure(error))?;
        for asserted in asserted {
            report.add(asserted.into())?;
        }
    }
    let wanted = boot::Wanted::of(&plan);
    match (&plan.kernel, wanted.is_empty() || arguments.no_boot) {
        (_, true) => {}
        (None, _) => context.printer.say("the recipe has no kernel, so that nothing is booted"),
        (Some(_), _) => boot::run(context, &store, commit, &wanted, machine, &mut report)?,
    }
    report.finish()
}

/// How the machine is to be.
pub(super) struct MachineWishes {
    pub memory: Bytes,
    pub processors: u32,
    pub acceleration: Acceleration,
    pub environment: Vec<(String, String)>,
    pub shows_console: bool,
}

fn machine(arguments: &Test) -> Result<MachineWishes, Failure> {
    let memory = Bytes::parse(&arguments.memory).ok_or_else(|| {
        Failure::new(Kind::Usage, format!("--memory {}: expected a size such as 512MiB", arguments.memory))
    })?;
    let pair = |setting: &String| match setting.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(Failure::new(Kind::Usage, format!("--env {setting}: expected NAME=VALUE"))),
    };
    Ok(MachineWishes {
        memory,
        processors: arguments.cpus,
        acceleration: match arguments.accel {
            Accelerator::Auto => Acceleration::Auto,
            Accelerator::Kvm => Acceleration::Kvm,
            Accelerator::Tcg => Acceleration::Tcg,
        },
        environment: arguments.env.iter().map(pair).collect::<Result<_, _>>()?,
        shows_console: arguments.console,
    })
}

/// Prints each check as it is done, and the sum at the end.
pub(super) struct Report<'a> {
    context: &'a Context,
    checked: Vec<Checked>,
}

impl Report<'_> {
    pub fn add(&mut self, checked: Checked) -> Result<(), Failure> {
        let printer = &self.context.printer;
        let passed = checked.problems.is_empty();
        if !printer.wants_json() && (!passed || !printer.is_quiet()) {
            printer.bytes(line(&checked).as_bytes())?;
        }
        self.checked.push(checked);
        Ok(())
    }

    fn finish(self) -> Done {
        let failed = self.checked.iter().filter(|checked| !checked.problems.is_empty()).count();
        let passed = self.checked.len() - failed;
        if self.context.printer.wants_json() {
            let checks: Vec<_> = self.checked.iter().map(as_json).collect();
            let value = serde_json::json!({ "passed": passed, "failed": failed, "checks": checks });
            self.context.printer.data(&value, String::new)?;
        } else if self.checked.is_empty() {
            self.context.printer.say("nothing to check: the recipe has neither `test` nor `health`");
        } else {
            self.context.printer.say(&format!("{} passed, {failed} failed", plural(passed as u64, "check")));
        }
        Ok(if failed > 0 { ExitCode::from(Kind::Failed.exit_code()) } else { ExitCode::SUCCESS })
    }
}

fn line(checked: &Checked) -> String {
    let after = checked.after.map(|after| format!(" ({:.1} s)", after.as_secs_f64())).unwrap_or_default();
    let Checked { test, what, problems, origin, .. } = checked;
    if problems.is_empty() {
        return format!("ok    {test}: {what}{after}\n");
    }
    let problems: String = problems.iter().map(|problem| format!("        {problem}\n")).collect();
    format!("FAIL  {test}: {what}{after}  ({}:{})\n{problems}", origin.file, origin.line)
}

fn as_json(checked: &Checked) -> serde_json::Value {
    serde_json::json!({
        "test": checked.test, "check": checked.what, "passed": checked.problems.is_empty(),
        "problems": checked.problems, "file": checked.origin.file, "line": checked.origin.line,
        "milliseconds": checked.after.map(|after| after.as_millis() as u64),
    })
}
