//! Sources, fields: printed and parsed, and never a panic.

use super::payloads::unpack_bytes;
use super::*;

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
        let _ = Lock::parse(&format!("mkimage-lock 2\n{text}\n"));
        let _ = parse_deb822(&text);
        let _ = parse_one_line(&text);
        let _ = scan::scan(&text, 0..text.len(), false);
        let _ = relation::parse(&text, "amd64");
        let _ = verify_cleartext(text.as_bytes(), &Keyring::default(), NOW);
        let _ = verify_detached(text.as_bytes(), text.as_bytes(), &Keyring::default(), NOW);
        let _ = Root::parse(&text);
        let _ = MirrorRule::parse_list(&text);
    }

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Keyring::parse(&bytes);
        let _ = verify_cleartext(&bytes, &Keyring::default(), NOW);
        let _ = verify_detached(b"Suite: x\n", &bytes, &Keyring::default(), NOW);
        let _ = unpack_bytes(&[b"!<arch>\n", &bytes[..]].concat());
    }
}

#[test]
fn keys_are_of_the_time_that_the_tests_say() {
    assert!(MADE < SIGNED && u64::from(SIGNED) < NOW);
}
