//! The command line: names, help texts, defaults.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use super::commands::bisect::Bisect;
use super::commands::completion::{Complete, Completion};
use super::commands::depfile::DepfileArgs;
use super::commands::diff::Diff;
use super::commands::events::Events;
use super::commands::log::Log;
use super::commands::paranoid::ParanoidArgs;
use super::commands::promote::Promote;
use super::commands::refs::Refs;
use super::commands::show::Show;
use super::commands::tag::Tag;
use super::commands::undo::{Redo, Undo};

/// Turns an app and a recipe into a bootable, reproducible disk image with two atomic slots.
#[derive(Parser, Debug)]
#[command(name = "mkimage", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the recipe is wrong, 4 an input is wrong, \
    5 not found, 6 damaged data, 7 network or mirror, 8 no space left, 9 was damaged and is whole again, \
    130 interrupted."
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args, Debug, Clone)]
pub struct Global {
    /// Store of objects, commits and refs [default: $XDG_DATA_HOME/mkimage or ~/.local/share/mkimage]
    #[arg(long, global = true, value_name = "DIR", env = "MKIMAGE_STORE", hide_env_values = true)]
    pub store: Option<PathBuf>,
    /// Worker threads [default: one for each core]
    #[arg(long, short = 'j', global = true, value_name = "N", env = "MKIMAGE_JOBS", hide_env_values = true)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Print results as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Print nothing but results and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Write events as JSON lines to a file, or to an open file descriptor by its number
    #[arg(long, global = true, value_name = "FILE|FD", value_parser = NonEmptyStringValueParser::new())]
    pub events: Option<String>,
    /// Write a timeline of the work in the Chrome trace format: who did what, when, for how long
    #[arg(long, global = true, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Colour of messages
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Build a disk image from a recipe
    Build(Build),
    /// Compose a recipe into a commit in the store, and print its id
    Compose(Compose),
    /// Check a recipe, and report all that is wrong with it
    Check(Check),
    /// Show what a build would do: steps, what is cached, sizes, partitions; nothing is written
    Plan(super::commands::plan::PlanArgs),
    /// Say which input changed since the last build, or between the last two
    WhyRebuilt(super::commands::why_rebuilt::WhyRebuilt),
    /// Check a recipe's tests: on its tree, then on the booted image
    Test(super::commands::test::Test),
    /// Format recipes
    Fmt(Format),
    /// Pin the packages of a recipe: version, size and SHA-256
    Lock(Lock),
    /// Say where a path or package comes from: which line of the recipe, which package, pulled in by whom
    Why(super::commands::why::Why),
    /// Gather the locked packages of a recipe in a folder, for builders without a network
    Vendor(Vendor),
    /// Print the reference of the recipe language, in Markdown
    Reference,
    /// Boot an image in a virtual machine, with the app's ports forwarded
    Run(super::commands::run::Run),
    /// Show what an image holds: partitions, slots, filesystems, hashes
    Inspect(Inspect),
    /// Show what the slots of a disk hold, which one boots next, and why
    Status(super::commands::status::StatusArgs),
    /// Write a commit into the slot of a disk that does not run, and try it at the next boot
    Update(super::commands::update::Update),
    /// Have the slot from before boot next
    Rollback(super::commands::turn::Rollback),
    /// Have a slot boot next
    Switch(super::commands::turn::Switch),
    /// Confirm the slot that is on trial
    Confirm(super::commands::turn::Confirm),
    /// List the refs of the store, or remove some
    Refs(Refs),
    /// Show the moves of a ref, and what changed at each
    Log(Log),
    /// Show a commit
    Show(Show),
    /// Show what differs between two commits or images: files, packages, settings
    Diff(Diff),
    /// Give a commit a name that never moves
    Tag(Tag),
    /// Have a ref lead where another one does: from test to production
    Promote(Promote),
    /// Take the last moves back, of all refs
    Undo(Undo),
    /// Take the last undo back
    Redo(Redo),
    /// Find the move of a ref that broke something
    Bisect(Bisect),
    /// Take what nothing leads to out of the store
    Gc(super::commands::gc::Gc),
    /// Put the packs of the store together, so that there are few
    Repack,
    /// Make a store, or say how it is shared
    #[command(subcommand)]
    Store(super::commands::store::StoreCommand),
    /// List a directory of a commit or image
    Ls(super::commands::look::List),
    /// Print a file of a commit or image
    Cat(super::commands::look::Cat),
    /// Copy a file or directory out of a commit or image
    Cp(super::commands::cp::Copy),
    /// Draw the tree of a commit or image
    Tree(super::commands::tree::Tree),
    /// Say what takes the space of a commit or image, the largest first
    Du(super::commands::du::Usage),
    /// Mount a commit or image, read-only
    Mount(super::commands::mount::Mount),
    /// Write the tree of a commit or image into a new directory of this machine
    Checkout(super::commands::look::Checkout),
    /// Print a completion script for a shell
    Completion(Completion),
    #[command(hide = true)]
    Complete(Complete),
    /// Describe the lines that `--events` writes
    Events(Events),
    /// Make and show the keys that sign what a site holds
    Key(super::commands::Key),
    /// Move refs of another store or site to commits of this one, after all that these lead to
    Push(super::commands::Push),
    /// Bring refs and commits of another store or site here
    Pull(super::commands::Pull),
    /// Make a store that has the refs of another store or site
    Clone(super::commands::Clone),
    /// Make the refs of this store the same as those of another store or site
    Mirror(super::commands::Mirror),
    /// Name other stores and sites, and ask them for their refs
    Remote(super::commands::RemoteVerbs),
    /// List what an image is made of, in a form that other tools read: packages, licences, files with their hashes
    Sbom(super::commands::sbom::Sbom),
    /// Draw one page about an image: its disk, what takes the space, what changed, where the time went
    Report(super::commands::report::Report),
    /// Check all that the store holds, name what a damage touches, and repair it
    Fsck(super::commands::Fsck),
    /// Check an image against itself, against another, or against what others state of it
    Verify(super::commands::Verify),
    /// Prove that two images hold the same commit, whatever file, size or container they came in
    Same(super::commands::Same),
    /// Build an image again from what it says of itself, and compare
    Rebuild(super::commands::Rebuild),
    /// Exchange commits with OSTree repositories
    Ostree(super::commands::ostree::Ostree),
}

