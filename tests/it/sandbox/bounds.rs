//! Limits, ends and messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mkimage::base::job::Silent;
use mkimage::base::parallel::Workers;
use mkimage::base::{Job, Stopwatch};
use mkimage::sandbox::{Lies, SandboxError};
use mkimage::tree::Node;

use super::support::{Trial, complaint, path, read};

/// Tells whether a process of this machine has a word in its command line.
fn lives(word: &str) -> bool {
    let named = |name: std::ffi::OsString| {
        let line =
            std::fs::read(std::path::Path::new("/proc").join(name).join("cmdline")).unwrap_or_default();
        line.split(|&byte| byte == 0).any(|one| one == word.as_bytes())
    };
    mkimage::base::fs::list("/proc".as_ref()).expect("a list of processes").into_iter().any(named)
}

fn mounts() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").expect("mounts")
}

#[test]
fn the_time_limit_ends_every_process() {
    let mut trial = Trial::default();
    trial.limits.time = Duration::from_secs(5);
    let before = mounts();
    let began = Stopwatch::start();
    let said = complaint(&trial, "echo begun; (trap '' TERM HUP INT; sleep 71625.25) & sleep 71625.25");
    assert!(said.contains("trial: not done after 5 s") && said.contains("begun"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
    assert!(!lives("71625.25"));
    assert_eq!(mounts(), before);
}

#[test]
fn what_is_left_running_ends_with_the_last_command() {
    let outcome =
        Trial::default().script("(sleep 81625.25 > /dev/null 2>&1 &); (sleep 81625.25 &); echo done");
    assert_eq!(String::from_utf8_lossy(&outcome.log), "done\n");
    assert!(!lives("81625.25"));
}

#[test]
fn a_stop_leaves_no_process_no_mount_and_no_file() {
    for lies in [Lies::InMemory, Lies::InFolder] {
        let scratch = tempfile::tempdir().expect("a folder");
        let mut trial = Trial { scratch: scratch.path().to_owned(), ..Trial::default() };
        trial.limits.lies = lies;
        let flag = Arc::new(AtomicBool::new(false));
        let job = Job::new(Workers::new(2), Arc::new(Silent), flag.clone());
        let before = mounts();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let began = Stopwatch::start();
                while !lives("91625.25") && began.elapsed() < Duration::from_secs(40) {
                    std::thread::sleep(Duration::from_millis(20));
                }
                flag.store(true, Ordering::Relaxed);
            });
            let script = "mkdir -p /srv/d/e; chmod 0 /srv/d/e /srv/d; sleep 91625.25 & sleep 91625.25";
            let result = trial.run_with(&[&["sh", "-c", script]], &job);
            assert!(matches!(result, Err(SandboxError::Cancelled(_))), "{result:?}");
        });
        assert!(!lives("91625.25"));
        assert_eq!(mounts(), before);
        assert_eq!(mkimage::base::fs::list(scratch.path()).expect("the scratch folder").len(), 0);
    }
}

#[test]
fn a_huge_output_is_cut_in_the_middle() {
    let mut trial = Trial::default();
    trial.limits.log_bytes = 10_000;
    let outcome = trial.script("echo first; yes | head -c 30000000; echo last");
    let log = String::from_utf8_lossy(&outcome.log);
    assert!(log.len() < 10_100, "{}", log.len());
    assert!(log.starts_with("first\n") && log.ends_with("last\n") && log.contains("bytes left out"));
}

