//! What must not grow with the store: a sample of `cargo bench --bench scale`.

use super::gc::{collect, expect_sound};
use super::*;
use mkimage::store::{GcRules, Objects};

#[test]
fn hundreds_of_commits_leave_few_packs_and_opening_reads_none_of_them() {
    let folder = folder();
    let store = open(folder.path());
    let mut commits = Vec::new();
    for version in 0..300 {
        commits.push(publish(&store, &format!("team/{}", version % 30), version));
    }
    let packs = folder.path().join("packs");
    let count = list(&packs).len() / 2;
    assert!(count < 24, "{count} packs");
    let fresh = open(folder.path());
    assert!(commits.iter().all(|commit| fresh.has(&commit.0)));

    let aside = folder.path().join("aside");
    mkimage::base::fs::rename(&packs, &aside).expect("renamed");
    let blind = open(folder.path());
    assert_eq!(blind.refs().expect("read").len(), 30, "refs are read without any pack");
    mkimage::base::fs::rename(&aside, &packs).expect("renamed");

    let live = GcRules { grace_seconds: 0, ..GcRules::default() };
    assert_eq!(store.plan_gc(&live, &job()).expect("planned").summary().objects_trashed, 0);
    let done = collect(&store, &GcRules::strict()).expect("collected");
    assert!(done.objects_trashed >= 270 * 4, "{done:?}");
    collect(&store, &GcRules::strict()).expect("emptied");
    expect_sound(folder.path(), "at the end");
    let there = commits.iter().filter(|commit| store.has(&commit.0)).count();
    assert_eq!(there, 30);
}
