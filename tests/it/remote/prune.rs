//! Taking from a site what nobody needs: readers in the middle, publishers at once, crashes anywhere.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::site::{index, publish_index};
use super::*;
use mkimage::base::Digest;
use mkimage::remote::{Created, DirectorySite, Far, Pruned, Replaced, Sink, SizedRead, Transport, Versioned};
use mkimage::store::{Change, Media, Watcher};

const WEEK: u64 = 7 * 24 * 3600;

fn prune_at(farm: &Farm, far: &Far, grace: u64, dry_run: bool) -> Result<Pruned, RemoteError> {
    let publishing = Publishing { signers: &[&farm.key], site: None, lifetime_seconds: YEAR };
    let store = farm.store("pruner");
    remote::prune_at(&store, far, &mut farm.site(), &publishing, grace, dry_run, &line())
}

fn prune(farm: &Farm, grace: u64) -> Pruned {
    let far = Far::open(&farm.site().settings.address, &line()).expect("opened");
    prune_at(farm, &far, grace, false).expect("pruned")
}

fn files(farm: &Farm) -> Vec<Digest> {
    let names = crate::store::list(farm.path("site/bundles"));
    let ids = names.iter().filter_map(|name| name.to_str()?.strip_suffix(".bundle")?.parse().ok());
    ids.collect()
}

/// Expects that all that the index names is there, and that whoever has nothing gets all refs.
fn expect_good(farm: &Farm, fresh: &str) {
    let (index, files) = (index(farm), files(farm));
    let missing = index.bundles.iter().filter(|bundle| !files.contains(&bundle.id)).count();
    assert_eq!(missing, 0, "bundles that the index names are gone");
    let fresh = farm.store(fresh);
    remote::pull(&fresh, &mut farm.site(), &Wants::All, &Rules::default(), &line()).expect("pulled");
    index.refs.values().for_each(|led| expect_whole(&fresh, &led.commit));
}

/// Two stores that know nothing of each other push to the same ref: the bundle of the first is needed no more.
fn replaced(farm: &Farm) -> [CommitId; 2] {
    let stores = [farm.store("one"), farm.store("two")];
    let force = Rules { force: true, ..Rules::default() };
    [0, 1].map(|number: usize| {
        let id = publish_small(&stores[number], "hello", number as u32);
        farm.try_push(&stores[number], &mut farm.site(), &[("hello", id)], &force).expect("pushed");
        id
    })
}

#[test]
fn what_no_ref_needs_leaves_the_index_at_once_and_the_site_after_the_grace() {
    let farm = Farm::new();
    replaced(&farm);
    let before = index(&farm);
    let [old, new] = [0, 1].map(|at| before.bundles[at].id);
    let far = Far::open(&farm.site().settings.address, &line()).expect("opened");
    let planned = prune_at(&farm, &far, WEEK, true).expect("planned");
    assert_eq!((index(&farm).version, farm.path("site/retired").exists()), (2, false), "nothing was done");
    let done = prune(&farm, WEEK);
    assert_eq!(done, planned, "what was said is done");
    assert_eq!((done.kept, &done.dropped[..], &done.removed[..]), (1, &[old][..], &[][..]));
    assert_eq!(index(&farm).bundles.iter().map(|bundle| bundle.id).collect::<Vec<_>>(), [new]);
    assert_eq!(files(&farm).len(), 2, "whoever reads the index of before still finds it");
    let waiting = prune(&farm, WEEK);
    assert_eq!(
        (&waiting.waiting[..], index(&farm).version),
        (&[old][..], 3),
        "nothing to do, nothing published"
    );
    assert_eq!(prune(&farm, 0).removed, [old]);
    assert_eq!(files(&farm), [new]);
    expect_good(&farm, "fresh");
    assert_eq!(prune(&farm, 0), Pruned { kept: 1, ..Pruned::default() });
}

