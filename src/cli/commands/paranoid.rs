//! `mkimage build --paranoid`: a second build under another host, before the image gets its name.
//!
//! What one process inherited it can't change for itself, so that the second build is another process of this
//! program: other number of workers, umask, time zone, language, user and home by name, working folder, temporary
//! folder, path to the recipe and to PID 1; directories list backwards, here and in the sandbox; the store is
//! empty, so that every package is unpacked and every `run` block is run again. Packages come from the folder that
//! the first store fills: no network is asked twice. What the recipe reads of the environment stays: it is an
//! input.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::Args;

use super::super::args::Build;
use super::super::failure::{Failure, Kind};
use super::Context;
use crate::base::job::Unit;
use crate::base::{CommitId, FileError, Job, fs, publish, whole};
use crate::disk::BlockDevice;
use crate::image;
use crate::pipeline::{self, Options, PipelineError};
use crate::recipe::Plan;
use crate::store::{Objects, Store};
use crate::verify;

/// Flags of the build that is done twice.
#[derive(Args, Debug)]
pub struct ParanoidArgs {
    /// Build twice, the second time under another host and in an empty store, and fail where a byte differs
    #[arg(long)]
    pub paranoid: bool,
    /// This is the second build; the value is the commit of the base, or `-`
    #[arg(long, hide = true, value_name = "BASE", conflicts_with = "paranoid")]
    pub perturbed: Option<String>,
}

/// What stands for no base.
const NO_BASE: &str = "-";
/// How often the second build is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Turns around what a process can turn around for itself. Returns the commit of the base.
pub(super) fn perturb(base: &str) -> Result<Option<CommitId>, Failure> {
    fs::turn_listings_around();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    if base == NO_BASE {
        return Ok(None);
    }
    let id = base.parse().map_err(|error| Failure::of(Kind::Usage, &error))?;
    Ok(Some(id))
}

/// The second build, done.
pub(super) struct Second {
    folder: Folder,
    commit: CommitId,
}

/// A temporary folder that goes when this does.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Second {
    /// Builds the image of a plan in a process and a store of its own.
    pub fn build(
        context: &Context,
        arguments: &Build,
        plan: &Plan,
        options: &Options,
        store: &Store,
    ) -> Result<Second, Failure> {
        let folder = Folder(std::env::temp_dir().join(format!("mkimage-{}", publish::unique())));
        let deep = folder.0.join("another folder");
        fs::create_directories(&deep)?;
        let root = folder.0.join("host");
        std::os::unix::fs::symlink("/", &root).map_err(FileError::at("make the link", &root))?;
        let elsewhere = Elsewhere { folder: &folder.0, root: &root };
        let packages = folder.0.join("packages");
        let vendored = pipeline::vendor(plan, options, store, &packages, &context.job);
        vendored.map_err(|error| context.failure(error))?;
        let base = plan.base.as_ref().map(|base| store.resolve(&base.commit)).transpose()?;
        if let Some(base) = base {
            let mut pull = elsewhere.mkimage()?;
            pull.arg("pull").arg(absolute(store.path())).arg(base.to_string());
            wait(context, pull)?;
        }
        let mut build = elsewhere.build(context, arguments, plan, options)?;
        build.arg("--vendor").arg(&packages).arg("--offline").arg("--perturbed");
        build.arg(base.map_or_else(|| NO_BASE.to_owned(), |base| base.to_string()));
        let step = context.job.step("build again under another host", None, Unit::Items);
        let said = wait(context, build)?;
        drop(step);
        let value: serde_json::Value = serde_json::from_slice(&said).unwrap_or_default();
        let commit = value["commit"].as_str().and_then(|commit| commit.parse().ok());
        let silent = || Failure::new(Kind::Failed, "the second build did not say which commit it made");
        Ok(Second { commit: commit.ok_or_else(silent)?, folder })
    }

    /// Ends here, with all that differs, where the second build made another commit than the first.
    pub fn check(&self, commit: CommitId, store: &Store, job: &Job) -> Result<(), PipelineError> {
        if commit == self.commit {
            return Ok(());
        }
        let image = self.folder.0.join("first.img");
        pipeline::write(store, commit, &image, job)?;
        self.compare(commit, store, &image, job)
    }

    /// Holds the first build's image against that of the second one.
    pub fn compare(
        &self,
        commit: CommitId,
        store: &Store,
        image: &Path,
        job: &Job,
    ) -> Result<(), PipelineError> {
        let mut differences = Vec::new();
        if commit != self.commit {
            let there = Store::open(self.folder.0.join("store"))?;
            differences.extend(fields(&store.read_commit(&commit)?, &there.read_commit(&self.commit)?));
        }
        let [ours, theirs] = [image, &self.image()].map(image::open);
        differences.extend(places(&ours?, &theirs?, job)?);
        match differences.is_empty() && commit == self.commit {
            true => Ok(()),
            false => Err(PipelineError::NotReproduced { differences }),
        }
    }

    fn image(&self) -> PathBuf {
        self.folder.0.join("second.img")
    }
}

/// Where the second build happens.
struct Elsewhere<'a> {
    folder: &'a Path,
    /// Leads to the root of the file system, so that every path can be written in another way.
    root: &'a Path,
}

