//! Sites in a directory: what is published, who may, and what two do at once.

use super::*;
use mkimage::trust::{Expectation, SITE_INDEX_BYTES_MAX, SiteIndex, TrustError, Trusted};

/// Reads the index as the publisher signed it.
pub fn index(farm: &Farm) -> SiteIndex {
    let bytes = std::fs::read(farm.path("site/index")).expect("an index");
    assert!(bytes.len() < SITE_INDEX_BYTES_MAX);
    let expected = Expectation {
        site: None,
        seen: None,
        now: mkimage::base::clock::unix_seconds(),
        allow_expired: true,
    };
    let trusted = Trusted::one(farm.key.public().clone());
    SiteIndex::accept(&bytes, &trusted, &expected).expect("signed").0.into_inner()
}

/// Signs an index and puts it there.
pub fn publish_index(farm: &Farm, index: &SiteIndex) {
    std::fs::write(farm.path("site/index"), index.sign(&[&farm.key]).expect("signed")).expect("written");
}

#[test]
fn commits_go_through_a_site_and_a_small_change_is_a_small_transfer() {
    let farm = Farm::new();
    let (here, there) = (farm.store("here"), farm.store("there"));
    let first = publish_big(&here, "hello", 1, &[]);
    let mut out = farm.site();
    let pushed = farm.push(&here, &mut out, &[("hello", first)]);
    assert!(pushed.traffic.sent_bytes > 2_400_000);
    let mut site = farm.site();
    pull(&there, &mut site, &["hello"]).expect("pulled");
    assert_eq!(led(&there, "hello"), Some(first));
    expect_whole(&there, &first);
    let second = publish_big(&here, "hello", 2, &[]);
    let pushed = farm.push(&here, &mut out, &[("hello", second)]);
    assert!(pushed.stored_bytes < 900_000, "{pushed:?}");
    let pulled = pull(&there, &mut site, &["hello"]).expect("pulled");
    assert!(pulled.traffic.received_bytes < 150_000, "100 bytes of 600 kB and one file changed: {pulled:?}");
    expect_whole(&there, &second);
    // Somebody who has nothing reads both bundles.
    let fresh = farm.store("fresh");
    pull(&fresh, &mut site, &["hello"]).expect("pulled");
    expect_whole(&fresh, &second);
    let index = index(&farm);
    assert_eq!((index.version, index.bundles.len(), index.refs["hello"].generation), (2, 2, 2));
    let unchanged = farm.push(&here, &mut out, &[("hello", second)]);
    assert_eq!((unchanged.stored_bytes, unchanged.refs[0].moved()), (0, false));
    assert_eq!(super::site::index(&farm).version, 2, "nothing new, nothing published");
}

#[test]
fn a_push_without_refs_renews_the_index() {
    let farm = Farm::new();
    let here = farm.store("here");
    let id = publish_small(&here, "hello", 1);
    let mut out = farm.site();
    farm.push(&here, &mut out, &[("hello", id)]);
    let before = index(&farm);
    farm.push(&here, &mut out, &[]);
    let after = index(&farm);
    assert_eq!((after.version, &after.refs), (before.version + 1, &before.refs));
}

#[test]
fn refs_need_a_key_and_whole_commit_ids_need_none() {
    let farm = Farm::new();
    let (here, there) = (farm.store("here"), farm.store("there"));
    let id = publish_small(&here, "hello", 1);
    farm.push(&here, &mut farm.site(), &[("hello", id)]);
    let mut stranger = Remote::at(farm.site().settings.address);
    assert!(matches!(pull(&there, &mut stranger, &["hello"]), Err(RemoteError::NoKey { .. })));
    pull_commit(&there, &mut stranger, id).expect("its id is all that it needs");
    expect_whole(&there, &id);
    assert_eq!(there.refs().expect("refs").len(), 0);
    let nothing = mkimage::base::CommitId(mkimage::base::Digest::of(b"nothing"));
    assert!(matches!(pull_commit(&there, &mut stranger, nothing), Err(RemoteError::Missing { .. })));
}

