//! Servers that lie, by accident or not: each is refused with the reason, and the store is as it was.

use std::sync::Mutex;
use std::time::Duration;

use super::server::{Reply, Request, Server, honest, root};
use super::site::{index, publish_index};
use super::web::{patience, pull_web};
use super::*;
use mkimage::base::{Digest, Stopwatch};
use mkimage::remote::Patience;
use mkimage::trust::SiteIndex;

/// A published commit, and a store that has seen nothing of it yet.
fn published() -> (Farm, Store, CommitId) {
    let farm = Farm::new();
    let here = farm.store("here");
    let id = publish_big(&here, "hello", 1, &[]);
    farm.push(&here, &mut farm.site(), &[("hello", id)]);
    let there = farm.store("there");
    publish_small(&there, "own", 5);
    (farm, there, id)
}

/// Pulls from a server that answers like this, expects a refusal, and returns what it says. Refs, packs and what is
/// remembered of remotes must be as before.
fn refused(
    farm: &Farm,
    there: &Store,
    patience: Patience,
    answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> String {
    let server = Server::start(answer);
    let name = format!("r{}", server.port);
    let mut remote = farm.named(there, &name, &server.address());
    let before = state(there.path());
    let error = pull_web(there, &mut remote, patience, &["hello"]).expect_err("refused");
    assert!(state(there.path()) == before, "something is left of: {}", told(&error));
    told(&error)
}

fn is_bundle(request: &Request) -> bool {
    request.path.starts_with("/bundles/")
}

#[test]
fn a_changed_byte_anywhere_is_found_before_it_is_kept() {
    let (farm, _, _) = published();
    let folder = root(&farm);
    let size = std::fs::metadata(folder.join(bundle_name(&farm))).expect("a bundle").len();
    let table = index(&farm).bundles[0].table_bytes;
    for place in [0, 9, 17, table / 2, table - 1, table, table + 100_000, size / 2, size - 100_000] {
        let folder = folder.clone();
        // A store of its own: one that tries again has what was right at the first try.
        let there = farm.store(&format!("there{place}"));
        publish_small(&there, "own", 5);
        let text = refused(&farm, &there, patience(), move |request| {
            let mut reply = honest(&folder, request);
            if is_bundle(request)
                && let Some((first, last)) = request.range
                && (first..=last).contains(&place)
            {
                reply.body[(place - first) as usize] ^= 0x40;
            }
            reply
        });
        assert!(text.contains("digest") || text.contains("table"), "byte {place}: {text}");
    }
}

fn bundle_name(farm: &Farm) -> String {
    format!("bundles/{}.bundle", index(farm).bundles[0].id)
}

#[test]
fn a_file_that_is_shorter_than_was_said_is_refused() {
    let (farm, there, _) = published();
    let folder = root(&farm);
    let text = refused(&farm, &there, patience(), move |request| {
        let mut reply = honest(&folder, request);
        if is_bundle(request) {
            let total = 1_000_000;
            match request.range {
                Some((first, _)) if first >= total => return Reply::new(416, Vec::new()),
                Some((first, last)) if last >= total => {
                    reply.body.truncate((total - first) as usize);
                    reply.headers = vec![("Content-Range", format!("bytes {first}-{}/{total}", total - 1))];
                }
                _ => {}
            }
        }
        reply
    });
    assert!(text.contains("ended after"), "{text}");
    // A line that ends early, always, and a length that is not what comes.
    for declared in [None, Some(5_000)] {
        let folder = root(&farm);
        let text = refused(&farm, &there, patience(), move |request| {
            let mut reply = honest(&folder, request);
            if request.path == "/index" {
                reply.cut_after = Some(40);
                reply.declared = declared;
            }
            reply
        });
        assert!(text.contains("connection") || text.contains("ended after"), "{text}");
    }
}

#[test]
fn bytes_behind_the_index_are_no_index() {
    let (farm, there, _) = published();
    let folder = root(&farm);
    let text = refused(&farm, &there, patience(), move |request| {
        let mut reply = honest(&folder, request);
        if request.path == "/index" {
            reply.body.extend_from_slice(b"{}");
        }
        reply
    });
    assert!(text.contains("not accepted"), "{text}");
}

#[test]
fn bodies_without_an_end_are_cut_off() {
    let (farm, there, _) = published();
    let folder = root(&farm);
    let text = refused(&farm, &there, patience(), move |request| {
        let mut reply = honest(&folder, request);
        if request.path == "/index" {
            (reply.body, reply.endless) = (vec![b' '; 1 << 20], true);
        }
        reply
    });
    assert!(text.contains("more than"), "{text}");
    // A bundle that goes on for ever is read as far as its table says, and no further.
    let folder = root(&farm);
    let server = Server::start(move |request| {
        let mut reply = honest(&folder, &Request { range: None, ..request.clone() });
        reply.endless = is_bundle(request);
        reply
    });
    let mut remote = farm.at(&server.address());
    pull_web(&there, &mut remote, patience(), &["hello"]).expect("what was asked for is all there");
}

#[test]
fn what_comes_too_slowly_is_given_up() {
    let (farm, there, _) = published();
    let slow = Patience {
        window: Duration::from_millis(200),
        window_bytes: 2000,
        tries: 2,
        pause: Duration::from_millis(1),
        ..Patience::default()
    };
    let folder = root(&farm);
    let watch = Stopwatch::start();
    let text = refused(&farm, &there, slow, move |request| {
        let mut reply = honest(&folder, request);
        if is_bundle(request) {
            reply.drip = Some(Duration::from_millis(2));
        }
        reply
    });
    assert!(text.contains("too slow"), "{text}");
    assert!(watch.elapsed() < Duration::from_secs(20), "{:?}", watch.elapsed());
    // A server that says nothing at all.
    let silent = Patience { read: Duration::from_millis(200), tries: 2, ..patience() };
    let text = refused(&farm, &there, silent, move |_| {
        std::thread::sleep(Duration::from_secs(3));
        Reply::new(200, Vec::new())
    });
    assert!(text.contains("connection"), "{text}");
}

#[test]
fn answers_that_are_no_part_of_the_file_are_refused() {
    let (farm, there, _) = published();
    let changes: [(&str, fn(&mut Reply)); 4] = [
        ("Content-Encoding", |reply| reply.headers.push(("Content-Encoding", "gzip".to_owned()))),
        ("Content-Range", |reply| reply.headers[0].1 = "bytes 5-90/1000000000".to_owned()),
        ("Content-Range", |reply| reply.headers.clear()),
        ("403", |reply| reply.status = 403),
    ];
    for (said, change) in changes {
        let folder = root(&farm);
        let text = refused(&farm, &there, patience(), move |request| {
            let mut reply = honest(&folder, request);
            if is_bundle(request) {
                change(&mut reply);
            }
            reply
        });
        assert!(text.contains(said), "{said}: {text}");
    }
    let text = refused(&farm, &there, patience(), |_| Reply::new(503, Vec::new()));
    assert!(text.contains("503"), "{text}");
}

/// Publishes an index that its publisher signed and that can't be true, and pulls from it.
fn signed_lie(change: impl FnOnce(&mut SiteIndex)) -> String {
    let (farm, there, _) = published();
    let mut lie = index(&farm);
    lie.version += 1;
    change(&mut lie);
    publish_index(&farm, &lie);
    let folder = root(&farm);
    refused(&farm, &there, patience(), move |request| honest(&folder, request))
}

#[test]
fn a_signed_index_that_cannot_be_true_is_refused_as_well() {
    let wrong = |n: &[u8]| CommitId(Digest::of(n));
    let itself = signed_lie(|lie| lie.bundles[0].bases = lie.bundles[0].commits.clone());
    assert!(itself.contains("has no bundle that completes"), "{itself}");
    let circle = signed_lie(|lie| {
        let mut second = lie.bundles[0].clone();
        (second.id, second.commits) = (Digest::of(b"x"), vec![wrong(b"x")]);
        second.bases = lie.bundles[0].commits.clone();
        lie.bundles[0].bases = vec![wrong(b"x")];
        lie.bundles.push(second);
    });
    assert!(circle.contains("has no bundle that completes"), "{circle}");
    let huge = signed_lie(|lie| {
        lie.bundles[0].size = 1 << 52;
        lie.bundles[0].table_bytes = 1 << 50;
    });
    assert!(huge.contains("are possible"), "{huge}");
    let longer = signed_lie(|lie| lie.bundles[0].size += 1);
    assert!(longer.contains("the index says"), "{longer}");
    let cut = signed_lie(|lie| lie.bundles[0].table_bytes -= 1);
    assert!(cut.contains("digest") || cut.contains("expected"), "{cut}");
    let other = signed_lie(|lie| {
        let reference = lie.refs.get_mut("hello").expect("a ref");
        reference.commit = wrong(b"other");
        lie.bundles[0].commits.push(wrong(b"other"));
    });
    assert!(other.contains("not in the bundle"), "{other}");
    let name = signed_lie(|lie| {
        let value = lie.refs["hello"];
        lie.refs.insert("a.lock".to_owned(), value);
    });
    assert!(name.contains(".lock"), "{name}");
}

#[test]
fn one_bundle_under_the_name_of_another_is_refused() {
    let (farm, there, _) = published();
    let here = farm.store("here");
    let second = publish_small(&here, "second", 3);
    farm.push(&here, &mut farm.site(), &[("second", second)]);
    let (folder, other) = (root(&farm), index(&farm).bundles[1].id);
    let text = refused(&farm, &there, patience(), move |request| {
        let path = format!("/bundles/{other}.bundle");
        honest(
            &folder,
            &Request { path: if is_bundle(request) { path } else { request.path.clone() }, ..*request },
        )
    });
    assert!(text.contains("digest") || text.contains("ended after") || text.contains("expected"), "{text}");
}

#[test]
fn whatever_a_server_changes_at_random_never_gets_in() {
    let farm = Farm::new();
    let here = farm.store("here");
    let id = publish_small(&here, "hello", 1);
    farm.push(&here, &mut farm.site(), &[("hello", id)]);
    let folder = root(&farm);
    for seed in 0..60u64 {
        let (folder, draws) = (folder.clone(), Mutex::new(noise(seed, 4096).into_iter()));
        let server = Server::start(move |request| {
            let mut reply = honest(&folder, request);
            let draw = || usize::from(draws.lock().expect("a lock").next().unwrap_or(255));
            match draw() % 6 {
                0 if !reply.body.is_empty() => {
                    let at = (draw() * 256 + draw()) % reply.body.len();
                    reply.body[at] = draw() as u8;
                }
                1 => reply.body.truncate(draw() * 8),
                2 => reply.body.extend(noise(seed, draw() * 8)),
                3 => reply.cut_after = Some(draw() * 8),
                4 => reply.status = [200, 206, 404, 500, 302, 416][draw() % 6],
                _ => {}
            }
            reply
        });
        let there = farm.store(&format!("there{seed}"));
        let quick = Patience {
            read: Duration::from_millis(300),
            tries: 2,
            pause: Duration::from_millis(1),
            ..Patience::default()
        };
        let mut remote = farm.at(&server.address());
        match pull_web(&there, &mut remote, quick, &["hello"]) {
            Ok(_) => expect_whole(&there, &id),
            Err(_) => assert_eq!(led(&there, "hello"), None),
        }
    }
}
