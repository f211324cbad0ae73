//! Servers that lie, break, stall and send us elsewhere.

use std::io::Read;

use mkimage::packages::lock::Reason;
use mkimage::tree::ContentError;

use super::*;

/// Patience with an honest server on a busy machine.
pub fn patience() -> Patience {
    Patience {
        connect: Duration::from_secs(20),
        read: Duration::from_secs(20),
        window: Duration::from_secs(20),
        window_bytes: 1000,
        tries: 3,
        pause: Duration::from_millis(1),
    }
}

/// Fetches one package of 300,000 bytes from a server that answers so.
fn fetch_from(server: &Server, bytes: &[u8]) -> Result<Vec<u8>, String> {
    fetch_with(server, bytes, |_| {})
}

/// A lock of one package of these bytes.
fn lock_of(bytes: &[u8], request: &Request) -> Lock {
    let mut lock = Lock::default();
    lock.put_request("debian", LockedRequest::of(request));
    let inrelease = Sha256::of(b"");
    lock.put_source(
        "debian",
        "tested",
        LockedSource { suite: "tested".into(), date_seconds: NOW, inrelease },
    );
    lock.put_package(LockedPackage {
        distribution: "debian".into(),
        name: "blob".into(),
        architecture: "amd64".into(),
        version: "1".into(),
        source: "tested".into(),
        size_bytes: bytes.len() as u64,
        sha256: Sha256::of(bytes),
        filename: "pool/b/blob+1.deb".into(),
        why: [Reason::Asked("blob".into())].into(),
    });
    lock
}

fn fetch_with(server: &Server, bytes: &[u8], change: impl Fn(&mut Settings)) -> Result<Vec<u8>, String> {
    fetch_at(&server.address, bytes, change)
}

/// Fetches one package from a mirror.
pub fn fetch_at(address: &str, bytes: &[u8], change: impl Fn(&mut Settings)) -> Result<Vec<u8>, String> {
    let requests = [request(&["blob"])];
    let lock = lock_of(bytes, &requests[0]);
    let mut settings = Settings { patience: patience(), ..at(address) };
    change(&mut settings);
    let cache = MemoryCache::default();
    let fetcher = Fetcher::new(settings, &cache).expect("a fetcher");
    let wanted = lock.select(&requests).expect("locked");
    let fetched = fetcher.fetch(&wanted, &Job::quiet(1)).map_err(|error| whole(&error));
    let kept = cache.get(&Sha256::of(bytes).0, bytes.len() as u64).expect("the cache");
    assert_eq!(kept.is_some(), fetched.is_ok(), "only what is whole and right is kept");
    fetched.map(|_| kept.unwrap_or_default())
}

pub const AT: &str = "/pool/b/blob%2B1.deb";

fn serve(answer: Answer) -> Server {
    Server::start([(AT.to_owned(), answer)])
}