#[test]
fn a_row_of_commits_keeps_all_that_leads_to_the_last() {
    let farm = Farm::new();
    let here = farm.store("here");
    for version in 0..20 {
        let id = publish_small(&here, "hello", version);
        farm.push(&here, &mut farm.site(), &[("hello", id)]);
    }
    let done = prune(&farm, 0);
    assert!(done.kept < 16 && done.kept + done.dropped.len() as u64 == 20, "{done:?}");
    assert_eq!(prune(&farm, 0).removed.len(), done.dropped.len());
    expect_good(&farm, "fresh");
    // And the row goes on.
    let id = publish_small(&here, "hello", 100);
    farm.push(&here, &mut farm.site(), &[("hello", id)]);
    expect_good(&farm, "later");
}

/// A site where something happens between the index and the first bundle that a reader asks for.
struct Meanwhile<F> {
    site: DirectorySite,
    happens: F,
    done: AtomicBool,
}

impl<F: Fn() + Send + Sync> Transport for Meanwhile<F> {
    fn name(&self) -> String {
        self.site.name()
    }
    fn read(&self, path: &str, limit_bytes: u64) -> Result<Option<Versioned>, RemoteError> {
        self.site.read(path, limit_bytes)
    }
    fn read_ranges(&self, path: &str, ranges: &[Range<u64>], sink: &mut Sink<'_>) -> Result<(), RemoteError> {
        if !self.done.swap(true, Ordering::SeqCst) {
            (self.happens)();
        }
        self.site.read_ranges(path, ranges, sink)
    }
    fn create(&self, path: &str, body: &mut dyn SizedRead) -> Result<Created, RemoteError> {
        self.site.create(path, body)
    }
    fn replace(&self, path: &str, expected: Option<&str>, bytes: &[u8]) -> Result<Replaced, RemoteError> {
        self.site.replace(path, expected, bytes)
    }
    fn list(&self, folder: &str) -> Result<Vec<String>, RemoteError> {
        self.site.list(folder)
    }
    fn remove(&self, path: &str) -> Result<(), RemoteError> {
        self.site.remove(path)
    }
    fn prove_conditional_writes(&self) -> Result<(), RemoteError> {
        self.site.prove_conditional_writes()
    }
}

/// Pulls `hello`, while another store replaces it and a pruner goes through so often.
fn pull_while_pruned(farm: &'static Farm, grace: u64, times: usize) -> (Store, Result<Outcome, RemoteError>) {
    let one = farm.store("one");
    let first = publish_small(&one, "hello", 1);
    farm.push(&one, &mut farm.site(), &[("hello", first)]);
    let happens = move || {
        let two = farm.store("two");
        let second = publish_small(&two, "hello", 2);
        let force = Rules { force: true, ..Rules::default() };
        farm.try_push(&two, &mut farm.site(), &[("hello", second)], &force).expect("pushed");
        (0..times).for_each(|_| drop(prune(farm, grace)));
    };
    let site = DirectorySite::new(farm.path("site"), line());
    let far = Far::Site(Box::new(Meanwhile { site, happens, done: AtomicBool::new(false) }));
    let there = farm.store("there");
    let wants = Wants::These(vec![Want::Ref(name("hello"))]);
    let pulled = remote::pull_from(&there, &far, &mut farm.site(), &wants, &Rules::default(), &line());
    (there, pulled)
}

/// A farm for closures that live as long as a transport may.
fn lasting() -> &'static Farm {
    Box::leak(Box::new(Farm::new()))
}

#[test]
fn a_pull_under_the_index_of_before_ends_well_within_the_grace() {
    let farm = lasting();
    let (there, pulled) = pull_while_pruned(farm, WEEK, 2);
    pulled.expect("pulled what it was told of");
    assert_eq!(index(farm).bundles.len(), 1, "its bundle left the index meanwhile");
    expect_whole(&there, &led(&there, "hello").expect("a ref"));
    std::fs::remove_dir_all(farm.folder.path()).expect("removed");
}

#[test]
fn a_pull_that_took_longer_than_the_grace_fails_cleanly_and_runs_again() {
    let farm = lasting();
    let (there, pulled) = pull_while_pruned(farm, 0, 2);
    let gone = |error: &RemoteError| {
        matches!(error, RemoteError::Transfer { source: mkimage::remote::TransferProblem::Gone, .. })
    };
    assert!(pulled.as_ref().is_err_and(gone), "{pulled:?}");
    assert_eq!(led(&there, "hello"), None);
    pull(&there, &mut farm.site(), &["hello"]).expect("pulled");
    expect_whole(&there, &led(&there, "hello").expect("a ref"));
    std::fs::remove_dir_all(farm.folder.path()).expect("removed");
}

