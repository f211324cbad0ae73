//! OpenPGP keys made for one test, good ones and bad ones, and texts signed with them.

use mkimage::packages::Keyring;
use pgp::composed::{
    CleartextSignedMessage, DetachedSignature, KeyType, SecretKeyParamsBuilder, SignedPublicKey,
    SignedPublicSubKey, SignedSecretKey, SubkeyParamsBuilder,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, Signature, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize;
use pgp::types::{Duration, Password, SigningKey, Tag, Timestamp};
use rand::SeedableRng;

/// 2026-07-01, when every key here is made, in seconds since 1970.
pub const MADE: u32 = 1_782_864_000;
/// 2026-07-11, when every text here is signed.
pub const SIGNED: u32 = 1_783_728_000;
/// 2026-07-12, the time of every test.
pub const NOW: u64 = 1_783_814_400;
pub const DAY: u32 = 86_400;

/// What is special about a key. The default is a good one that signs with its subkey.
#[derive(Clone, Copy)]
pub struct Make {
    pub rsa: bool,
    pub primary_lifetime: Option<u32>,
    pub primary_signs: bool,
    pub primary_revoked: bool,
    pub self_hash: HashAlgorithm,
    pub subkey_lifetime: Option<u32>,
    pub subkey_signs: bool,
    pub subkey_revoked: bool,
    pub back_signature: bool,
    pub made: u32,
    /// The same seed makes the same key; without one each key is another.
    pub seed: Option<u64>,
}

pub const GOOD: Make = Make {
    rsa: false,
    primary_lifetime: None,
    primary_signs: false,
    primary_revoked: false,
    self_hash: HashAlgorithm::Sha512,
    subkey_lifetime: None,
    subkey_signs: true,
    subkey_revoked: false,
    back_signature: true,
    made: MADE,
    seed: None,
};

pub struct TestKey {
    secret: SignedSecretKey,
    pub public: SignedPublicKey,
}

fn random() -> rand::rngs::StdRng {
    rand::rngs::StdRng::from_entropy()
}

fn made(seconds: u32) -> SubpacketData {
    SubpacketData::SignatureCreationTime(Timestamp::from_secs(seconds))
}

fn config(
    key: &impl SigningKey,
    kind: SignatureType,
    hash: Option<HashAlgorithm>,
    subpackets: Vec<SubpacketData>,
) -> SignatureConfig {
    let mut config = SignatureConfig::from_key(random(), key, kind).expect("a config");
    config.hash_alg = hash.unwrap_or(config.hash_alg);
    let id = SubpacketData::IssuerKeyId(key.legacy_key_id());
    config.unhashed_subpackets = vec![Subpacket::regular(id).expect("a subpacket")];
    let issuer = SubpacketData::IssuerFingerprint(key.fingerprint());
    let subpackets = subpackets.into_iter().chain([issuer]);
    config.hashed_subpackets =
        subpackets.map(|data| Subpacket::regular(data).expect("a subpacket")).collect();
    config
}

fn flags(certify: bool, sign: bool) -> SubpacketData {
    let mut flags = KeyFlags::default();
    flags.set_certify(certify);
    flags.set_sign(sign);
    SubpacketData::KeyFlags(flags)
}

fn lifetime(seconds: Option<u32>) -> Option<SubpacketData> {
    seconds.map(|seconds| SubpacketData::KeyExpirationTime(Duration::from_secs(seconds)))
}

pub fn make(how: Make) -> TestKey {
    let kind = if how.rsa { KeyType::Rsa(2048) } else { KeyType::Ed25519Legacy };
    let created = Timestamp::from_secs(how.made);
    let subkey =
        SubkeyParamsBuilder::default().key_type(kind.clone()).can_sign(true).created_at(created).build();
    let secret = SecretKeyParamsBuilder::default()
        .key_type(kind)
        .can_certify(true)
        .created_at(created)
        .primary_user_id("Test <test@mirror.invalid>".to_owned())
        .subkey(subkey.expect("a subkey"))
        .build()
        .expect("parameters")
        .generate(how.seed.map_or_else(random, rand::rngs::StdRng::seed_from_u64))
        .expect("a key");
    let mut public = secret.to_public_key();
    let primary = &secret.primary_key;
    let empty = Password::empty();

    let subpackets =
        [made(how.made), flags(true, how.primary_signs)].into_iter().chain(lifetime(how.primary_lifetime));
    let own = config(primary, SignatureType::CertPositive, Some(how.self_hash), subpackets.collect());
    let user = &mut public.details.users[0];
    let id = user.id.clone();
    user.signatures = vec![
        own.sign_certification(primary, &public.primary_key, &empty, Tag::UserId, &id).expect("certified"),
    ];
    if how.primary_revoked {
        let revocation = config(primary, SignatureType::KeyRevocation, None, vec![made(SIGNED - DAY)]);
        let revocation = revocation.sign_key(primary, &empty, &public.primary_key).expect("revoked");
        public.details.revocation_signatures.push(revocation);
    }
    let subkey = bind(how, &secret, &public);
    public.public_subkeys = vec![subkey];
    TestKey { secret, public }
}

fn bind(how: Make, secret: &SignedSecretKey, public: &SignedPublicKey) -> SignedPublicSubKey {
    let (primary, signing) = (&secret.primary_key, &secret.secret_subkeys[0].key);
    let key = public.public_subkeys[0].key.clone();
    let empty = Password::empty();
    let mut subpackets = vec![made(how.made), flags(false, how.subkey_signs)];
    subpackets.extend(lifetime(how.subkey_lifetime));
    if how.back_signature {
        let back = config(signing, SignatureType::KeyBinding, None, vec![made(how.made)]);
        let back =
            back.sign_primary_key_binding(signing, &key, &empty, &public.primary_key).expect("bound back");
        subpackets.push(SubpacketData::EmbeddedSignature(Box::new(back)));
    }
    let binding = config(primary, SignatureType::SubkeyBinding, None, subpackets);
    let binding = binding.sign_subkey_binding(primary, &public.primary_key, &empty, &key).expect("bound");
    let mut signatures = vec![binding];
    if how.subkey_revoked {
        let revocation = config(primary, SignatureType::SubkeyRevocation, None, vec![made(SIGNED - DAY)]);
        signatures.push(
            revocation.sign_subkey_binding(primary, &public.primary_key, &empty, &key).expect("revoked"),
        );
    }
    SignedPublicSubKey::new(key, signatures)
}

/// What is special about a signature.
#[derive(Clone, Copy, Default)]
pub struct Sign {
    pub with_primary: bool,
    pub hash: Option<HashAlgorithm>,
    pub made: Option<u32>,
    pub lifetime: Option<u32>,
    pub critical_notation: bool,
    /// The time stands where the signature does not cover it.
    pub made_unsigned: bool,
}

impl TestKey {
    /// Returns the certificate in binary form.
    pub fn binary(&self) -> Vec<u8> {
        self.public.to_bytes().expect("written")
    }

    /// Returns the certificate in ASCII armour.
    pub fn armoured(&self) -> String {
        self.public.to_armored_string(Default::default()).expect("armoured")
    }

    pub fn keyring(&self) -> Keyring {
        Keyring::parse(&self.binary()).expect("a keyring")
    }

    /// Signs a text in cleartext form, with the subkey.
    pub fn sign(&self, text: &str) -> String {
        self.sign_with(text, Sign::default())
    }

    /// Signs a text by a signature that lies apart.
    pub fn sign_apart(&self, text: &str) -> String {
        self.sign_apart_with(text.as_bytes(), Sign::default())
    }

    pub fn sign_apart_with(&self, content: &[u8], how: Sign) -> String {
        let key = &self.secret.secret_subkeys[0].key;
        let mut config = config(key, SignatureType::Binary, how.hash, vec![made(how.made.unwrap_or(SIGNED))]);
        if how.made_unsigned {
            config.hashed_subpackets.remove(0);
            config.unhashed_subpackets.push(Subpacket::regular(made(SIGNED)).expect("a subpacket"));
        }
        let signature = config.sign(key, &Password::empty(), content).expect("signed");
        DetachedSignature::new(signature).to_armored_string(Default::default()).expect("armoured")
    }

    pub fn sign_with(&self, text: &str, how: Sign) -> String {
        let message = match how.with_primary {
            true => message(text, &self.secret.primary_key, how),
            false => message(text, &self.secret.secret_subkeys[0].key, how),
        };
        message.to_armored_string(Default::default()).expect("armoured")
    }

    /// Signs bytes beside themselves, in binary form, with the subkey.
    pub fn sign_detached(&self, data: &[u8]) -> Vec<u8> {
        let key = &self.secret.secret_subkeys[0].key;
        let config = config(key, SignatureType::Binary, None, vec![made(SIGNED)]);
        let signature = config.sign(key, &Password::empty(), data).expect("signed");
        pgp::composed::DetachedSignature::new(signature).to_bytes().expect("written")
    }

    /// Lets this key vouch for another one's subkey: what the other's owner never agreed to.
    pub fn adopt(&self, other: &TestKey) -> SignedPublicKey {
        let primary = &self.secret.primary_key;
        let key = other.public.public_subkeys[0].key.clone();
        let back = other.public.public_subkeys[0].signatures[0].embedded_signature().cloned();
        let back = back.map(|back| SubpacketData::EmbeddedSignature(Box::new(back)));
        let subpackets = [made(MADE), flags(false, true)].into_iter().chain(back).collect();
        let binding = config(primary, SignatureType::SubkeyBinding, None, subpackets);
        let binding: Signature = binding
            .sign_subkey_binding(primary, &self.public.primary_key, &Password::empty(), &key)
            .expect("bound");
        let mut public = self.public.clone();
        public.public_subkeys = vec![SignedPublicSubKey::new(key, vec![binding])];
        public
    }
}

fn message(text: &str, key: &impl SigningKey, how: Sign) -> CleartextSignedMessage {
    let mut subpackets = vec![made(how.made.unwrap_or(SIGNED))];
    subpackets
        .extend(how.lifetime.map(|life| SubpacketData::SignatureExpirationTime(Duration::from_secs(life))));
    let mut config = config(key, SignatureType::Text, how.hash, subpackets);
    if how.critical_notation {
        let notation = pgp::packet::Notation { readable: true, name: "a@b".into(), value: "c".into() };
        config
            .hashed_subpackets
            .push(Subpacket::critical(SubpacketData::Notation(notation)).expect("a subpacket"));
    }
    CleartextSignedMessage::new(text, config, key, &Password::empty()).expect("signed")
}
