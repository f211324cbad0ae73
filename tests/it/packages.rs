//! Tests of the room `packages`.
//!
//! Archives, keys, mirrors and lies are made in process; nothing here needs a network or a tool.
#![allow(clippy::disallowed_methods, reason = "a test measures how long it was kept waiting")]

mod archives;
mod keys;
mod server;

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use archives::{Deb, Entry, directory, file, link, package};
use keys::{DAY, GOOD, MADE, Make, NOW, SIGNED, Sign, TestKey};
use mkimage::base::{ImagePath, Job};
use mkimage::packages::deb::{control, index, release};
use mkimage::packages::{
    Fetcher, Keyring, Lock, LockedPackage, LockedSuite, MemoryCache, PackageCache, PackagesError, Patience,
    Proxies, Request, Settings, Sha256, SignatureProblem, SignedBy, Source, Unpacked, parse_deb822,
    parse_one_line, resolve, unpack, verify_cleartext,
};
use mkimage::tree::{ContentSource, MemoryContents, Node};
use pgp::crypto::hash::HashAlgorithm;
use proptest::prelude::*;
use server::{Answer, Server};

fn path(text: &str) -> ImagePath {
    ImagePath::new(text.as_bytes()).expect("a path")
}

/// Writes an error with all that led to it.
fn whole(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

// ---------------------------------------------------------------------------------------------------------------
// Signatures

fn refused(signed: &str, keyring: &Keyring) -> String {
    verify_cleartext(signed.as_bytes(), keyring, NOW).expect_err("refused").to_string()
}

fn signed_by(how: Make, sign: Sign) -> Result<String, SignatureProblem> {
    let key = keys::make(how);
    let text = key.sign_with("Suite: x\n", sign);
    verify_cleartext(text.as_bytes(), &key.keyring(), NOW).map(|text| text.to_string())
}

#[test]
fn a_subkey_or_a_primary_key_signs_and_only_the_signed_text_comes_out() {
    let text = "Suite: x\n- dashes\n--- more\nend\n";
    let key = keys::make(GOOD);
    let verified = verify_cleartext(key.sign(text).as_bytes(), &key.keyring(), NOW).expect("verified");
    assert_eq!(&**verified, "Suite: x\n- dashes\n--- more\nend\n");
    assert_eq!(verified.signer().len(), 40);
    let primary = Make { primary_signs: true, ..GOOD };
    assert!(signed_by(primary, Sign { with_primary: true, ..Sign::default() }).is_ok());
    assert!(signed_by(Make { rsa: true, ..GOOD }, Sign::default()).is_ok());
}

#[test]
fn keyrings_are_read_binary_and_armoured_one_key_or_several() {
    let (one, two) = (keys::make(GOOD), keys::make(GOOD));
    let signed = two.sign("Suite: x\n");
    let binary = [one.binary(), two.binary()].concat();
    let armoured = format!("some words\n{}\n{}", one.armoured(), two.armoured());
    for keyring in [&binary[..], armoured.as_bytes()] {
        let keyring = Keyring::parse(keyring).expect("a keyring");
        assert!(verify_cleartext(signed.as_bytes(), &keyring, NOW).is_ok());
    }
    assert!(refused(&signed, &one.keyring()).contains("not in the keyring"));
    for wrong in
        [&b""[..], b"nonsense", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nxx", &[0x99; 40], b"        KBXf"]
    {
        assert!(Keyring::parse(wrong).is_err());
    }
}

#[test]
fn keys_that_may_not_sign_are_refused() {
    let weak = HashAlgorithm::Sha1;
    for (why, how, sign, expected) in [
        ("flags of the subkey", Make { subkey_signs: false, ..GOOD }, Sign::default(), "may not sign"),
        ("flags of the key", GOOD, Sign { with_primary: true, ..Sign::default() }, "may not sign"),
        ("expired", Make { primary_lifetime: Some(5 * DAY), ..GOOD }, Sign::default(), "key expired"),
        ("expired subkey", Make { subkey_lifetime: Some(5 * DAY), ..GOOD }, Sign::default(), "key expired"),
        ("revoked", Make { primary_revoked: true, ..GOOD }, Sign::default(), "revoked"),
        ("revoked subkey", Make { subkey_revoked: true, ..GOOD }, Sign::default(), "revoked"),
        ("no back signature", Make { back_signature: false, ..GOOD }, Sign::default(), "bind itself"),
        ("weak self-signature", Make { rsa: true, self_hash: weak, ..GOOD }, Sign::default(), "vouch"),
        (
            "younger than its signature",
            Make { made: SIGNED + 10, ..GOOD },
            Sign::default(),
            "older than its key",
        ),
    ] {
        let problem = signed_by(how, sign).expect_err(why).to_string();
        assert!(problem.contains(expected), "{why}: {problem}");
    }
    let lives = Make { primary_lifetime: Some(100 * DAY), subkey_lifetime: Some(100 * DAY), ..GOOD };
    assert!(signed_by(lives, Sign::default()).is_ok());
}

#[test]
fn signatures_that_do_not_hold_are_refused() {
    let rsa = Make { rsa: true, ..GOOD };
    let weak = |hash| Sign { hash: Some(hash), ..Sign::default() };
    for (why, how, sign, expected) in [
        ("MD5", rsa, weak(HashAlgorithm::Md5), "weak hash"),
        ("SHA-1", rsa, weak(HashAlgorithm::Sha1), "weak hash"),
        ("RIPEMD", rsa, weak(HashAlgorithm::Ripemd160), "weak hash"),
        ("SHA-224", rsa, weak(HashAlgorithm::Sha224), "weak hash"),
        ("expired", GOOD, Sign { lifetime: Some(60), ..Sign::default() }, "expired"),
        ("from the future", GOOD, Sign { made: Some(NOW as u32 + 2 * DAY), ..Sign::default() }, "it is only"),
        ("condition", GOOD, Sign { critical_notation: true, ..Sign::default() }, "condition"),
    ] {
        let problem = signed_by(how, sign).expect_err(why).to_string();
        assert!(problem.contains(expected), "{why}: {problem}");
    }
    assert!(signed_by(GOOD, Sign { lifetime: Some(10 * DAY), ..Sign::default() }).is_ok());
    assert!(signed_by(GOOD, Sign { made: Some(NOW as u32 + 60), ..Sign::default() }).is_ok());
}

#[test]
fn a_key_can_not_adopt_another_ones_subkey() {
    let (thief, owner) = (keys::make(GOOD), keys::make(GOOD));
    let stolen = thief.adopt(&owner);
    let keyring =
        Keyring::parse(&pgp::ser::Serialize::to_bytes(&stolen).expect("written")).expect("a keyring");
    assert!(refused(&owner.sign("Suite: x\n"), &keyring).contains("bind itself"));
}

#[test]
fn any_change_to_the_file_is_seen() {
    let key = keys::make(GOOD);
    let keyring = key.keyring();
    let signed = key.sign("Suite: x\nDate: y\n");
    assert!(verify_cleartext(signed.as_bytes(), &keyring, NOW).is_ok());
    assert!(verify_cleartext(signed.replace('\n', "\r\n").as_bytes(), &keyring, NOW).is_ok());
    for (why, changed) in [
        ("another letter", signed.replace("Suite: x", "Suite: z")),
        ("a line more", signed.replace("Date", "More: z\nDate")),
        ("text before", format!("Suite: z\n{signed}")),
        ("a blank line before", format!("\n{signed}")),
        ("text behind", format!("{signed}Suite: z\n")),
        ("two blocks", format!("{signed}{signed}")),
        ("another block inside", signed.replace("Date", "-----BEGIN PGP SIGNED MESSAGE-----\nDate")),
        ("no signature", signed.split("-----BEGIN PGP SIGNATURE").next().unwrap_or_default().to_owned()),
        ("a header", signed.replacen("Hash: ", "Hash: SHA256\nSuite: z\nHash: ", 1)),
        ("a hidden header", signed.replacen("\n\n", "\nNotDashEscaped: yes\n\n", 1)),
        ("a return inside a line", signed.replace("Suite: x", "Suite: x\rSuite: z")),
        ("a NUL", signed.replace("Suite: x", "Suite: x\0")),
        ("nothing", String::new()),
    ] {
        assert!(verify_cleartext(changed.as_bytes(), &keyring, NOW).is_err(), "{why}");
    }
    for at in (0..signed.len()).step_by(7) {
        let mut bytes = signed.clone().into_bytes();
        bytes[at] ^= 1;
        // Blanks at line ends and the armour's own form are not signed: then the text must be the same.
        if let Ok(text) = verify_cleartext(&bytes, &keyring, NOW) {
            assert_eq!(&**text, "Suite: x\nDate: y\n", "byte {at}");
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------
// A whole archive in a folder

/// An archive with one suite, `tested`, signed by a key that the machine's keyring holds.
struct Archive {
    folder: tempfile::TempDir,
    key: TestKey,
    packages: Vec<Deb>,
}

const DATES: &str = "Date: Sat, 11 Jul 2026 10:16:37 UTC\nValid-Until: Sat, 18 Jul 2026 10:16:37 UTC\n";

impl Archive {
    fn new(packages: Vec<Deb>) -> Archive {
        let archive =
            Archive { folder: tempfile::tempdir().expect("a folder"), key: keys::make(GOOD), packages };
        let keyring = archive.folder.path().join("keys/debian-archive-keyring.gpg");
        write(&keyring, &archive.key.binary());
        archive.publish(DATES);
        archive
    }

    fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("archive")
    }

    fn suite(&self) -> std::path::PathBuf {
        self.root().join("dists/tested")
    }

    fn publish(&self, dates: &str) {
        self.publish_text(&archives::release("tested", dates, &self.index()), &self.key);
    }

    fn index(&self) -> String {
        archives::index(&self.packages)
    }

    fn publish_text(&self, release: &str, key: &TestKey) {
        let packed = archives::xz(self.index().as_bytes());
        let by_hash = format!("main/binary-amd64/by-hash/SHA256/{}", Sha256::of(&packed));
        write(&self.suite().join(by_hash), &packed);
        write(&self.suite().join("InRelease"), key.sign(release).as_bytes());
        for package in &self.packages {
            write(&self.root().join(package.filename()), &package.bytes());
        }
    }

    fn settings(&self) -> Settings {
        let mirror = Some(format!("file:{}", self.root().display()));
        Settings {
            mirror,
            ..Settings::bare(self.folder.path().join("apt"), self.folder.path().join("keys"), NOW)
        }
    }

    fn lock(&self, names: &[&str]) -> Result<Lock, PackagesError> {
        let cache = MemoryCache::default();
        let fetcher = Fetcher::new(self.settings(), &cache).expect("a fetcher");
        resolve(&[request(names)], None, None, &fetcher, &Job::quiet(2))
    }
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("created");
    std::fs::write(path, bytes).expect("written");
}

fn request(names: &[&str]) -> Request {
    Request {
        distribution: "debian".into(),
        suite: "tested".into(),
        components: vec!["main".into()],
        architecture: "amd64".into(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        mirror: None,
        signed_by: None,
    }
}

fn hello(version: &str) -> Deb {
    package("hello", version, vec![directory("./usr"), file("./usr/hello", 0o755, version.as_bytes())])
}

#[test]
fn names_become_a_lock_and_the_lock_becomes_trees_without_the_index() {
    let mut meta = package("linux-image-cloud-amd64", "6.1.1", Vec::new());
    meta.depends = "linux-image-6.1-cloud-amd64 (= 6.1.1), other".into();
    let kernel =
        package("linux-image-6.1-cloud-amd64", "6.1.1", vec![file("./lib/modules/m.ko", 0o644, b"m")]);
    let archive = Archive::new(vec![hello("1.9"), hello("1.10~rc1"), hello("1.10"), meta, kernel]);
    let requests = [request(&["linux-image-cloud-amd64", "hello"])];
    let lock = archive.lock(&["linux-image-cloud-amd64", "hello"]).expect("locked");
    let text = lock.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert_eq!(lines[0], "mkimage-lock 1");
    assert!(lines[1].starts_with("suite debian tested 2026-07-11T10:16:37Z "), "{text}");
    assert!(lines[2].starts_with("package debian tested amd64 hello 1.10 "), "{text}");
    assert!(lines[3].starts_with("package debian tested amd64 linux-image-6.1-cloud-amd64 6.1.1 "), "{text}");
    assert!(lines[3].ends_with(" linux-image-cloud-amd64"), "{text}");

    std::fs::remove_dir_all(archive.suite()).expect("no index any more");
    let lock = Lock::parse(&text).expect("parsed");
    let cache = MemoryCache::default();
    let fetcher = Fetcher::new(archive.settings(), &cache).expect("a fetcher");
    let wanted = lock.select(&requests).expect("all locked");
    let contents = MemoryContents::default();
    let options = unpack::Options { usr_merge: true };
    let unpacked = unpack::locked(&wanted, &options, &fetcher, &contents, &Job::quiet(2)).expect("unpacked");
    assert_eq!(unpacked[0].control.name, "linux-image-6.1-cloud-amd64");
    assert_eq!(unpacked[1].control.version, "1.10");
    assert!(unpacked[0].tree.get(&path("/usr/lib/modules/m.ko")).is_some());
    let again = unpack::locked(&wanted, &options, &fetcher, &contents, &Job::quiet(1)).expect("unpacked");
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
    for part in ["hello 1.10", &wanted[1].package.sha256.to_string(), "--offline", "--mirror file:/path"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn what_is_kept_is_not_asked_for_again() {
    let mut archive = Archive::new(vec![hello("1"), package("other", "1", Vec::new())]);
    let old = archive.lock(&["hello"]).expect("locked");
    archive.packages = vec![hello("2"), package("other", "2", Vec::new())];
    archive.publish(&DATES.replace("11 Jul", "12 Jul").replace("10:16", "00:00"));
    let cache = MemoryCache::default();
    let fetcher = Fetcher::new(archive.settings(), &cache).expect("a fetcher");
    let job = Job::quiet(1);
    let requests = [request(&["hello", "other"])];
    let versions = |lock: &Lock| lock.packages().map(ToString::to_string).collect::<Vec<_>>();
    let more = resolve(&requests, Some(&old), Some(&old), &fetcher, &job).expect("locked");
    assert_eq!(versions(&more), ["hello 1", "other 2"]);
    let newest = resolve(&requests, None, Some(&old), &fetcher, &job).expect("locked");
    assert_eq!(versions(&newest), ["hello 2", "other 2"]);
    std::fs::remove_dir_all(archive.root()).expect("removed");
    assert_eq!(resolve(&requests, Some(&more), None, &fetcher, &job).expect("nothing to ask"), more);

    archive.publish(DATES);
    let problem = resolve(&requests, None, Some(&newest), &fetcher, &job).expect_err("older");
    assert!(whole(&problem).contains("went back in time"), "{}", whole(&problem));
}

#[test]
fn a_name_that_is_not_there_gets_a_hint() {
    let archive = Archive::new(vec![hello("1")]);
    let message = archive.lock(&["helo", "unlike-any"]).expect_err("unknown").to_string();
    let expected = "tested (main) has no package helo for amd64; did you mean hello?; tested (main) has no package \
                    unlike-any for amd64";
    assert_eq!(message, expected);
    let mut meta = package("linux-image-amd64", "2", Vec::new());
    meta.depends = "linux-image-6 (= 2)".into();
    let archive = Archive::new(vec![meta, package("linux-image-6", "1", Vec::new())]);
    let message = archive.lock(&["linux-image-amd64"]).expect_err("no kernel").to_string();
    assert_eq!(message, "linux-image-amd64 2 asks for linux-image-6 2, which tested does not have");
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
    let mut alias = request(&["hello"]);
    alias.suite = "stable".into();
    std::fs::rename(archive.suite(), archive.root().join("dists/stable")).expect("renamed");
    let cache = MemoryCache::default();
    let fetcher = Fetcher::new(archive.settings(), &cache).expect("a fetcher");
    assert!(resolve(&[alias], None, None, &fetcher, &Job::quiet(1)).is_ok(), "a suite has two names");
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
        "there now: 2",
        "mkimage lock --update",
        "--mirror",
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
    let settings = Settings { mirror: None, keyrings: "/nowhere".into(), ..archive.settings() };
    let cache = MemoryCache::default();
    let fetcher = Fetcher::new(settings, &cache).expect("a fetcher");
    let lock = resolve(&[request(&["hello"])], None, None, &fetcher, &Job::quiet(1)).expect("locked");
    assert_eq!(lock.packages().map(ToString::to_string).collect::<Vec<_>>(), ["hello 1"]);

    let mut named = request(&["hello"]);
    named.signed_by = Some(keyring);
    named.mirror = Some(format!("file:{}", other.root().display()));
    let lock = resolve(&[named], None, None, &fetcher, &Job::quiet(1)).expect("locked");
    assert_eq!(lock.packages().map(ToString::to_string).collect::<Vec<_>>(), ["hello 9"]);

    let missing = Fetcher::new(Settings { keyrings: "/nowhere".into(), ..archive.settings() }, &cache)
        .expect("a fetcher");
    let problem =
        resolve(&[request(&["hello"])], None, None, &missing, &Job::quiet(1)).expect_err("no keyring");
    assert!(problem.to_string().contains("/nowhere/debian-archive-keyring.gpg"), "{problem}");
}

#[test]
fn requests_that_could_not_name_anything_are_refused() {
    let archive = Archive::new(vec![hello("1")]);
    let cache = MemoryCache::default();
    let fetcher = Fetcher::new(archive.settings(), &cache).expect("a fetcher");
    for change in [
        (|request: &mut Request| request.suite = "../x".into()) as fn(&mut Request),
        |request| request.architecture = "a/b".into(),
        |request| request.components = vec!["main/../..".into()],
        |request| request.components = Vec::new(),
        |request| request.names = vec!["A B".into()],
        |request| request.distribution = "/etc".into(),
    ] {
        let mut wrong = request(&["hello"]);
        change(&mut wrong);
        let problem = resolve(&[wrong], None, None, &fetcher, &Job::quiet(1)).expect_err("refused");
        assert!(matches!(problem, PackagesError::Request { .. }), "{problem}");
    }
}

// ---------------------------------------------------------------------------------------------------------------
// HTTP

fn patience() -> Patience {
    Patience {
        connect: Duration::from_secs(2),
        read: Duration::from_millis(400),
        window: Duration::from_millis(500),
        window_bytes: 1000,
        tries: 3,
        pause: Duration::from_millis(1),
    }
}

/// Fetches one package of 300,000 bytes from a server that answers so.
fn fetch_from(server: &Server, bytes: &[u8]) -> Result<Vec<u8>, String> {
    fetch_with(server, bytes, |_| {})
}

fn fetch_with(server: &Server, bytes: &[u8], change: impl Fn(&mut Settings)) -> Result<Vec<u8>, String> {
    let mut lock = Lock::default();
    lock.put_package(LockedPackage {
        distribution: "debian".into(),
        suite: "tested".into(),
        architecture: "amd64".into(),
        name: "blob".into(),
        version: "1".into(),
        size_bytes: bytes.len() as u64,
        sha256: Sha256::of(bytes),
        filename: "pool/b/blob+1.deb".into(),
        asked: ["blob".to_owned()].into(),
    });
    let mut settings = Settings {
        mirror: Some(server.address.clone()),
        patience: patience(),
        ..Settings::bare("/nowhere".into(), "/nowhere".into(), NOW)
    };
    change(&mut settings);
    let cache = MemoryCache::default();
    let fetcher = Fetcher::new(settings, &cache).expect("a fetcher");
    let requests = [request(&["blob"])];
    let wanted = lock.select(&requests).expect("locked");
    let fetched = fetcher.fetch(&wanted, &Job::quiet(1)).map_err(|error| whole(&error));
    let kept = cache.get(&Sha256::of(bytes).0, bytes.len() as u64).expect("the cache");
    assert_eq!(kept.is_some(), fetched.is_ok(), "only what is whole and right is kept");
    fetched.map(|_| kept.unwrap_or_default())
}

const AT: &str = "/pool/b/blob%2B1.deb";

fn serve(answer: Answer) -> Server {
    Server::start([(AT.to_owned(), answer)])
}

fn blob() -> Vec<u8> {
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
    for (why, answer, expected) in [
        ("slow", Answer::Slow(blob.clone()), "bytes came in"),
        ("silent", Answer::Silent, "the connection failed"),
    ] {
        let started = Instant::now();
        let message = fetch_from(&serve(answer), &blob).expect_err(why);
        assert!(message.contains(expected), "{why}: {message}");
        assert!(started.elapsed() < Duration::from_secs(8), "{why}: {:?}", started.elapsed());
    }
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
        settings.mirror = Some("http://mirror.invalid".into());
        settings.proxies = Proxies { http: Some(proxy.address.clone()), ..Proxies::default() };
    };
    assert_eq!(fetch_with(&proxy, &blob, through).expect("fetched"), blob);
    assert_eq!(proxy.requests(), [whole]);
    let direct = serve(Answer::Whole(blob.clone()));
    let around = |settings: &mut Settings| {
        let bypass = vec!["127.0.0.1".to_owned()];
        settings.proxies = Proxies { http: Some(proxy.address.clone()), https: None, bypass };
    };
    assert_eq!(fetch_with(&direct, &blob, around).expect("fetched"), blob);
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
    let settings =
        Settings { mirror: Some(server.address.clone()), patience: patience(), ..archive.settings() };
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
        fn holds(&self, _: &[u8; 32], _: u64) -> Result<bool, mkimage::tree::ContentError> {
            Ok(true)
        }
        fn get(&self, sha256: &[u8; 32], size: u64) -> Result<Option<Vec<u8>>, mkimage::tree::ContentError> {
            Ok(self.0.get(sha256, size)?.or_else(|| Some(vec![0; size as usize])))
        }
        fn put(&self, sha256: &[u8; 32], bytes: &[u8]) -> Result<(), mkimage::tree::ContentError> {
            self.0.put(sha256, bytes)
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

// ---------------------------------------------------------------------------------------------------------------
// Packages

fn unpack_bytes(bytes: &[u8]) -> Result<Unpacked, String> {
    let options = unpack::Options::default();
    let sink = MemoryContents::default();
    unpack::deb(bytes, &options, &sink, &Job::quiet(1)).map_err(|error| whole(&error))
}

#[test]
fn a_package_becomes_a_tree_with_its_fields_scripts_and_conffiles() {
    let mut deb = hello("1:2.0-3");
    deb.control = vec![
        file("./conffiles", 0o644, b"/etc/hello.conf\nremove-on-upgrade /etc/old.conf\n"),
        file("./postinst", 0o755, b"#!/bin/sh\n"),
        file("./md5sums", 0o644, b""),
    ];
    deb.data.extend([
        directory("./etc"),
        file("./etc/hello.conf", 0o640, b"x"),
        file("./usr/su", 0o4755, b"s"),
        link("./usr/hola", b'1', "./usr/hello"),
        link("./usr/link", b'2', "hello"),
    ]);
    let (control, data) = (deb.control_tar(), deb.data_tar());
    let plain = ar_of(&control, &data, ["", ""]);
    let mut trees = Vec::new();
    for bytes in [
        deb.bytes(),
        plain,
        ar_of(&archives::gzip(&control), &archives::zstd(&data), [".gz", ".zst"]),
        ar_of(&archives::zstd(&control), &archives::gzip(&data), [".zst", ".gz"]),
    ] {
        let contents = MemoryContents::default();
        let unpacked =
            unpack::deb(&bytes, &unpack::Options::default(), &contents, &Job::quiet(2)).expect("unpacked");
        assert_eq!((&*unpacked.control.name, &*unpacked.control.version), ("hello", "1:2.0-3"));
        let description = ("Description".to_owned(), "a test\n more".to_owned());
        assert_eq!(unpacked.control.fields.last(), Some(&description));
        assert_eq!(unpacked.conffiles, [path("/etc/hello.conf")]);
        assert_eq!(unpacked.scripts.keys().collect::<Vec<_>>(), ["postinst"]);
        let Some(Node::File(hello)) = unpacked.tree.get(&path("/usr/hello")) else { panic!("no file") };
        assert_eq!(contents.read_all(&hello.content).expect("its content"), b"1:2.0-3");
        assert_eq!(unpacked.tree.get(&path("/usr/hola")), Some(&Node::HardLink(path("/usr/hello"))));
        let mode =
            |at: &str| unpacked.tree.get(&path(at)).and_then(Node::metadata).map(|metadata| metadata.mode);
        assert_eq!((mode("/usr/su"), mode("/etc/hello.conf")), (Some(0o4755), Some(0o640)));
        trees.push(unpacked.tree);
    }
    assert!(trees.windows(2).all(|pair| pair[0] == pair[1]), "the compression does not matter");
}

fn ar_of(control: &[u8], data: &[u8], suffixes: [&str; 2]) -> Vec<u8> {
    let [control_name, data_name] =
        [format!("control.tar{}", suffixes[0]), format!("data.tar{}", suffixes[1])];
    archives::ar(&[("debian-binary", b"2.0\n"), (&control_name, control), (&data_name, data)])
}

#[test]
fn packages_of_another_form_are_refused() {
    let deb = hello("1");
    let (control, data) = (archives::xz(&deb.control_tar()), archives::xz(&deb.data_tar()));
    let version: (&str, &[u8]) = ("debian-binary", b"2.0\n");
    let (c, d): ((&str, &[u8]), (&str, &[u8])) = (("control.tar.xz", &control), ("data.tar.xz", &data));
    let huge = [archives::ar(&[version, c]), archives::ar_header("data.tar.xz", "9999999999"), data.clone()]
        .concat();
    let negative =
        [archives::ar(&[version, c]), archives::ar_header("data.tar.xz", "-1"), data.clone()].concat();
    for (why, bytes, expected) in [
        ("order", archives::ar(&[version, d, c]), "control.tar must be"),
        ("no version", archives::ar(&[c, d]), "debian-binary must be"),
        ("twice", archives::ar(&[version, c, c, d]), "second member"),
        (
            "two payloads",
            archives::ar(&[version, c, d, ("data.tar.gz", b"")]),
            "data.tar.gz where the end must be",
        ),
        ("more", archives::ar(&[version, c, d, ("_gpgorigin", b"x")]), "_gpgorigin where the end must be"),
        ("no payload", archives::ar(&[version, c]), "its end where data.tar must be"),
        ("nothing", archives::ar(&[]), "debian-binary must be"),
        ("future", archives::ar(&[("debian-binary", b"3.0\n"), c, d]), "3.0"),
        ("long version", archives::ar(&[("debian-binary", &[b'2'; 5000]), c, d]), "format"),
        ("suffix", archives::ar(&[version, c, ("data.tar.bz2", &data)]), "data.tar.bz2"),
        ("bzip2", archives::ar(&[version, c, ("data.tar", b"BZh91AY")]), "bzip2"),
        ("huge", huge, "cut off"),
        ("negative", negative, "decimal digits"),
        ("no archive", b"\x7fELF".repeat(40), "ar archive"),
        (
            "no control file",
            ar_of(&archives::tar(&[directory("./")]), &deb.data_tar(), ["", ""]),
            "./control",
        ),
    ] {
        let message = unpack_bytes(&bytes).expect_err(why);
        assert!(message.contains(expected), "{why}: {message}");
    }
}

#[test]
fn hostile_payloads_and_control_files_are_refused() {
    let with = |entries: Vec<Entry>| Deb { data: entries, ..hello("1") }.bytes();
    let device = Entry { kind: b'3', ..file("./dev/mem", 0o600, b"") };
    for (why, bytes, expected) in [
        ("escape", with(vec![file("../etc/passwd", 0o644, b"x")]), ".."),
        ("absolute", with(vec![file("/etc/passwd", 0o644, b"x")]), "/etc/passwd"),
        ("device", with(vec![directory("./dev"), device]), "device"),
        ("twice", with(vec![file("./a", 0o644, b"x"), file("./a", 0o644, b"y")]), "./a"),
        ("through a link", with(vec![link("./a", b'2', "/etc"), file("./a/b", 0o644, b"x")]), "./a/b"),
        ("hard link outside", with(vec![link("./a", b'1', "/etc/shadow")]), "absolute"),
    ] {
        let message = unpack_bytes(&bytes).expect_err(why);
        assert!(message.contains(expected), "{why}: {message}");
    }
    let control = |text: &str| {
        let tar = archives::tar(&[file("./control", 0o644, text.as_bytes())]);
        unpack_bytes(&ar_of(&tar, &hello("1").data_tar(), ["", ""])).expect_err(text)
    };
    assert!(control("Package: ../x\nVersion: 1\nArchitecture: all\n").contains("Package"));
    assert!(control("Package: hello\nVersion: 1 2\nArchitecture: all\n").contains("Version"));
    assert!(control("Package: hello\nPackage: hello\n").contains("twice"));
    assert!(control("Package: hello\n\nPackage: other\n").contains("second"));
    assert!(control("").contains("nothing"));
}

#[test]
fn a_torn_package_is_an_error_wherever_it_is_torn() {
    let bytes = hello("1").bytes();
    for length in 0..bytes.len() {
        assert!(unpack_bytes(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
    }
    for at in (0..bytes.len()).step_by(3) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x55;
        let _ = unpack_bytes(&flipped);
    }
}

#[test]
fn a_package_that_is_not_the_locked_one_is_refused() {
    let archive = Archive::new(vec![hello("1")]);
    let lock = archive.lock(&["hello"]).expect("locked");
    let locked = lock.packages().next().expect("a package");
    let sink = MemoryContents::default();
    let unpack = |deb: Deb| {
        unpack::locked_deb(&deb.bytes(), locked, &unpack::Options::default(), &sink, &Job::quiet(1))
    };
    assert!(unpack(hello("1")).is_ok());
    let message = whole(&unpack(hello("2")).expect_err("another version"));
    assert_eq!(message, "hello 1: this is hello 2 amd64, not hello 1 amd64");
}

// ---------------------------------------------------------------------------------------------------------------
// Parsers

#[test]
fn a_lock_says_things_in_one_way_only() {
    let digest = Sha256::of(b"x");
    let suite = format!("suite debian tested 2026-07-11T10:16:37Z {digest}\n");
    let package =
        |name: &str| format!("package debian tested amd64 {name} 1 7 {digest} pool/{name}.deb {name}\n");
    let good = format!("mkimage-lock 1\n{suite}{}{}", package("aa"), package("bb"));
    assert_eq!(Lock::parse(&good).expect("parsed").to_string(), good);
    for (line, text) in [
        (1, String::new()),
        (1, "mkimage-lock 1".to_owned()),
        (1, good.replace("lock 1", "lock 2")),
        (3, good.replace(&suite, &format!("{suite}{suite}"))),
        (2, good.replace(&suite, "")),
        (4, format!("mkimage-lock 1\n{suite}{}{}", package("bb"), package("aa"))),
        (4, format!("mkimage-lock 1\n{suite}{0}{0}", package("aa"))),
        (3, good.replacen(" 7 ", " 07 ", 1)),
        (3, good.replacen(" 7 ", " +7 ", 1)),
        (3, good.replacen(" 7 ", "  7 ", 1)),
        (3, good.replacen("pool/", "../", 1)),
        (3, good.replacen(" 1 7", " 1_ 7", 1)),
        (3, good.replacen(".deb aa\n", ".deb bb,aa\n", 1)),
        (3, good.replacen(".deb aa\n", ".deb aa\r\n", 1)),
        (2, good.replacen("07-11", "02-30", 1)),
        (2, good.replacen(&digest.to_string(), &digest.to_string().to_uppercase(), 1)),
        (3, good.replacen("package ", "<<<<<<< ", 1)),
        (4, good[..good.len() - 1].to_owned()),
    ] {
        let error = Lock::parse(&text).expect_err(&text);
        assert_eq!(error.line, line, "{error}: {text}");
    }
    let lock = Lock::parse(&good).expect("parsed");
    let missing = [request(&["aa", "cc"])];
    let message = lock.select(&missing).expect_err("cc").to_string();
    assert_eq!(message, "the lock has no package cc of debian tested for amd64: run `mkimage lock`");
}

fn locks() -> impl Strategy<Value = Lock> {
    let name = "[a-z0-9][a-z0-9+.-]{1,8}";
    let package = (
        "[a-c]",
        prop::sample::select(vec!["amd64", "all"]),
        name,
        "[0-9][a-z0-9.+~]{0,6}",
        any::<u64>(),
        any::<[u8; 32]>(),
        "[a-z0-9][a-z0-9_%+~.-]{0,5}/[a-z0-9]{1,5}",
        prop::collection::btree_set(name, 1..4),
    );
    prop::collection::vec((package, 0u64..253_402_300_800), 0..12).prop_map(|entries| {
        let mut lock = Lock::default();
        for ((suite, architecture, name, version, size_bytes, sha256, filename, asked), date_seconds) in
            entries
        {
            lock.put_suite("debian", &suite, LockedSuite { date_seconds, inrelease: Sha256(sha256) });
            let (distribution, architecture) = ("debian".to_owned(), architecture.to_owned());
            let sha256 = Sha256(sha256);
            let package = LockedPackage {
                distribution,
                suite,
                architecture,
                name,
                version,
                size_bytes,
                sha256,
                filename,
                asked,
            };
            lock.put_package(package);
        }
        lock
    })
}

fn sources() -> impl Strategy<Value = Source> {
    let words = || prop::collection::vec("[a-z0-9][a-z0-9./-]{0,8}", 1..4);
    let keys = prop_oneof![
        "/[a-z]{1,8}".prop_map(|path| SignedBy::Path(path.into())),
        "[0-9A-F]{40}".prop_map(SignedBy::Fingerprint),
    ];
    (
        words(),
        words(),
        words(),
        prop::collection::vec("[a-z0-9]{2,6}", 0..3),
        prop::collection::vec(keys, 0..3),
    )
        .prop_map(|(uris, suites, components, architectures, signed_by)| Source {
            uris,
            suites,
            components,
            architectures,
            signed_by,
        })
}

/// Writes a source in deb822 form.
fn deb822(source: &Source) -> String {
    let Source { uris, suites, components, architectures, signed_by } = source;
    let key = |key: &SignedBy| match key {
        SignedBy::Path(path) => path.display().to_string(),
        SignedBy::Fingerprint(text) | SignedBy::Block(text) => text.clone(),
    };
    let keys: Vec<String> = signed_by.iter().map(key).collect();
    format!(
        "Types: deb\nURIs: {}\nSuites: {}\nComponents: {}\nArchitectures: {}\nSigned-By: {}\n",
        uris.join(" "),
        suites.join("\n "),
        components.join(" "),
        architectures.join(" "),
        keys.join("\n ")
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn locks_print_and_parse_to_themselves(lock in locks()) {
        let text = lock.to_string();
        let parsed = Lock::parse(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        prop_assert_eq!(&parsed, &lock);
        prop_assert_eq!(parsed.to_string(), text);
    }

    #[test]
    fn a_lock_that_parses_is_the_only_text_of_its_meaning(lock in locks(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = lock.to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(text) = String::from_utf8(bytes) && let Ok(lock) = Lock::parse(&text) {
            prop_assert_eq!(lock.to_string(), text);
        }
    }

    #[test]
    fn sources_print_and_parse_to_themselves(source in sources()) {
        let text = deb822(&source);
        prop_assert_eq!(parse_deb822(&text).expect("parsed"), vec![source]);
    }

    #[test]
    fn stanzas_print_and_parse_to_themselves(
        fields in prop::collection::btree_map("[A-Z][a-z-]{0,6}", "([!-~]([ -~]{0,9}[!-~])?)?(\n [!-~]{1,9}){0,3}", 1..6)
    ) {
        let text: String = fields.iter().map(|(name, value)| match value.is_empty() || value.starts_with('\n') {
            true => format!("{name}:{value}\n"),
            false => format!("{name}: {value}\n"),
        }).collect();
        let stanza = control::stanza(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text:?}")))?;
        prop_assert_eq!(stanza.to_string(), text.clone());
        let names: BTreeSet<&str> = stanza.fields().iter().map(|field| field.0).collect();
        prop_assert_eq!(names, fields.keys().map(String::as_str).collect::<BTreeSet<_>>());
        // An independent reader of the same format.
        let oracle: deb822_fast::Paragraph = text.parse().expect("parsed by the other");
        for (name, value) in stanza.fields() {
            let lines = |text: &str| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>().join("\n");
            prop_assert_eq!(oracle.get(name).map(|value| lines(value).trim().to_owned()), Some(lines(value).trim().to_owned()));
        }
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in "(Package|Date|SHA256|Types|deb|suite|package|[ -~]{0,6}|[:\n #\\[\\]=/é\0\r\t-]){0,40}") {
        let _ = control::stanzas(&text);
        let _ = release::Release::parse(&text);
        let _ = Lock::parse(&text);
        let _ = Lock::parse(&format!("mkimage-lock 1\n{text}\n"));
        let _ = parse_deb822(&text);
        let _ = parse_one_line(&text);
        let _ = index::find(&text, &BTreeSet::from(["aa", ""]));
        let _ = index::similar(&text, "linux");
        let _ = verify_cleartext(text.as_bytes(), &Keyring::default(), NOW);
    }

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Keyring::parse(&bytes);
        let _ = verify_cleartext(&bytes, &Keyring::default(), NOW);
        let _ = unpack_bytes(&[b"!<arch>\n", &bytes[..]].concat());
    }
}

#[test]
fn keys_are_of_the_time_that_the_tests_say() {
    assert!(MADE < SIGNED && u64::from(SIGNED) < NOW);
}
