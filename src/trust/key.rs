//! Keys of Ed25519 (RFC 8032), and the lines that they are kept in.
//!
//! ```text
//! mkimage-ed25519 BASE64 COMMENT          a public key: its 32 bytes
//! ssh-ed25519 BASE64 COMMENT              a public key of OpenSSH, as in a .pub file
//! mkimage-secret-ed25519 BASE64 COMMENT   a secret key: its seed of 32 bytes (RFC 8032 §5.1.5)
//! ```
//!
//! A secret key is a file of one such line, with mode 0600. A file of public keys has one a line; empty lines
//! and those that begin with `#` count for nothing. Secret keys of OpenSSH stay where they are, in an agent or
//! on a token: they sign through [`CommandSigner`](super::CommandSigner).
//!
//! A key's id is SHA-256 of `mkimage-key-v1`, a zero byte, the kind (`ed25519` or `sshsig-ed25519`) and the 32
//! bytes: changing this is a format break.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

use super::error::{Result, TrustError};
use super::ssh::{self, SshSignature};
use crate::base::id::{hex, unhex};
use crate::base::{FileError, base64, fs};

const PUBLIC_WORD: &str = "mkimage-ed25519";
const SECRET_WORD: &str = "mkimage-secret-ed25519";
const ID_CONTEXT: &[u8] = b"mkimage-key-v1\0";
const LINE_BYTES_MAX: u64 = 4096;
const COMMENT_CHARACTERS_MAX: usize = 128;

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyKind {
    /// Ed25519 over the bytes themselves (RFC 8032 "PureEdDSA").
    Ed25519,
    /// Ed25519 of OpenSSH, in the form of `ssh-keygen -Y sign`: for keys that live in agents.
    SshEd25519,
}

impl KeyKind {
    /// Returns the name that the key's id covers.
    pub fn name(self) -> &'static str {
        match self {
            KeyKind::Ed25519 => "ed25519",
            KeyKind::SshEd25519 => "sshsig-ed25519",
        }
    }
}

/// Names a public key. Prints as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 32]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl FromStr for KeyId {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        unhex(text).and_then(|bytes| bytes.try_into().ok()).map(KeyId).ok_or(())
    }
}

impl serde::Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Holds a public key that can be trusted to sign: a point on the curve, in its one encoding, of full order.
#[derive(Clone)]
pub struct PublicKey {
    kind: KeyKind,
    key: VerifyingKey,
    comment: String,
}

impl PublicKey {
    /// Takes the 32 bytes of a key.
    ///
    /// # Errors
    /// Says what is wrong with bytes that are no point of the curve, a second spelling of one, or a point of
    /// small order, under which anybody could sign.
    pub fn new(kind: KeyKind, bytes: &[u8; 32], comment: &str) -> std::result::Result<Self, &'static str> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| "its bytes are no point of the curve")?;
        if key.to_edwards().compress().as_bytes() != bytes {
            return Err("its bytes are a second spelling of a point");
        }
        if key.is_weak() {
            return Err("it is a weak key: anybody could sign for it");
        }
        let too_long = comment.chars().count() > COMMENT_CHARACTERS_MAX;
        if too_long || comment.chars().any(char::is_control) {
            return Err("its comment is longer than 128 characters, or holds control characters");
        }
        Ok(PublicKey { kind, key, comment: comment.to_owned() })
    }

    /// Reads one line, as the module describes.
    pub fn parse(line: &str) -> std::result::Result<Self, &'static str> {
        let (word, body, comment) = fields(line)?;
        let kind = match word {
            PUBLIC_WORD => KeyKind::Ed25519,
            ssh::KEY_WORD => KeyKind::SshEd25519,
            SECRET_WORD => return Err("it is a secret key, where a public one belongs"),
            _ if word.starts_with("ssh-") || word.starts_with("ecdsa-") || word.starts_with("sk-") => {
                return Err("of OpenSSH's keys only those of kind ssh-ed25519 are understood");
            }
            _ => return Err("the line begins with neither mkimage-ed25519 nor ssh-ed25519"),
        };
        let bytes = match kind {
            KeyKind::Ed25519 => body.try_into().ok(),
            KeyKind::SshEd25519 => ssh::public_key(&body),
        };
        PublicKey::new(kind, &bytes.ok_or("it does not hold 32 bytes of key")?, comment)
    }

    /// Reads the only key of a file: that of a public key, or of a secret one.
    ///
    /// # Errors
    /// Also where a secret key can be read by others: whoever looks shall know.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_at_most(path, LINE_BYTES_MAX)?;
        if text.starts_with(SECRET_WORD.as_bytes()) {
            return Ok(SecretKey::read(path)?.public().clone());
        }
        let text = String::from_utf8(text).map_err(|_| bad(path, "it is no text"))?;
        let mut lines = key_lines(&text);
        match (lines.next(), lines.next()) {
            (Some(line), None) => PublicKey::parse(line).map_err(|problem| bad(path, problem)),
            (None, _) => Err(TrustError::NoKeys { place: path.display().to_string() }),
            _ => Err(bad(path, "it holds more than one key")),
        }
    }

    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Returns what the key's line says of it behind its bytes; nobody vouches for it.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// Returns the key's 32 bytes: two keys of different kinds may share them.
    pub fn bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Computes the key's name.
    pub fn id(&self) -> KeyId {
        let mut hash = Sha256::new();
        hash.update(ID_CONTEXT);
        hash.update(self.kind.name());
        hash.update(self.key.as_bytes());
        KeyId(hash.finalize().into())
    }

    /// Tells whether a signature of this key stands over bytes: 64 bytes of Ed25519, or an SSHSIG blob. Strict
    /// (no small order, no second spelling of a signature): what one program accepts, all do.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self.kind {
            KeyKind::Ed25519 => self.verifies_raw(message, signature),
            KeyKind::SshEd25519 => SshSignature::parse(signature).is_ok_and(|signature| {
                signature.key == *self.bytes()
                    && self.verifies_raw(&signature.signed_bytes(message), &signature.signature)
            }),
        }
    }

    fn verifies_raw(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, body) = match self.kind {
            KeyKind::Ed25519 => (PUBLIC_WORD, self.bytes().to_vec()),
            KeyKind::SshEd25519 => (ssh::KEY_WORD, ssh::public_blob(self.bytes())),
        };
        write_line(f, word, &body, &self.comment)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.bytes() == other.bytes()
    }
}

