//! Sites behind web servers: nginx with ranges and without, lines that are cut, and how little comes twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::server::{Nginx, Server, honest, root};
use super::*;
use mkimage::remote::{Far, HttpSite, Patience, Transport};

/// Tries again at once.
pub fn patience() -> Patience {
    Patience { pause: std::time::Duration::from_millis(5), ..Patience::default() }
}

/// Pulls over HTTP without long pauses between tries.
pub fn pull_web(
    store: &Store,
    remote: &mut Remote,
    patience: Patience,
    refs: &[&str],
) -> Result<Outcome, RemoteError> {
    let line = line();
    let far =
        Far::Site(Box::new(HttpSite::new(&remote.settings.address.to_string(), line.clone(), patience)?));
    let wants = Wants::These(refs.iter().map(|at| Want::Ref(name(at))).collect());
    remote::pull_from(store, &far, remote, &wants, &Rules::default(), &line)
}

#[test]
fn nginx_serves_a_site_in_few_requests_and_a_change_in_few_bytes() {
    let farm = Farm::new();
    let (here, there) = (farm.store("here"), farm.store("there"));
    let first = publish_big(&here, "hello", 1, &[]);
    farm.push(&here, &mut farm.site(), &[("hello", first)]);
    let nginx = Nginx::start(&root(&farm), true);
    let mut remote = farm.named(&there, "origin", &nginx.address());
    let outcome = pull(&there, &mut remote, &["hello"]).expect("pulled");
    expect_whole(&there, &first);
    let log = nginx.log();
    assert!(log.len() <= 8, "{log:#?}");
    assert_eq!(outcome.traffic.requests as usize, log.len());
    assert!(log[1..].iter().all(|line| line.starts_with("206 ")), "{log:#?}");
    let second = publish_big(&here, "hello", 2, &[]);
    farm.push(&here, &mut farm.site(), &[("hello", second)]);
    let outcome = pull(&there, &mut remote, &["hello"]).expect("pulled");
    expect_whole(&there, &second);
    let more = nginx.log().len() - log.len();
    assert!(more <= 6 && outcome.traffic.received_bytes < 150_000, "{more} requests, {outcome:?}");
    assert_eq!(led(&there, "hello"), Some(second));
    let nothing = pull(&there, &mut remote, &["hello"]).expect("pulled");
    assert_eq!((nothing.traffic.requests, nothing.objects), (1, 0), "the index and nothing else");
}

#[test]
fn a_server_without_ranges_serves_as_well() {
    let farm = Farm::new();
    let (here, there) = (farm.store("here"), farm.store("there"));
    let first = publish_big(&here, "hello", 1, &[]);
    farm.push(&here, &mut farm.site(), &[("hello", first)]);
    let nginx = Nginx::start(&root(&farm), false);
    let mut remote = farm.at(&nginx.address());
    let outcome = pull(&there, &mut remote, &["hello"]).expect("pulled");
    expect_whole(&there, &first);
    assert!(nginx.log().iter().all(|line| line.starts_with("200 ")), "{:#?}", nginx.log());
    assert_eq!(outcome.traffic.requests, 3, "the index, the table, the rest in one piece");
}

#[test]
fn what_is_not_there_is_named() {
    let farm = Farm::new();
    let (here, there) = (farm.store("here"), farm.store("there"));
    let id = publish_small(&here, "hello", 1);
    farm.push(&here, &mut farm.site(), &[("hello", id)]);
    let nginx = Nginx::start(&root(&farm), true);
    let mut remote = farm.at(&nginx.address());
    let error = pull(&there, &mut remote, &["other"]).expect_err("no such ref");
    assert!(matches!(error, RemoteError::Missing { .. }), "{error:?}");
    let mut nowhere = farm.at(&format!("{}/nowhere", nginx.address()));
    assert!(matches!(pull(&there, &mut nowhere, &["hello"]), Err(RemoteError::NotThere { .. })));
    let refused = farm.try_push(&here, &mut remote, &[("hello", id)], &Rules::default());
    assert!(matches!(refused, Err(RemoteError::ReadOnly { .. })), "{refused:?}");
    for file in bundles(&farm) {
        std::fs::remove_file(file).expect("removed");
    }
    let error = pull(&there, &mut remote, &["hello"]).expect_err("its bundle is gone");
    assert!(told(&error).contains("not there") && told(&error).contains("bundles/"), "{}", told(&error));
}

/// Lists the bundles of a site.
fn bundles(farm: &Farm) -> Vec<PathBuf> {
    let folder = farm.path("site/bundles");
    crate::store::list(&folder).into_iter().map(|name| folder.join(name)).collect()
}