#[test]
fn a_name_that_was_marked_is_never_named_again() {
    let farm = Farm::new();
    let here = farm.store("here");
    let first = publish_small(&here, "hello", 1);
    farm.push(&here, &mut farm.site(), &[("hello", first)]);
    let before = index(&farm);
    let second = publish_small(&here, "hello", 2);
    farm.push(&here, &mut farm.site(), &[("hello", second)]);
    let orphan = index(&farm).bundles[1].id;
    // The push died before its index: nobody names its bundle, and a prune marks it.
    publish_index(&farm, &before);
    assert_eq!(prune(&farm, WEEK).waiting, [orphan]);
    farm.push(&here, &mut farm.site(), &[("hello", second)]);
    let again = index(&farm).bundles[1].id;
    assert_ne!(again, orphan, "somebody may be about to remove it");
    assert_eq!(prune(&farm, 0).removed, [orphan]);
    expect_good(&farm, "fresh");
}

#[test]
fn a_push_whose_base_was_pruned_meanwhile_sends_what_is_missing() {
    let farm = lasting();
    let here = farm.store("here");
    let first = publish_small(&here, "hello", 1);
    farm.push(&here, &mut farm.site(), &[("hello", first)]);
    /// Something happens when the second bundle was sent, before the index is asked for its mark.
    struct Sent(DirectorySite, &'static Farm, AtomicUsize);
    impl Transport for Sent {
        fn name(&self) -> String {
            self.0.name()
        }
        fn read(&self, path: &str, limit_bytes: u64) -> Result<Option<Versioned>, RemoteError> {
            self.0.read(path, limit_bytes)
        }
        fn read_ranges(
            &self,
            path: &str,
            ranges: &[Range<u64>],
            sink: &mut Sink<'_>,
        ) -> Result<(), RemoteError> {
            self.0.read_ranges(path, ranges, sink)
        }
        fn create(&self, path: &str, body: &mut dyn SizedRead) -> Result<Created, RemoteError> {
            let created = self.0.create(path, body);
            if self.2.fetch_add(1, Ordering::SeqCst) == 0 {
                let two = self.1.store("two");
                let other = publish_small(&two, "hello", 7);
                let force = Rules { force: true, ..Rules::default() };
                self.1.try_push(&two, &mut self.1.site(), &[("hello", other)], &force).expect("pushed");
                (0..3).for_each(|_| drop(prune(self.1, 0)));
            }
            created
        }
        fn replace(&self, path: &str, expected: Option<&str>, bytes: &[u8]) -> Result<Replaced, RemoteError> {
            self.0.replace(path, expected, bytes)
        }
        fn list(&self, folder: &str) -> Result<Vec<String>, RemoteError> {
            self.0.list(folder)
        }
        fn remove(&self, path: &str) -> Result<(), RemoteError> {
            self.0.remove(path)
        }
        fn prove_conditional_writes(&self) -> Result<(), RemoteError> {
            Ok(())
        }
    }
    let second = publish_small(&here, "hello", 2);
    let sent = Sent(DirectorySite::new(farm.path("site"), line()), farm, AtomicUsize::new(0));
    let pushed = [Pushed { name: name("other"), commit: second, source: None }];
    let publishing = Publishing { signers: &[&farm.key], site: None, lifetime_seconds: YEAR };
    let far = Far::Site(Box::new(sent));
    let rules = Rules::default();
    remote::push_to(&here, &far, &mut farm.site(), &pushed, &rules, Some(&publishing), &line())
        .expect("pushed");
    assert_eq!(index(farm).refs["other"].commit, second);
    expect_good(farm, "fresh");
    std::fs::remove_dir_all(farm.folder.path()).expect("removed");
}

/// A publisher at work, counted out also by a panic: the pruners end in any case.
struct Busy<'b>(&'b AtomicUsize);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn publishers_and_pruners_at_once_leave_a_site_where_all_is_there() {
    let farm = Farm::new();
    replaced(&farm);
    let busy = AtomicUsize::new(3);
    std::thread::scope(|scope| {
        for pusher in 0..3u32 {
            let (farm, busy) = (&farm, &busy);
            scope.spawn(move || {
                let _busy = Busy(busy);
                for push in 0..4 {
                    // A new store each time: its bundle builds on nothing, and the one before is needed no more.
                    let store = farm.store(&format!("store{pusher}-{push}"));
                    let id = publish_small(&store, "hello", pusher * 100 + push % 2);
                    let force = Rules { force: true, ..Rules::default() };
                    let at = format!("ref{}", push % 2);
                    farm.try_push(&store, &mut farm.site(), &[(&at, id)], &force).expect("pushed");
                }
            });
        }
        for pruner in 0..2 {
            let (farm, busy) = (&farm, &busy);
            scope.spawn(move || {
                let store = farm.store(&format!("pruner{pruner}"));
                let publishing = Publishing { signers: &[&farm.key], site: None, lifetime_seconds: YEAR };
                while busy.load(Ordering::SeqCst) > 0 {
                    let site = &mut farm.site();
                    remote::prune(&store, site, &publishing, 0, false, &line()).expect("pruned");
                }
            });
        }
    });
    expect_good(&farm, "fresh");
    prune(&farm, 0);
    prune(&farm, 0);
    assert_eq!(files(&farm).len(), index(&farm).bundles.len(), "nothing stays that nobody needs");
    expect_good(&farm, "after");
}

