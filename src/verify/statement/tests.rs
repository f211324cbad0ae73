use super::*;
use crate::base::{Digest, TreeId};
use crate::store::{Architecture, DiskSpec, Filesystem, TreeRef};
use crate::trust::{KeyKind, SecretKey};

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32], "").expect("a key")
}

fn commit() -> Commit {
    Commit {
        tree: TreeRef { id: TreeId(Digest::of(b"tree")), size: 4 },
        boot: None,
        disk: DiskSpec {
            layout: 1,
            architecture: Architecture::X86_64,
            filesystem: Filesystem::Ext4,
            slot_size: None,
            uki_size: None,
            data_size: 1 << 20,
            data_path: "/data".to_owned(),
            tries: 3,
        },
        epoch: 0,
        name: "hello".to_owned(),
        version: None,
        recipe: vec![("hello.hcl".to_owned(), crate::tree::Content::of(b"image"))],
        variables: BTreeMap::new(),
        lock: None,
        inputs: Vec::new(),
        parents: Vec::new(),
        tool_version: "0".to_owned(),
        annotations: BTreeMap::new(),
    }
}

fn subject(bytes: &[u8]) -> Subject {
    Subject::of("hello.img", &mut &bytes[..]).expect("read")
}

fn reproduced(bytes: &[u8], signer: &SecretKey) -> (String, Vec<u8>) {
    let (commit, recipe) = (commit(), ["image".to_owned()]);
    let facts = Facts { subject: subject(bytes), commit: &commit, recipe: &recipe, lock: None };
    ("s.json".to_owned(), sign(&facts.reproduced(), &[signer]).expect("signed"))
}

fn policy(needed: usize, keys: &[&SecretKey]) -> Policy {
    Policy { needed, keys: keys.iter().map(|key| key.public().clone()).collect() }
}

fn check(policy: &Policy, statements: &[(String, Vec<u8>)]) -> Result<Agreed> {
    policy.check(&subject(b"image"), &commit().id().to_string(), statements)
}

#[test]
fn enough_different_keys_fulfil_a_policy_and_fewer_do_not() {
    let (a, b, c) = (key(1), key(2), key(3));
    let both = [reproduced(b"image", &a), reproduced(b"image", &b)];
    assert_eq!(check(&policy(2, &[&a, &b, &c]), &both).expect("agreed").keys.len(), 2);
    assert!(matches!(check(&policy(3, &[&a, &b, &c]), &both), Err(VerifyError::Policy { found: 2, .. })));
    assert!(matches!(check(&policy(1, &[&c]), &both), Err(VerifyError::Policy { found: 0, .. })));
    assert!(check(&policy(1, &[&a]), &[]).is_err());
}

#[test]
fn one_key_counts_once_however_often_and_under_whatever_name_it_signs() {
    let (a, b) = (key(1), key(2));
    let twice = [reproduced(b"image", &a), reproduced(b"image", &a)];
    assert!(matches!(check(&policy(2, &[&a, &b]), &twice), Err(VerifyError::Policy { found: 1, .. })));
    let ssh = PublicKey::new(KeyKind::SshEd25519, a.public().bytes(), "").expect("a key");
    let same = Policy { needed: 2, keys: vec![a.public().clone(), ssh] };
    assert!(matches!(check(&same, &twice), Err(VerifyError::Trust(_))), "one key under two names is one");
    assert!(matches!(check(&policy(0, &[&a]), &twice), Err(VerifyError::Trust(_))), "a door without a lock");
    assert!(matches!(check(&policy(1, &[]), &twice), Err(VerifyError::Trust(_))), "no keys");
}

#[test]
fn statements_of_another_image_commit_or_kind_do_not_count() {
    let a = key(1);
    let refused = |statement: &[u8]| {
        let signed = ("s.json".to_owned(), sign(statement, &[&a]).expect("signed"));
        check(&policy(1, &[&a]), &[signed]).expect_err("refused").to_string()
    };
    assert!(matches!(
        check(&policy(1, &[&a]), &[reproduced(b"other", &a)]),
        Err(VerifyError::Policy { found: 0, .. })
    ));
    let (own, recipe) = (commit(), ["image".to_owned()]);
    let facts = Facts { subject: subject(b"image"), commit: &own, recipe: &recipe, lock: None };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let other = text(facts.reproduced()).replace(&own.id().to_string(), &"0".repeat(64));
    assert!(refused(other.as_bytes()).contains("it is of the commit 0000"));
    let kind = text(facts.reproduced()).replace(REPRODUCED, "urn:other");
    assert!(refused(kind.as_bytes()).contains("says nothing of how it was built"));
    assert!(refused(b"{}").contains("no statement of ours"));
    let twice = text(facts.reproduced()).replacen('{', "{\"_type\":\"x\",", 1);
    assert!(refused(twice.as_bytes()).contains("duplicate field"), "two readers would differ");
}

#[test]
fn a_changed_statement_and_a_forged_signature_fail_the_whole() {
    let a = key(1);
    let (name, signed) = reproduced(b"image", &a);
    for at in (0..signed.len()).step_by(7) {
        let mut changed = signed.clone();
        changed[at] ^= 1;
        assert!(check(&policy(1, &[&a]), &[(name.clone(), changed)]).is_err(), "byte {at}");
    }
}

#[test]
fn provenance_gives_back_what_a_rebuild_takes() {
    let (own, recipe) = (commit(), ["image".to_owned()]);
    let facts = Facts { subject: subject(b"image"), commit: &own, recipe: &recipe, lock: Some("lock") };
    let signed = sign(&facts.provenance("urn:builder"), &[&key(1)]).expect("signed");
    for bytes in [signed.clone(), facts.provenance("urn:builder")] {
        let (commit, texts, lock) = unverified_build("p", &bytes).expect("reads");
        assert_eq!(Commit::decode(&commit).expect("a commit"), own);
        assert_eq!((texts, lock.as_deref()), (recipe.to_vec(), Some("lock")));
    }
    assert!(unverified_build("p", &facts.reproduced()).is_err());
    assert_eq!(check(&policy(1, &[&key(1)]), &[("p".to_owned(), signed)]).expect("agreed").keys.len(), 1);
}