#[test]
fn a_line_that_is_cut_now_and_then_costs_little_more() {
    let farm = Farm::new();
    let (here, there) = (farm.store("here"), farm.store("there"));
    let first = publish_big(&here, "hello", 1, &[]);
    farm.push(&here, &mut farm.site(), &[("hello", first)]);
    let (folder, count) = (root(&farm), Arc::new(AtomicUsize::new(0)));
    let server = Server::start(move |request| {
        let mut reply = honest(&folder, request);
        if request.range.is_some_and(|(_, last)| last > 100_000)
            && count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2)
        {
            reply.cut_after = Some(reply.body.len().min(200_000));
        }
        reply
    });
    let mut remote = farm.at(&server.address());
    let outcome = pull_web(&there, &mut remote, patience(), &["hello"]).expect("pulled");
    expect_whole(&there, &first);
    let size = bundles(&farm)[0].metadata().expect("a file").len();
    assert!(outcome.traffic.received_bytes < size + 100_000, "{outcome:?} for {size}");
    assert!(outcome.traffic.requests >= 8, "{outcome:?}");
}

#[test]
fn what_came_before_a_pull_failed_does_not_come_again() {
    let farm = Farm::new();
    let (here, there) = (farm.store("here"), farm.store("there"));
    let first = publish_big(&here, "hello", 1, &[]);
    farm.push(&here, &mut farm.site(), &[("hello", first)]);
    let (folder, dead_from) = (root(&farm), Arc::new(AtomicUsize::new(1_800_000)));
    let limit = dead_from.clone();
    // What lies behind a place never comes whole.
    let server = Server::start(move |request| {
        let mut reply = honest(&folder, request);
        if let Some((start, last)) = request.range
            && last > limit.load(Ordering::SeqCst) as u64
        {
            let limit = limit.load(Ordering::SeqCst) as u64;
            reply.cut_after = Some(limit.saturating_sub(start) as usize);
        }
        reply
    });
    let mut remote = farm.named(&there, "origin", &server.address());
    let refs = || state(&farm.path("there/refs"));
    let before = refs();
    let error = pull_web(&there, &mut remote, patience(), &["hello"]).expect_err("the line is dead");
    assert!(matches!(error, RemoteError::Transfer { .. }), "{error:?}");
    assert_eq!(refs(), before);
    assert!(crate::store::list(farm.path("there/packs")).is_empty());
    assert!(remote.settings.seen.is_none(), "nothing is remembered of a pull that failed");
    dead_from.store(usize::MAX / 2, Ordering::SeqCst);
    let came = server.sent();
    pull_web(&there, &mut remote, patience(), &["hello"]).expect("pulled");
    let more = server.sent() - came;
    let size = bundles(&farm)[0].metadata().expect("a file").len();
    assert!(more < size - 800_000, "{more} of {size} bytes came again");
    expect_whole(&there, &first);
    let left = crate::store::list(farm.path("there/remotes/.partial"));
    assert_eq!(left, [".lock"], "what was kept goes when it is of no more use");
}

#[test]
fn redirects_are_followed_within_the_scheme_and_not_for_ever() {
    let farm = Farm::new();
    let (here, there) = (farm.store("here"), farm.store("there"));
    let id = publish_small(&here, "hello", 1);
    farm.push(&here, &mut farm.site(), &[("hello", id)]);
    let folder = root(&farm);
    let behind = Server::start(move |request| honest(&folder, request));
    let to = behind.address();
    let moved = Server::start(move |request| {
        let mut reply = server::Reply::new(302, Vec::new());
        reply.headers.push(("Location", format!("{to}{}", request.path)));
        reply
    });
    pull_web(&there, &mut farm.at(&moved.address()), patience(), &["hello"]).expect("pulled");
    expect_whole(&there, &id);
    let fresh = farm.store("fresh");
    for (to, problem) in [("file:///etc/passwd", "another scheme"), ("/index", "more than 5 redirects")] {
        let server = Server::start(move |_| {
            let mut reply = server::Reply::new(301, Vec::new());
            reply.headers.push(("Location", to.to_owned()));
            reply
        });
        let error = pull_web(&fresh, &mut farm.at(&server.address()), patience(), &["hello"]).expect_err(to);
        assert!(told(&error).contains(problem), "{}", told(&error));
    }
}

#[test]
fn ranges_that_lie_close_are_asked_for_together() {
    let folder = folder();
    std::fs::write(folder.path().join("file"), noise(1, 1_000_000)).expect("written");
    let nginx = Nginx::start(folder.path(), true);
    let line = line();
    let site = HttpSite::new(&nginx.address(), line.clone(), patience()).expect("a site");
    let ranges = [0..10, 10..5000, 6000..7000, 500_000..600_000, 610_000..610_001];
    let mut got = vec![Vec::new(); ranges.len()];
    site.read_ranges("file", &ranges, &mut |number, bytes| {
        got[number].extend_from_slice(bytes);
        Ok(())
    })
    .expect("read");
    let whole = noise(1, 1_000_000);
    for (range, got) in ranges.iter().zip(&got) {
        assert!(whole[range.start as usize..range.end as usize] == **got, "{range:?}");
    }
    assert_eq!(line.traffic().requests, 2);
    let short = site.read_ranges("file", std::slice::from_ref(&(999_990..1_000_010)), &mut |_, _| Ok(()));
    assert!(told(&short.expect_err("too short")).contains("ended after"));
}
