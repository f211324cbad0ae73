//! Keys and signed envelopes, judged by openssl, ssh-keygen and an independent DSSE.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mkimage::base::{CommitId, Digest, base64, id};
use mkimage::trust::{
    CommandSigner, Envelope, Expectation, PublicKey, SITE_INDEX_TYPE, SecretKey, Signer, SiteIndex, SiteRef,
    Trusted, pre_authentication_encoding,
};

use crate::tool::{self, fail_with, mkimage, root, run, succeed};

const SEED: [u8; 32] = [42; 32];
const OTHER_SEED: [u8; 32] = [43; 32];
const NOW: u64 = 1_790_000_000;

fn secret(seed: [u8; 32]) -> SecretKey {
    SecretKey::from_seed(&seed, "").expect("a key")
}

fn index() -> SiteIndex {
    let commit = CommitId(Digest::of(b"commit"));
    SiteIndex {
        site: "images.example".parse().expect("a name"),
        version: 3,
        created: NOW,
        expires: NOW + 600,
        refs: BTreeMap::from([("env/prod".to_owned(), SiteRef { commit, generation: 2 })]),
        bundles: vec![],
    }
}

/// Runs a command with bytes on its standard input.
fn fed(command: &mut Command, input: &[u8], folder: &Path) -> std::process::Output {
    let path = folder.join("input");
    fs::write(&path, input).expect("written");
    run(command.stdin(fs::File::open(&path).expect("a file")).stderr(Stdio::piped()))
}

fn pem(label: &str, prefix: &str, key: &[u8]) -> String {
    let der = [id::unhex(prefix).expect("hex"), key.to_vec()].concat();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", base64::encode(&der))
}

#[test]
fn openssl_verifies_our_signatures_and_we_verify_those_of_openssl() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let message = pre_authentication_encoding(SITE_INDEX_TYPE, &index().encode().expect("encoded"));
    // RFC 8410: the key's bytes behind a fixed prefix.
    fs::write(at("secret.pem"), pem("PRIVATE KEY", "302e020100300506032b657004220420", &SEED))
        .expect("written");
    let public = pem("PUBLIC KEY", "302a300506032b6570032100", secret(SEED).public().bytes());
    fs::write(at("public.pem"), public).expect("written");
    fs::write(at("message"), &message).expect("written");
    fs::write(at("ours"), secret(SEED).sign(&message)).expect("written");
    let openssl = |arguments: &str| {
        let mut command = tool::tool("openssl", arguments.split(' '));
        succeed(command.current_dir(folder.path()))
    };
    openssl("pkeyutl -verify -pubin -inkey public.pem -rawin -in message -sigfile ours");
    openssl("pkeyutl -sign -inkey secret.pem -rawin -in message -out theirs");
    let theirs = fs::read(at("theirs")).expect("a signature");
    assert!(secret(SEED).public().verifies(&message, &theirs));
    assert_eq!(theirs, secret(SEED).sign(&message), "the signature of a message is one");
    fs::write(at("ours"), secret(SEED).sign(b"another message")).expect("written");
    let wrong = "pkeyutl -verify -pubin -inkey public.pem -rawin -in message -sigfile ours";
    assert!(!run(tool::tool("openssl", wrong.split(' ')).current_dir(folder.path())).status.success());
}

/// Makes a key with ssh-keygen and returns its public file.
fn ssh_key(folder: &Path) -> PathBuf {
    let key = folder.join("ssh");
    let quiet = ["-q", "-t", "ed25519", "-N", "", "-C", "a test", "-f"];
    succeed(tool::tool("ssh-keygen", quiet).arg(&key));
    folder.join("ssh.pub")
}

#[test]
fn a_key_of_openssh_signs_through_a_command_and_ssh_keygen_agrees() {
    let folder = tempfile::tempdir().expect("a folder");
    let public_file = ssh_key(folder.path());
    let public = PublicKey::read(&public_file).expect("a key");
    let command = format!("ssh-keygen -Y sign -q -n mkimage -f {}", folder.path().join("ssh").display());
    let signer = CommandSigner::new(&command, public.clone());
    let bytes = index().sign(&[&signer]).expect("signed");
    let expected = Expectation { site: None, seen: None, now: NOW, allow_expired: false };
    let trusted = Trusted::read(&public_file, 1).expect("a key");
    let (accepted, _) = SiteIndex::accept(&bytes, &trusted, &expected).expect("accepted");
    assert_eq!(accepted.signers(), [public.id()]);

    // What stands in our envelope is what the stock tool verifies.
    let envelope: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    let blob = envelope["signatures"][0]["sig"].as_str().expect("a signature");
    let armored = format!("-----BEGIN SSH SIGNATURE-----\n{blob}\n-----END SSH SIGNATURE-----\n");
    fs::write(folder.path().join("sig"), armored).expect("written");
    fs::write(folder.path().join("allowed"), format!("signer namespaces=\"mkimage\" {public}\n"))
        .expect("written");
    let verify = |message: &[u8], namespace: &str| {
        let arguments = ["-Y", "verify", "-f", "allowed", "-I", "signer", "-n", namespace, "-s", "sig"];
        let mut command = tool::tool("ssh-keygen", arguments);
        fed(command.current_dir(folder.path()), message, folder.path()).status.success()
    };
    let message = pre_authentication_encoding(SITE_INDEX_TYPE, &index().encode().expect("encoded"));
    assert!(verify(&message, "mkimage"));
    assert!(!verify(&message[1..], "mkimage"));
    assert!(!verify(&message, "git"));
}

