//! What somebody states of an image, and how many of those who are trusted must state it.
//!
//! A statement is in-toto's (Statement v1), in a DSSE envelope of type `application/vnd.in-toto+json`. Two kinds of
//! predicate are written and understood:
//!
//! - [`PROVENANCE`], SLSA's provenance v1: how the image was made. `externalParameters` has the commit, the recipe
//!   texts and the lock, so that whoever has the statement can build again; `resolvedDependencies` has every input.
//! - [`REPRODUCED`]: the signer built the commit again and got the same bytes.
//!
//! Always true: nothing of a statement is believed before its signature stands; it counts only for the image whose
//! SHA-256 it names, and for the commit that the image itself proves; keys are counted, not signatures; what can't be
//! read is an error, never passed over. The same facts give the same bytes: no statement says when it was made.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::{Result, VerifyError};
use crate::base::base64;
use crate::base::id::hex;
use crate::store::{Commit, InputDigest};
use crate::trust::{Envelope, PublicKey, Signer, Trusted};

/// The type of in-toto's statements.
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// The type under which statements are signed.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// SLSA's predicate of how something was built.
pub const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
/// Our predicate: it was built again, with the same bytes. Changing it is a format break.
pub const REPRODUCED: &str = "urn:mkimage:predicate:reproduced:v1";
/// How we build: the meaning of `externalParameters`. Changing it is a format break.
const BUILD_TYPE: &str = "urn:mkimage:build:v1";
/// Longest envelope that is read, in bytes: a lock of a whole distribution, twice in base64.
pub const STATEMENT_BYTES_MAX: usize = 32 << 20;

/// Names bytes by their digests, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub name: String,
    pub sha256: String,
    pub blake3: String,
}

/// What is stated of a subject.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    pub subject: Subject,
    pub commit: &'a Commit,
    /// The recipe texts in the order of the commit, and the lock.
    pub recipe: &'a [String],
    pub lock: Option<&'a str>,
}

/// A statement as it is read: what others add is overlooked, what we need must be there once.
#[derive(Debug, Deserialize)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Named>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Value,
}

#[derive(Debug, Deserialize, Serialize)]
struct Named {
    #[serde(default)]
    name: String,
    digest: BTreeMap<String, String>,
}

impl Facts<'_> {
    /// Writes the statement that the subject was built like this.
    pub fn provenance(&self, builder: &str) -> Vec<u8> {
        let texts = self.commit.recipe.iter().zip(self.recipe);
        let texts = texts.map(|((name, content), text)| {
            json!({ "name": name, "digest": { "blake3": content.id }, "content": text })
        });
        let inputs = self.commit.inputs.iter().map(|input| {
            let (kind, digest) = match &input.digest {
                InputDigest::Blake3(digest) => ("blake3", digest),
                InputDigest::Sha256(digest) => ("sha256", digest),
            };
            json!({ "name": input.name, "digest": { kind: digest.to_string() } })
        });
        let predicate = json!({
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "commit": self.commit.id(),
                    "encodedCommit": base64::encode(&self.commit.encode()),
                    "recipe": texts.collect::<Vec<_>>(),
                    "lock": self.lock,
                    "variables": self.commit.variables,
                },
                "internalParameters": { "mkimage": self.commit.tool_version },
                "resolvedDependencies": inputs.collect::<Vec<_>>(),
            },
            "runDetails": { "builder": { "id": builder } },
        });
        self.write(PROVENANCE, &predicate)
    }

    /// Writes the statement that the subject was built again, with the same bytes.
    pub fn reproduced(&self) -> Vec<u8> {
        let predicate = json!({ "commit": self.commit.id(), "mkimage": env!("CARGO_PKG_VERSION") });
        self.write(REPRODUCED, &predicate)
    }

    fn write(&self, kind: &str, predicate: &Value) -> Vec<u8> {
        let Subject { name, sha256, blake3 } = &self.subject;
        let statement = json!({
            "_type": STATEMENT,
            "subject": [{ "name": name, "digest": { "sha256": sha256, "blake3": blake3 } }],
            "predicateType": kind,
            "predicate": predicate,
        });
        let mut bytes = serde_json::to_vec(&statement).expect("because a statement has string keys only");
        bytes.push(b'\n');
        bytes
    }
}

/// Puts a statement into a signed envelope.
pub fn sign(statement: &[u8], signers: &[&dyn Signer]) -> Result<Vec<u8>> {
    Ok(Envelope::sign(PAYLOAD_TYPE, statement, signers)?.encode())
}

/// Takes out of a provenance statement, signed or not, what a rebuild takes: the encoded commit, the recipe texts and
/// the lock. Nobody has verified it: the caller holds texts against the commit, and the commit against what is wanted.
pub fn unverified_build(name: &str, bytes: &[u8]) -> Result<(Vec<u8>, Vec<String>, Option<String>)> {
    let wrong = |problem: &str| VerifyError::Statement { what: name.to_owned(), problem: problem.to_owned() };
    let payload = match Envelope::parse(bytes, STATEMENT_BYTES_MAX) {
        Ok(envelope) => envelope.unverified().to_vec(),
        Err(_) => bytes.to_vec(),
    };
    let statement = read(name, &payload)?;
    if statement.predicate_type != PROVENANCE {
        return Err(wrong("it does not say how the image was built: it is of another type"));
    }
    let parameters = &statement.predicate["buildDefinition"]["externalParameters"];
    let commit = parameters["encodedCommit"].as_str().and_then(|text| base64::decode(text.as_bytes()));
    let commit = commit.ok_or_else(|| wrong("it has no commit"))?;
    let texts = parameters["recipe"].as_array().ok_or_else(|| wrong("it has no recipe"))?;
    let texts = texts.iter().map(|text| text["content"].as_str().map(str::to_owned));
    let texts = texts.collect::<Option<Vec<_>>>().ok_or_else(|| wrong("a recipe text is missing"))?;
    Ok((commit, texts, parameters["lock"].as_str().map(str::to_owned)))
}

