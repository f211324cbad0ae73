//! Every system call of a build that touches the store fails once, in each way that it can, or is the last one
//! of its process. After each: a clean error or success, a sound store, and a re-run that makes the same commit.
//!
//! A first run under strace tells which calls there are. A call is then named by its kind and its number in its
//! thread, so that one more run under strace can make it fail.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Mutex;

use super::simulation::Lot;
use super::workloads::{Seen, sound};
use super::{name, open, tell};
use crate::tool::{mkimage, run, succeed, tool};

/// How calls can fail: each with its error numbers and what the system says of them.
const FAULTS: &[(&[&str], &[&str])] = &[
    (&["openat"], &["EMFILE", "ENOSPC", "EACCES", "EIO"]),
    (&["write", "pwrite64", "writev", "copy_file_range"], &["ENOSPC", "EIO"]),
    (&["fsync", "fdatasync"], &["EIO"]),
    (&["rename", "renameat", "renameat2", "link", "linkat"], &["EIO", "ENOSPC"]),
    (&["mkdir", "mkdirat"], &["ENOSPC", "EIO"]),
    (&["ftruncate", "fallocate"], &["ENOSPC", "EIO"]),
    (&["flock"], &["ENOLCK"]),
    (&["close", "unlink", "unlinkat", "rmdir", "chmod", "fchmod", "utimensat"], &["EIO"]),
];

fn shown(error: &str) -> &'static str {
    match error {
        "EMFILE" => "Too many open files",
        "ENOSPC" => "No space left on device",
        "EACCES" => "Permission denied",
        "EIO" => "Input/output error",
        "ENOLCK" => "No locks available",
        other => panic!("{other} is in no row"),
    }
}

/// A call that goes wrong, and how: `None` is death.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fault {
    call: String,
    number: usize,
    error: Option<&'static str>,
}

impl Fault {
    fn injected(&self) -> String {
        let what = self.error.map_or("signal=KILL".to_owned(), |error| format!("error={error}"));
        format!("inject={}:{what}:when={}", self.call, self.number)
    }
}

/// A project with a store of its own, and a recipe that needs nothing of the machine.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Site {
        let site = Site { folder: super::folder() };
        let image = "image \"small\" {\n  version = \"1\"\n  init    = \"/app\"\n}\n\n";
        let file = |at: &str, text: &str| {
            format!("file \"{at}\" {{\n  content = \"{text}\"\n  mode    = \"0755\"\n}}\n\n")
        };
        let recipe = [image, &file("/app", "an app"), &file("/etc/motd", "welcome")].concat();
        std::fs::write(site.path("small.hcl"), recipe).expect("written");
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the build under strace; returns what it said and what strace saw.
    fn traced(&self, inject: Option<&str>) -> (Output, String) {
        let all = FAULTS.iter().flat_map(|(calls, _)| *calls).copied().collect::<Vec<_>>().join(",");
        let (calls, trace) = (self.path("calls"), format!("trace={all}"));
        let mut command = tool("timeout", ["60", "strace", "-f", "-y", "-qq", "-e", &trace]);
        if let Some(inject) = inject {
            command.args(["-e", inject]);
        }
        let inner = mkimage(["compose".as_ref(), self.path("small.hcl").as_os_str()]);
        command.arg("-o").arg(&calls).arg(inner.get_program()).args(inner.get_args());
        let output = run(self.settle(&mut command));
        (output, std::fs::read_to_string(calls).expect("what strace saw: is the package strace there?"))
    }

    fn compose(&self) -> String {
        let mut command = mkimage(["compose".as_ref(), self.path("small.hcl").as_os_str()]);
        succeed(self.settle(&mut command)).trim().to_owned()
    }

    fn settle<'c>(&self, command: &'c mut std::process::Command) -> &'c mut std::process::Command {
        command.env("MKIMAGE_STORE", self.path("store")).env("MKIMAGE_JOBS", "1");
        command.current_dir(self.folder.path())
    }
}

/// Returns what can go wrong in a build of this kind: each call that names something in the store.
fn faults(site: &Site) -> Vec<Fault> {
    let (output, calls) = site.traced(None);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let store = site.path("store").display().to_string();
    let mut numbers = BTreeMap::<(&str, &str), usize>::new();
    let mut found = BTreeSet::new();
    let mut folders = BTreeSet::new();
    for line in calls.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
        let number = numbers.entry((thread, call)).or_default();
        *number += 1;
        let Some((_, errors)) = FAULTS.iter().find(|(calls, _)| calls.contains(&call)) else { continue };
        if rest.contains("O_DIRECTORY")
            && let Some(path) = rest.split('"').nth(1)
        {
            folders.insert(path.to_owned());
        }
        let of_folder = call == "close" && folders.iter().any(|path| rest.contains(&format!("<{path}>")));
        if rest.contains(&store) && !of_folder {
            let errors = errors.iter().copied().map(Some).chain([None]);
            found.extend(errors.map(|error| Fault { call: call.to_owned(), number: *number, error }));
        }
    }
    found.into_iter().collect()
}

