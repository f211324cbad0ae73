use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::super::failure::{Failure, Kind};
use super::{Context, Done};
use crate::trust::{CommandSigner, PublicKey, SecretKey, Signer};

/// `mkimage key`: keys that sign what a site holds.
#[derive(Args, Debug)]
pub struct Key {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Make a key: FILE takes the secret half, FILE.pub the public one
    Generate(Generate),
    /// Show the ids of keys: of a public one, a secret one, or one of OpenSSH
    Show(Show),
}

#[derive(Args, Debug)]
struct Generate {
    /// File to make; it must not be there yet
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What people shall read beside the key, such as whose it is
    #[arg(long, value_name = "TEXT", default_value = "")]
    comment: String,
}

#[derive(Args, Debug)]
struct Show {
    /// Files of keys
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// Who signs. A verb that publishes flattens this into its arguments.
#[derive(Args, Debug, Clone)]
pub struct SigningArgs {
    /// Key that signs: a secret one, or a public one (also of OpenSSH) together with --signer. Several sign where
    /// several must
    #[arg(long = "key", value_name = "FILE", env = "MKIMAGE_KEY", hide_env_values = true)]
    keys: Vec<PathBuf>,
    /// Command that signs for a public --key: it gets the bytes on its standard input, and prints the signature;
    /// for a key in an agent, `ssh-keygen -Y sign -n mkimage -f KEY.pub`
    #[arg(long, value_name = "COMMAND", env = "MKIMAGE_SIGNER", hide_env_values = true, requires = "keys")]
    signer: Option<String>,
}

impl SigningArgs {
    /// Returns who signs: nobody where no key was named.
    pub fn signers(&self) -> Result<Vec<Box<dyn Signer>>, Failure> {
        self.keys.iter().map(|key| self.signer(key)).collect()
    }

    fn signer(&self, key: &Path) -> Result<Box<dyn Signer>, Failure> {
        if let Some(command) = &self.signer
            && let Ok(public) = PublicKey::read(key)
        {
            return Ok(Box::new(CommandSigner::new(command, public)));
        }
        Ok(Box::new(secret(key)?))
    }
}

/// Reads a secret key; a public one in its place gets a hint of its own.
fn secret(path: &Path) -> Result<SecretKey, Failure> {
    SecretKey::read(path).map_err(|error| match PublicKey::read(path) {
        Ok(_) => Failure::new(Kind::Usage, format!("{} is a public key: it can't sign", path.display()))
            .hint("name the secret key, or a command that signs for this one with --signer COMMAND"),
        Err(_) => error.into(),
    })
}

pub fn run(context: &Context, arguments: &Key) -> Done {
    match &arguments.verb {
        Verb::Generate(arguments) => generate(context, arguments)?,
        Verb::Show(arguments) => show(context, &arguments.files)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn generate(context: &Context, arguments: &Generate) -> Result<(), Failure> {
    let comment = arguments.comment.trim();
    let key = SecretKey::generate(comment)?;
    key.write(&arguments.file)?;
    let path = arguments.file.display();
    context.printer.say(&format!("wrote {path} (keep it secret) and {path}.pub (give it to those who pull)"));
    context.printer.data(&as_json(key.public()), || format!("{}\n", key.public().id()))
}

fn show(context: &Context, files: &[PathBuf]) -> Result<(), Failure> {
    let keys = files.iter().map(|file| PublicKey::read(file)).collect::<Result<Vec<_>, _>>()?;
    let rows: Vec<serde_json::Value> = keys.iter().map(as_json).collect();
    let line = |key: &PublicKey| format!("{}  {:<14} {}\n", key.id(), key.kind().name(), key.comment());
    context.printer.data(&rows, || keys.iter().map(line).collect())
}

fn as_json(key: &PublicKey) -> serde_json::Value {
    serde_json::json!({
        "id": key.id(), "kind": key.kind().name(), "public": key.to_string(), "comment": key.comment(),
    })
}
