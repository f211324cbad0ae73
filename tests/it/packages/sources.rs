//! Several sources in one request: which one serves a package, where it lies, who signs it.

use super::*;

/// Adds a suite of its own packages to an archive's folder, under another root, signed by its own key.
struct Second {
    root: std::path::PathBuf,
    keyring: std::path::PathBuf,
    key: TestKey,
}

impl Second {
    fn new(archive: &Archive, root: &str, suite: &str, packages: &[Deb]) -> Second {
        let second = Second {
            root: archive.folder.path().join(root),
            keyring: archive.folder.path().join(format!("{root}.gpg")),
            key: keys::make(GOOD),
        };
        write(&second.keyring, &second.key.binary());
        second.publish(suite, packages);
        second
    }

    fn publish(&self, suite: &str, packages: &[Deb]) {
        let index = archives::index(packages);
        let packed = archives::xz(index.as_bytes());
        let suite_folder = self.root.join("dists").join(suite);
        write(&suite_folder.join("main/binary-amd64/Packages.xz"), &packed);
        let release = archives::release(suite, DATES, &index);
        write(&suite_folder.join("InRelease"), self.key.sign(&release).as_bytes());
        for package in packages {
            write(&self.root.join(package.filename()), &package.bytes());
        }
    }

    fn source(&self, suite: &str) -> SourceRequest {
        SourceRequest {
            mirror: Some(format!("file:{}", self.root.display())),
            signed_by: Some(self.keyring.clone()),
            ..SourceRequest::of_suite(suite, &["main"])
        }
    }
}

fn with(sources: Vec<SourceRequest>, names: &[&str]) -> Request {
    let mut request = request(names);
    request.sources.extend(sources);
    request
}

#[test]
fn the_highest_priority_wins_then_the_highest_version_and_each_comes_from_its_own_root() {
    let archive = Archive::new(vec![hello("1"), package("only", "1", Vec::new())]);
    let second = Second::new(&archive, "debian-security", "tested-security", &[hello("2")]);
    let third = Second::new(&archive, "else", "stable-x", &[hello("3"), package("third", "1", Vec::new())]);
    let low = SourceRequest { priority: 100, name: "third".into(), ..third.source("stable-x") };
    let asked = with(vec![second.source("tested-security"), low.clone()], &["hello", "only", "third"]);
    let lock = |request: &Request| {
        lock_with(archive.settings(), std::slice::from_ref(request), None, Update::None).expect("locked")
    };
    let first = lock(&asked);
    assert_eq!(versions(&first), ["hello 2", "only 1", "third 1"]);
    let sources: Vec<&str> = first.packages().map(|package| &*package.source).collect();
    assert_eq!(sources, ["tested-security", "tested", "third"]);
    assert_eq!(first.source("debian", "third").expect("a source").suite, "stable-x");

    let high = SourceRequest { priority: 990, ..low.clone() };
    let all = with(vec![second.source("tested-security"), high], &["hello"]);
    assert_eq!(versions(&lock(&all)), ["hello 3"]);
    let never = SourceRequest { priority: -1, ..low };
    let none = with(vec![never], &["third"]);
    assert!(lock_with(archive.settings(), &[none], None, Update::None).is_err());
    let mut from = asked.clone();
    from.roots = vec![Root::parse("hello/tested").expect("a root")];
    assert_eq!(versions(&lock(&from)), ["hello 1"]);
    from.roots = vec![Root::parse("hello=1*").expect("a root")];
    assert_eq!(versions(&lock(&from)), ["hello 1"]);

    let cache = MemoryCache::default();
    let fetcher = Fetcher::new(archive.settings(), &cache).expect("a fetcher");
    let requests = [asked];
    let wanted = first.select(&requests).expect("fits");
    assert_eq!(fetcher.fetch(&wanted, &Job::quiet(2)).expect("fetched").packages, 3);
}

