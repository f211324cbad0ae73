//! Single system calls that fail, or after which the power goes: the store stays sound, nothing is left
//! beside an output, and the same command succeeds the next time.

use std::process::Output;

use super::{NOBODY, Site, digest, is_root, set_mode};
use crate::tool::{fail_with, install, run, succeed, tool};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    Full,
    Broken,
    Killed,
}

impl Fault {
    fn injected(self) -> &'static str {
        match self {
            Fault::Full => "error=ENOSPC",
            Fault::Broken => "error=EIO",
            Fault::Killed => "signal=KILL",
        }
    }
}

/// Runs mkimage with the Nth call of one kind, in each thread, going wrong; `None` where there is no Nth.
fn with_fault(site: &Site, call: &str, fault: Fault, nth: usize, arguments: &[&str]) -> Option<Output> {
    let inject = format!("inject={call}:{}:when={nth}", fault.injected());
    let trace = format!("trace={call}");
    let before = ["-f", "-qq", "-o", "calls", "-e", trace.as_str(), "-e", inject.as_str()];
    let output = run(&mut site.through("strace", &before, arguments));
    let calls = std::fs::read_to_string(site.path("calls")).expect("what strace wrote: is strace there?");
    (calls.contains("(INJECTED)") || output.status.code().is_none()).then_some(output)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Holds an outcome against what a fault may lead to.
fn check(fault: Fault, output: &Output, what: &str, place: &str) {
    let (code, said) = (output.status.code(), said(output));
    assert!(!said.contains("panicked"), "{what}: {said}");
    match fault {
        // What is tolerable was tolerated.
        _ if code == Some(0) => {}
        Fault::Killed => assert_eq!(code, None, "{what}: {said}"),
        Fault::Full => {
            assert_eq!(code, Some(8), "{what}: {said}");
            assert!(
                said.contains("No space left") && said.contains("hint: free some space"),
                "{what}: {said}"
            );
            let places = [place, "standard output", "/tmp"];
            assert!(places.iter().any(|place| said.contains(place)), "{what} names no place: {said}");
        }
        Fault::Broken => {
            assert!(matches!(code, Some(1 | 4)), "{what}: {code:?} {said}");
            assert!(said.contains("Input/output error"), "{what}: {said}");
        }
    }
}

/// Tries one kind of call with one fault, each time in a fresh store, until there is no Nth call.
fn faults_of_compose(expected: &str, call: &str, fault: Fault) {
    let site = Site::new();
    for nth in 1.. {
        assert!(nth < 200, "{call} seems to have no end");
        let _ = std::fs::remove_dir_all(site.path("store"));
        let Some(output) = with_fault(&site, call, fault, nth, &["compose", "small.hcl"]) else {
            assert!(nth > 1, "no {call} was ever made for {fault:?}: does strace see the calls?");
            break;
        };
        let what = format!("{call} {nth}, {fault:?}");
        check(fault, &output, &what, "store");
        if fault != Fault::Killed && !["unlink", "rmdir", "chmod", "fchmod"].contains(&call) {
            site.assert_tidy();
        }
        succeed(&mut site.mkimage(&["refs"]));
        assert_eq!(site.compose("small.hcl"), expected, "after {what}");
        assert_eq!(succeed(&mut site.mkimage(&["cat", "small", "/etc/motd"])), "welcome\n", "after {what}");
        // What a dead writer left goes with the next one that writes.
        let recipe = std::fs::read_to_string(site.path("small.hcl")).expect("the recipe");
        site.write("other.hcl", recipe.replace("welcome", "good evening").as_bytes());
        site.compose("other.hcl");
        site.assert_tidy();
    }
}

#[test]
fn any_call_that_changes_the_store_may_fail_or_be_the_last() {
    let site = Site::new();
    let expected = &site.compose("small.hcl");
    let all = [Fault::Full, Fault::Broken, Fault::Killed];
    let changing = ["pwrite64", "fsync", "mkdir", "renameat2", "rename", "write"];
    let mut work: Vec<_> = changing.iter().flat_map(|call| all.map(|fault| (*call, fault))).collect();
    work.extend(["chmod", "fchmod", "flock", "unlink", "rmdir"].map(|call| (call, Fault::Broken)));
    let work = std::sync::Mutex::new(work);
    let next = || work.lock().expect("the work").pop();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((call, fault)) = next() {
                    faults_of_compose(expected, call, fault);
                }
            });
        }
    });
}

#[test]
fn a_file_that_can_not_be_opened_is_no_end_of_the_store() {
    let site = Site::new();
    let expected = site.compose("small.hcl");
    for nth in (1..200).step_by(2) {
        let _ = std::fs::remove_dir_all(site.path("store"));
        let arguments = ["compose", "small.hcl"];
        let Some(output) = with_fault(&site, "openat", Fault::Broken, nth, &arguments) else { return };
        let said = said(&output);
        // Where the dynamic loader's own files fail, the program never runs.
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 1 | 3 | 4 | 127)), "openat {nth}: {code:?} {said}");
        assert!(code == Some(0) || said.contains("nput/output error") || code == Some(127), "{nth}: {said}");
        assert_eq!(site.compose("small.hcl"), expected, "after openat {nth}");
    }
}

