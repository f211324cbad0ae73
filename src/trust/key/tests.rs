//! Keys: the standard's vectors, lines, files, and keys that nobody may trust.

use super::*;

fn key() -> SecretKey {
    SecretKey::from_seed(&[7; 32], "a test").expect("a key")
}

#[test]
fn signatures_are_those_of_the_standard() {
    // RFC 8032 §7.1, test 3.
    let seed = unhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7").expect("hex");
    let key = SecretKey::from_seed(&seed.try_into().expect("32 bytes"), "").expect("a key");
    let public = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025";
    assert_eq!(hex(key.public().bytes()), public);
    let signature = "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
                     18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a";
    assert_eq!(hex(&key.sign(&[0xaf, 0x82])), signature);
    assert!(key.public().verifies(&[0xaf, 0x82], &key.sign(&[0xaf, 0x82])));
    assert!(!key.public().verifies(&[0xaf, 0x83], &key.sign(&[0xaf, 0x82])));
}

#[test]
fn a_signature_has_one_spelling() {
    let (key, message) = (key(), b"message");
    let signature = key.sign(message);
    // S and S + L are the same number for the curve: the second is refused (RFC 8032 §8.4).
    let order = unhex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").expect("hex");
    let mut other = signature;
    let mut carry = 0;
    for (byte, add) in other[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    assert!(key.public().verifies(message, &signature));
    assert!(!key.public().verifies(message, &other));
    for length in [0, 63, 65] {
        let mut cut = signature.to_vec();
        cut.resize(length, 0);
        assert!(!key.public().verifies(message, &cut));
    }
}

#[test]
fn weak_keys_and_second_spellings_of_keys_are_refused() {
    let mut identity = [0; 32];
    identity[0] = 1;
    assert!(PublicKey::new(KeyKind::Ed25519, &identity, "").is_err_and(|problem| problem.contains("weak")));
    assert!(PublicKey::new(KeyKind::Ed25519, &[0; 32], "").is_err(), "a point of order 4");
    // 2^255 - 19 + 1 is 1 again: the same point, spelled with a larger number.
    let mut second = [0xff; 32];
    (second[0], second[31]) = (0xee, 0x7f);
    assert!(PublicKey::new(KeyKind::Ed25519, &second, "").is_err());
    assert!(PublicKey::new(KeyKind::Ed25519, &[2; 32], "").is_err(), "no point of the curve");
}

#[test]
fn a_key_comes_back_from_its_line() {
    let key = key();
    let line = key.public().to_string();
    let read = PublicKey::parse(&line).expect("a key");
    assert_eq!((read.id(), read.comment(), read.to_string()), (key.public().id(), "a test", line.clone()));
    let ssh = PublicKey::new(KeyKind::SshEd25519, key.public().bytes(), "me@host").expect("a key");
    assert_eq!(PublicKey::parse(&ssh.to_string()).map(|key| key.id()), Ok(ssh.id()));
    assert_ne!(ssh.id(), key.public().id(), "the kind is part of the id");
    assert_eq!(ssh.id().to_string().parse(), Ok(ssh.id()));
    for wrong in [
        "",
        "mkimage-ed25519",
        "mkimage-ed25519 AAAA",
        "mkimage-ed25519 ?",
        "ssh-rsa AAAA",
        "ssh-ed25519 AAAA",
        &line.replace("mkimage-ed25519", "mkimage-secret-ed25519"),
        &line.replace("mkimage", "other"),
        &format!("{line}\u{7}"),
    ] {
        assert!(PublicKey::parse(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_secret_key_is_its_owners_alone_and_never_written_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("site");
    let key = SecretKey::generate("fresh").expect("a key");
    key.write(&path).expect("written");
    assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o600);
    assert_eq!(SecretKey::read(&path).expect("a key").public(), key.public());
    assert_eq!(PublicKey::read(&path.with_extension("pub")).expect("a key"), *key.public());
    assert_eq!(PublicKey::read(&path).expect("a key").comment(), "fresh");
    assert!(matches!(key.write(&path), Err(TrustError::KeyExists { .. })));
    for mode in [0o640, 0o604, 0o610, 0o666] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        assert!(
            matches!(SecretKey::read(&path), Err(TrustError::LooseMode { mode: found, .. }) if found == mode)
        );
        assert!(PublicKey::read(&path).is_err());
    }
    let other = SecretKey::generate("").expect("a key");
    assert_ne!(other.public(), key.public());
    assert!(!format!("{key:?}").contains("mkimage-secret"));
}

#[test]
fn a_file_of_something_else_is_no_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("key");
    for text in
        ["", "# nothing\n", "-----BEGIN OPENSSH PRIVATE KEY-----\n", "\0\0", "mkimage-secret-ed25519 AAAA\n"]
    {
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        assert!(SecretKey::read(&path).is_err(), "{text:?}");
        assert!(PublicKey::read(&path).is_err(), "{text:?}");
    }
    let two = format!("{}\n{}\n", key().public(), key().public());
    std::fs::write(&path, two).expect("written");
    assert!(PublicKey::read(&path).is_err());
    assert!(SecretKey::read(folder.path()).is_err());
}
