//! Processes that are killed in the middle of a push or pull, and run again.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::server::{Nginx, root};
use super::*;
use crate::tool;

/// Starts a command, kills it after a while (no signal that it could catch), and tells whether it was too late.
fn kill_after(command: &mut Command, time: Duration) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    std::thread::sleep(time);
    child.kill().expect("killed");
    child.wait().expect("waited").success()
}

/// Pauses that fall into all parts of a run that takes `whole`.
fn moments(whole: Duration, count: u32) -> impl Iterator<Item = Duration> {
    (1..=count).map(move |step| whole * step / (count + 1))
}

fn mkimage(store: &Path, arguments: &[&str]) -> Command {
    let mut command = tool::mkimage(arguments);
    command.env("MKIMAGE_STORE", store);
    command
}

fn key(farm: &Farm) -> (PathBuf, PathBuf) {
    let path = farm.path("key");
    farm.key.write(&path).expect("written");
    (path.clone(), path.with_extension("pub"))
}

#[test]
fn a_pull_that_is_killed_anywhere_leaves_the_store_sound_and_runs_again() {
    let farm = Farm::new();
    let here = farm.store("here");
    let (_, public) = key(&farm);
    let id = publish_big(&here, "hello", 1, &[]);
    farm.push(&here, &mut farm.site(), &[("hello", id)]);
    let nginx = Nginx::start(&root(&farm), true);
    let watch = mkimage::base::Stopwatch::start();
    let pull = |store: &Path| {
        let address = nginx.address();
        mkimage(store, &["pull", &address, "hello", "--key", public.to_str().expect("text")])
    };
    tool::succeed(&mut pull(&farm.path("first")));
    let whole = watch.elapsed();
    let at = farm.path("there");
    for time in moments(whole, 8) {
        kill_after(&mut pull(&at), time);
        let there = open(&at);
        assert!(led(&there, "hello").is_none_or(|found| found == id));
        let report = there.check(&job()).expect("checked");
        assert!(report.faults.is_empty(), "{time:?}: {:?}", report.faults);
        if led(&there, "hello").is_some() {
            expect_whole(&there, &id);
            std::fs::remove_dir_all(&at).expect("removed");
        }
    }
    tool::succeed(&mut pull(&at));
    let there = open(&at);
    expect_whole(&there, &id);
    assert_eq!(led(&there, "hello"), Some(id));
    // What the killed ones left is gone with the next writer.
    let left = crate::store::list(at.join("tmp"));
    assert!(left.iter().all(|name| name == ".lock"), "{left:?}");
}

#[test]
fn a_push_that_is_killed_anywhere_leaves_both_ends_sound_and_runs_again() {
    let farm = Farm::new();
    let here = farm.store("here");
    let (secret, _) = key(&farm);
    let mut last = publish_big(&here, "hello", 0, &[]);
    let site = format!("dir:{}", farm.path("site").display());
    let store = farm.path("there");
    std::fs::create_dir(&store).expect("a folder");
    let secret = secret.to_str().expect("text").to_owned();
    for target in [store.to_str().expect("text"), &site] {
        let watch = mkimage::base::Stopwatch::start();
        let push = || mkimage(&farm.path("here"), &["push", target, "hello", "--key", &secret]);
        tool::succeed(&mut push());
        let whole = watch.elapsed();
        for (version, time) in moments(whole, 5).enumerate() {
            last = publish_big(&here, "hello", 100 + version as u64, &[last]);
            kill_after(&mut push(), time);
            if target == site {
                let mut reader = farm.site();
                let fresh = farm.store(&format!("fresh{version}"));
                pull(&fresh, &mut reader, &["hello"]).expect("what is published is whole");
                expect_whole(&fresh, &led(&fresh, "hello").expect("a ref"));
            } else {
                let there = open(&store);
                expect_whole(&there, &led(&there, "hello").expect("a ref"));
            }
        }
        tool::succeed(&mut push());
    }
    let there = open(&store);
    assert!(led(&there, "hello").is_some());
    let mut reader = farm.site();
    let fresh = farm.store("fresh");
    pull(&fresh, &mut reader, &["hello"]).expect("pulled");
    assert_eq!(led(&fresh, "hello"), Some(last));
    let left: Vec<_> = crate::store::list(farm.path("site/bundles"));
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".tmp-")), "{left:?}");
}

#[test]
fn ctrl_c_ends_a_pull_with_its_own_exit_code_and_no_ref() {
    let farm = Farm::new();
    let here = farm.store("here");
    let (_, public) = key(&farm);
    let id = publish_big(&here, "hello", 1, &[]);
    farm.push(&here, &mut farm.site(), &[("hello", id)]);
    let nginx = Nginx::start(&root(&farm), true);
    let (address, at) = (nginx.address(), farm.path("there"));
    let public = public.to_str().expect("text");
    let mut command = mkimage(&at, &["pull", &address, "hello", "--key", public, "--limit-rate", "32KiB"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
    let watch = mkimage::base::Stopwatch::start();
    while nginx.log().is_empty() && watch.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    tool::signal(&child, rustix::process::Signal::INT);
    assert_eq!(tool::ends(&mut child, Duration::from_secs(60)).code(), Some(130));
    let there = open(&at);
    assert_eq!(led(&there, "hello"), None);
    let left = mkimage::base::fs::list(&at.join("tmp")).unwrap_or_default();
    assert!(left.iter().all(|name| name == ".lock"), "{left:?}");
}
