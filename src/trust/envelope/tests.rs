//! Attacks on envelopes, each refused.

use super::super::key::{KeyKind, SecretKey};
use super::*;

const TYPE: &str = "application/vnd.mkimage.test+json";

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32], "").expect("a key")
}

fn trusted(seeds: &[u8], threshold: usize) -> Trusted {
    let keys = seeds.iter().map(|&seed| key(seed).public().clone()).collect();
    Trusted::new(keys, threshold, "the test").expect("keys")
}

fn signed(seeds: &[u8]) -> Envelope {
    let keys: Vec<SecretKey> = seeds.iter().map(|&seed| key(seed)).collect();
    let signers: Vec<&dyn Signer> = keys.iter().map(|key| key as &dyn Signer).collect();
    Envelope::sign(TYPE, b"{\"a\":1}", &signers).expect("signed")
}

fn open(envelope: &Envelope, trusted: &Trusted) -> Result<Verified<Vec<u8>>> {
    Envelope::open(&envelope.encode(), TYPE, trusted)
}

#[test]
fn what_is_signed_is_that_of_dsse() {
    let encoding = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
    assert_eq!(encoding, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    assert_eq!(pre_authentication_encoding("", b""), b"DSSEv1 0  0 ");
}

#[test]
fn an_envelope_that_enough_keys_signed_opens() {
    let opened = open(&signed(&[1, 2]), &trusted(&[1, 2, 3], 2)).expect("verified");
    assert_eq!(*opened, b"{\"a\":1}");
    let mut expected = vec![key(1).public().id(), key(2).public().id()];
    expected.sort();
    assert_eq!(opened.signers(), expected);
    assert_eq!(Envelope::parse(&signed(&[1]).encode(), 1 << 20).expect("read"), signed(&[1]));
}

#[test]
fn every_changed_byte_is_noticed() {
    let (bytes, trusted) = (signed(&[1]).encode(), trusted(&[1], 1));
    for at in 0..bytes.len() - 1 {
        for bit in [1, 2, 32] {
            let mut changed = bytes.clone();
            changed[at] ^= bit;
            assert!(Envelope::open(&changed, TYPE, &trusted).is_err(), "byte {at} bit {bit}");
        }
    }
    for length in 0..bytes.len() - 1 {
        assert!(Envelope::open(&bytes[..length], TYPE, &trusted).is_err(), "{length} bytes");
    }
}

#[test]
fn nobody_else_can_sign_and_too_few_are_not_enough() {
    let error = open(&signed(&[9]), &trusted(&[1], 1)).expect_err("a stranger's key");
    assert!(matches!(error, TrustError::NotSigned { threshold: 1, valid: 0, .. }), "{error}");
    let error = open(&signed(&[1, 9]), &trusted(&[1, 2], 2)).expect_err("one of two");
    assert!(matches!(error, TrustError::NotSigned { threshold: 2, valid: 1, .. }), "{error}");
    let mut unsigned = signed(&[1]);
    unsigned.signatures.clear();
    assert!(matches!(open(&unsigned, &trusted(&[1], 1)), Err(TrustError::NotSigned { .. })));
}

#[test]
fn a_signature_that_stands_there_twice_counts_once() {
    let mut twice = signed(&[1]);
    twice.signatures.push(twice.signatures[0].clone());
    let error = open(&twice, &trusted(&[1, 2], 2)).expect_err("the same key twice");
    assert!(matches!(&error, TrustError::Envelope { problem } if problem.contains("twice")), "{error}");
    let keys = [key(1), key(1)];
    assert!(Envelope::sign(TYPE, b"", &[&keys[0], &keys[1]]).is_err());
}

#[test]
fn one_key_under_two_names_counts_once() {
    // Trusted as a plain key and as one of OpenSSH: two ids, one key.
    let ssh = PublicKey::new(KeyKind::SshEd25519, key(1).public().bytes(), "").expect("a key");
    let keys = vec![key(1).public().clone(), ssh.clone(), key(2).public().clone()];
    let trusted = Trusted::new(keys, 2, "the test").expect("two different keys");
    let mut envelope = signed(&[1]);
    let message = pre_authentication_encoding(TYPE, &envelope.payload);
    envelope.signatures.push((ssh.id().to_string(), ssh_signature(&key(1), &message)));
    let error = open(&envelope, &trusted).expect_err("one key");
    assert!(matches!(error, TrustError::NotSigned { valid: 1, .. }), "{error}");
    // A free name for a signature that stands there already.
    let mut renamed = signed(&[1]);
    let other = ("0".repeat(64), renamed.signatures[0].1.clone());
    renamed.signatures.push(other);
    assert!(matches!(open(&renamed, &trusted), Err(TrustError::NotSigned { valid: 1, .. })));
    // A trusted name for a signature of another key.
    let mut renamed = signed(&[1]);
    renamed.signatures[0].0 = key(2).public().id().to_string();
    assert!(matches!(open(&renamed, &trusted), Err(TrustError::BadSignature { .. })));
}

fn ssh_signature(key: &SecretKey, message: &[u8]) -> Vec<u8> {
    let string = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
    let public = [string(b"ssh-ed25519"), string(key.public().bytes())].concat();
    let template = super::super::SshSignature { key: *key.public().bytes(), signature: [0; 64] };
    let signature = [string(b"ssh-ed25519"), string(&key.sign(&template.signed_bytes(message)))].concat();
    let parts = [string(&public), string(b"mkimage"), string(b""), string(b"sha512"), string(&signature)];
    [b"SSHSIG\0\0\0\x01", &parts.concat()[..]].concat()
}

#[test]
fn a_signature_of_openssh_opens_an_envelope_and_one_for_another_message_does_not() {
    let ssh = PublicKey::new(KeyKind::SshEd25519, key(1).public().bytes(), "").expect("a key");
    let mut envelope = signed(&[1]);
    let message = pre_authentication_encoding(TYPE, &envelope.payload);
    envelope.signatures = vec![(ssh.id().to_string(), ssh_signature(&key(1), &message))];
    assert!(open(&envelope, &Trusted::one(ssh.clone())).is_ok());
    envelope.signatures[0].1 = ssh_signature(&key(1), b"another message");
    assert!(matches!(open(&envelope, &Trusted::one(ssh.clone())), Err(TrustError::BadSignature { .. })));
    // The blob names another key than the one that is trusted.
    envelope.signatures[0].1 = ssh_signature(&key(2), &message);
    assert!(matches!(open(&envelope, &Trusted::one(ssh.clone())), Err(TrustError::BadSignature { .. })));
    // A plain signature under the name of an OpenSSH key.
    envelope.signatures[0].1 = key(1).sign(&message).to_vec();
    assert!(matches!(open(&envelope, &Trusted::one(ssh)), Err(TrustError::BadSignature { .. })));
}

#[test]
fn a_type_is_signed_with_its_payload() {
    let trusted = trusted(&[1], 1);
    let error = Envelope::open(&signed(&[1]).encode(), "another type", &trusted).expect_err("another role");
    assert!(matches!(error, TrustError::PayloadType { .. }), "{error}");
    let mut renamed = signed(&[1]);
    renamed.payload_type = "another type".to_owned();
    let error =
        Envelope::open(&renamed.encode(), "another type", &trusted).expect_err("a type that nobody signed");
    assert!(matches!(error, TrustError::BadSignature { .. }), "{error}");
}

#[test]
fn a_payload_without_the_encoding_around_it_is_not_signed() {
    let mut raw = signed(&[1]);
    raw.signatures[0].1 = key(1).sign(&raw.payload).to_vec();
    assert!(matches!(open(&raw, &trusted(&[1], 1)), Err(TrustError::BadSignature { .. })));
}

#[test]
fn readers_that_differ_get_nothing_to_differ_about() {
    let good = String::from_utf8(signed(&[1]).encode()).expect("text");
    let trusted = trusted(&[1], 1);
    assert!(
        Envelope::open(good.replace(',', " ,\n ").as_bytes(), TYPE, &trusted).is_ok(),
        "spaces say nothing"
    );
    let payload =
        good.split("\"payload\":").nth(1).and_then(|rest| rest.split(',').next()).expect("a payload");
    let changes = [
        ("a second payload", good.replacen('{', "{\"payload\":\"e30=\",", 1)),
        ("a second payload, escaped", good.replacen('{', "{\"p\\u0061yload\":\"e30=\",", 1)),
        ("an unknown member", good.replacen('{', "{\"critical\":1,", 1)),
        ("an unknown member of a signature", good.replace("{\"keyid\"", "{\"cert\":\"x\",\"keyid\"")),
        ("no key id", good.replace("\"keyid\"", "\"key\"")),
        ("no padding", good.replace("==\"", "\"").replace("=\"", "\"")),
        ("a list", format!("[\"{TYPE}\",{payload},[]]")),
        ("two values", format!("{good}{good}")),
        ("bytes behind it", format!("{good}\0")),
    ];
    for (what, changed) in changes {
        assert_ne!(changed, good, "{what}");
        assert!(Envelope::open(changed.as_bytes(), TYPE, &trusted).is_err(), "{what}");
    }
}

#[test]
fn size_and_number_of_signatures_are_bounded() {
    let trusted = trusted(&[1], 1);
    let mut many = signed(&[1]);
    let more = (0..SIGNATURES_MAX).map(|at| (format!("{at:064x}"), vec![0; 64]));
    many.signatures.extend(more);
    assert!(matches!(open(&many, &trusted), Err(TrustError::Envelope { .. })));
    many.signatures.truncate(SIGNATURES_MAX);
    assert!(open(&many, &trusted).is_ok(), "as many as are possible");
    let mut large = signed(&[1]).encode();
    large.resize(ENVELOPE_BYTES_MAX, b' ');
    assert!(Envelope::open(&large, TYPE, &trusted).is_ok(), "as large as is possible");
    large.push(b' ');
    assert!(matches!(Envelope::open(&large, TYPE, &trusted), Err(TrustError::TooLarge { .. })));
}