#[test]
fn a_fork_bomb_stays_small_and_ends() {
    let mut trial = Trial::default();
    trial.limits.processes = 40;
    trial.limits.time = Duration::from_secs(5);
    let began = Stopwatch::start();
    let said = complaint(&trial, "f() { sleep 61625.25 & f; f & }; f");
    assert!(said.contains("Resource temporarily unavailable"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
    assert!(!lives("61625.25"));
}

#[test]
fn the_tree_grows_no_further_than_its_limits() {
    let mut trial = Trial::default();
    trial.limits.tree_bytes = 128 << 20;
    let said = complaint(&trial, "head -c 200000000 /dev/zero > /srv/large");
    assert!(
        said.contains("No space left") || said.contains("File size limit") || said.contains("signal 25"),
        "{said}"
    );
    let mut trial = Trial::default();
    trial.limits.inodes = 1000;
    let said = complaint(&trial, "for n in {1..2000}; do : > /srv/$n; done");
    assert!(said.contains("No space left on device"), "{said}");
}

#[test]
fn a_run_may_delete_everything() {
    let outcome = Trial::default().script("cd /; rm -rf /etc /root /srv /var /sbin /bin /lib /lib64 /usr");
    assert_eq!(outcome.tree.entries.len(), 0, "{:?}", outcome.tree.entries.keys());
    assert!(outcome.changed.contains(&path("/usr/bin/bash")));
}

#[test]
fn a_result_that_is_too_deep_is_refused() {
    let script = "perl -e 'chdir \"/srv\"; for (1..2000) { mkdir \"d\" or die $!; chdir \"d\" or die $!; }'";
    let said = complaint(&Trial::default(), script);
    assert!(said.starts_with("what the commands left at /srv/d/d"), "{said}");
    assert!(said.ends_with("it lies deeper than 256 names"), "{said}");
}

#[test]
fn a_failure_says_what_ran_how_it_ended_and_what_it_said() {
    let trial = Trial::default();
    let said = complaint(&trial, "echo about to fail; exit 3");
    assert_eq!(
        said,
        "trial: `/bin/sh -euc echo about to fail; exit 3` ended with exit status 3; its last lines:\n  about to fail"
    );
    let said = complaint(&trial, "kill -SEGV $$");
    assert!(said.ends_with("ended with signal 11, an address it may not use; it said nothing"), "{said}");
    let said = complaint(&trial, "perl -e '$< = 33; $> = 33; exit 5'");
    assert!(
        said.contains("(a program wanted to become user or group 33; the sandbox has root only)"),
        "{said}"
    );
    let result = trial.run_with(&[&["true"], &["/no/such/program", "x"], &["true"]], &Job::quiet(1));
    let said = result.expect_err("no such program").to_string();
    assert!(said.starts_with("trial: cannot start `/no/such/program x`: No such file"), "{said}");
    assert!(said.contains("in the tree there is no such program"), "{said}");
}

#[test]
fn the_first_failure_ends_the_run() {
    let result = Trial::default().run_with(&[&["false-alarm"], &["sleep", "51625.25"]], &Job::quiet(1));
    assert!(matches!(result, Err(SandboxError::NotStarted { .. })), "{result:?}");
    let result =
        Trial::default().run_with(&[&["sh", "-c", "exit 1"], &["sleep", "51625.25"]], &Job::quiet(1));
    assert!(matches!(result, Err(SandboxError::Command { .. })), "{result:?}");
}

#[test]
fn only_what_changed_is_read_again() {
    // 4096 bytes that differ in the first one only: neither size nor, by the clock's ticks, time would tell.
    let mut trial = Trial::default();
    let contents = &super::support::machine().0;
    trial
        .tree
        .insert(&path("/srv/a"), super::support::file(contents, &"a".repeat(4096), 0o644))
        .expect("inserted");
    let outcome = trial.script(
        "cp -p /srv/a /srv/b; printf b | dd of=/srv/a conv=notrunc status=none; touch -r /srv/b /srv/a; ln /etc/old /srv/linked",
    );
    assert!(read(&outcome.tree, "/srv/a").starts_with("ba"));
    assert!(
        matches!(outcome.tree.get(&path("/srv/linked")), Some(Node::HardLink(target)) if *target == path("/etc/old"))
    );
    let changed: Vec<String> = outcome.changed.iter().map(ToString::to_string).collect();
    assert_eq!(changed, ["/srv/a", "/srv/b", "/srv/linked"]);
}
