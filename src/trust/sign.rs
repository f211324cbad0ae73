//! Who can sign: a secret key in memory, or another program that holds one.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::process::{Command, Stdio};

use super::error::{Result, TrustError};
use super::key::{KeyKind, PublicKey, SecretKey};
use super::ssh::SshSignature;
use crate::base::base64;

/// Makes signatures of one key.
pub trait Signer {
    /// Returns the key that others verify with.
    fn public(&self) -> &PublicKey;

    /// Signs bytes; what comes back verifies under [`Signer::public`].
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>>;
}

impl Signer for SecretKey {
    fn public(&self) -> &PublicKey {
        SecretKey::public(self)
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        Ok(SecretKey::sign(self, message).to_vec())
    }
}

/// Signs through a command of the shell, for keys that live in an agent, on a token or behind a network: the
/// bytes to sign are its standard input, the signature its standard output. For a key of OpenSSH that is what
/// `ssh-keygen -Y sign -n mkimage -f KEY.pub` prints; for a plain one, 64 bytes or their base64.
pub struct CommandSigner {
    command: String,
    public: PublicKey,
}

/// More than any signature: a signer that prints a book is stopped.
const OUTPUT_BYTES_MAX: u64 = 16 << 10;

impl CommandSigner {
    pub fn new(command: impl Into<String>, public: PublicKey) -> Self {
        CommandSigner { command: command.into(), public }
    }

    fn failed(&self, problem: impl ToString) -> TrustError {
        TrustError::Signer { command: self.command.clone(), problem: problem.to_string() }
    }

    /// Runs the command. Its input is a file in memory, so that it may read it when it likes.
    fn run(&self, message: &[u8]) -> Result<Vec<u8>> {
        let input = in_memory(message).map_err(|error| self.failed(error))?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &self.command]).stdin(input).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| self.failed(error))?;
        let mut output = Vec::new();
        let from = child.stdout.take().expect("because its output is a pipe");
        let read = from.take(OUTPUT_BYTES_MAX).read_to_end(&mut output);
        let status = child.wait().map_err(|error| self.failed(error))?;
        read.map_err(|error| self.failed(error))?;
        if status.success() { Ok(output) } else { Err(self.failed(format!("it ended with {status}"))) }
    }

    fn signature(&self, output: &[u8]) -> std::result::Result<Vec<u8>, &'static str> {
        const PRINTED: &str = "it printed neither 64 bytes nor their base64";
        match self.public.kind() {
            KeyKind::Ed25519 if output.len() == 64 => Ok(output.to_vec()),
            KeyKind::Ed25519 => base64::decode(output.trim_ascii()).ok_or(PRINTED),
            KeyKind::SshEd25519 => {
                SshSignature::unarmored(std::str::from_utf8(output).map_err(|_| "it printed no text")?)
            }
        }
    }
}

impl Signer for CommandSigner {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let output = self.run(message)?;
        let signature = self.signature(&output).map_err(|problem| self.failed(problem))?;
        if !self.public.verifies(message, &signature) {
            return Err(
                self.failed(format!("what it printed is no signature of the key {}", self.public.id()))
            );
        }
        Ok(signature)
    }
}

fn in_memory(bytes: &[u8]) -> std::io::Result<File> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::memfd_create("mkimage-to-sign", flags)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(command: &str) -> CommandSigner {
        let key = SecretKey::from_seed(&[3; 32], "").expect("a key");
        CommandSigner::new(command, key.public().clone())
    }

    #[test]
    fn a_command_gets_the_bytes_and_gives_the_signature() {
        let key = SecretKey::from_seed(&[3; 32], "").expect("a key");
        let message = vec![7; 300_000];
        let signature = base64::encode(&key.sign(&message));
        let command = format!("test $(wc -c) = 300000 && echo {signature}");
        assert_eq!(signer(&command).sign(&message).expect("a signature"), key.sign(&message));
    }

    #[test]
    fn a_command_that_fails_lies_or_prints_a_book_made_no_signature() {
        let other = base64::encode(&SecretKey::from_seed(&[4; 32], "").expect("a key").sign(b"x"));
        for command in [
            "exit 3",
            "true",
            "echo nothing",
            &format!("echo {other}"),
            "yes | head -c 1000000",
            "kill $$",
            "/no/such/program",
        ] {
            let error = signer(command).sign(b"x").expect_err(command);
            assert!(matches!(error, TrustError::Signer { .. }), "{command}: {error}");
        }
    }
}
