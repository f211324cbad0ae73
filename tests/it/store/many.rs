//! Many refs that move together: several at once, and still all of them or none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use mkimage::store::Expected;

const REFS: usize = 150;

/// Moves and syncs take a moment; after some changes every further one fails.
struct Slow {
    left: AtomicUsize,
    syncing: AtomicUsize,
    most: AtomicUsize,
}

impl Slow {
    fn new(left: usize) -> Arc<Slow> {
        Arc::new(Slow {
            left: AtomicUsize::new(left),
            syncing: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        })
    }
}

impl Watcher for Slow {
    fn before(&self, change: &Change<'_>) -> io::Result<()> {
        let one_less = |left: usize| left.checked_sub(1);
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_err() {
            return Err(io::Error::other("killed"));
        }
        if matches!(change, Change::Sync(_)) {
            let now = self.syncing.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(1));
            self.syncing.fetch_sub(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

fn names() -> Vec<RefName> {
    (0..REFS).map(|number| name(&format!("team-{}/farm-{}/n{number}", number % 3, number % 7))).collect()
}

fn updates(commit: CommitId) -> Vec<RefUpdate> {
    let update = |name| RefUpdate { name, expected: Expected::Any, new: commit };
    names().into_iter().map(update).collect()
}

/// Returns how many of the refs lead to a commit; each has as many lines in its log as it made moves.
fn led(folder: &std::path::Path, commit: CommitId, moves: usize) -> usize {
    let store = open(folder);
    let refs = store.refs().expect("listed");
    let leads = |name: &&RefName| refs[*name].commit == commit && name.as_str().starts_with("team-");
    let there: Vec<&RefName> = refs.keys().filter(leads).collect();
    for name in &there {
        let log = store.log(name).expect("read");
        assert_eq!((log.len(), log[0].value.commit), (moves, commit), "{name}");
    }
    there.len()
}

#[test]
fn many_refs_are_made_durable_together() {
    let folder = folder();
    let slow = Slow::new(usize::MAX);
    let store = Store::watched(folder.path(), slow.clone()).expect("opened");
    let first = publish(&store, "main", 1);
    assert!(slow.most.swap(0, Ordering::SeqCst) <= 2, "one ref is a matter of few threads");
    store.begin(&job()).commit(&updates(first), "many").expect("moved");
    assert!(slow.most.load(Ordering::SeqCst) > 4, "one sync after the other");
    assert_eq!(led(folder.path(), first, 1), REFS);
}

#[test]
fn many_refs_that_a_dead_process_moved_have_moved_or_not() {
    let folder = folder();
    let (first, second) = {
        let store = open(folder.path());
        (publish(&store, "main", 1), publish(&store, "main", 2))
    };
    let (mut before, mut decided) = (0, 0);
    for left in [2, 8, 40, 200, 500, 900] {
        let of = tempfile::tempdir_in(folder.path().parent().expect("above")).expect("a folder");
        let at = of.path().join("store");
        super::damages::copy(folder.path(), &at);
        let store = Store::watched(&at, Slow::new(left)).expect("opened");
        assert!(store.begin(&job()).commit(&updates(second), "many").is_err(), "{left} changes were enough");
        drop(store);
        match led(&at, second, 1) {
            0 => before += 1,
            REFS => decided += 1,
            some => panic!("{some} of them moved after {left} changes"),
        }
        // Whoever comes next finishes it, or does it anew.
        open(&at).begin(&job()).commit(&updates(second), "again").expect("moved");
        assert_eq!(led(&at, second, 1), REFS);
        open(&at).begin(&job()).commit(&updates(first), "back").expect("moved");
        assert_eq!(led(&at, first, 2), REFS);
        assert_eq!(list(at.join("journal")).len(), 0);
    }
    assert!(before > 0 && decided > 0, "{before} and {decided}");
}