/// Makes one call go wrong in a new store, and holds everything after it against what must be.
fn judge(site: &Site, fault: &Fault, expected: &str) -> Result<(), String> {
    let store = site.path("store");
    let _ = std::fs::remove_dir_all(&store);
    let (output, calls) = site.traced(Some(&fault.injected()));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code();
    if !calls.contains("(INJECTED)") && code.is_some() {
        return Err("the call was not made this time".to_owned());
    }
    if said.contains("unexpected error during closedir") {
        // Another thread's call with the same number. The standard library holds that closing a directory which
        // was read can't fail, and on no file system it does.
        return Ok(());
    }
    if said.contains("panicked") {
        return Err(format!("it panics: {said}"));
    }
    let clean = match (fault.error, code) {
        (_, Some(124)) => return Err(format!("it hangs: {said}")),
        (_, Some(0)) => true,
        (None, code) => code.is_none(),
        // The call of the same number in another thread: one that opens the recipe, or a library.
        (Some(error), Some(3 | 127)) if fault.call == "openat" => said.contains(shown(error)),
        (Some("ENOSPC"), Some(8)) => said.contains(shown("ENOSPC")) && said.contains("hint: "),
        (Some(error), Some(1 | 4)) => said.contains(shown(error)),
        _ => false,
    };
    if !clean {
        return Err(format!("exit code {code:?}, {said}"));
    }
    no_second_try(&calls)?;
    if fault.call == "fsync" && calls.contains("(INJECTED)") && code == Some(0) {
        return Err("a sync failed, and all is said to be well".to_owned());
    }
    let leads = |store: &Path| {
        let value = open(store).read_ref(&name("small")).map_err(|error| error.to_string())?;
        Ok::<_, String>(value.map(|value| value.commit.to_string()))
    };
    match leads(&store)? {
        None if code != Some(0) => {}
        Some(commit) if commit == expected => {}
        other => return Err(format!("exit code {code:?}, and the ref leads to {other:?}")),
    }
    sound(&store)?;
    let again = site.compose();
    if again != expected || leads(&store)?.as_deref() != Some(expected) {
        return Err(format!("the re-run makes {again}"));
    }
    sound(&store).map_err(|problem| format!("after the re-run: {problem}"))
}

/// After a sync of a file failed, that file is neither synced again nor given its name: the kernel may have
/// dropped the bytes, and a second sync would succeed falsely.
fn no_second_try(calls: &str) -> Result<(), String> {
    let is_sync = |line: &&str| line.contains(" fsync(") || line.contains(" fdatasync(");
    let path = |line: &str| Some(line.split_once('<')?.1.split_once('>')?.0.to_owned());
    let mut lines = calls.lines();
    let failed = lines.by_ref().find(|line| is_sync(line) && line.contains("(INJECTED)")).and_then(path);
    let Some(failed) = failed.filter(|path| !Path::new(path).is_dir()) else { return Ok(()) };
    match lines.find(|line| (is_sync(line) || line.contains(" rename")) && line.contains(&failed)) {
        Some(line) => Err(format!("after a failed sync: {line}")),
        None => Ok(()),
    }
}

/// Judges faults, two at a time, each worker in a site of its own.
fn expect_clean(faults: Vec<Fault>) {
    let count = faults.len();
    let waiting = Mutex::new(faults);
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let site = Site::new();
                let expected = site.compose();
                loop {
                    let Some(fault) = waiting.lock().expect("the faults").pop() else { return };
                    if let Err(problem) = judge(&site, &fault, &expected) {
                        wrong.lock().expect("the problems").push(format!("{}: {problem}", fault.injected()));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("the problems");
    tell(&format!("faults: {count} tried, {} wrong", wrong.len()));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Some of the faults: of each kind of call and error one, drawn by lot, and some more.
fn sample(mut faults: Vec<Fault>, more: usize) -> Vec<Fault> {
    let mut lot = Lot::new(1);
    for at in (1..faults.len()).rev() {
        faults.swap(at, lot.below(at as u64 + 1) as usize);
    }
    let mut kinds = BTreeSet::new();
    let (first, rest): (Vec<_>, Vec<_>) =
        faults.into_iter().partition(|fault| kinds.insert((fault.call.clone(), fault.error)));
    first.into_iter().chain(rest.into_iter().take(more)).collect()
}

#[test]
fn a_sample_of_all_faults_of_a_build_leaves_a_sound_store() {
    let all = faults(&Site::new());
    assert!(all.len() > 150, "only {} faults: does strace see the calls?", all.len());
    expect_clean(sample(all, 10));
}

/// What is said after a fault of one build must not be luck: the store that it leaves is like any other.
#[test]
fn a_build_after_a_kill_leaves_what_a_build_without_leaves() {
    let site = Site::new();
    let expected = site.compose();
    let workload = &super::workloads::ALL[0];
    let before = Seen::of(site.folder.path(), workload);
    let kill = Fault { call: "renameat2".to_owned(), number: 1, error: None };
    judge(&site, &kill, &expected).unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!(before.commits(), Seen::of(site.folder.path(), workload).commits());
}

mod nightly {
    use super::*;

    #[test]
    #[ignore = "some minutes: make nightly"]
    fn every_fault_of_a_build_leaves_a_sound_store() {
        expect_clean(faults(&Site::new()));
    }
}