/// Pulls what must be refused, and expects that the store is as before.
fn refuse(farm: &Farm, store: &Store, remote: &mut Remote) -> TrustError {
    let before = state(store.path());
    let refused = pull(store, remote, &["hello"]).expect_err("refused");
    assert!(state(store.path()) == before, "what was refused left something");
    let _ = farm;
    match refused {
        RemoteError::Untrusted { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn old_foreign_expired_and_forged_indexes_are_refused_and_nothing_is_remembered() {
    let farm = Farm::new();
    let (here, there) = (farm.store("here"), farm.store("there"));
    let first = publish_small(&here, "hello", 1);
    let mut out = farm.site();
    farm.push(&here, &mut out, &[("hello", first)]);
    let old = std::fs::read(farm.path("site/index")).expect("an index");
    let second = publish_small(&here, "hello", 2);
    farm.push(&here, &mut out, &[("hello", second)]);
    let address = farm.site().settings.address.to_string();
    let mut remote = farm.named(&there, "origin", &address);
    pull(&there, &mut remote, &["hello"]).expect("pulled");
    let newest = index(&farm);

    std::fs::write(farm.path("site/index"), &old).expect("written");
    assert!(matches!(refuse(&farm, &there, &mut remote), TrustError::Rollback { found: 1, seen: 2 }));

    let mut other = newest.clone();
    other.refs.insert("more".to_owned(), newest.refs["hello"]);
    publish_index(&farm, &other);
    assert!(matches!(refuse(&farm, &there, &mut remote), TrustError::Equivocation { version: 2, .. }));

    let now = mkimage::base::clock::unix_seconds();
    let (created, expires) = (now - 1000, now - 10);
    publish_index(&farm, &SiteIndex { version: 3, created, expires, ..newest.clone() });
    assert!(matches!(refuse(&farm, &there, &mut remote), TrustError::Expired { .. }));

    let created = now + 10 * 24 * 3600;
    publish_index(&farm, &SiteIndex { version: 3, created, expires: created + 1, ..newest.clone() });
    assert!(matches!(refuse(&farm, &there, &mut remote), TrustError::FromTheFuture { .. }));

    publish_index(
        &farm,
        &SiteIndex { site: "another".parse().expect("a name"), version: 9, ..newest.clone() },
    );
    assert!(matches!(refuse(&farm, &there, &mut remote), TrustError::OtherSite { .. }));

    let thief = SecretKey::from_seed(&[9; 32], "thief").expect("a key");
    let forged = SiteIndex { version: 9, ..newest.clone() }.sign(&[&thief]).expect("signed");
    std::fs::write(farm.path("site/index"), forged).expect("written");
    assert!(matches!(refuse(&farm, &there, &mut remote), TrustError::NotSigned { .. }));

    std::fs::write(farm.path("site/index"), "{}").expect("written");
    assert!(matches!(refuse(&farm, &there, &mut remote), TrustError::Envelope { .. }));

    // After all that, what is right is still taken.
    publish_index(&farm, &SiteIndex { version: 3, ..newest });
    pull(&there, &mut remote, &["hello"]).expect("pulled");
    assert_eq!(led(&there, "hello"), Some(second));
    // A commit is what its id says, whoever serves it.
    let fresh = farm.store("fresh");
    let mut remote = farm.named(&fresh, "origin", &address);
    pull(&fresh, &mut remote, &["hello"]).expect("pulled");
    std::fs::write(farm.path("site/index"), &old).expect("written");
    pull_commit(&fresh, &mut remote, first).expect("an old index leads to an old commit");
    expect_whole(&fresh, &first);
}

#[test]
fn a_publisher_whose_key_is_not_trusted_publishes_nothing() {
    let farm = Farm::new();
    let here = farm.store("here");
    let id = publish_small(&here, "hello", 1);
    farm.push(&here, &mut farm.site(), &[("hello", id)]);
    let before = std::fs::read(farm.path("site/index")).expect("an index");
    let stranger = Farm { key: SecretKey::from_seed(&[9; 32], "").expect("a key"), folder: folder() };
    let next = publish_small(&here, "hello", 2);
    // Neither with the site's key for what is there, nor with its own.
    for mut remote in [farm.site(), stranger.at(&farm.site().settings.address.to_string())] {
        let refused = stranger.try_push(&here, &mut remote, &[("hello", next)], &Rules::default());
        let expected = |error: &RemoteError| {
            matches!(error, RemoteError::Untrusted { .. } | RemoteError::TooFewSigners { known: 0, .. })
        };
        assert!(refused.as_ref().is_err_and(expected), "{refused:?}");
    }
    assert_eq!(std::fs::read(farm.path("site/index")).expect("an index"), before);
}

#[test]
fn a_ref_of_a_site_moves_only_from_where_its_pusher_knew_it() {
    let farm = Farm::new();
    let (one, two) = (farm.store("one"), farm.store("two"));
    let first = publish_small(&one, "hello", 1);
    farm.push(&one, &mut farm.site(), &[("hello", first)]);
    let other = publish_small(&two, "hello", 2);
    let refused = farm.try_push(&two, &mut farm.site(), &[("hello", other)], &Rules::default());
    assert!(matches!(refused, Err(RemoteError::Moved { .. })), "{refused:?}");
    let sent = crate::store::list(farm.path("site/bundles"));
    assert_eq!(sent.len(), 1, "nothing was sent that could not be published");
    let force = Rules { force: true, ..Rules::default() };
    farm.try_push(&two, &mut farm.site(), &[("hello", other)], &force).expect("forced");
    assert_eq!(index(&farm).refs["hello"].commit, other);
}

#[test]
fn of_pushers_at_once_none_loses_a_ref() {
    let farm = Farm::new();
    const PUSHERS: u32 = 4;
    const PUSHES: u32 = 4;
    std::thread::scope(|scope| {
        for pusher in 0..PUSHERS {
            let farm = &farm;
            scope.spawn(move || {
                let store = farm.store(&format!("store{pusher}"));
                for push in 0..PUSHES {
                    let id = publish_small(&store, &format!("ref{pusher}"), pusher * 100 + push);
                    let refs = [(format!("ref{pusher}"), id), (format!("all/{pusher}-{push}"), id)];
                    let refs: Vec<(&str, CommitId)> = refs.iter().map(|(at, id)| (&**at, *id)).collect();
                    farm.push(&store, &mut farm.site(), &refs);
                }
            });
        }
    });
    let index = index(&farm);
    assert_eq!(index.version, u64::from(PUSHERS * PUSHES), "one version a push, none twice");
    assert_eq!(index.refs.len() as u32, PUSHERS + PUSHERS * PUSHES);
    let fresh = farm.store("fresh");
    let all =
        remote::pull(&fresh, &mut farm.site(), &Wants::All, &Rules::default(), &line()).expect("pulled");
    assert_eq!(all.refs.len(), index.refs.len());
    for commit in index.refs.values() {
        expect_whole(&fresh, &commit.commit);
    }
}

#[test]
fn a_long_row_of_pushes_begins_anew_so_that_a_first_pull_reads_few_files() {
    let farm = Farm::new();
    let here = farm.store("here");
    let mut last = None;
    for version in 0..40 {
        let id = publish_small(&here, "hello", version);
        farm.push(&here, &mut farm.site(), &[("hello", id)]);
        last = Some(id);
    }
    let fresh = farm.store("fresh");
    let pulled = pull(&fresh, &mut farm.site(), &["hello"]).expect("pulled");
    assert!(pulled.traffic.requests < 50, "{pulled:?}");
    expect_whole(&fresh, &last.expect("a commit"));
    assert_eq!(index(&farm).bundles.len(), 40);
}

#[test]
fn a_damaged_store_is_healed_from_a_site() {
    let farm = Farm::new();
    let here = farm.store("here");
    let id = publish_big(&here, "hello", 1, &[]);
    farm.push(&here, &mut farm.site(), &[("hello", id)]);
    let folder = farm.path("here/packs");
    let pack = crate::store::list(&folder).into_iter().find(|name| name.to_string_lossy().ends_with(".pack"));
    let pack = folder.join(pack.expect("a pack"));
    let mut bytes = std::fs::read(&pack).expect("read");
    for place in [bytes.len() / 3, bytes.len() / 2] {
        bytes[place] ^= 1;
    }
    std::fs::remove_file(&pack).expect("removed");
    std::fs::write(&pack, bytes).expect("written");
    drop(here);
    let fsck = |arguments: &[&str]| {
        let mut command = crate::tool::mkimage(arguments);
        command.env("MKIMAGE_STORE", farm.path("here"));
        command
    };
    crate::tool::fail_with(6, &mut fsck(&["fsck"]));
    let site = farm.site().settings.address.to_string();
    crate::tool::fail_with(9, &mut fsck(&["fsck", "--repair", "--from", &site]));
    expect_whole(&farm.store("here"), &id);
}

#[test]
fn a_damaged_base_is_one_no_more_and_what_was_to_be_made_from_it_comes_whole() {
    let farm = Farm::new();
    let (here, there) = (farm.store("here"), farm.store("there"));
    let first = publish_big(&here, "hello", 1, &[]);
    let (mut out, mut site) = (farm.site(), farm.site());
    farm.push(&here, &mut out, &[("hello", first)]);
    pull(&there, &mut site, &["hello"]).expect("pulled");
    drop(there);
    let packs = farm.path("there/packs");
    let wanted = &noise(77, 600_000)[1000..1032];
    let pack = mkimage::base::fs::list(&packs).expect("packs").into_iter().map(|name| packs.join(name));
    let found = pack.filter_map(|path| {
        let at = std::fs::read(&path).expect("read").windows(32).position(|window| window == wanted)?;
        Some((path, at))
    });
    let found: Vec<_> = found.collect();
    assert_eq!(found.len(), 1, "it lies there as it is");
    crate::store::damages::flip(&found[0].0, found[0].1);
    let second = publish_big(&here, "hello", 2, &[]);
    farm.push(&here, &mut out, &[("hello", second)]);
    let there = farm.store("there");
    let pulled = pull(&there, &mut site, &["hello"]).expect("pulled");
    assert!(pulled.traffic.received_bytes > 600_000, "the large file came as it is: {pulled:?}");
    crate::store::gc::read_closure(&there, &second).expect("all of it reads");
}

#[test]
fn where_two_must_sign_two_keys_publish_and_one_sends_nothing() {
    let farm = Farm::new();
    let (here, there) = (farm.store("here"), farm.store("there"));
    let id = publish_small(&here, "hello", 1);
    let second = mkimage::trust::SecretKey::from_seed(&[8; 32], "second").expect("a key");
    let mut site = farm.site();
    site.settings.keys.push(second.public().clone());
    site.settings.threshold = 2;
    let pushed = [Pushed { name: name("hello"), commit: id, source: None }];
    let push = |signers: &[&dyn mkimage::trust::Signer]| {
        let publishing = Publishing { signers, site: None, lifetime_seconds: YEAR };
        remote::push(&here, &mut site.clone(), &pushed, &Rules::default(), Some(&publishing), &line())
    };
    let refused = push(&[&farm.key]);
    assert!(matches!(refused, Err(RemoteError::TooFewSigners { threshold: 2, known: 1, .. })), "{refused:?}");
    assert!(!farm.path("site/bundles").exists() && !farm.path("site/index").exists());
    push(&[&farm.key, &second]).expect("pushed");
    pull(&there, &mut site, &["hello"]).expect("pulled");
    expect_whole(&there, &id);
}