/// Cuts the power before a change.
struct Cut(AtomicUsize, usize);

impl Watcher for Cut {
    fn before(&self, _: &Change<'_>) -> std::io::Result<()> {
        match self.0.fetch_add(1, Ordering::SeqCst) >= self.1 {
            true => Err(std::io::Error::other("the power is gone")),
            false => Ok(()),
        }
    }
}

#[test]
fn a_prune_that_dies_anywhere_leaves_a_good_site_and_runs_again() {
    let farm = Farm::new();
    let template = Farm::new();
    replaced(&template);
    let site = |farm: &Farm| farm.path("site");
    for grace in [WEEK, 0] {
        for at in 0.. {
            let _ = std::fs::remove_dir_all(site(&farm));
            crate::tool::succeed(crate::tool::tool("cp", ["-a"]).arg(site(&template)).arg(site(&farm)));
            let cut = Arc::new(Cut(AtomicUsize::new(0), at));
            let media = Media::watched(cut.clone());
            let far = Far::Site(Box::new(DirectorySite::with_media(site(&farm), media, line())));
            let died = prune_at(&farm, &far, grace, false).is_err();
            let died = died || prune_at(&farm, &far, grace, false).is_err();
            expect_good(&farm, &format!("fresh{grace}-{at}"));
            if !died {
                assert!(at > 4, "{at} changes");
                break;
            }
            (0..2).for_each(|_| drop(prune(&farm, 0)));
            assert_eq!(files(&farm).len(), 1);
        }
    }
}

#[test]
fn the_verb_says_what_it_would_do_and_does_it() {
    let farm = Farm::new();
    replaced(&farm);
    let key = farm.path("key");
    farm.key.write(&key).expect("written");
    let site = farm.site().settings.address.to_string();
    let run = |more: &[&str]| {
        let mut command = crate::tool::mkimage(["remote", "prune", &site]);
        command.args(["--key", key.to_str().expect("text")]).args(more);
        crate::tool::succeed(command.env("MKIMAGE_STORE", farm.path("one")))
    };
    let said = run(&["--dry-run"]);
    assert!(said.contains("would leave the index") && said.contains("1 bundles in use"), "{said}");
    let said = run(&["--json", "--older-than", "1h"]);
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&said["kept"], said["dropped"].as_array().map(Vec::len)), (&serde_json::json!(1), Some(1)));
    assert!(run(&["--older-than", "0s"]).contains(" removed"));
    assert_eq!(files(&farm).len(), 1);
    let mut store = crate::tool::mkimage(["remote", "prune", farm.path("two").to_str().expect("text")]);
    let refused = crate::tool::run(store.arg("--key").arg(&key).env("MKIMAGE_STORE", farm.path("one")));
    assert!(!refused.status.success(), "a store has gc");
}