#[test]
fn a_mirror_for_all_finds_security_beside_it_and_a_rule_for_one_suite_goes_first() {
    let archive = Archive::new(vec![hello("1")]);
    let folder = archive.folder.path();
    std::fs::rename(archive.root(), folder.join("debian")).expect("renamed");
    let security = Second::new(&archive, "debian-security", "tested-security", &[hello("2")]);
    let mut source = security.source("tested-security");
    source.mirror = None;
    let asked = with(vec![source], &["hello"]);
    let settings = |mirrors: String| Settings {
        mirrors: MirrorRule::parse_list(&mirrors).expect("mirrors"),
        ..archive.settings()
    };
    let root = folder.display();
    let lock = |mirrors| lock_with(settings(mirrors), std::slice::from_ref(&asked), None, Update::None);
    assert_eq!(versions(&lock(format!("file:{root}/debian")).expect("locked")), ["hello 2"]);
    std::fs::rename(folder.join("debian-security"), folder.join("elsewhere")).expect("renamed");
    let both = format!("tested-security=file:{root}/elsewhere file:{root}/debian");
    assert_eq!(versions(&lock(both).expect("locked")), ["hello 2"]);
    let message = whole(&lock(format!("file:{root}/debian")).expect_err("nowhere"));
    for part in ["debian-security", "nothing is there", "dists/tested-security/InRelease"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_source_is_signed_by_its_own_key_and_no_other() {
    let archive = Archive::new(vec![hello("1")]);
    let second = Second::new(&archive, "else", "other", &[package("third", "1", Vec::new())]);
    let mut source = second.source("other");
    source.signed_by = None;
    let wrong = with(vec![source], &["third"]);
    let message = whole(&lock_with(archive.settings(), &[wrong], None, Update::None).expect_err("key"));
    assert!(message.contains("not in the keyring"), "{message}");
    let mut good = with(vec![second.source("other")], &["third"]);
    assert!(lock_with(archive.settings(), &[good.clone()], None, Update::None).is_ok());
    good.sources[0].signed_by = Some(second.keyring.clone());
    assert!(lock_with(archive.settings(), &[good], None, Update::None).is_err());
}

#[test]
fn two_archives_may_have_suites_of_one_name() {
    let archive = Archive::new(vec![hello("1")]);
    let second = Second::new(&archive, "else", "tested", &[package("third", "1", Vec::new())]);
    let named = SourceRequest { name: "third-party".into(), ..second.source("tested") };
    let requests = [with(vec![named], &["hello", "third"])];
    let lock = lock_with(archive.settings(), &requests, None, Update::None).expect("locked");
    assert_eq!(Lock::parse(&lock.to_string()).expect("parsed"), lock);
    let cache = MemoryCache::default();
    let fetcher = Fetcher::new(archive.settings(), &cache).expect("a fetcher");
    let fetched = fetcher.fetch(&lock.select(&requests).expect("fits"), &Job::quiet(1)).expect("fetched");
    assert_eq!(fetched.packages, 2);
}

#[test]
fn packages_that_several_mirrors_dropped_are_each_told_of_with_their_suite() {
    let archive = Archive::new(vec![hello("1")]);
    let second = Second::new(&archive, "else", "other", &[package("third", "1", Vec::new())]);
    let requests = [with(vec![second.source("other")], &["hello", "third"])];
    let lock = lock_with(archive.settings(), &requests, None, Update::None).expect("locked");
    std::fs::remove_dir_all(archive.root().join("pool")).expect("removed");
    std::fs::remove_dir_all(second.root.join("pool")).expect("removed");
    second.publish("other", &[package("third", "1.1", Vec::new())]);
    let cache = MemoryCache::default();
    let fetcher = Fetcher::new(archive.settings(), &cache).expect("a fetcher");
    let wanted = lock.select(&requests).expect("fits");
    let message = whole(&fetcher.fetch(&wanted, &Job::quiet(1)).expect_err("gone"));
    for part in ["(there now, in tested: 1)", "(there now, in other: 1.1)", "--mirror other=ADDRESS"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_signature_may_lie_beside_the_release() {
    let archive = Archive::new(vec![hello("1")]);
    let release = archives::release("tested", DATES, &archive.index());
    let at = |name: &str| archive.suite().join(name);
    std::fs::remove_file(at("InRelease")).expect("removed");
    let message = whole(&archive.lock(&["hello"]).expect_err("nothing"));
    assert!(message.contains("nothing is there"), "{message}");
    write(&at("Release"), release.as_bytes());
    let message = whole(&archive.lock(&["hello"]).expect_err("unsigned"));
    assert!(message.contains("neither InRelease nor Release.gpg"), "{message}");
    write(&at("Release.gpg"), archive.key.sign_apart(&release).as_bytes());
    assert_eq!(versions(&archive.lock(&["hello"]).expect("locked")), ["hello 1"]);
    write(&at("Release"), release.replace("Label: Debian", "Label: debian").as_bytes());
    let message = whole(&archive.lock(&["hello"]).expect_err("another text"));
    assert!(message.contains("does not fit the text"), "{message}");
    write(&at("InRelease"), b"nonsense");
    write(&at("Release"), release.as_bytes());
    assert!(archive.lock(&["hello"]).is_err(), "an InRelease that is there counts");
}

#[test]
fn foreign_architectures_and_packages_for_all_have_indexes_of_their_own() {
    let archive = Archive::new(vec![hello("1")]);
    let foreign = Deb { architecture: "i386".into(), ..package("lib32", "1", Vec::new()) };
    let all = Deb { architecture: "all".into(), ..package("data", "1", Vec::new()) };
    let index = |name: &str, packages: &[Deb]| {
        let text = archives::index(packages);
        write(&archive.suite().join(name), text.as_bytes());
        format!(" {} {} {name}\n", Sha256::of(text.as_bytes()), text.len())
    };
    let native = archives::release("tested", DATES, &archive.index());
    let more = index("main/binary-i386/Packages", &[foreign]) + &index("main/binary-all/Packages", &[all]);
    let text = native.replace("Architectures: amd64", "Architectures: amd64 i386 all") + &more;
    archive.publish_text(&text, &archive.key);
    let mut asked = request(&["hello", "lib32:i386", "data"]);
    let lock =
        |request: &Request| lock_with(archive.settings(), std::slice::from_ref(request), None, Update::None);
    assert!(lock(&asked).is_err(), "i386 is no architecture of this request");
    asked.foreign_architectures = vec!["i386".into()];
    let locked = lock(&asked).expect("locked");
    assert_eq!(versions(&locked), ["data 1", "hello 1", "lib32 1"]);
    assert_eq!(locked.find("debian", "lib32").expect("there").architecture, "i386");
    let no = text.replace("Components:", "No-Support-for-Architecture-all: Packages\nComponents:");
    archive.publish_text(&no, &archive.key);
    assert!(whole(&lock(&asked).expect_err("no index for all")).contains("no package data"));
}

#[test]
fn an_unchanged_index_is_read_from_the_cache() {
    let archive = Archive::new(vec![hello("1")]);
    let cache = MemoryCache::default();
    let fetcher = Fetcher::new(archive.settings(), &cache).expect("a fetcher");
    let lock = || resolve(&[request(&["hello"])], None, &Update::All, &fetcher, &Job::quiet(1));
    let first = lock().expect("locked");
    std::fs::remove_dir_all(archive.suite().join("main")).expect("no index any more");
    assert_eq!(lock().expect("locked again"), first);
    std::fs::remove_file(archive.suite().join("InRelease")).expect("removed");
    assert!(lock().is_err(), "whether it is unchanged is asked each time");
}

#[test]
fn local_files_are_preferred_and_known_by_their_bytes() {
    let archive = Archive::new(vec![hello("9")]);
    let file = archive.folder.path().join("recipe/hello.deb");
    write(&file, &hello("1").bytes());
    let mut asked = request(&["hello"]);
    asked.rules.local = vec![file.clone()];
    let requests = [asked];
    let lock = lock_with(archive.settings(), &requests, None, Update::None).expect("locked");
    let text = lock.to_string();
    assert!(
        text.contains("package debian hello amd64 1 local ") && text.contains(" local:hello.deb asked\n")
    );
    assert!(!text.contains("recipe"), "no path of this machine: {text}");
    let cache = MemoryCache::default();
    let fetcher = Fetcher::new(archive.settings(), &cache).expect("a fetcher");
    let wanted = lock.select(&requests).expect("fits");
    write(&file, &hello("2").bytes());
    let message = whole(&fetcher.fetch(&wanted, &Job::quiet(1)).expect_err("another file"));
    assert!(message.contains("is not the file of hello 1 that was locked"), "{message}");
    let again = lock_with(archive.settings(), &requests, Some(&lock), Update::None).expect("locked");
    assert_eq!(versions(&again), ["hello 2"]);
    let wanted = again.select(&requests).expect("fits");
    assert_eq!(fetcher.fetch(&wanted, &Job::quiet(1)).expect("fetched").packages, 1);
    write(&file, b"!<arch>\nnonsense");
    let message =
        whole(&lock_with(archive.settings(), &requests, None, Update::None).expect_err("no package"));
    assert!(message.contains("hello.deb"), "{message}");
}
