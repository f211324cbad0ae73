//! The keys that somebody chose to trust, and how many of them must sign.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::error::{Result, TrustError};
use super::key::{KeyId, PublicKey, key_lines};
use crate::base::fs;

const FILE_BYTES_MAX: u64 = 64 << 10;

/// Holds at least one key, and a threshold that they can reach.
#[derive(Clone, Debug)]
pub struct Trusted {
    keys: BTreeMap<KeyId, PublicKey>,
    threshold: usize,
}

impl Trusted {
    /// Takes keys of which `threshold` different ones must sign. `place` says in errors where they come from.
    ///
    /// # Errors
    /// No keys, a threshold of 0, or one above the number of different keys: each would be a door without a lock
    /// or one that never opens. A key that is there under both kinds is one key.
    pub fn new(keys: Vec<PublicKey>, threshold: usize, place: &str) -> Result<Self> {
        if keys.is_empty() {
            return Err(TrustError::NoKeys { place: place.to_owned() });
        }
        let different: BTreeSet<&[u8; 32]> = keys.iter().map(PublicKey::bytes).collect();
        if threshold == 0 || threshold > different.len() {
            return Err(TrustError::Threshold { threshold, keys: different.len() });
        }
        Ok(Trusted { keys: keys.into_iter().map(|key| (key.id(), key)).collect(), threshold })
    }

    /// Trusts one key.
    pub fn one(key: PublicKey) -> Self {
        Trusted { keys: BTreeMap::from([(key.id(), key)]), threshold: 1 }
    }

    /// Reads a file of public keys, one a line.
    pub fn read(path: &Path, threshold: usize) -> Result<Self> {
        let place = path.display().to_string();
        let bytes = fs::read_at_most(path, FILE_BYTES_MAX)?;
        let text = String::from_utf8(bytes);
        let text = text.map_err(|_| TrustError::Key { place: place.clone(), problem: "it is no text" })?;
        Trusted::parse(&text, threshold, &place)
    }

    /// Reads the text of a file of public keys. One line that can't be read fails all: a key that is left out
    /// silently may be the one that revokes the others.
    pub fn parse(text: &str, threshold: usize, place: &str) -> Result<Self> {
        let key = |line| {
            PublicKey::parse(line).map_err(|problem| TrustError::Key { place: place.to_owned(), problem })
        };
        Trusted::new(key_lines(text).map(key).collect::<Result<_>>()?, threshold, place)
    }

    /// Returns the keys, by id.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.values()
    }

    pub fn threshold(&self) -> usize {
        self.threshold
    }

    pub(super) fn get(&self, id: &KeyId) -> Option<&PublicKey> {
        self.keys.get(id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::{KeyKind, SecretKey};
    use super::*;

    fn key(seed: u8) -> PublicKey {
        SecretKey::from_seed(&[seed; 32], "").expect("a key").public().clone()
    }

    #[test]
    fn an_empty_set_and_a_threshold_out_of_reach_are_errors() {
        assert!(matches!(Trusted::new(vec![], 1, "x"), Err(TrustError::NoKeys { .. })));
        assert!(matches!(Trusted::parse("# none\n\n", 1, "x"), Err(TrustError::NoKeys { .. })));
        assert!(matches!(Trusted::new(vec![key(1)], 0, "x"), Err(TrustError::Threshold { .. })));
        assert!(matches!(
            Trusted::new(vec![key(1), key(2)], 3, "x"),
            Err(TrustError::Threshold { keys: 2, .. })
        ));
        assert!(matches!(Trusted::read(Path::new("/nowhere/keys"), 1), Err(TrustError::File(_))));
    }

    #[test]
    fn one_key_in_two_lines_or_two_kinds_is_one_key() {
        let twice = format!("{}\n{} again\n", key(1), key(1));
        assert!(matches!(Trusted::parse(&twice, 2, "x"), Err(TrustError::Threshold { keys: 1, .. })));
        let ssh = PublicKey::new(KeyKind::SshEd25519, key(1).bytes(), "").expect("a key");
        assert!(matches!(
            Trusted::new(vec![key(1), ssh], 2, "x"),
            Err(TrustError::Threshold { keys: 1, .. })
        ));
    }

    #[test]
    fn one_line_that_is_no_key_fails_the_file() {
        let text = format!("# keys\n{}\n\n{}\n", key(1), key(2));
        assert_eq!(Trusted::parse(&text, 2, "x").expect("two keys").keys().count(), 2);
        assert!(matches!(
            Trusted::parse(&format!("{text}ssh-rsa AAAA\n"), 1, "x"),
            Err(TrustError::Key { .. })
        ));
    }
}