#[derive(Args, Debug, Clone)]
pub struct RecipeArgs {
    /// Recipe file (.hcl)
    #[arg(value_name = "RECIPE")]
    pub recipe: PathBuf,
    /// Set a variable of the recipe; a value that is no HCL literal is taken as a string
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Read variables from a file of `name = value` lines
    #[arg(long = "vars", value_name = "FILE")]
    pub vars: Vec<PathBuf>,
}

#[derive(Args, Debug, Clone)]
pub struct PackageArgs {
    /// Base address of the package archive [default: the recipe's, else apt's configuration]
    #[arg(long, value_name = "URL", env = "MKIMAGE_MIRROR", hide_env_values = true)]
    pub mirror: Option<String>,
    /// Folder of packages that `mkimage vendor` made: looked into before any archive is asked
    #[arg(long, value_name = "DIR", env = "MKIMAGE_VENDOR", hide_env_values = true)]
    pub vendor: Option<PathBuf>,
    /// Never use the network: what is not in the store is an error
    #[arg(long)]
    pub offline: bool,
}

#[derive(Args, Debug)]
pub struct Build {
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Where the image goes
    #[arg(long, short, value_name = "IMAGE")]
    pub output: PathBuf,
    #[command(flatten)]
    pub packages: PackageArgs,
    /// PID 1 of app images [default: mkimage-init beside this program]
    #[arg(long, value_name = "FILE", env = "MKIMAGE_INIT", hide_env_values = true)]
    pub init: Option<PathBuf>,
    /// Note something in the commit, such as who built it; no byte of the image depends on it
    #[arg(long, value_name = "KEY=VALUE")]
    pub annotate: Vec<String>,
    #[command(flatten)]
    pub depfile: DepfileArgs,
    #[command(flatten)]
    pub paranoid: ParanoidArgs,
}

#[derive(Args, Debug)]
pub struct Compose {
    #[command(flatten)]
    pub recipe: RecipeArgs,
    #[command(flatten)]
    pub packages: PackageArgs,
    /// PID 1 of app images [default: mkimage-init beside this program]
    #[arg(long, value_name = "FILE", env = "MKIMAGE_INIT", hide_env_values = true)]
    pub init: Option<PathBuf>,
    /// Note something in the commit, such as who built it; no byte of the image depends on it
    #[arg(long, value_name = "KEY=VALUE")]
    pub annotate: Vec<String>,
    #[command(flatten)]
    pub depfile: DepfileArgs,
}

#[derive(Args, Debug)]
pub struct Check {
    #[command(flatten)]
    pub recipe: RecipeArgs,
}

#[derive(Args, Debug)]
pub struct Format {
    /// Recipe files; `-` formats standard input to standard output
    #[arg(value_name = "RECIPE", required = true)]
    pub recipes: Vec<PathBuf>,
    /// Change nothing; exit with 1 where a file is not formatted, and name it
    #[arg(long)]
    pub check: bool,
}

#[derive(Args, Debug)]
pub struct Lock {
    #[command(flatten)]
    pub recipe: RecipeArgs,
    #[command(flatten)]
    pub packages: PackageArgs,
    /// Take the newest versions of all packages, or of the named ones and what these need then
    #[arg(long, value_name = "PACKAGE,…", num_args = 0..=1, require_equals = true, value_delimiter = ',')]
    pub update: Option<Vec<String>>,
    /// Show what would change, and write nothing
    #[arg(long)]
    pub diff: bool,
    #[command(flatten)]
    pub depfile: DepfileArgs,
}

#[derive(Args, Debug)]
pub struct Vendor {
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Folder that takes the packages; build from it with --vendor DIR --offline
    #[arg(long, short, value_name = "DIR")]
    pub output: PathBuf,
    #[command(flatten)]
    pub packages: PackageArgs,
}

#[derive(Args, Debug)]
pub struct Inspect {
    /// Disk image or block device
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,
    /// Read each slot whole and check it against its root hash
    #[arg(long)]
    pub verify: bool,
    /// Print every field of the partition table, the ESP and the slot sector, with its offset
    #[arg(long)]
    pub dump: bool,
}
