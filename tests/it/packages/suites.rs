//! From names to a lock: releases, indexes, mirrors.

use super::*;

#[test]
fn names_become_a_lock_and_the_lock_becomes_trees_without_the_index() {
    let mut meta = package("linux-image-cloud-amd64", "6.1.1", Vec::new());
    meta.depends = "linux-image-6.1-cloud-amd64 (= 6.1.1), other".into();
    let kernel =
        package("linux-image-6.1-cloud-amd64", "6.1.1", vec![file("./lib/modules/m.ko", 0o644, b"m")]);
    let archive = Archive::new(vec![hello("1.9"), hello("1.10~rc1"), hello("1.10"), meta, kernel]);
    let requests = [Request { bare: vec!["linux-image-cloud-amd64".into()], ..request(&["hello"]) }];
    let lock = lock_with(archive.settings(), &requests, None, Update::None).expect("locked");
    let text = lock.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert_eq!(lines[0], "mkimage-lock 2");
    assert!(lines[1].starts_with("request debian amd64 "), "{text}");
    assert!(lines[2].starts_with("source debian tested tested 2026-07-11T10:16:37Z "), "{text}");
    assert!(lines[3].starts_with("package debian hello amd64 1.10 tested "), "{text}");
    assert!(lines[3].ends_with(" pool/main/hello_1.10_amd64.deb asked"), "{text}");
    assert!(lines[4].starts_with("package debian linux-image-6.1-cloud-amd64 amd64 6.1.1 tested "), "{text}");
    assert!(lines[4].ends_with(" bare:linux-image-cloud-amd64"), "{text}");

    std::fs::remove_dir_all(archive.suite()).expect("no index any more");
    let lock = Lock::parse(&text).expect("parsed");
    let cache = MemoryCache::default();
    let fetcher = Fetcher::new(archive.settings(), &cache).expect("a fetcher");
    let wanted = lock.select(&requests).expect("all locked");
    let contents = MemoryContents::default();
    let unpacked = unpack::locked(&wanted, &fetcher, &contents, &Job::quiet(2)).expect("unpacked");
    assert_eq!(unpacked[1].control.name, "linux-image-6.1-cloud-amd64");
    assert_eq!(unpacked[0].control.version, "1.10");
    assert!(unpacked[1].tree.get(&path("/lib/modules/m.ko")).is_some());
    let again = unpack::locked(&wanted, &fetcher, &contents, &Job::quiet(1)).expect("unpacked");
    assert_eq!(unpacked, again, "workers do not matter");

    let nowhere = Settings { offline: true, ..Settings::bare("/nowhere".into(), "/nowhere".into(), NOW) };
    let offline = Fetcher::new(nowhere.clone(), &cache).expect("a fetcher");
    let fetched = offline.fetch(&wanted, &Job::quiet(1)).expect("all there");
    assert_eq!((fetched.cached, fetched.packages), (2, 0));
    let empty = MemoryCache::default();
    let problem = Fetcher::new(nowhere, &empty)
        .expect("a fetcher")
        .fetch(&wanted, &Job::quiet(1))
        .expect_err("missing");
    let message = whole(&problem);
    for part in ["hello 1.10", &wanted[0].package.sha256.to_string(), "--offline", "--vendor /path"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn what_is_kept_is_not_asked_for_again() {
    let mut archive = Archive::new(vec![hello("1"), package("other", "1", Vec::new())]);
    let old = archive.lock(&["hello"]).expect("locked");
    archive.packages = vec![hello("2"), package("other", "2", Vec::new())];
    archive.publish(&DATES.replace("11 Jul", "12 Jul").replace("10:16", "00:00"));
    let requests = [request(&["hello", "other"])];
    let lock = |previous, update| lock_with(archive.settings(), &requests, previous, update);
    let more = lock(Some(&old), Update::None).expect("locked");
    assert_eq!(versions(&more), ["hello 1", "other 2"]);
    let newest = lock(Some(&old), Update::All).expect("locked");
    assert_eq!(versions(&newest), ["hello 2", "other 2"]);
    let one = lock(Some(&more), Update::Packages(["hello".to_owned()].into())).expect("locked");
    assert_eq!(versions(&one), ["hello 2", "other 2"]);
    let unknown = lock(Some(&more), Update::Packages(["none".to_owned()].into())).expect_err("not locked");
    assert_eq!(unknown.to_string(), "the lock has no package none");
    std::fs::remove_dir_all(archive.root()).expect("removed");
    assert_eq!(lock(Some(&more), Update::None).expect("nothing to ask"), more);

    archive.publish(DATES);
    let problem = lock(Some(&newest), Update::All).expect_err("older");
    assert!(whole(&problem).contains("went back in time"), "{}", whole(&problem));
}

#[test]
fn a_hold_stays_where_everything_else_is_updated() {
    let mut archive = Archive::new(vec![hello("1"), package("other", "1", Vec::new())]);
    let mut asked = request(&["hello", "other"]);
    let old = lock_with(archive.settings(), &[asked.clone()], None, Update::None).expect("locked");
    archive.packages = vec![hello("2"), package("other", "2", Vec::new())];
    archive.publish(DATES);
    asked.rules.holds = vec!["hello".into()];
    let new = lock_with(archive.settings(), &[asked.clone()], Some(&old), Update::All).expect("locked");
    assert_eq!(versions(&new), ["hello 1", "other 2"]);
    asked.rules.pins = [("hello".to_owned(), "2*".to_owned())].into();
    let new = lock_with(archive.settings(), &[asked], Some(&old), Update::None).expect("locked");
    assert_eq!(versions(&new), ["hello 2", "other 1"], "what the recipe no longer allows does not stay");
}

#[test]
fn a_name_that_is_not_there_gets_a_hint() {
    let archive = Archive::new(vec![hello("1")]);
    let message = archive.lock(&["helo", "unlike-any"]).expect_err("unknown").to_string();
    let expected = "debian: helo can't be installed:\n  there is no package helo for amd64; did you mean hello?\n\
                    unlike-any can't be installed:\n  there is no package unlike-any for amd64.";
    assert_eq!(message, expected);
    let mut meta = package("linux-image-amd64", "2", Vec::new());
    meta.depends = "linux-image-6 (= 2)".into();
    let archive = Archive::new(vec![meta, package("linux-image-6", "1", Vec::new())]);
    let bare = Request { bare: vec!["linux-image-amd64".into()], ..request(&[]) };
    let problem = lock_with(archive.settings(), &[bare], None, Update::None).expect_err("no kernel");
    let message = problem.to_string();
    assert!(
        message.contains("linux-image-amd64 2 asks for linux-image-6 (= 2), which is not there"),
        "{message}"
    );
    let message = archive.lock(&["linux-image-6=2"]).expect_err("another version").to_string();
    assert!(message.contains("linux-image-6"), "{message}");
}

#[test]
fn a_release_of_another_suite_time_or_key_is_refused() {
    let archive = Archive::new(vec![hello("1")]);
    let index = archive.index();
    let release = |suite: &str, dates: &str| archives::release(suite, dates, &index);
    let other = keys::make(GOOD);
    let cases = [
        ("suite", release("elsewhere", DATES), &archive.key, "is for suite stable, elsewhere"),
        (
            "expired",
            release("tested", &DATES.replace("18 Jul", "12 Jul").replace("2026 10", "2025 10")),
            &archive.key,
            "valid until",
        ),
        (
            "future",
            release("tested", &DATES.replace("11 Jul", "14 Jul")),
            &archive.key,
            "it is only 2026-07-12",
        ),
        ("no date", release("tested", ""), &archive.key, "has no field Date"),
        ("bad date", release("tested", "Date: yesterday\n"), &archive.key, "yesterday"),
        ("key", release("tested", DATES), &other, "not in the keyring"),
        (
            "twice",
            release("tested", DATES)
                .replace(" main/binary-amd64/Packages\n", " main/binary-amd64/Packages.xz\n"),
            &archive.key,
            "two digests",
        ),
        (
            "path",
            release("tested", DATES).replace("main/binary-amd64/Packages\n", "../../x\n"),
            &archive.key,
            "../../x",
        ),
        (
            "no index",
            release("tested", DATES).replace("binary-amd64", "binary-arm64"),
            &archive.key,
            "no index",
        ),
    ];
    for (why, text, key, expected) in cases {
        archive.publish_text(&text, key);
        let message = whole(&archive.lock(&["hello"]).expect_err(why));
        assert!(message.contains(expected), "{why}: {message}");
    }
    archive.publish(DATES);
    assert!(archive.lock(&["hello"]).is_ok());
    let alias =
        Request { sources: vec![SourceRequest::of_suite("stable", &["main"])], ..request(&["hello"]) };
    std::fs::rename(archive.suite(), archive.root().join("dists/stable")).expect("renamed");
    let lock = lock_with(archive.settings(), &[alias], None, Update::None);
    assert!(lock.is_ok(), "a suite has two names");
}

#[test]
fn an_index_that_is_not_what_was_signed_is_never_parsed() {
    let archive = Archive::new(vec![hello("1")]);
    let packed = archives::xz(archive.index().as_bytes());
    let at = archive.suite().join(format!("main/binary-amd64/by-hash/SHA256/{}", Sha256::of(&packed)));
    let mut flipped = packed.clone();
    flipped[20] ^= 1;
    for (why, bytes, expected) in [
        ("flipped", flipped, "SHA-256"),
        ("cut", packed[..packed.len() - 1].to_vec(), "bytes came"),
        ("longer", [packed.clone(), vec![0]].concat(), "more than"),
    ] {
        write(&at, &bytes);
        let message = whole(&archive.lock(&["hello"]).expect_err(why));
        assert!(message.contains(expected), "{why}: {message}");
    }
    std::fs::remove_file(&at).expect("removed");
    write(&archive.suite().join("main/binary-amd64/Packages.xz"), &packed);
    assert!(archive.lock(&["hello"]).is_ok(), "by name where it is not there by digest");

    let bomb = archives::xz(&vec![b'\n'; 50_000_000]);
    let digest = |bytes: &[u8]| format!("{} {}", Sha256::of(bytes), bytes.len());
    let text = archives::release("tested", DATES, &archive.index()).replace(&digest(&packed), &digest(&bomb));
    archive.publish_text(&text, &archive.key);
    write(&archive.suite().join("main/binary-amd64/Packages.xz"), &bomb);
    let message = whole(&archive.lock(&["hello"]).expect_err("a bomb"));
    assert!(message.contains("larger than"), "{message}");
}

#[test]
fn a_package_that_the_mirror_dropped_is_named_with_the_ways_out() {
    let mut archive = Archive::new(vec![hello("1")]);
    let lock = archive.lock(&["hello"]).expect("locked");
    std::fs::remove_file(archive.root().join(archive.packages[0].filename())).expect("removed");
    archive.packages = vec![hello("2")];
    archive.publish(DATES);
    let cache = MemoryCache::default();
    let fetcher = Fetcher::new(archive.settings(), &cache).expect("a fetcher");
    let requests = [request(&["hello"])];
    let wanted = lock.select(&requests).expect("locked");
    let message = whole(&fetcher.fetch(&wanted, &Job::quiet(1)).expect_err("gone"));
    for part in [
        "hello 1 is locked",
        "there now, in tested: 2",
        "mkimage lock --update hello",
        "--mirror tested=ADDRESS",
        "20260711T101637Z",
        "--vendor",
        "pool/main/hello_1_amd64.deb",
    ] {
        assert!(message.contains(part), "{message}");
    }
    std::fs::remove_dir_all(archive.suite()).expect("no index");
    let message = whole(&fetcher.fetch(&wanted, &Job::quiet(1)).expect_err("gone"));
    assert!(message.contains("no longer has it:"), "{message}");
}

#[test]
fn apts_sources_lead_to_mirror_and_key_and_other_origins_are_passed_over() {
    let archive = Archive::new(vec![hello("1")]);
    let other = Archive::new(vec![hello("9")]);
    let foreign =
        archives::release("tested", DATES, &other.index()).replace("Origin: Debian", "Origin: Else");
    other.publish_text(&foreign, &other.key);
    let apt = archive.folder.path().join("apt");
    let block = archive.key.armoured().replace("\n\n", "\n.\n").replace('\n', "\n ");
    let entry = |root: &Path, key: &str| {
        format!(
            "Types: deb\nURIs: file:{}\nSuites: tested\nComponents: main\nSigned-By:{key}\n",
            root.display()
        )
    };
    let keyring = other.folder.path().join("keys/debian-archive-keyring.gpg");
    write(
        &apt.join("sources.list.d/a.sources"),
        entry(&other.root(), &format!(" {}", keyring.display())).as_bytes(),
    );
    write(
        &apt.join("sources.list.d/b.sources"),
        entry(&archive.root(), &format!("\n {}", block.trim_end())).as_bytes(),
    );
    let settings = Settings { mirrors: Vec::new(), keyrings: "/nowhere".into(), ..archive.settings() };
    let lock = |request| lock_with(settings.clone(), &[request], None, Update::None);
    assert_eq!(versions(&lock(request(&["hello"])).expect("locked")), ["hello 1"]);

    let mut named = request(&["hello"]);
    named.sources[0].signed_by = Some(keyring);
    named.sources[0].mirror = Some(format!("file:{}", other.root().display()));
    assert_eq!(versions(&lock(named).expect("locked")), ["hello 9"]);

    let missing = Settings { keyrings: "/nowhere".into(), ..archive.settings() };
    let problem = lock_with(missing, &[request(&["hello"])], None, Update::None).expect_err("no keyring");
    assert!(problem.to_string().contains("/nowhere/debian-archive-keyring.gpg"), "{problem}");
}

#[test]
fn requests_that_could_not_name_anything_are_refused() {
    let archive = Archive::new(vec![hello("1")]);
    for change in [
        (|request| request.sources[0].suite = "../x".into()) as fn(&mut Request),
        |request| request.architecture = "a/b".into(),
        |request| request.foreign_architectures = vec!["a b".into()],
        |request| request.sources[0].components = vec!["main/../..".into()],
        |request| request.sources[0].components = Vec::new(),
        |request| request.sources[0].name = "local".into(),
        |request| request.sources.push(request.sources[0].clone()),
        |request| request.roots[0].name = "A B".into(),
        |request| request.roots[0].version = Some("1 2".into()),
        |request| request.bare = vec!["../x".into()],
        |request| request.rules.exclude = vec!["".into()],
        |request| request.rules.pins = [("hello".to_owned(), "".to_owned())].into(),
        |request| request.rules.local = vec!["x.tar".into()],
        |request| request.rules.local = vec!["a/x.deb".into(), "b/x.deb".into()],
        |request| request.distribution = "/etc".into(),
    ] {
        let mut wrong = request(&["hello"]);
        change(&mut wrong);
        let problem = lock_with(archive.settings(), &[wrong], None, Update::None).expect_err("refused");
        assert!(matches!(problem, PackagesError::Request { .. }), "{problem}");
    }
}
