//! Attacks on the index of a site, each refused with its reason.

use super::super::key::SecretKey;
use super::*;

const NOW: u64 = 1_790_000_000;
const DAY: u64 = 86_400;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32], "").expect("a key")
}

fn trusted() -> Trusted {
    Trusted::one(key(1).public().clone())
}

fn commit(text: &str) -> CommitId {
    CommitId(Digest::of(text.as_bytes()))
}

fn index(version: u64) -> SiteIndex {
    let reference = |text: &str, generation| SiteRef { commit: commit(text), generation };
    let bundle = BundleEntry {
        id: Digest::of(b"bundle"),
        size: 1000,
        table_bytes: 100,
        objects: 3,
        commits: vec![commit("new"), commit("newer")],
        bases: vec![commit("old")],
    };
    SiteIndex {
        site: "images.example".parse().expect("a name"),
        version,
        created: NOW,
        expires: NOW + 7 * DAY,
        refs: BTreeMap::from([
            ("env/prod".to_owned(), reference("new", 3)),
            ("main".to_owned(), reference("newer", 9)),
        ]),
        bundles: vec![bundle],
    }
}

fn sign(index: &SiteIndex) -> Vec<u8> {
    index.sign(&[&key(1)]).expect("signed")
}

fn expecting(seen: Option<&Seen>) -> Expectation<'_> {
    Expectation { site: None, seen, now: NOW + 60, allow_expired: false }
}

fn accept(index: &SiteIndex, seen: Option<&Seen>) -> Result<(Verified<SiteIndex>, Seen)> {
    SiteIndex::accept(&sign(index), &trusted(), &expecting(seen))
}

fn seen(version: u64) -> Seen {
    accept(&index(version), None).expect("accepted").1
}

/// Signs a document as it stands, right or wrong.
fn sign_text(text: &str) -> Vec<u8> {
    Envelope::sign(SITE_INDEX_TYPE, text.as_bytes(), &[&key(1)]).expect("signed").encode()
}

#[test]
fn an_index_comes_back_as_it_was_signed() {
    let (accepted, seen) = accept(&index(5), None).expect("accepted");
    assert_eq!(*accepted, index(5));
    assert_eq!(accepted.signers(), [key(1).public().id()]);
    assert_eq!((seen.version, seen.created), (5, NOW));
    assert_eq!(seen.to_string().parse(), Ok(seen.clone()));
    assert!(accept(&index(5), Some(&seen)).is_ok(), "the same again");
    assert!(accept(&index(6), Some(&seen)).is_ok(), "the next one");
}

#[test]
fn the_encoding_is_pinned() {
    let text = String::from_utf8(index(5).encode().expect("encoded")).expect("text");
    let start = r#"{"site":"images.example","version":5,"created":1790000000,"expires":1790604800,"refs":{"env/prod":{"commit":""#;
    assert!(text.starts_with(start), "{text}");
    let pinned = "59c501e12f747ff6bfdc0c0cab36ff14ee3925c6585d42fe6c4b26721ee07595";
    assert_eq!(Digest::of(text.as_bytes()).to_string(), pinned, "a change here is a change of the format");
}

#[test]
fn an_index_that_others_signed_or_that_was_signed_as_something_else_is_refused() {
    let other = Trusted::one(key(2).public().clone());
    let error = SiteIndex::accept(&sign(&index(5)), &other, &expecting(None)).expect_err("another key");
    assert!(matches!(error, TrustError::NotSigned { .. }), "{error}");
    let payload = index(5).encode().expect("encoded");
    let release =
        Envelope::sign("application/vnd.mkimage.release.v1+json", &payload, &[&key(1)]).expect("signed");
    let error = SiteIndex::accept(&release.encode(), &trusted(), &expecting(None)).expect_err("another type");
    assert!(matches!(error, TrustError::PayloadType { .. }), "{error}");
}

#[test]
fn the_index_of_another_site_is_refused() {
    let mut other = index(50);
    other.site = "test.example".parse().expect("a name");
    let error = accept(&other, Some(&seen(5))).expect_err("another site than was seen");
    assert!(matches!(error, TrustError::OtherSite { .. }), "{error}");
    let (site, bytes) = (index(1).site, sign(&other));
    let expected = Expectation { site: Some(&site), ..expecting(None) };
    assert!(matches!(SiteIndex::accept(&bytes, &trusted(), &expected), Err(TrustError::OtherSite { .. })));
}