impl Eq for PublicKey {}

/// Holds a secret key. Its bytes are wiped when it goes, and never printed.
pub struct SecretKey {
    key: SigningKey,
    public: PublicKey,
}

impl SecretKey {
    /// Makes a key from the system's random numbers.
    pub fn generate(comment: &str) -> Result<Self> {
        let mut seed = [0; 32];
        let mut filled = 0;
        while filled < seed.len() {
            let flags = rustix::rand::GetRandomFlags::empty();
            match rustix::rand::getrandom(&mut seed[filled..], flags) {
                Ok(count) => filled += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(TrustError::Random { source: error.into() }),
            }
        }
        SecretKey::from_seed(&seed, comment)
            .map_err(|problem| TrustError::Key { place: "the new key".to_owned(), problem })
    }

    /// Takes a seed of 32 bytes (RFC 8032 §5.1.5).
    pub fn from_seed(seed: &[u8; 32], comment: &str) -> std::result::Result<Self, &'static str> {
        let key = SigningKey::from_bytes(seed);
        let public = PublicKey::new(KeyKind::Ed25519, key.verifying_key().as_bytes(), comment)?;
        Ok(SecretKey { key, public })
    }

    /// Reads a key from its file, which must be its owner's alone.
    pub fn read(path: &Path) -> Result<Self> {
        let mut file = fs::open(path)?;
        let metadata = file.metadata().map_err(FileError::at("look at", path))?;
        let mode = metadata.permissions().mode() & 0o7777;
        if !metadata.is_file() {
            return Err(bad(path, "it is not a file"));
        }
        if mode & 0o077 != 0 {
            return Err(TrustError::LooseMode { path: path.to_owned(), mode });
        }
        let mut line = String::new();
        let read = Read::by_ref(&mut file).take(LINE_BYTES_MAX).read_to_string(&mut line);
        read.map_err(FileError::at("read", path))?;
        SecretKey::parse(line.strip_suffix('\n').unwrap_or(&line)).map_err(|problem| bad(path, problem))
    }

    fn parse(line: &str) -> std::result::Result<Self, &'static str> {
        let (word, body, comment) = match line.starts_with("-----BEGIN") {
            true => return Err("it is a key of another program; an OpenSSH key signs through --signer"),
            false => fields(line)?,
        };
        if word != SECRET_WORD {
            return Err("the line does not begin with mkimage-secret-ed25519");
        }
        let seed = body.try_into().map_err(|_| "it does not hold 32 bytes of key")?;
        SecretKey::from_seed(&seed, comment)
    }

    /// Writes the key to a new file of mode 0600, and its public half beside it, under the name with `.pub`
    /// behind it. Neither file may be there: a key that is written over is lost.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut public = path.as_os_str().to_owned();
        public.push(".pub");
        let public = Path::new(&public);
        let mut line = format!("{SECRET_WORD} {}", base64::encode(&self.key.to_bytes()));
        if !self.public.comment.is_empty() {
            line.push_str(&format!(" {}", self.public.comment));
        }
        line.push('\n');
        create(public, 0o644, &format!("{}\n", self.public))?;
        create(path, 0o600, &line).inspect_err(|_| {
            let _ = fs::remove_file(public);
        })?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        Ok(fs::sync_directory(folder.unwrap_or(Path::new(".")))?)
    }

    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs bytes: 64 bytes of Ed25519, the same for the same bytes.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public.id())
    }
}

/// Returns the lines of a text that hold keys.
pub(super) fn key_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Splits a key's line into its word, its bytes and its comment.
fn fields(line: &str) -> std::result::Result<(&str, Vec<u8>, &str), &'static str> {
    let (word, rest) = line.trim().split_once(' ').ok_or("its line has no second word")?;
    let (body, comment) = rest.trim_start().split_once(' ').unwrap_or((rest.trim_start(), ""));
    let body = base64::decode(body.as_bytes()).ok_or("its second word is no base64")?;
    Ok((word, body, comment.trim()))
}

fn write_line(f: &mut fmt::Formatter<'_>, word: &str, body: &[u8], comment: &str) -> fmt::Result {
    write!(f, "{word} {}", base64::encode(body))?;
    if comment.is_empty() { Ok(()) } else { write!(f, " {comment}") }
}

fn bad(path: &Path, problem: &'static str) -> TrustError {
    TrustError::Key { place: path.display().to_string(), problem }
}

/// Writes a file that is not there yet, durably.
fn create(path: &Path, mode: u32, text: &str) -> Result<()> {
    let made = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let file = match made {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(TrustError::KeyExists { path: path.to_owned() });
        }
        made => made.map_err(FileError::at("create", path))?,
    };
    fill(&file, text).map_err(|source| {
        let _ = fs::remove_file(path);
        FileError { doing: "write", path: path.to_owned(), source }.into()
    })
}

fn fill(mut file: &File, text: &str) -> std::io::Result<()> {
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
