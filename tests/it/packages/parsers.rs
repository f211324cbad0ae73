//! Locks, sources, fields: printed and parsed, and never a panic.

use super::payloads::unpack_bytes;
use super::*;

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