#[test]
fn an_image_appears_whole_or_not_at_all() {
    let site = Site::bootable();
    succeed(&mut site.mkimage(&["build", "disk.hcl", "-o", "right.img"]));
    let right = digest(&site.path("right.img"));
    let faults = [(Fault::Full, 5), (Fault::Broken, 9), (Fault::Killed, 7)];
    for (call, fault, step) in ["pwrite64", "ftruncate", "fsync", "rename"].iter().flat_map(|call| {
        faults.map(|(fault, step)| (*call, fault, if *call == "pwrite64" { step } else { 1 }))
    }) {
        for nth in (1..400).step_by(step) {
            let arguments = ["build", "disk.hcl", "-o", "out.img"];
            let _ = std::fs::remove_file(site.path("out.img"));
            let Some(output) = with_fault(&site, call, fault, nth, &arguments) else {
                assert!(nth > 1, "no {call} was ever made for {fault:?}: does strace see the calls?");
                break;
            };
            let what = format!("{call} {nth}, {fault:?}");
            check(fault, &output, &what, "out.img");
            if output.status.code() != Some(0) && fault != Fault::Killed {
                site.assert_tidy();
            }
            let out = site.path("out.img");
            // Behind the rename it is there, and right.
            assert!(!out.exists() || digest(&out) == right, "{what}: a wrong image has the name");
            succeed(&mut site.mkimage(&["build", "disk.hcl", "-o", "out.img"]));
            assert_eq!(digest(&out), right, "after {what}");
            std::fs::remove_file(&out).expect("removed");
            succeed(&mut site.mkimage(&["build", "disk.hcl", "-o", "out.img"]));
            site.assert_tidy();
            std::fs::remove_file(&out).expect("removed");
        }
    }
}

#[test]
fn a_limit_of_file_size_is_named_with_the_file() {
    let site = Site::bootable();
    site.compose("disk.hcl");
    let line = "trap '' XFSZ; ulimit -f 2000; exec \"$@\"";
    let build = ["build", "disk.hcl", "-o", "out.img"];
    let text = fail_with(1, &mut site.through("bash", &["-c", line, "bash"], &build));
    assert!(text.contains("out.img") && text.contains("File too large"), "{text}");
    assert!(!site.path("out.img").exists());
    site.assert_tidy();
    // The same limit without a word kills the process; the next build clears up behind it.
    let line = "ulimit -c 0; ulimit -f 2000; exec \"$@\"";
    let output =
        run(&mut site.through("bash", &["-c", line, "bash"], &["build", "disk.hcl", "-o", "out.img"]));
    assert_eq!(output.status.code(), None, "{}", said(&output));
    succeed(&mut site.mkimage(&["build", "disk.hcl", "-o", "out.img"]));
    site.assert_tidy();
}

/// Prepares a call as a user who may write nothing but what all may.
fn as_ordinary_user(site: &Site, arguments: &[&str]) -> std::process::Command {
    let program = site.path("mkimage");
    if !program.exists() {
        install(env!("CARGO_BIN_EXE_mkimage").as_ref(), &program);
    }
    let program = program.display().to_string();
    let user = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".to_owned()];
    let mut command = match is_root() {
        true => tool("setpriv", user.iter().chain([&program])),
        false => tool(&program, [] as [&str; 0]),
    };
    site.settle(&mut command);
    command.args(arguments);
    command
}

#[test]
fn a_read_only_store_serves_readers_and_builds_what_it_holds() {
    let site = Site::bootable();
    succeed(&mut site.mkimage(&["build", "disk.hcl", "-o", "right.img"]));
    set_mode(site.folder.path(), 0o755);
    std::fs::create_dir(site.path("out")).expect("a folder");
    set_mode(&site.path("out"), 0o777);
    // As root the store is somebody else's; as an ordinary user its own rights forbid it.
    if !is_root() {
        succeed(&mut tool("chmod", ["-R", "a-w", &site.path("store").display().to_string()]));
    }
    assert!(succeed(&mut as_ordinary_user(&site, &["refs"])).contains("disk"));
    let build = ["build", "disk.hcl", "-o", "out/disk.img"];
    succeed(&mut as_ordinary_user(&site, &build));
    assert_eq!(digest(&site.path("out/disk.img")), digest(&site.path("right.img")));
    let said = fail_with(1, &mut as_ordinary_user(&site, &["compose", "small.hcl"]));
    assert!(said.contains("store") && said.contains("Permission denied"), "{said}");
    assert!(said.contains("hint:") && said.contains("--store"), "{said}");
    if !is_root() {
        succeed(&mut tool("chmod", ["-R", "u+w", &site.path("store").display().to_string()]));
    }
}

#[test]
fn a_read_only_output_folder_is_named() {
    let site = Site::bootable();
    set_mode(site.folder.path(), 0o755);
    std::fs::create_dir(site.path("shut")).expect("a folder");
    set_mode(&site.path("shut"), 0o555);
    std::fs::create_dir(site.path("store")).expect("a folder");
    set_mode(&site.path("store"), 0o777);
    let said = fail_with(1, &mut as_ordinary_user(&site, &["build", "disk.hcl", "-o", "shut/disk.img"]));
    assert!(said.contains("shut/disk.img") && said.contains("Permission denied"), "{said}");
    assert_eq!(site.names("shut"), [""; 0]);
    set_mode(&site.path("app"), 0o000);
    let said = fail_with(4, &mut as_ordinary_user(&site, &["compose", "small.hcl"]));
    assert!(said.contains("small.hcl:6") && said.contains("Permission denied"), "{said}");
    // What others made under the other user's id is theirs to remove.
    set_mode(&site.path("shut"), 0o755);
}
