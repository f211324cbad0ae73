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
    assert!(
        plan.describe().iter().any(|line| line.contains("left 1 file of packs")),
        "{:?}",
        plan.describe()
    );
    store.run_gc(plan, &job()).expect("collected");
    assert!(!left.exists());
    expect_sound(folder.path(), "at the end");
}

/// Says of each second name that it could not be made, though it was: the answer got lost on the wire.
struct LostAnswers(Mutex<usize>);

impl Watcher for LostAnswers {
    fn before(&self, change: &Change<'_>) -> io::Result<()> {
        if let Change::Link { from, to } = change
            && to.to_string_lossy().ends_with(".lockfile")
        {
            std::fs::hard_link(from, to)?;
            *self.0.lock().expect("no panic") += 1;
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(())
    }
}

#[test]
fn a_lock_is_ours_where_only_the_answer_got_lost() {
    let folder = shared();
    let answers = Arc::new(LostAnswers(Mutex::default()));
    let store = Store::watched(folder.path(), answers.clone()).expect("opened");
    for version in 1..4 {
        publish(&store, "main", version);
    }
    collect(&store, &GcRules::strict()).expect("collected");
    assert!(*answers.0.lock().expect("no panic") > 4, "no claim was made");
    let left = list(folder.path().join("refs"));
    assert_eq!(left, [".lock", "main"], "a claim stayed");
    expect_sound(folder.path(), "at the end");
}

#[test]
fn a_claim_that_this_process_left_is_taken_again() {
    /// Keeps what a claim says.
    struct Claims(Mutex<Vec<u8>>);
    impl Watcher for Claims {
        fn before(&self, change: &Change<'_>) -> io::Result<()> {
            if let Change::Link { from, .. } = change
                && from.to_string_lossy().contains(".claim-")
            {
                *self.0.lock().expect("no panic") = std::fs::read(from)?;
            }
            Ok(())
        }
    }
    let folder = shared();
    let claims = Arc::new(Claims(Mutex::default()));
    publish(&Store::watched(folder.path(), claims.clone()).expect("opened"), "main", 1);
    let claim = claims.0.lock().expect("no panic").clone();
    assert!(!claim.is_empty(), "no claim was made");
    // Neither the answer nor the removal reached us: another inode than the next claim has.
    let lock = folder.path().join("refs/.lockfile");
    std::fs::write(&lock, &claim).expect("written");
    let watch = mkimage::base::Stopwatch::start();
    publish(&open(folder.path()), "main", 2);
    assert!(watch.elapsed().as_secs() < 5, "it waited for itself");
    assert!(!lock.exists());
}

#[test]
fn a_claim_of_another_machine_is_waited_for_in_steps_that_spare_the_server() {
    struct Looks(Mutex<usize>);
    impl Watcher for Looks {
        fn before(&self, change: &Change<'_>) -> io::Result<()> {
            *self.0.lock().expect("no panic") += usize::from(matches!(change, Change::Link { .. }));
            Ok(())
        }
    }
    let folder = shared();
    publish(&open(folder.path()), "main", 1);
    let lock = folder.path().join("refs/.lockfile");
    std::fs::write(&lock, "what no process of this machine wrote").expect("written");
    let looks = Arc::new(Looks(Mutex::default()));
    let store = Store::watched(folder.path(), looks.clone()).expect("opened");
    let watch = mkimage::base::Stopwatch::start();
    let other = std::thread::scope(|threads| {
        let waiting = threads.spawn(|| publish(&store, "main", 2));
        while *looks.0.lock().expect("no panic") == 0 && watch.elapsed().as_secs() < 30 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        std::thread::sleep(std::time::Duration::from_millis(400));
        assert!(!waiting.is_finished(), "somebody else holds the lock");
        std::fs::remove_file(&lock).expect("given back");
        waiting.join().expect("no panic")
    });
    assert_eq!(store.resolve("main").expect("there"), other);
    let (looks, took) = (*looks.0.lock().expect("no panic"), watch.elapsed());
    let most = took.as_millis() as usize / 20 + 5;
    assert!((2..=most).contains(&looks), "{looks} looks in {took:?}");
}

#[test]
fn what_a_reader_still_has_open_in_the_trash_stays_until_a_later_run() {
    /// An NFS client that won't remove what a process of its machine reads.
    struct Busy(Mutex<bool>);
    impl Watcher for Busy {
        fn before(&self, change: &Change<'_>) -> io::Result<()> {
            let is_open = |path: &std::path::Path| path.to_string_lossy().contains("/.nfs");
            match change {
                Change::Remove(path) if *self.0.lock().expect("no panic") && is_open(path) => {
                    Err(io::ErrorKind::ResourceBusy.into())
                }
                _ => Ok(()),
            }
        }
    }
    let folder = shared();
    let busy = Arc::new(Busy(Mutex::new(true)));
    let store = Store::watched(folder.path(), busy.clone()).expect("opened");
    publish(&store, "main", 1);
    publish(&store, "gone", 2);
    store.remove_refs(&job(), &[(name("gone"), mkimage::store::Expected::Any)], "").expect("removed");
    collect(&store, &GcRules::strict()).expect("collected");
    let trash = folder.path().join("trash");
    let [number] = &list(&trash)[..] else { panic!("{:?}", list(&trash)) };
    let open_there = trash.join(number).join(".nfs00000000000000b600000018");
    std::fs::write(&open_there, b"a pack").expect("written");
    // Emptied but for that, and no reason to stop.
    collect(&store, &GcRules::strict()).expect("collected");
    assert_eq!(list(trash.join(number)), [".nfs00000000000000b600000018"]);
    *busy.0.lock().expect("no panic") = false;
    collect(&store, &GcRules::strict()).expect("collected");
    assert_eq!(list(&trash).len(), 0, "{:?}", list(&trash));
    expect_sound(folder.path(), "at the end");
}