impl Elsewhere<'_> {
    /// Prepares a call of this program with another store, folder and environment.
    fn mkimage(&self) -> Result<Command, Failure> {
        let program = std::env::current_exe().map_err(|error| Failure::of(Kind::Failed, &error))?;
        let mut command = Command::new(program);
        command.arg("--store").arg(self.folder.join("store")).arg("--json");
        command.current_dir(self.folder.join("another folder")).env("TMPDIR", self.folder);
        for name in ["MKIMAGE_STORE", "MKIMAGE_JOBS", "MKIMAGE_VENDOR", "MKIMAGE_INIT"] {
            command.env_remove(name);
        }
        Ok(command)
    }

    fn build(
        &self,
        context: &Context,
        arguments: &Build,
        plan: &Plan,
        options: &Options,
    ) -> Result<Command, Failure> {
        let mut command = self.mkimage()?;
        for (name, value) in [
            ("TZ", "Pacific/Kiritimati"),
            ("LC_ALL", "tr_TR.UTF-8"),
            ("LANG", "tr_TR.UTF-8"),
            ("LANGUAGE", "tr"),
            ("TERM", "dumb"),
            ("USER", "somebody-else"),
            ("LOGNAME", "somebody-else"),
            ("HOME", "/nonexistent"),
        ] {
            if !plan.variables.contains_key(&format!("env.{name}")) {
                command.env(name, value);
            }
        }
        command.arg("build").arg(self.other_way(&arguments.recipe.recipe));
        command.arg("--output").arg(self.folder.join("second.img"));
        command.arg("--init").arg(self.other_way(&options.init));
        command.arg("--jobs").arg(if context.job.workers.count() == 1 { "3" } else { "1" });
        for set in &arguments.recipe.set {
            command.arg("--set").arg(set);
        }
        for vars in &arguments.recipe.vars {
            command.arg("--vars").arg(self.other_way(vars));
        }
        for annotation in &arguments.annotate {
            command.arg("--annotate").arg(annotation);
        }
        Ok(command)
    }

    fn other_way(&self, path: &Path) -> OsString {
        let path = absolute(path);
        self.root.join(path.strip_prefix("/").unwrap_or(&path)).into_os_string()
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Waits for a child and returns what it answered. A stop from outside reaches it, too.
fn wait(context: &Context, mut command: Command) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| Failure::of(Kind::Failed, &error);
    let error = tempfile_beside(&command)?;
    let out = tempfile_beside(&command)?;
    let handle = |file: &std::fs::File| file.try_clone().map(Stdio::from).map_err(failed);
    command.stdin(Stdio::null()).stdout(handle(&out)?).stderr(handle(&error)?);
    let mut child = Running(command.spawn().map_err(failed)?);
    let status = loop {
        if let Some(status) = child.0.try_wait().map_err(failed)? {
            break status;
        }
        context.job.check().map_err(|stop| Failure::of(Kind::Interrupted, &stop))?;
        std::thread::sleep(LOOK);
    };
    if status.success() {
        return from_start(&out).map_err(failed);
    }
    context.job.check().map_err(|stop| Failure::of(Kind::Interrupted, &stop))?;
    let said = String::from_utf8_lossy(&from_start(&error).map_err(failed)?).into_owned();
    let value: serde_json::Value =
        said.lines().rev().find_map(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    let mut failure = Failure::new(Kind::Failed, "the second build failed, and the first one would not have");
    failure.causes.push(value["error"].as_str().map_or(said.trim().to_owned(), str::to_owned));
    let causes = value["causes"].as_array().into_iter().flatten().filter_map(|cause| cause.as_str());
    failure.causes.extend(causes.map(str::to_owned));
    Err(failure)
}

/// Opens a file without a name in the folder of a command.
fn tempfile_beside(command: &Command) -> Result<std::fs::File, Failure> {
    let folder = command.get_current_dir().unwrap_or(Path::new("."));
    let path = folder.join(publish::unique());
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).open(&path);
    let file = file.map_err(FileError::at("create", &path))?;
    fs::remove_file(&path)?;
    Ok(file)
}

fn from_start(mut file: &std::fs::File) -> std::io::Result<Vec<u8>> {
    use std::io::{Read, Seek};
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A child that is ended when nobody waits for it any more.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            // Asked first, so that it clears up behind itself.
            let pid = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw);
            pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::TERM));
            let _ = self.0.wait();
        }
    }
}

/// Names what differs in two commits.
fn fields(ours: &crate::store::Commit, theirs: &crate::store::Commit) -> Vec<String> {
    let same = [
        ("the root tree", ours.tree == theirs.tree),
        ("the boot files", ours.boot == theirs.boot),
        ("the disk plan", ours.disk == theirs.disk),
        ("the epoch", ours.epoch == theirs.epoch),
        ("the recipe", ours.recipe == theirs.recipe),
        ("the variables", ours.variables == theirs.variables),
        ("the lock", ours.lock == theirs.lock),
        ("the inputs", ours.inputs == theirs.inputs),
        ("the annotations", ours.annotations == theirs.annotations),
    ];
    same.iter().filter(|(_, same)| !same).map(|(name, _)| format!("commit: {name}")).collect()
}

/// Differences of an image that are told; what follows from another one is not.
const PLACES_MAX: usize = 20;

/// Names where two images differ.
fn places(ours: &dyn BlockDevice, theirs: &dyn BlockDevice, job: &Job) -> Result<Vec<String>, PipelineError> {
    let all = match verify::compare(ours, theirs, job) {
        Ok(all) => all,
        Err(error) => {
            job.check()?;
            return Ok(vec![format!("they can't be compared: {}", whole(&error))]);
        }
    };
    let causes = all.iter().filter(|divergence| !divergence.derived);
    let mut places: Vec<String> = causes.take(PLACES_MAX).map(ToString::to_string).collect();
    match all.len() - places.len() {
        0 => {}
        more => places.push(format!("and {more} more, most of which follow from these")),
    }
    Ok(places)
}
