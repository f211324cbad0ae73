//! Who may sign a suite, and what a signature covers.

use super::*;

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
    let dashed = key.sign("Suite: x\n- y\n-----z\n");
    let text = verify_cleartext(dashed.as_bytes(), &keyring, NOW).expect("good");
    assert_eq!(&**text, "Suite: x\n- y\n-----z\n");
    let unescaped = dashed.replacen("- - y", "- y", 1);
    assert!(unescaped != dashed && verify_cleartext(unescaped.as_bytes(), &keyring, NOW).is_err());
    for at in (0..signed.len()).step_by(7) {
        let mut bytes = signed.clone().into_bytes();
        bytes[at] ^= 1;
        // Blanks at line ends and the armour's own form are not signed: then the text must be the same.
        if let Ok(text) = verify_cleartext(&bytes, &keyring, NOW) {
            assert_eq!(&**text, "Suite: x\nDate: y\n", "byte {at}");
        }
    }
}

#[test]
fn a_signature_that_lies_apart_covers_every_byte() {
    let key = keys::make(GOOD);
    let text = "Suite: x\nDate: y\n";
    let signature = key.sign_apart(text);
    let check = |text: &[u8], signature: &[u8]| verify_detached(text, signature, &key.keyring(), NOW);
    assert_eq!(&**check(text.as_bytes(), signature.as_bytes()).expect("verified"), text);
    let two = format!("{}{signature}", keys::make(GOOD).sign_apart(text));
    for (why, text, signature) in [
        ("another letter", text.replace('x', "z"), signature.clone()),
        ("a line more", format!("{text}More: z\n"), signature.clone()),
        ("another line end", text.replace('\n', "\r\n"), signature.clone()),
        ("a NUL", text.replace('x', "x\0"), signature.clone()),
        ("nobody's signature", text.to_owned(), keys::make(GOOD).sign_apart(text)),
        ("of another text", text.to_owned(), key.sign_apart("Suite: z\n")),
        ("cut", text.to_owned(), signature[..signature.len() / 2].to_owned()),
        ("empty", text.to_owned(), String::new()),
        ("nonsense", text.to_owned(), "nonsense".to_owned()),
        ("a key", text.to_owned(), key.armoured()),
    ] {
        assert!(check(text.as_bytes(), signature.as_bytes()).is_err(), "{why}");
    }
    let weak = Sign { hash: Some(HashAlgorithm::Sha1), ..Sign::default() };
    let rsa = keys::make(Make { rsa: true, ..GOOD });
    for (why, sign, expected) in [
        ("weak hash", weak, "weak hash"),
        ("a time that is not signed", Sign { made_unsigned: true, ..Sign::default() }, "without a date"),
        ("from the future", Sign { made: Some(NOW as u32 + 2 * DAY), ..Sign::default() }, "it is only"),
    ] {
        let signature = rsa.sign_apart_with(text.as_bytes(), sign);
        let problem = verify_detached(text.as_bytes(), signature.as_bytes(), &rsa.keyring(), NOW);
        let problem = problem.expect_err(why).to_string();
        assert!(problem.contains(expected), "{why}: {problem}");
    }
    // Only the first block counts: what stands behind it is anybody's.
    assert!(check(text.as_bytes(), two.as_bytes()).is_err());
}

/// Runs a tool that the tests cannot do without.
fn run(command: &mut std::process::Command, package: &str) -> std::process::Output {
    let name = command.get_program().to_string_lossy().into_owned();
    command
        .output()
        .unwrap_or_else(|error| panic!("{name} does not start ({error}): install package {package}"))
}

#[test]
fn what_is_accepted_here_gpgv_accepts_too_and_reads_the_same_text() {
    let now = mkimage::base::clock::unix_seconds();
    let folder = tempfile::tempdir().expect("a folder");
    let (keyring, signed) = (folder.path().join("key.gpg"), folder.path().join("InRelease"));
    let made = now as u32 - DAY;
    let text = "Suite: x\n- dashes\nSHA256:\n a b\n";
    for (how, with_primary) in [
        (Make { made, ..GOOD }, false),
        (Make { made, rsa: true, ..GOOD }, false),
        (Make { made, primary_signs: true, ..GOOD }, true),
    ] {
        let key = keys::make(how);
        let sign = Sign { with_primary, made: Some(now as u32 - 60), ..Sign::default() };
        let message = key.sign_with(text, sign);
        let verified = verify_cleartext(message.as_bytes(), &key.keyring(), now).expect("verified");
        write(&keyring, &key.binary());
        let gpgv = |message: &str| {
            write(&signed, message.as_bytes());
            let mut command = std::process::Command::new("gpgv");
            run(command.arg("--keyring").arg(&keyring).args(["--output", "-"]).arg(&signed), "gpgv")
        };
        let good = gpgv(&message);
        assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
        assert_eq!(String::from_utf8_lossy(&good.stdout).trim_end(), verified.trim_end());
        assert!(!gpgv(&message.replace("Suite: x", "Suite: y")).status.success());
    }
}
