//! Keys, signed envelopes, and the index of a site.

use std::collections::BTreeMap;

use mkimage::base::{CommitId, Digest};
use mkimage::trust::{
    BundleEntry, ENVELOPE_BYTES_MAX, Envelope, Expectation, PublicKey, SITE_INDEX_TYPE, SecretKey, SiteIndex,
    SiteRef, SshSignature, Trusted,
};

pub const WORDS: &[&str] = &[
    "payloadType",
    "payload",
    "signatures",
    "keyid",
    "sig",
    "site",
    "version",
    "created",
    "expires",
    "refs",
    "bundles",
    "commits",
    "bases",
    "generation",
    "9007199254740992",
    "\\u0061",
    "\"",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "==",
    "ssh-ed25519",
    "mkimage-ed25519",
    "SSHSIG",
    "sha512",
];

fn secret() -> SecretKey {
    SecretKey::from_seed(&[1; 32], "fuzz").expect("a key")
}

/// What parses comes back from its own encoding; what opens holds what the key signed, and nothing else.
pub fn envelope(bytes: &[u8]) {
    let Ok(envelope) = Envelope::parse(bytes, ENVELOPE_BYTES_MAX) else { return };
    assert_eq!(
        Envelope::parse(&envelope.encode(), ENVELOPE_BYTES_MAX * 7).expect("its own encoding"),
        envelope
    );
    let trusted = Trusted::one(secret().public().clone());
    if let Ok(payload) = envelope.verify(SITE_INDEX_TYPE, &trusted) {
        assert_eq!(*payload, index().encode().expect("encoded"), "a payload that nobody signed");
    }
}

/// What decodes has one encoding: the bytes that it was decoded from. A memory prints as it was read.
pub fn site(bytes: &[u8]) {
    if let Ok(index) = SiteIndex::decode(bytes) {
        assert_eq!(index.encode().expect("it is sound"), bytes);
    }
    let trusted = Trusted::one(secret().public().clone());
    let expected = Expectation { site: None, seen: None, now: 0, allow_expired: true };
    assert!(SiteIndex::accept(bytes, &trusted, &expected).is_err(), "an index that nobody signed in 1970");
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(seen) = text.parse::<mkimage::trust::Seen>()
    {
        assert_eq!(seen.to_string(), text);
    }
}

/// A key comes back from its own line. No bytes are a signature of a key that did not make one.
pub fn key(bytes: &[u8]) {
    let _ = SshSignature::parse(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = SshSignature::unarmored(text);
    let _ = Trusted::parse(text, 1, "fuzz");
    if let Ok(key) = PublicKey::parse(text) {
        let line = key.to_string();
        assert_eq!(PublicKey::parse(&line).map(|key| (key.id(), key.to_string())), Ok((key.id(), line)));
        assert!(!key.verifies(b"never signed", bytes));
    }
}

fn index() -> SiteIndex {
    let commit = CommitId(Digest::of(b"commit"));
    let bundle = BundleEntry {
        id: Digest::of(b"bundle"),
        size: 1000,
        table_bytes: 100,
        objects: 3,
        commits: vec![commit],
        bases: vec![CommitId(Digest::of(b"base"))],
    };
    SiteIndex {
        site: "fuzz.example".parse().expect("a name"),
        version: 7,
        created: 1_790_000_000,
        expires: 1_790_600_000,
        refs: BTreeMap::from([("env/prod".to_owned(), SiteRef { commit, generation: 2 })]),
        bundles: vec![bundle],
    }
}

pub fn envelope_seeds() -> Vec<Vec<u8>> {
    let empty = Envelope::sign("text/plain", b"", &[&secret()]).expect("signed");
    vec![index().sign(&[&secret()]).expect("signed"), empty.encode()]
}

pub fn site_seeds() -> Vec<Vec<u8>> {
    let bare = SiteIndex { refs: BTreeMap::new(), bundles: vec![], ..index() };
    let seen = format!("fuzz.example 7 1790000000 {}", Digest::of(b"document"));
    vec![index().encode().expect("encoded"), bare.encode().expect("encoded"), seen.into_bytes()]
}

pub fn key_seeds() -> Vec<Vec<u8>> {
    // Made by `ssh-keygen -t ed25519` and `ssh-keygen -Y sign -n mkimage`; the key was thrown away.
    let ssh = include_str!("../seeds/ssh.pub");
    let signature = include_str!("../seeds/ssh.sig");
    vec![
        secret().public().to_string().into_bytes(),
        ssh.as_bytes().to_vec(),
        signature.as_bytes().to_vec(),
        SshSignature::unarmored(signature).expect("a signature"),
    ]
}