#[test]
fn an_older_version_is_refused() {
    let error = accept(&index(4), Some(&seen(5))).expect_err("older");
    assert!(matches!(error, TrustError::Rollback { found: 4, seen: 5 }), "{error}");
}

#[test]
fn two_documents_of_one_version_are_an_alarm() {
    let mut other = index(5);
    other.refs.remove("main");
    let error = accept(&other, Some(&seen(5))).expect_err("another document");
    assert!(matches!(error, TrustError::Equivocation { version: 5, .. }), "{error}");
    // A further signature under the same document is none.
    let bytes = index(5).sign(&[&key(1), &key(2)]).expect("signed");
    assert!(SiteIndex::accept(&bytes, &trusted(), &expecting(Some(&seen(5)))).is_ok());
}

#[test]
fn an_expired_index_is_refused_unless_somebody_renews_it() {
    let bytes = sign(&index(5));
    let at = |now, allow_expired| {
        SiteIndex::accept(&bytes, &trusted(), &Expectation { now, allow_expired, ..expecting(None) })
    };
    assert!(at(NOW + 7 * DAY - 1, false).is_ok());
    let error = at(NOW + 7 * DAY, false).expect_err("expired");
    assert!(matches!(error, TrustError::Expired { .. }), "{error}");
    assert!(at(NOW + 7 * DAY, true).is_ok());
    // A clock in 2100 can't tell, and says so; it never takes the document for fresh.
    let error = at(4_102_444_800, false).expect_err("expired");
    assert!(error.to_string().contains("days ago"), "{error}");
}

#[test]
fn a_clock_in_1970_neither_believes_nor_makes_the_frozen_fresh() {
    let bytes = sign(&index(5));
    let at_zero = Expectation { now: 0, ..expecting(None) };
    let error = SiteIndex::accept(&bytes, &trusted(), &at_zero).expect_err("signed in the future");
    assert!(matches!(error, TrustError::FromTheFuture { .. }), "{error}");
    // What was accepted once says that so much time has passed: an index that had expired by then stays so.
    let later = Seen { created: NOW + 8 * DAY, ..seen(5) };
    let frozen = Expectation { now: 0, ..expecting(Some(&later)) };
    assert!(matches!(SiteIndex::accept(&bytes, &trusted(), &frozen), Err(TrustError::Expired { .. })));
}

#[test]
fn an_index_from_far_ahead_is_refused_and_can_not_push_the_clock() {
    let mut ahead = index(5);
    (ahead.created, ahead.expires) = (NOW + 30 * DAY, NOW + 60 * DAY);
    let error = accept(&ahead, None).expect_err("from the future");
    assert!(matches!(error, TrustError::FromTheFuture { .. }), "{error}");
    (ahead.created, ahead.expires) = (NOW + DAY / 2, NOW + 60 * DAY);
    assert!(accept(&ahead, None).is_ok(), "clocks may differ by a day");
}

#[test]
fn after_a_refusal_the_right_one_is_accepted_against_the_same_memory() {
    let memory = seen(5);
    for wrong in [index(4), SiteIndex { expires: NOW + 1, ..index(99) }] {
        assert!(accept(&wrong, Some(&memory)).is_err());
    }
    let (_, next) = accept(&index(6), Some(&memory)).expect("accepted");
    assert_eq!(next.version, 6, "99 was refused: it is not the least version now");
}

