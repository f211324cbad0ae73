//! The lock: one text for each meaning, what differs between two, and why a package is there.

use mkimage::packages::lock::{Dependency, Reason};

use super::*;

const DIGEST: &str = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";

/// A lock of some lines of packages: name, version, source, why.
fn lock(packages: &[(&str, &str, &str, &str)]) -> String {
    let mut text = format!(
        "mkimage-lock 2\nrequest debian amd64 {DIGEST}\n\
         source debian security bookworm-security 2026-07-11T10:16:37Z {DIGEST}\n\
         source debian tested tested 2026-07-11T10:16:37Z {DIGEST}\n"
    );
    for (name, version, source, why) in packages {
        let (name, architecture) = name.split_once(':').unwrap_or((name, "amd64"));
        let filename = match *source {
            "local" => format!("local:{name}.deb"),
            _ => format!("pool/{name}.deb"),
        };
        let size = version.len();
        text += &format!(
            "package debian {name} {architecture} {version} {source} {size} {DIGEST} {filename} {why}\n"
        );
    }
    text
}

fn parsed(packages: &[(&str, &str, &str, &str)]) -> Lock {
    let text = lock(packages);
    Lock::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn a_lock_says_things_in_one_way_only() {
    let good = lock(&[
        ("aa", "1", "tested", "asked bare:meta-aa"),
        ("bb", "2", "security", "depends:aa"),
        ("cc", "2", "local", "asked:any-c recommends:bb"),
        ("cc:i386", "2", "tested", "essential"),
    ]);
    assert_eq!(Lock::parse(&good).expect("parsed").to_string(), good);
    let line = |number: usize| good.lines().nth(number - 1).expect("a line").to_owned() + "\n";
    let swapped = good.replace(&format!("{}{}", line(5), line(6)), &format!("{}{}", line(6), line(5)));
    for (number, why, text) in [
        (1, "nothing", String::new()),
        (1, "cut head", "mkimage-lock 2".to_owned()),
        (1, "an older format", good.replace("lock 2", "lock 1")),
        (1, "another file", "{}\n".to_owned()),
        (3, "twice", good.replace(&line(2), &line(2).repeat(2))),
        (2, "no request", good.replace(&line(2), "")),
        (4, "no source", good.replace(&line(3), "")),
        (6, "out of order", swapped),
        (6, "a package twice", good.replace(&line(5), &line(5).repeat(2))),
        (5, "zero before a number", good.replacen(" 1 2d", " 01 2d", 1)),
        (5, "plus", good.replacen(" 1 2d", " +1 2d", 1)),
        (5, "two blanks", good.replacen(" 1 2d", "  1 2d", 1)),
        (5, "path", good.replacen("pool/", "../", 1)),
        (5, "local file of an archive", good.replacen("pool/aa", "local:aa", 1)),
        (7, "path of a local file", good.replacen("local:cc", "pool/cc", 1)),
        (7, "folder of a local file", good.replacen("local:cc", "local:x/cc", 1)),
        (5, "version", good.replacen(" 1 tested", " 1_ tested", 1)),
        (5, "unsorted reasons", good.replacen("asked bare:meta-aa", "bare:meta-aa asked", 1)),
        (5, "a reason twice", good.replacen("asked bare:meta-aa", "asked asked", 1)),
        (5, "own name spelt out", good.replacen("asked bare:", "asked:aa bare:", 1)),
        (5, "no reason", good.replacen(" asked bare:meta-aa", "", 1)),
        (5, "another reason", good.replacen("asked bare:meta-aa", "because", 1)),
        (6, "a reason that is not there", good.replacen("depends:aa", "depends:zz", 1)),
        (6, "carriage return", good.replacen("depends:aa\n", "depends:aa\r\n", 1)),
        (3, "date", good.replacen("07-11", "02-30", 1)),
        (2, "upper case", good.replacen(DIGEST, &DIGEST.to_uppercase(), 1)),
        (5, "conflict marks", good.replacen("package ", "<<<<<<< ", 1)),
        (8, "cut", good[..good.len() - 1].to_owned()),
    ] {
        let error = Lock::parse(&text).expect_err(why);
        // A source that is missing is seen where it is used.
        let expected = if why == "no source" { 5 } else { number };
        assert_eq!(error.line, expected, "{why}: {error}");
    }
    let old = Lock::parse("mkimage-lock 1\n").expect_err("older").to_string();
    assert!(old.contains("format 1") && old.contains("mkimage lock"), "{old}");
}

#[test]
fn a_lock_that_does_not_fit_the_recipe_says_what_is_missing() {
    let asked = request(&["aa"]);
    let mut lock = parsed(&[("aa", "1", "tested", "asked")]);
    let problem = |lock: &Lock, request: Request| {
        let requests = [request];
        lock.select(&requests).map(|_| ()).expect_err("does not fit").to_string()
    };
    assert!(
        problem(&lock, asked.clone()).contains("was made for other packages, sources or rules of debian")
    );
    lock.put_request("debian", LockedRequest::of(&asked));
    let requests = [asked.clone()];
    assert_eq!(lock.select(&requests).expect("fits").len(), 1);
    let missing = "the lock has no package cc of debian for amd64: run `mkimage lock`";
    assert_eq!(problem(&lock, request(&["aa", "cc"])), missing);
    assert_eq!(problem(&lock, Request { bare: vec!["cc".into()], ..asked.clone() }), missing);
    let other = Request { architecture: "arm64".into(), ..asked.clone() };
    assert!(problem(&lock, other).contains("no package aa of debian for arm64"));
    let mut more = asked;
    more.rules.recommends = true;
    assert!(problem(&lock, more).contains("run `mkimage lock`"));
}

#[test]
fn two_locks_differ_as_a_changelog_says_it() {
    let old = parsed(&[
        ("aa", "1.22.1-9+deb12u1", "tested", "asked"),
        ("bb", "2", "tested", "depends:aa"),
        ("cc", "1:1", "tested", "asked"),
        ("dd:all", "1", "tested", "asked"),
        ("ee", "1", "tested", "asked"),
        ("ff:i386", "1", "tested", "asked"),
        ("gg", "1", "tested", "asked"),
    ]);
    let text = lock(&[
        ("aa", "1.22.1-9+deb12u2", "security", "asked"),
        ("cc", "2", "tested", "asked"),
        ("dd", "2", "tested", "asked"),
        ("ee", "1", "security", "essential"),
        ("ff:i386", "2", "tested", "asked"),
        ("gg", "1", "tested", "asked"),
        ("hh", "0.5", "local", "asked"),
    ]);
    let other = DIGEST.replace('2', "3");
    let rebuilt = text.replace(&format!("{DIGEST} pool/gg.deb"), &format!("{other} pool/gg.deb"));
    let new = Lock::parse(&rebuilt).expect("parsed");
    let lines: Vec<String> = Lock::changes(&old, &new).iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "aa 1.22.1-9+deb12u1 → 1.22.1-9+deb12u2 (bookworm-security)",
            "bb 2 removed",
            "cc 1:1 → 2, downgraded (tested)",
            "dd 1 → 2 (tested)",
            "ff:i386 1 → 2 (tested)",
            "gg 1: the same version, other bytes (tested)",
            "hh 0.5 added (local)",
        ]
    );
    assert!(Lock::changes(&new, &new).is_empty());
    let json = serde_json::to_string(&Lock::changes(&old, &new)[0]).expect("written");
    assert!(json.contains(r#""change":"updated","from":"1.22.1-9+deb12u1""#), "{json}");
}

#[test]
fn a_package_is_there_because_of_a_chain_that_ends_in_the_recipe() {
    let lock = parsed(&[
        ("aa", "1", "tested", "asked"),
        ("bb", "2", "tested", "pre-depends:aa"),
        ("cc", "3", "tested", "depends:bb"),
        ("dd:i386", "4", "tested", "recommends:cc"),
        ("ee", "5", "tested", "bare:ee-meta"),
        ("ff", "6", "tested", "essential"),
        ("gg", "7", "tested", "asked:g-server"),
        ("hh", "8", "tested", "depends:ii"),
        ("ii", "9", "tested", "depends:hh"),
    ]);
    let why = |name: &str| lock.why(name).expect("there").join(" ");
    assert_eq!(
        why("dd"),
        "dd:i386 4 is there because cc recommends it. cc 3 is there because bb depends on it. bb 2 is there \
         because aa depends on it before it can be unpacked. aa 1 is there because the recipe asks for it."
    );
    assert_eq!(why("ee"), "ee 5 is there because the recipe boots with ee-meta, which stands for it.");
    assert_eq!(why("ff"), "ff 6 is there because every debian system has it.");
    assert_eq!(why("gg"), "gg 7 is there because the recipe asks for g-server, which it provides.");
    assert!(why("hh").contains("because hh depends on it"), "a round of reasons ends");
    let problem = lock.why("d").expect_err("not there").to_string();
    assert_eq!(problem, "the lock has no package d; did you mean dd?");
}

fn locks() -> impl Strategy<Value = Lock> {
    let name = "[a-z0-9][a-z0-9+.-]{1,8}";
    let reason = prop_oneof![
        Just(Reason::Essential),
        name.prop_map(Reason::Bare),
        name.prop_map(Reason::Asked),
        Just(Reason::Asked("aa:i386".to_owned())),
        prop::sample::select(vec![Dependency::Depends, Dependency::PreDepends, Dependency::Recommends])
            .prop_map(|kind| Reason::Needed { by: "aa".into(), kind }),
    ];
    let package = (
        prop::sample::select(vec!["one", "two.2", "local"]),
        prop::sample::select(vec!["amd64", "all", "i386"]),
        prop_oneof![Just("aa".to_owned()), name.prop_map(|name| name)],
        "[0-9][a-z0-9.+~]{0,6}",
        any::<u64>(),
        any::<[u8; 32]>(),
        "[a-z0-9][a-z0-9_%+~.-]{0,5}",
        prop::collection::btree_set(reason, 1..4),
    );
    (prop::collection::vec(package, 0..12), 0u64..253_402_300_800).prop_map(|(packages, date_seconds)| {
        let mut lock = Lock::default();
        let inrelease = Sha256::of(b"x");
        lock.put_request("debian", LockedRequest { architecture: "amd64".into(), digest: inrelease });
        for name in ["one", "two.2"] {
            let suite = format!("{name}-updates");
            lock.put_source("debian", name, LockedSource { suite, date_seconds, inrelease });
        }
        let base = LockedPackage {
            distribution: "debian".into(),
            name: "aa".into(),
            architecture: "amd64".into(),
            version: "0".into(),
            source: "one".into(),
            size_bytes: 0,
            sha256: inrelease,
            filename: "pool/aa".into(),
            why: [Reason::Essential].into(),
        };
        lock.put_package(base.clone());
        for (source, architecture, name, version, size_bytes, sha256, file, why) in packages {
            let filename = if source == "local" { format!("local:{file}") } else { format!("pool/{file}") };
            lock.put_package(LockedPackage {
                name,
                architecture: architecture.into(),
                version,
                source: source.into(),
                size_bytes,
                sha256: Sha256(sha256),
                filename,
                why,
                ..base.clone()
            });
        }
        lock
    })
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
    fn a_lock_that_parses_is_the_only_text_of_its_meaning(
        lock in locks(), at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let mut bytes = lock.to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(text) = String::from_utf8(bytes) && let Ok(lock) = Lock::parse(&text) {
            prop_assert_eq!(lock.to_string(), text);
        }
    }

    #[test]
    fn changes_lead_from_one_lock_to_the_other(old in locks(), new in locks()) {
        let changes = Lock::changes(&old, &new);
        prop_assert_eq!(changes.is_empty(), Lock::changes(&new, &old).is_empty());
        for change in &changes {
            prop_assert!(!change.to_string().contains('\n'));
        }
        for package in new.packages() {
            let _ = new.why(&package.name).map_err(|error| TestCaseError::fail(error.to_string()))?;
        }
    }
}