fn read(name: &str, payload: &[u8]) -> Result<Statement> {
    let wrong = |problem: String| VerifyError::Statement { what: name.to_owned(), problem };
    let statement: Statement = serde_json::from_slice(payload).map_err(|error| wrong(error.to_string()))?;
    if statement.kind != STATEMENT {
        return Err(wrong(format!("it is a {:?}", statement.kind)));
    }
    Ok(statement)
}

/// Who must have stated that an image was built from its commit.
pub struct Policy {
    /// How many different keys.
    pub needed: usize,
    pub keys: Vec<PublicKey>,
}

/// What a policy found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Agreed {
    /// Ids of the keys whose statements count.
    pub keys: Vec<String>,
    pub needed: usize,
}

impl Policy {
    /// Holds statements against the policy. `commit` is what the image itself proved to be.
    ///
    /// # Errors
    /// Too few keys; also keys that can't fulfil the policy at all, a statement that can't be read, and a signature
    /// that names a trusted key and is not of it.
    pub fn check(&self, subject: &Subject, commit: &str, statements: &[(String, Vec<u8>)]) -> Result<Agreed> {
        // One key under two names is one key; and a threshold that can't be reached is an error.
        Trusted::new(self.keys.clone(), self.needed, "the policy")?;
        let mut agreed: BTreeMap<[u8; 32], String> = BTreeMap::new();
        let mut missing = Vec::new();
        for (name, bytes) in statements {
            let envelope = Envelope::parse(bytes, STATEMENT_BYTES_MAX)?;
            let trusted = Trusted::new(self.keys.clone(), 1, "the policy")?;
            let verified = match envelope.verify(PAYLOAD_TYPE, &trusted) {
                Ok(verified) => verified,
                Err(error @ crate::trust::TrustError::NotSigned { .. }) => {
                    missing.push(format!("{name}: {error}"));
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let statement = read(name, &verified)?;
            if let Some(problem) = statement.problem(subject, commit) {
                missing.push(format!("{name}: {problem}"));
                continue;
            }
            for key in self.keys.iter().filter(|key| verified.signers().contains(&key.id())) {
                agreed.insert(*key.bytes(), key.id().to_string());
            }
        }
        let stated: BTreeSet<String> = agreed.values().cloned().collect();
        let silent = self.keys.iter().filter(|key| !agreed.contains_key(key.bytes()));
        missing.extend(silent.map(|key| format!("the key {} states nothing", key.id())));
        if agreed.len() < self.needed {
            let (needed, found, subject) = (self.needed, agreed.len(), subject.name.clone());
            return Err(VerifyError::Policy { needed, found, subject, missing });
        }
        Ok(Agreed { keys: stated.into_iter().collect(), needed: self.needed })
    }
}

impl Statement {
    /// Says why a statement does not count for an image.
    fn problem(&self, subject: &Subject, commit: &str) -> Option<String> {
        let is_it = |named: &Named| named.digest.get("sha256") == Some(&subject.sha256);
        if !self.subject.iter().any(is_it) {
            let found: Vec<&str> = self
                .subject
                .iter()
                .filter_map(|named| named.digest.get("sha256"))
                .map(String::as_str)
                .collect();
            return Some(format!("it is of {}, the image is {}", found.join(", "), subject.sha256));
        }
        let stated = match self.predicate_type.as_str() {
            REPRODUCED => self.predicate["commit"].as_str(),
            PROVENANCE if self.predicate["buildDefinition"]["buildType"] == BUILD_TYPE => {
                self.predicate["buildDefinition"]["externalParameters"]["commit"].as_str()
            }
            other => {
                return Some(format!("its predicate is {other:?}, which says nothing of how it was built"));
            }
        };
        (stated != Some(commit)).then(|| {
            format!(
                "it is of the commit {}, the image is of {commit}",
                stated.unwrap_or("that it does not name")
            )
        })
    }
}

impl Subject {
    /// Digests bytes to their end.
    pub fn of(name: &str, reader: &mut dyn std::io::Read) -> std::io::Result<Self> {
        use sha2::Digest as _;
        let (mut sha256, mut blake3) = (sha2::Sha256::new(), blake3::Hasher::new());
        let mut piece = vec![0; 1 << 20];
        loop {
            match reader.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => {
                    sha256.update(&piece[..count]);
                    blake3.update(&piece[..count]);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let name = name.to_owned();
        Ok(Subject { name, sha256: hex(&sha256.finalize()), blake3: blake3.finalize().to_string() })
    }
}

#[cfg(test)]
mod tests;
