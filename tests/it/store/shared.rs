//! What NFS clients and other machines do to a store, played on a file system of this one. The real thing is `nfs`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use mkimage::store::{GcRules, StoreError};

use super::gc::{collect, expect_sound};
use super::*;

/// Does what an NFS client does to a file that is replaced while a process of its machine has it open: it gets
/// another name, and only then the new file gets its own. In between, `look` is called, which may say that the
/// machine dies there.
struct Client<F> {
    look: F,
    seen: Mutex<Vec<PathBuf>>,
}

impl<F: Fn(&std::path::Path) -> io::Result<()> + Send + Sync> Watcher for Client<F> {
    fn before(&self, change: &Change<'_>) -> io::Result<()> {
        if let Change::Rename { to, .. } = change
            && to.exists()
        {
            let aside = to.with_file_name(format!(".nfs{:024x}", self.seen.lock().expect("no panic").len()));
            mkimage::base::fs::rename(to, &aside).expect("renamed");
            self.seen.lock().expect("no panic").push(to.to_path_buf());
            let looked = (self.look)(to);
            std::fs::remove_file(&aside).expect("closed");
            return looked;
        }
        Ok(())
    }
}

fn shared() -> tempfile::TempDir {
    let folder = folder();
    assert!(open(folder.path()).initialise(true).expect("made"));
    folder
}

fn played<F>(folder: &std::path::Path, look: F) -> (Store, Arc<Client<F>>)
where
    F: Fn(&std::path::Path) -> io::Result<()> + Send + Sync + 'static,
{
    let client = Arc::new(Client { look, seen: Mutex::default() });
    (Store::watched(folder, client.clone()).expect("opened"), client)
}

#[test]
fn a_ref_is_there_while_a_client_replaces_its_file() {
    let folder = shared();
    let at = folder.path().to_owned();
    let (store, client) = played(folder.path(), move |_| {
        let other = open(&at);
        let value = other.read_ref(&name("main")).expect("read").expect("the ref is there");
        assert_eq!(other.refs().expect("read").get(&name("main")), Some(&value));
        Ok(())
    });
    for version in 1..4 {
        publish(&store, "main", version);
    }
    let replaced =
        client.seen.lock().expect("no panic").iter().filter(|path| path.ends_with("refs/main")).count();
    assert_eq!(replaced, 2, "nothing was replaced, so that nothing was shown");
    expect_sound(folder.path(), "at the end");
}

#[test]
fn a_client_that_dies_while_it_replaces_a_ref_takes_none_along() {
    let folder = shared();
    publish(&open(folder.path()), "main", 1);
    let (store, _client) = played(folder.path(), |_| Err(io::Error::other("no power")));
    let transaction = store.begin(&job());
    let commit = put_version(&transaction, 2);
    transaction.commit(&[update("main", commit)], "").expect_err("the machine died");
    assert!(!folder.path().join("refs/main").exists());
    let other = open(folder.path());
    let found = other.read_ref(&name("main")).expect("read").expect("the ref is there");
    assert_eq!((found.generation, found.commit), (2, commit));
    publish(&other, "main", 3);
    assert_eq!(other.read_ref(&name("main")).expect("read").expect("there").generation, 3);
    assert_eq!(other.log(&name("main")).expect("read").len(), 3);
    expect_sound(folder.path(), "at the end");
}

#[test]
fn the_generation_of_a_shared_store_never_comes_back_when_its_file_was_lost() {
    let folder = shared();
    let store = open(folder.path());
    publish(&store, "main", 0);
    let mut before = 0;
    for version in 1..4 {
        publish(&store, "main", version);
        collect(&store, &GcRules::strict()).expect("collected");
        let now = store.collections();
        assert!(now > before + 1, "{now} after {before}");
        std::fs::remove_file(folder.path().join("gc-generation")).expect("lost");
        before = now;
    }
    expect_sound(folder.path(), "at the end");
}

#[test]
fn a_claim_that_was_broken_is_not_taken_from_who_has_it_now() {
    let folder = shared();
    let lock = folder.path().join("gc.lockfile");
    let store = open(folder.path());
    let plan = store.plan_gc(&GcRules::strict(), &job()).expect("planned");
    let host = mkimage::base::ProcessName::this().host;
    let host = host.split('/').next().expect("a name");
    assert_eq!(store.unlock(host).expect("broken").len(), 1);
    std::fs::write(&lock, "another's").expect("written");
    drop(plan);
    assert_eq!(std::fs::read_to_string(&lock).expect("still there"), "another's");
}

#[test]
fn who_collects_is_said_and_how_to_go_on_without() {
    let folder = shared();
    let store = open(folder.path());
    let _plan = store.plan_gc(&GcRules::strict(), &job()).expect("planned");
    let Err(StoreError::Collecting { holder: Some(holder), .. }) = open(folder.path()).repack(&job()) else {
        panic!("two collect at once, or nobody knows who")
    };
    assert!(holder.to_string().starts_with(&format!("process {} on ", std::process::id())), "{holder}");
    assert!(!holder.machine().contains('/'), "`unlock` wants the name of the machine alone");
}

#[test]
fn a_transactions_directory_goes_when_nothing_in_it_is_open_any_more() {
    struct Opened(Mutex<Vec<PathBuf>>);
    impl Watcher for Opened {
        fn before(&self, change: &Change<'_>) -> io::Result<()> {
            if let Change::RemoveDirectory(path) = change {
                let descriptors = list("/proc/self/fd");
                let links = descriptors
                    .iter()
                    .filter_map(|fd| std::fs::read_link(format!("/proc/self/fd/{}", fd.display())).ok());
                self.0.lock().expect("no panic").extend(links.filter(|link| link.starts_with(path)));
            }
            Ok(())
        }
    }
    let folder = shared();
    let opened = Arc::new(Opened(Mutex::default()));
    let store = Store::watched(folder.path(), opened.clone()).expect("opened");
    publish(&store, "main", 1);
    let dropped = store.begin(&job());
    put_version(&dropped, 2);
    drop(dropped);
    assert_eq!(
        opened.0.lock().expect("no panic").len(),
        0,
        "NFS would keep the directory: {opened:?}",
        opened = opened.0
    );
    assert_eq!(list(folder.path().join("tmp")), [".lock"]);
}

#[test]
fn what_a_dead_client_had_open_goes_with_the_garbage_once_it_is_older_than_the_grace() {
    let folder = shared();
    let store = open(folder.path());
    publish(&store, "main", 1);
    let left = folder.path().join("packs/.nfs00000000000000b600000017");
    std::fs::write(&left, b"a pack").expect("written");
    let patient = GcRules { grace_seconds: 3600, ..GcRules::strict() };
    collect(&store, &patient).expect("collected");
    assert!(left.exists(), "its client may still read it");
    let report = store.check(&job()).expect("checked");
    assert!(report.notes.is_empty(), "{:?}", report.notes);
    let plan = store.plan_gc(&GcRules::strict(), &job()).expect("planned");
    assert!(plan.describe().iter().any(|line| line.contains("left 1 files")), "{:?}", plan.describe());
    store.run_gc(plan, &job()).expect("collected");
    assert!(!left.exists());
    expect_sound(folder.path(), "at the end");
}
