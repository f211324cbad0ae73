//! Locks of whole dependency trees: why each package is there, and what an update changes.

use super::*;

fn needs(name: &str, version: &str, depends: &str) -> Deb {
    Deb { depends: depends.into(), ..package(name, version, Vec::new()) }
}

/// Asks for packages with what they need.
fn whole_request(names: &[&str]) -> Request {
    let mut request = request(names);
    request.rules.dependencies = true;
    request
}

/// An archive of a server, a library in between, a base library, and something else.
fn archive(version: &str) -> Archive {
    Archive::new(packages(version))
}

fn packages(version: &str) -> Vec<Deb> {
    vec![
        needs("server", version, &format!("library (>= {version})")),
        needs("library", version, "base-library"),
        needs("base-library", version, ""),
        needs("other", version, "base-library"),
    ]
}

fn lock(archive: &Archive, names: &[&str]) -> Lock {
    lock_with(archive.settings(), &[whole_request(names)], None, Update::None).expect("locked")
}

#[test]
fn what_is_needed_comes_along_and_says_for_whom() {
    let lock = lock(&archive("1"), &["server"]);
    assert_eq!(versions(&lock), ["base-library 1", "library 1", "server 1"]);
    let text = lock.to_string();
    assert!(text.contains(" depends:library\n") && text.contains(" depends:server\n"), "{text}");
    assert_eq!(
        lock.why("base-library").expect("there"),
        [
            "base-library 1 is there because library depends on it.",
            "library 1 is there because server depends on it.",
            "server 1 is there because the recipe asks for it."
        ]
    );
    assert_eq!(Lock::parse(&text).expect("parsed"), lock);
}

#[test]
fn an_update_of_one_package_takes_what_it_needs_and_leaves_the_rest() {
    let mut archive = archive("1");
    let old = lock(&archive, &["server", "other"]);
    archive.packages = [packages("1"), packages("2")].concat();
    archive.publish(DATES);
    let requests = [whole_request(&["server", "other"])];
    let update = |update| lock_with(archive.settings(), &requests, Some(&old), update).expect("locked");
    let changes = |new: &Lock| Lock::changes(&old, new).iter().map(ToString::to_string).collect::<Vec<_>>();
    let server = update(Update::Packages(["server".to_owned()].into()));
    assert_eq!(changes(&server), ["library 1 → 2 (tested)", "server 1 → 2 (tested)"]);
    let other = update(Update::Packages(["other".to_owned()].into()));
    assert_eq!(changes(&other), ["other 1 → 2 (tested)"]);
    assert_eq!(changes(&update(Update::All)).len(), 4);
    assert!(changes(&update(Update::None)).is_empty());
}

#[test]
fn what_the_indexes_dropped_stays_while_it_can_be_had() {
    let mut archive = archive("1");
    let old = lock(&archive, &["server"]);
    archive.packages = packages("2");
    archive.publish(DATES);
    let more = [whole_request(&["server", "other"])];
    let relock = |requests: &[Request]| lock_with(archive.settings(), requests, Some(&old), Update::None);
    // The pool still has the files, though no index names them.
    let new = relock(&more).expect("locked");
    assert_eq!(versions(&new), ["base-library 1", "library 1", "other 2", "server 1"]);
    std::fs::remove_file(archive.root().join("pool/main/library_1_amd64.deb")).expect("removed");
    let new = relock(&more).expect("locked");
    let library = new.find("debian", "library").expect("there");
    assert_eq!(library.version, "2", "what can't be had any more gives way");
    let mut held = more.clone();
    held[0].rules.holds = vec!["library".into()];
    let message = whole(&relock(&held).expect_err("held"));
    for part in ["library 1 is locked", "no longer has it", "there now, in tested: 2"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_kernel_that_is_also_installed_is_one_line() {
    let kernel = || needs("linux-image-6.1", "6.1.1", "");
    let meta = needs("linux-image-amd64", "6.1.1", "linux-image-6.1 (= 6.1.1)");
    let archive = Archive::new(vec![kernel(), meta]);
    let mut asked = whole_request(&["linux-image-amd64"]);
    asked.bare = vec!["linux-image-amd64".into()];
    let requests = [asked];
    let lock = lock_with(archive.settings(), &requests, None, Update::None).expect("locked");
    assert!(lock.to_string().contains(" bare:linux-image-amd64 depends:linux-image-amd64\n"), "{lock}");
    assert_eq!(lock.bare("debian", "linux-image-amd64").expect("there").name, "linux-image-6.1");
    assert_eq!(lock.installed("debian").count(), 2);
    assert_eq!(lock.select(&requests).expect("fits").len(), 2);
}

#[test]
fn what_can_not_be_installed_is_said_in_sentences() {
    let archive = Archive::new(vec![needs("server", "1", "library (>= 2)"), needs("library", "1", "")]);
    let problem = lock_with(archive.settings(), &[whole_request(&["server"])], None, Update::None);
    let message = problem.expect_err("no such library").to_string();
    for part in ["debian: server can't be installed", "library (>= 2)"] {
        assert!(message.contains(part), "{message}");
    }
}