#[test]
fn a_site_is_published_with_a_key_that_only_an_agent_has() {
    let [folder, store, site] = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
    let public = ssh_key(folder.path());
    let (secret, public) = (folder.path().join("ssh"), public.to_str().expect("text"));
    let commit = crate::store::publish(&crate::store::open(store.path()), "hello", 1);
    let at = format!("dir:{}", site.path().display());
    let push = mkimage(["push", &at, "hello", "--site", "agents", "--key", public]);
    let push = push.get_args().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
    // The agent takes the secret key, and its file goes: whoever signs then asks the agent.
    let script = format!(
        "ssh-add -q {0} </dev/null && rm {0} && exec {1} {push} --signer 'ssh-keygen -Y sign -q -n mkimage -f {public}'",
        secret.display(),
        env!("CARGO_BIN_EXE_mkimage"),
    );
    succeed(tool::tool("ssh-agent", ["sh", "-c", &script]).env("MKIMAGE_STORE", store.path()));
    assert!(!secret.exists());
    let there = tempfile::tempdir().expect("a folder");
    let pull = |arguments: &[&str]| succeed(mkimage(arguments).env("MKIMAGE_STORE", there.path()));
    pull(&["pull", &at, "hello", "--key", public]);
    let name = mkimage::store::RefName::new("hello").expect("a name");
    let found = crate::store::open(there.path()).read_ref(&name).expect("read").expect("a ref");
    assert_eq!(found.commit, commit);
}

#[test]
fn signatures_that_ssh_keygen_made_for_other_uses_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let public = PublicKey::read(&ssh_key(folder.path())).expect("a key");
    let key = folder.path().join("ssh");
    for options in ["-n git", "-n file", "-n mkimage -O hashalg=sha256"] {
        let command = format!("ssh-keygen -Y sign -q {options} -f {}", key.display());
        let error = CommandSigner::new(&command, public.clone()).sign(b"message").expect_err(options);
        assert!(error.to_string().contains("made no signature"), "{options}: {error}");
    }
}

fn dsse(arguments: &[&str], input: &[u8]) -> std::process::Output {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = tool::python();
    command.arg(root().join("tests/it/trust/dsse.py")).args(arguments);
    fed(&mut command, input, folder.path())
}

#[test]
fn another_dsse_opens_our_envelopes_and_we_open_its() {
    let keys = [secret(SEED), secret(OTHER_SEED)];
    let ids: Vec<String> = keys.iter().map(|key| key.public().id().to_string()).collect();
    let publics: Vec<String> = keys
        .iter()
        .zip(&ids)
        .map(|(key, name)| format!("{name}={}", id::hex(key.public().bytes())))
        .collect();
    let payload = index().encode().expect("encoded");

    let ours = index().sign(&[&keys[0], &keys[1]]).expect("signed");
    let opened = dsse(&["verify", "2", &publics[0], &publics[1]], &ours);
    assert_eq!(opened.stdout, payload, "{}", String::from_utf8_lossy(&opened.stderr));
    let mut changed = ours.clone();
    let at = changed.windows(10).position(|window| window == b"\"payload\":").expect("a payload") + 20;
    changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
    assert!(!dsse(&["verify", "1", &publics[0]], &changed).status.success());

    let seeds = [format!("{}={}", ids[0], id::hex(&SEED)), format!("{}={}", ids[1], id::hex(&OTHER_SEED))];
    let theirs = dsse(&["sign", SITE_INDEX_TYPE, &seeds[0], &seeds[1]], &payload);
    assert!(theirs.status.success(), "{}", String::from_utf8_lossy(&theirs.stderr));
    let trusted =
        Trusted::new(keys.iter().map(|key| key.public().clone()).collect(), 2, "the test").expect("keys");
    let expected = Expectation { site: None, seen: None, now: NOW, allow_expired: false };
    let (accepted, _) = SiteIndex::accept(&theirs.stdout, &trusted, &expected).expect("accepted");
    assert_eq!((accepted.signers().len(), &*accepted), (2, &index()));
    assert!(Envelope::open(&theirs.stdout, "another type", &trusted).is_err());
}

#[test]
fn a_key_is_made_shown_and_kept_from_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("site");
    let text = path.to_str().expect("text");
    let made = succeed(&mut mkimage(["key", "generate", text, "--comment", "the site"]));
    let public = format!("{text}.pub");
    let shown = succeed(&mut mkimage(["key", "show", text, &public]));
    let line = format!("{}  ed25519        the site", made.trim());
    assert_eq!(shown.lines().collect::<Vec<_>>(), [&line, &line]);
    let json: serde_json::Value =
        serde_json::from_str(&succeed(&mut mkimage(["key", "show", "--json", &public]))).expect("JSON");
    assert_eq!(json[0]["id"], made.trim());
    assert_eq!(json[0]["public"], fs::read_to_string(&public).expect("a key").trim());

    let said = fail_with(1, &mut mkimage(["key", "generate", text]));
    assert!(said.contains("never written over"), "{said}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("a mode");
    let said = fail_with(4, &mut mkimage(["key", "show", text]));
    assert!(said.contains(&format!("chmod 600 {text}")), "{said}");
    let said = fail_with(5, &mut mkimage(["key", "show", &format!("{text}.none")]));
    assert!(said.contains("cannot open") || said.contains("cannot read"), "{said}");
}
