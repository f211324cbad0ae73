//! What the command line says when a push or pull went wrong.

use super::failure::{Failure, Kind, trust_hint};
use crate::remote::{RemoteError, TransferProblem};

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Store(error) => error.into(),
            RemoteError::File(error) => error.into(),
            error => {
                let failure = Failure::of(kind(&error), &error);
                let hint = match &error {
                    RemoteError::Untrusted { source, .. } => trust_hint(source),
                    error => hint(error).map(str::to_owned),
                };
                match hint {
                    Some(hint) if failure.hint.is_none() => failure.hint(hint),
                    _ => failure,
                }
            }
        }
    }
}

fn kind(error: &RemoteError) -> Kind {
    match error {
        RemoteError::Address { .. }
        | RemoteError::Name { .. }
        | RemoteError::NoSigner { .. }
        | RemoteError::TooFewSigners { .. } => Kind::Usage,
        RemoteError::Unknown { .. } | RemoteError::NotThere { .. } | RemoteError::Missing { .. } => {
            Kind::NotFound
        }
        RemoteError::Damaged { .. } => Kind::Damaged,
        RemoteError::Transfer { source: TransferProblem::File(_) | TransferProblem::Input(_), .. } => {
            Kind::Failed
        }
        RemoteError::Transfer { .. } => Kind::Network,
        RemoteError::Lies { .. }
        | RemoteError::Untrusted { .. }
        | RemoteError::NoKey { .. }
        | RemoteError::Bundle { .. } => Kind::Input,
        RemoteError::Cancelled(_) => Kind::Interrupted,
        _ => Kind::Failed,
    }
}

fn hint(error: &RemoteError) -> Option<&'static str> {
    Some(match error {
        RemoteError::Unknown { .. } => {
            "`mkimage remote list` lists the remotes; an address is /path, dir:/path, https://… or s3://…"
        }
        RemoteError::Damaged { .. } => "`mkimage remote remove` forgets it; then add it again, with its keys",
        RemoteError::Taken { .. } => "`mkimage remote remove` forgets it",
        RemoteError::ReadOnly { .. } => {
            "push to where the web server takes its files from: dir:/path or s3://bucket/prefix"
        }
        RemoteError::NotThere { expected: "store", .. } => {
            "a site in a directory is written dir:/path; a new store needs its directory"
        }
        RemoteError::Missing { .. } => "`mkimage remote refs REMOTE` lists what is there",
        RemoteError::NoKey { .. } => {
            "get the publisher's public key over a way that you trust, and name it: --key FILE, at `remote add` or with an address; a whole commit id needs none"
        }
        RemoteError::NoSigner { .. } => {
            "`mkimage key generate FILE` makes a key; --key FILE or MKIMAGE_KEY names it"
        }
        RemoteError::TooFewSigners { .. } => {
            "nothing was sent: name each key with a --key of its own; `mkimage remote show` lists those of the remote"
        }
        RemoteError::Unconditional { .. } => {
            "nothing was published: use a server that honours conditional writes (If-Match, If-None-Match)"
        }
        RemoteError::Moved { .. } => {
            "pull first and build on what is there, or say --force; --expect COMMIT says what you think is there"
        }
        RemoteError::TagMoves { .. } => {
            "take another name; who has the old one would refuse the new: `mkimage push REMOTE --delete TAG` removes it there"
        }
        RemoteError::InTheWay { .. } => {
            "nothing was sent: take another name, such as test/web beside prod/web"
        }
        RemoteError::Diverged { .. } => "--force moves it all the same; `mkimage undo` brings it back",
        RemoteError::Transfer { source, .. } if source.may_pass() => {
            "run the same command again: what came is kept"
        }
        _ => return None,
    })
}