#[test]
fn a_document_that_is_signed_and_wrong_is_refused() {
    let good = String::from_utf8(index(5).encode().expect("encoded")).expect("text");
    let id = Digest::of(b"bundle").to_string();
    let changes = [
        ("a space", good.replacen(',', ", ", 1)),
        ("an end of line", format!("{good}\n")),
        (
            "another order",
            good.replacen(r#""version":5,"created":1790000000"#, r#""created":1790000000,"version":5"#, 1),
        ),
        ("an escape", good.replacen("images", "im\\u0061ges", 1)),
        ("a slash escaped", good.replacen("env/prod", "env\\/prod", 1)),
        ("a member twice", good.replacen('{', r#"{"version":6,"#, 1)),
        (
            "a ref twice",
            good.replacen(
                r#""refs":{"#,
                &format!(r#""refs":{{"main":{{"commit":"{id}","generation":1}},"#),
                1,
            ),
        ),
        ("an unknown member", good.replacen('{', r#"{"critical":1,"#, 1)),
        ("a member that is missing", good.replacen(r#""version":5,"#, "", 1)),
        ("version 0", good.replacen(r#""version":5"#, r#""version":0"#, 1)),
        ("version 2^53 + 1", good.replacen(r#""version":5"#, r#""version":9007199254740993"#, 1)),
        ("a fraction", good.replacen(r#""version":5"#, r#""version":5.0"#, 1)),
        ("a number in words", good.replacen(r#""version":5"#, r#""version":"5""#, 1)),
        ("a list for an object", good.replacen(r#""refs":{"#, r#""refs":[{"#, 1).replacen("}},", "}}],", 1)),
        ("expired when it was made", good.replacen("1790604800", "1790000000", 1)),
        ("a path for a ref", good.replacen("env/prod", "../../prod", 1)),
        ("an absolute path for a ref", good.replacen("env/prod", "/env/prod", 1)),
        ("capitals in a ref", good.replacen("env/prod", "env/Prod", 1)),
        ("capitals in an id", good.replacen(&id, &id.to_uppercase(), 1)),
        ("a short id", good.replacen(&id, &id[..63], 1)),
        ("a table larger than its file", good.replacen(r#""table_bytes":100"#, r#""table_bytes":1001"#, 1)),
        ("no table", good.replacen(r#""table_bytes":100"#, r#""table_bytes":0"#, 1)),
        ("a site without a name", good.replacen("images.example", "", 1)),
        ("a site with a path for a name", good.replacen("images.example", "a/b", 1)),
        ("nothing", String::new()),
    ];
    for (what, changed) in changes {
        assert_ne!(changed, good, "{what}");
        let error = SiteIndex::accept(&sign_text(&changed), &trusted(), &expecting(None)).expect_err(what);
        assert!(matches!(error, TrustError::Document { .. }), "{what}: {error}");
    }
    assert!(SiteIndex::accept(&sign_text(&good), &trusted(), &expecting(None)).is_ok());
}

#[test]
fn what_would_be_refused_is_not_signed() {
    let wrong = [
        SiteIndex { version: 0, ..index(5) },
        SiteIndex { version: NUMBER_MAX + 1, ..index(5) },
        SiteIndex { expires: NOW, ..index(5) },
        SiteIndex { bundles: [index(5).bundles, index(5).bundles].concat(), ..index(5) },
        SiteIndex { refs: BTreeMap::from([("Main".to_owned(), index(5).refs["main"])]), ..index(5) },
    ];
    for wrong in wrong {
        assert!(matches!(wrong.sign(&[&key(1)]), Err(TrustError::Document { .. })), "{wrong:?}");
    }
}

#[test]
fn an_endless_index_is_refused_before_it_is_read() {
    let bytes = vec![b'['; SITE_INDEX_BYTES_MAX + 1];
    let error = SiteIndex::accept(&bytes, &trusted(), &expecting(None)).expect_err("too large");
    assert!(matches!(error, TrustError::TooLarge { .. }), "{error}");
}

#[test]
fn ten_thousand_bundles_and_a_thousand_refs_fit() {
    let mut large = index(5);
    let bundle = |at: u32| BundleEntry {
        id: Digest::of(&at.to_le_bytes()),
        commits: vec![commit(&at.to_string())],
        ..index(5).bundles[0].clone()
    };
    large.bundles = (0..10_000).map(bundle).collect();
    large.refs = (0..1000).map(|at| (format!("team-{}/image-{at}", at % 7), index(5).refs["main"])).collect();
    let bytes = sign(&large);
    let (accepted, _) = SiteIndex::accept(&bytes, &trusted(), &expecting(None)).expect("accepted");
    assert_eq!(*accepted, large);
}

#[test]
fn a_memory_that_was_changed_is_no_memory() {
    let line = seen(5).to_string();
    for wrong in [
        "",
        "a",
        &line.replace(" 5 ", " 05 "),
        &line.replace(" 5 ", " x "),
        &format!("{line} "),
        &line[1..].replace('.', "/"),
    ] {
        assert!(wrong.parse::<Seen>().is_err(), "{wrong:?}");
    }
}