pub fn blob() -> Vec<u8> {
    (0..300_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect()
}

#[test]
fn a_broken_connection_is_taken_up_where_it_broke_if_the_server_can() {
    let blob = blob();
    let server = serve(Answer::CutThen(100_000, blob.clone(), Box::new(Answer::Whole(blob.clone()))));
    assert_eq!(fetch_from(&server, &blob).expect("fetched"), blob);
    let requests = server.requests();
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert!(requests[1].starts_with(&format!("{AT} from ")), "{requests:?}");
    for then in [Answer::NoRanges(blob.clone()), Answer::WrongRange(5, blob.clone())] {
        let server = serve(Answer::CutThen(100_000, blob.clone(), Box::new(then)));
        assert_eq!(fetch_from(&server, &blob).expect("fetched"), blob, "{:?}", server.requests());
    }
}

#[test]
fn a_file_without_a_validator_is_read_again_from_the_start() {
    let blob = blob();
    let server = serve(Answer::CutThen(100_000, blob.clone(), Box::new(Answer::Untagged(blob.clone()))));
    assert_eq!(fetch_from(&server, &blob).expect("fetched"), blob);
    assert_eq!(server.requests(), [AT, AT]);
}

#[test]
fn a_file_that_changed_between_two_answers_is_read_once_more_in_one_piece() {
    let blob = blob();
    let mut other = blob.clone();
    other[50_000] ^= 1;
    for then in [Answer::Whole(blob.clone()), Answer::AnyRange(blob.clone())] {
        let server = serve(Answer::CutThen(100_000, other.clone(), Box::new(then)));
        assert_eq!(fetch_from(&server, &blob).expect("fetched"), blob, "{:?}", server.requests());
        assert_eq!(server.requests().last().map(String::as_str), Some(AT), "the last time from the start");
    }
}

#[test]
fn a_large_package_that_breaks_again_and_again_comes_as_long_as_it_gets_on() {
    let blob: Vec<u8> = (0..5_000_000u32).map(|n| (n >> 3) as u8).collect();
    let server = serve(Answer::Pieces(1_100_000, blob.clone()));
    assert_eq!(fetch_from(&server, &blob).expect("fetched").len(), blob.len());
    assert_eq!(server.requests().len(), 5, "{:?}", server.requests());
}

#[test]
fn a_server_that_lies_is_refused_with_the_reason() {
    let blob = blob();
    let mut flipped = blob.clone();
    flipped[150_000] ^= 1;
    let longer = [&blob[..], b"x"].concat();
    let never = |at: usize| {
        let cut = |then| Answer::CutThen(at, blob.clone(), Box::new(then));
        cut(Answer::Status(503))
    };
    for (why, answer, expected) in [
        ("flipped", Answer::Whole(flipped), "SHA-256"),
        ("longer", Answer::Whole(longer), "announces 300001 bytes, 300000 were expected"),
        ("shorter", Answer::Whole(blob[..1000].to_vec()), "announces 1000 bytes"),
        ("endless", Answer::Endless, "more than the 300000 bytes"),
        ("cut for ever", never(10), "status 503"),
        ("server error", Answer::Status(500), "status 500"),
        ("forbidden", Answer::Status(403), "status 403"),
        ("gone", Answer::Status(410), "no longer has it"),
        ("not found", Answer::Status(404), "no longer has it"),
        ("other scheme", Answer::Redirect("https://mirror.invalid/x".into()), "another scheme"),
        ("file", Answer::Redirect("file:///etc/passwd".into()), "another scheme"),
        ("round and round", Answer::Redirect(AT.into()), "more than 5 redirects"),
    ] {
        let server = serve(answer);
        let message = fetch_from(&server, &blob).expect_err(why);
        assert!(message.contains(expected), "{why}: {message}");
        let tries = if ["cut for ever", "server error"].contains(&why) { 3 } else { 6 };
        assert!(server.requests().iter().filter(|line| line.starts_with(AT)).count() <= tries, "{why}");
    }
}

#[test]
fn a_server_that_is_slow_or_silent_is_given_up() {
    let blob = blob();
    let short = Duration::from_millis(400);
    for (why, answer, patience, expected) in [
        ("slow", Answer::Slow(blob.clone()), Patience { window: short, ..patience() }, "bytes came in"),
        ("silent", Answer::Silent, Patience { read: short, ..patience() }, "the connection failed"),
    ] {
        let started = Instant::now();
        let fetched = fetch_with(&serve(answer), &blob, |settings| settings.patience = patience);
        let message = fetched.expect_err(why);
        assert!(message.contains(expected), "{why}: {message}");
        assert!(started.elapsed() < Duration::from_secs(60), "{why}: {:?}", started.elapsed());
    }
}

#[test]
fn without_a_network_nothing_is_asked_and_a_lost_mirror_is_asked_no_more() {
    let server = serve(Answer::Whole(blob()));
    let message = fetch_with(&server, &blob(), |settings| settings.offline = true).expect_err("offline");
    assert!(message.contains("--offline"), "{message}");
    let archive = Archive::new(vec![hello("1")]);
    let settings = Settings { offline: true, keyrings: archive.settings().keyrings, ..at(&server.address) };
    let problem = lock_with(settings, &[request(&["hello"])], None, Update::None).expect_err("offline");
    assert!(whole(&problem).contains("the network is off"), "{}", whole(&problem));
    assert!(server.requests().is_empty());

    let packages: Vec<Deb> = (0..200).map(|n| package(&format!("p{n}"), "1", Vec::new())).collect();
    let archive = Archive::new(packages.clone());
    let names: Vec<&str> = packages.iter().map(|package| &*package.name).collect();
    let lock = archive.lock(&names).expect("locked");
    let patience = Patience { pause: Duration::from_millis(100), ..patience() };
    let settings = Settings { patience, connections: 1, ..at("http://127.0.0.1:1") };
    let cache = MemoryCache::default();
    let fetcher = Fetcher::new(settings, &cache).expect("a fetcher");
    let requests = [request(&names)];
    let started = Instant::now();
    let wanted = lock.select(&requests).expect("locked");
    assert!(fetcher.fetch(&wanted, &Job::quiet(1)).is_err());
    // With all their pauses, 200 packages would take a minute.
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

#[test]
fn redirects_are_followed_within_a_scheme() {
    let blob = blob();
    let server = Server::start([
        (AT.to_owned(), Answer::Redirect("../other".into())),
        ("/pool/b/../other".to_owned(), Answer::Redirect("/third".into())),
        ("/third".to_owned(), Answer::Whole(blob.clone())),
    ]);
    assert_eq!(fetch_from(&server, &blob).expect("fetched"), blob);
}

#[test]
fn a_proxy_gets_requests_in_absolute_form_unless_the_host_bypasses_it() {
    let blob = blob();
    let whole = format!("http://mirror.invalid{AT}");
    let proxy = Server::start([(whole.clone(), Answer::Whole(blob.clone()))]);
    let through = |settings: &mut Settings| {
        settings.mirrors = at("http://mirror.invalid").mirrors;
        settings.proxies = Proxies { http: Some(proxy.address.clone()), ..Proxies::default() };
    };
    assert_eq!(fetch_with(&proxy, &blob, through).expect("fetched"), blob);
    assert_eq!(proxy.requests(), [whole]);
    let direct = serve(Answer::Whole(blob.clone()));
    let around = |settings: &mut Settings| {
        let bypass = vec!["127.0.0.1".to_owned()];
        settings.proxies = Proxies { http: Some(proxy.address.clone()), bypass, ..Proxies::default() };
    };
    assert_eq!(fetch_with(&direct, &blob, around).expect("fetched"), blob);
    let one_host = |settings: &mut Settings| {
        let hosts = [(("http".to_owned(), "127.0.0.1".to_owned()), None)].into();
        settings.proxies = Proxies { http: Some(proxy.address.clone()), hosts, ..Proxies::default() };
    };
    assert_eq!(fetch_with(&direct, &blob, one_host).expect("fetched"), blob);
    assert_eq!(proxy.requests().len(), 1);
    let cache = MemoryCache::default();
    let proxies = Proxies { http: Some("socks5://user:secret@h:1".into()), ..Proxies::default() };
    let settings = Settings { proxies, ..Settings::bare("/nowhere".into(), "/nowhere".into(), NOW) };
    let message = Fetcher::new(settings, &cache).map(|_| ()).expect_err("no such proxy").to_string();
    assert!(message.contains("http://") && !message.contains("secret"), "{message}");
}

#[test]
fn many_packages_come_over_several_connections_and_all_failures_are_told() {
    let packages: Vec<Deb> = (0..40).map(|n| package(&format!("p{n}"), "1", Vec::new())).collect();
    let archive = Archive::new(packages.clone());
    let names: Vec<String> = packages.iter().map(|package| package.name.clone()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let lock = archive.lock(&names).expect("locked");
    let answer = |package: &Deb| (format!("/{}", package.filename()), Answer::Whole(package.bytes()));
    let server = Server::start(packages.iter().skip(2).map(answer));
    let settings = Settings { patience: patience(), ..at(&server.address) };
    let cache = MemoryCache::default();
    let fetcher = Fetcher::new(settings, &cache).expect("a fetcher");
    let requests = [request(&names)];
    let wanted = lock.select(&requests).expect("locked");
    let message = whole(&fetcher.fetch(&wanted, &Job::quiet(1)).expect_err("two are missing"));
    assert!(message.contains("p0 1 is locked") && message.contains("p1 1 is locked"), "{message}");
    let fetched = fetcher.fetch(&wanted[2..], &Job::quiet(1)).expect("all there");
    assert_eq!((fetched.cached, fetched.packages), (38, 0));
}

#[test]
fn a_damaged_cache_is_mended_from_the_mirror() {
    struct Damaged(MemoryCache);
    impl PackageCache for Damaged {
        fn holds(&self, _: &[u8; 32], _: u64) -> Result<bool, ContentError> {
            Ok(true)
        }
        fn get(&self, sha256: &[u8; 32], size: u64) -> Result<Option<Vec<u8>>, ContentError> {
            Ok(self.0.get(sha256, size)?.or_else(|| Some(vec![0; size as usize])))
        }
        fn put(&self, sha256: &[u8; 32], bytes: &[u8]) -> Result<(), ContentError> {
            self.0.put(sha256, bytes)
        }
        fn put_stream(&self, sha256: &[u8; 32], reader: &mut dyn Read) -> Result<(), ContentError> {
            self.0.put_stream(sha256, reader)
        }
        fn derived(&self, key: &[u8; 32]) -> Result<Option<Vec<u8>>, ContentError> {
            self.0.derived(key)
        }
        fn put_derived(&self, key: &[u8; 32], bytes: &[u8]) -> Result<(), ContentError> {
            self.0.put_derived(key, bytes)
        }
    }
    let archive = Archive::new(vec![hello("1")]);
    let lock = archive.lock(&["hello"]).expect("locked");
    let cache = Damaged(MemoryCache::default());
    let fetcher = Fetcher::new(archive.settings(), &cache).expect("a fetcher");
    let requests = [request(&["hello"])];
    let wanted = lock.select(&requests).expect("locked");
    assert_eq!(fetcher.read(&wanted[0], &Job::quiet(1)).expect("read"), hello("1").bytes());
}
