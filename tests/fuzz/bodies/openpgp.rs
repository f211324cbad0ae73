//! Signed texts and keyrings.

use std::sync::LazyLock;

use mkimage::packages::deb::release::Release;
use mkimage::packages::{Keyring, verify_cleartext, verify_detached};

use super::super::keys::{GOOD, Make, NOW, make};

pub const WORDS: &[&str] = &[
    "-----BEGIN PGP SIGNED MESSAGE-----\n",
    "Hash: SHA256\n",
    "\n-----BEGIN PGP SIGNATURE-----\n",
    "-----END PGP SIGNATURE-----\n",
    "-----BEGIN PGP PUBLIC KEY BLOCK-----\n",
    "-----END PGP PUBLIC KEY BLOCK-----\n",
    "- ",
    "=",
    "\r\n",
    "\n\n",
    "Version: x\n",
];

const TEXT: &str = "Origin: Debian\nCodename: bookworm\nDate: Sat, 11 Jul 2026 10:16:37 UTC\nSHA256:\n";

/// A key, the same in every run, and a text that it signed.
struct Signed {
    binary: Vec<u8>,
    armoured: String,
    keyring: Keyring,
    message: String,
    /// Lies apart from the text.
    signature: String,
}

static SIGNED: LazyLock<Signed> = LazyLock::new(|| {
    let key = make(Make { seed: Some(1), ..GOOD });
    let message = key.sign(TEXT);
    assert_eq!(verify_cleartext(message.as_bytes(), &key.keyring(), NOW).as_deref(), Ok(&TEXT.to_owned()));
    let signature = key.sign_apart(TEXT);
    let apart = verify_detached(TEXT.as_bytes(), signature.as_bytes(), &key.keyring(), NOW);
    assert_eq!(apart.as_deref(), Ok(&TEXT.to_owned()));
    Signed { binary: key.binary(), armoured: key.armoured(), keyring: key.keyring(), message, signature }
});

/// Nothing passes but the one text that was signed, as a block, as a text, or as a signature of it.
pub fn inrelease(bytes: &[u8]) {
    let Signed { keyring, signature, .. } = &*SIGNED;
    for (text, signature) in [(bytes, signature.as_bytes()), (TEXT.as_bytes(), bytes)] {
        if let Ok(text) = verify_detached(text, signature, keyring, NOW) {
            assert_eq!(*text, TEXT, "a text that nobody signed");
        }
    }
    if let Ok(text) = verify_cleartext(bytes, &SIGNED.keyring, NOW) {
        assert_eq!(*text, TEXT, "a text that nobody signed");
        let _ = Release::parse(&text);
    }
}

pub fn inrelease_seeds() -> Vec<Vec<u8>> {
    let Signed { message, signature, .. } = &*SIGNED;
    [message.clone(), message.replace('\n', "\r\n"), signature.clone(), TEXT.to_owned()]
        .map(String::into_bytes)
        .into()
}

/// A keyring of anybody's making is an error, or holds keys that a signature is held against.
pub fn keyring(bytes: &[u8]) {
    if let Ok(keyring) = Keyring::parse(bytes)
        && let Ok(text) = verify_cleartext(SIGNED.message.as_bytes(), &keyring, NOW)
    {
        assert_eq!(*text, TEXT);
    }
}

pub fn keyring_seeds() -> Vec<Vec<u8>> {
    let Signed { binary, armoured, .. } = &*SIGNED;
    vec![binary.clone(), armoured.clone().into_bytes(), [binary.clone(), binary.clone()].concat()]
}
